#!/usr/bin/env python3
"""Writes tests/golden/ops_heavy.npz: what PyTorch makes of convolution, linear, group norm + SiLU, and attention.

tests/unit/test_backend_golden.c compares the CPU ops with it, so that the test needs no PyTorch itself. Images are NHWC and
weights OHWI in the file. Inputs are float32 numbers, everything else was computed in float64. Run again only when a case
is added: python3 scripts/golden_heavy.py
"""
import os
import numpy as np
import torch
import torch.nn.functional as F

generator = torch.Generator().manual_seed(20240301)
arrays = {}


def normal(*shape):
    """Values that float32 holds exactly, in float64, as a leaf."""
    return torch.randn(*shape, generator=generator).double().requires_grad_(True)


def put(name, tensor):
    a = tensor.detach().numpy()
    arrays[name] = np.ascontiguousarray((a.transpose(0, 2, 3, 1) if a.ndim == 4 else a).astype(np.float32))


def put_case(name, function, **inputs):
    """Inputs, y = function(**inputs), a random dy, and the gradient of every input under d<name of the input>."""
    y = function(**inputs)
    dy = normal(*y.shape).detach()
    y.backward(dy)
    put(f'{name}.y', y)
    put(f'{name}.dy', dy)
    for key, value in inputs.items():
        put(f'{name}.{key}', value)
        put(f'{name}.d{key}', value.grad)


def norm(x, gamma, beta, bias, scale_shift):
    """With the noise embedding before the statistics and a scale and shift after them."""
    scale, shift = scale_shift.chunk(2, dim=1)
    y = F.group_norm(x + bias[:, :, None, None], 8, gamma, beta, eps=1e-6)
    return F.silu(y * (1 + scale[:, :, None, None]) + shift[:, :, None, None])


def attention(x):
    """x holds q, k and v of two heads."""
    n, c, h, w = x.shape
    q, k, v = x.reshape(n, 3, 2, c // 6, h * w).unbind(1)
    weight = torch.einsum('nhcq,nhck->nhqk', q, k / np.sqrt(c // 6)).softmax(dim=3)
    return torch.einsum('nhqk,nhck->nhcq', weight, v).reshape(n, c // 3, h, w)


put_case('conv', lambda x, weight, bias: F.conv2d(x, weight, bias, padding=1),
         x=normal(2, 16, 8, 8), weight=normal(32, 16, 3, 3), bias=normal(32))
put_case('conv_stride', lambda x, weight, bias: F.conv2d(x, weight, bias, padding=1, stride=2),
         x=normal(2, 5, 9, 7), weight=normal(6, 5, 3, 3), bias=normal(6))
put_case('linear', lambda x, weight, bias: F.linear(x, weight, bias),
         x=normal(12, 20), weight=normal(33, 20), bias=normal(33))
put_case('norm', norm, x=normal(2, 32, 6, 6), gamma=normal(32), beta=normal(32), bias=normal(2, 32),
         scale_shift=normal(2, 64))
put_case('attention', attention, x=normal(2, 48, 5, 5))

path = os.path.join(os.path.dirname(__file__), '..', 'tests', 'golden', 'ops_heavy.npz')
np.savez_compressed(path, **arrays)
print(f'{os.path.getsize(path)} bytes, {len(arrays)} arrays')
