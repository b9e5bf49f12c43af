#!/usr/bin/env python3
"""Writes tests/golden/inception-narrow.safetensors, the Inception network with a sixteenth of its channels and random weights, and
tests/golden/inception.npz, what PyTorch makes of two images with it in float64 under both conventions of input. The unit test
test_inception.c compares with them. Run again only when a case is added: python3 scripts/golden_inception.py
"""
import pathlib

import numpy as np
import torch

from reference import write_safetensors
from reference_inception import inception, random_images, random_inception

GOLDEN, DIVISOR = pathlib.Path(__file__).parent.parent / 'tests' / 'golden', 16
generator = torch.Generator().manual_seed(20151205)

weights = random_inception(DIVISOR, random_images(4, 32, generator), generator)
half = {name: a.numpy().astype(np.float16 if a.dim() > 1 else np.float32) for name, a in weights.items()}
write_safetensors(GOLDEN / 'inception-narrow.safetensors', half,
                  {'kind': 'inception', 'note': 'random weights of scripts/golden_inception.py, for tests'})

weights = {name: a.double() for name, a in weights.items()}
arrays = {}
small = random_images(2, 32, generator)
arrays['small.images'] = small.astype(np.float32)
# the large ones are shrunk instead: every byte of the small ones is a block
for name, images in ('small', small), ('large', np.kron(small, np.ones((1, 10, 10, 1), np.uint8))):
    for convention in 'tf1', 'pytorch-fid':
        for key, value in zip(('features', 'logits', 'scores'), inception(weights, images, convention, DIVISOR)):
            arrays[f'{name}.{convention}.{key}'] = value.numpy().astype(np.float32)
            spread = (value[0] - value[1]).abs().max() / value.abs().max()
            print(f'{name}.{convention}.{key}: images differ by {spread:.2f}')
np.savez_compressed(GOLDEN / 'inception.npz', **arrays)
