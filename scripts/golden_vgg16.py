#!/usr/bin/env python3
"""Writes tests/golden/vgg16-fc2-narrow.safetensors, a VGG-16 with few channels and random weights, up to its second fully connected layer,
and tests/golden/vgg16.npz, what PyTorch makes of images with it in float64. The unit test test_vgg16.c compares with them. Run again only
when a case is added: python3 scripts/golden_vgg16.py
"""
import pathlib

import numpy as np
import torch

from reference import write_safetensors
from reference_features import random_vgg16_fc2, vgg16_fc2, vgg16_fc2_file
from reference_inception import random_images

GOLDEN = pathlib.Path(__file__).parent.parent / 'tests' / 'golden'
generator = torch.Generator().manual_seed(20140904)

weights = random_vgg16_fc2([4, 5, 6, 8, 8], 24, generator)
write_safetensors(GOLDEN / 'vgg16-fc2-narrow.safetensors', {name: a.numpy().astype(np.float16) for name, a in vgg16_fc2_file(weights).items()},
                  {'kind': 'vgg16-fc2', 'note': 'random weights of scripts/golden_vgg16.py, for tests'})

weights = {name: a.double() for name, a in weights.items()}
small = random_images(2, 32, generator)
arrays = {'small.images': small.astype(np.float32)}
# the large ones are shrunk instead: every byte of the small ones is a block
for name, images in ('small', small), ('large', np.kron(small, np.ones((1, 10, 10, 1), np.uint8))):
    features = vgg16_fc2(weights, images)
    arrays[f'{name}.features'] = features.numpy().astype(np.float32)
    print(f'{name}: {(features > 0).double().mean():.2f} of the features are not 0, '
          f'images differ by {(features[0] - features[1]).abs().max() / features.abs().max():.2f}')
np.savez_compressed(GOLDEN / 'vgg16.npz', **arrays)
