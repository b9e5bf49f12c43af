#!/usr/bin/env python3
"""Writes tests/golden/vgg16-narrow.safetensors, a VGG-16 with a few random channels and LPIPS heads as a user's file would have
them, and tests/golden/perceptual.npz, what PyTorch makes of it in float64: features, distances and their gradients; besides,
bilinear interpolation and the feature distance as single ops. The unit tests test_backend_perceptual.c and test_perceptual.c
compare with them. Images are NHWC in the file. Run again only when a case is added: python3 scripts/golden_perceptual.py
"""
import pathlib

import numpy as np
import torch

import reference_features as features
from reference import write_safetensors

GOLDEN = pathlib.Path(__file__).parent.parent / 'tests' / 'golden'
generator = torch.Generator().manual_seed(20180111)
arrays = {}


def normal(*shape):
    """Values that float32 holds exactly, in float64."""
    return torch.randn(*shape, generator=generator).double()


def put(name, tensor):
    a = tensor.detach().numpy()
    arrays[name] = np.ascontiguousarray((a.transpose(0, 2, 3, 1) if a.ndim == 4 else a).astype(np.float32))


def put_bilinear(name, size_in, size_out, tf1):
    x = normal(2, 3, *size_in).requires_grad_(True)
    y = features.bilinear(x, size_out, tf1)
    dy = normal(*y.shape)
    y.backward(dy)
    for key, value in dict(x=x, y=y, dy=dy, dx=x.grad).items():
        put(f'{name}.{key}', value)


for tf1 in (False, True):
    grid = 'tf1' if tf1 else 'half'
    put_bilinear(f'bilinear.{grid}.up', (5, 4), (13, 12), tf1)
    put_bilinear(f'bilinear.{grid}.down', (13, 11), (5, 6), tf1)
    put_bilinear(f'bilinear.{grid}.same', (4, 5), (4, 5), tf1)

# one tap of 19 channels; gradients of sum_i weight_i d_i
a, b, head, weight = normal(3, 19, 4, 5).requires_grad_(True), normal(3, 19, 4, 5), normal(1, 19, 1, 1).abs(), normal(3).abs()
d = features.distance([a], [b], [head])
(weight * d).sum().backward()
for key, value in dict(a=a, b=b, head=head.reshape(-1), weight=weight, d=d, da=a.grad).items():
    put(f'feature.{key}', value)

weights = features.random_vgg16([4, 5, 6, 8, 8], generator)
metadata = {'kind': 'vgg16', 'note': 'random weights of scripts/golden_perceptual.py, for tests'}
write_safetensors(GOLDEN / 'vgg16-narrow.safetensors', {k: v.numpy() for k, v in weights.items()}, metadata)
weights = {k: v.double() for k, v in weights.items()}


def lpips(weights, x0, x1, size, pool):
    """Features of x0, distances, and the gradient of their sum with respect to x0."""
    x0 = x0.clone().requires_grad_(True)
    taps0, taps1 = (features.vgg16(weights, x, size, pool) for x in (x0, x1))
    d = features.distance(taps0, taps1, features.heads_of(weights))
    d.sum().backward()
    return taps0, d, x0.grad


def images(pixels):
    return (0.5 * normal(2, 3, pixels, pixels)).float().double()


# At a kink, an activation within rounding of 0, the gradient may jump. Images are drawn until none is near: moving all biases a
# little either way then moves the gradient a little.
for name, pixels, size, pool in [('plain', 20, None, 'max'), ('resized', 12, 32, 'mean')]:
    while True:
        x0 = images(pixels)
        x1 = (x0 + 0.6 * images(pixels)).float().double()
        taps, d, dx = lpips(weights, x0, x1, size, pool)
        change = 0
        for shift in (-2e-5, 2e-5):
            nudged = {k: v + shift if k.endswith('bias') else v for k, v in weights.items()}
            change = max(change, ((lpips(nudged, x0, x1, size, pool)[2] - dx).abs().max() / dx.abs().max()).item())
        print(f'{name}: distances {d.tolist()}, gradient moves by {change:.2g}')
        if change < 2e-3:
            break
    for key, value in dict(x0=x0, x1=x1, d=d, dx=dx, **{f'tap{i}': tap for i, tap in enumerate(taps)}).items():
        put(f'{name}.{key}', value)

np.savez_compressed(GOLDEN / 'perceptual.npz', **arrays)
print(f"{(GOLDEN / 'perceptual.npz').stat().st_size} bytes, {len(arrays)} arrays")
