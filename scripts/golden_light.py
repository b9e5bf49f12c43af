#!/usr/bin/env python3
"""Writes tests/golden/ops_light.npz: what PyTorch makes of resampling, activation, pooling, embedding, losses and optimisers.

The unit tests tests/unit/test_backend_light.c and test_backend_step.c compare the CPU ops with it, so that they need no
PyTorch themselves. Images are NHWC in the file. Everything is computed in float64 except the inputs, which are float32;
so the file holds what exact arithmetic would give. Run again only when a case is added: python3 scripts/golden_light.py
"""
import os
import numpy as np
import torch
import torch.nn.functional as F

generator = torch.Generator().manual_seed(20240229)
arrays = {}


def normal(*shape):
    """Values that float32 holds exactly, in float64."""
    return torch.randn(*shape, generator=generator).double()


def put(name, tensor, dtype=np.float32):
    a = tensor.detach().numpy()
    arrays[name] = np.ascontiguousarray((a.transpose(0, 2, 3, 1) if a.ndim == 4 else a).astype(dtype))


def put_function(name, x, function):
    """x, y = function(x), a random dy, and the dx that belongs to it."""
    x.requires_grad_(True)
    y = function(x)
    dy = normal(*y.shape)
    y.backward(dy)
    for key, value in dict(x=x, y=y, dy=dy, dx=x.grad).items():
        put(f'{name}.{key}', value)


def resample(taps, up, pad):
    """EDM's Conv2d without a weight."""
    f = torch.tensor(taps, dtype=torch.float64)
    f = torch.outer(f, f)[None, None] / f.sum() ** 2

    def function(x):
        kernel = f.tile([x.shape[1], 1, 1, 1])
        if up:
            return F.conv_transpose2d(x, 4 * kernel, groups=x.shape[1], stride=2, padding=pad)
        return F.conv2d(x, kernel, groups=x.shape[1], stride=2, padding=pad)
    return function


# pads: EDM's (taps - 1) // 2; with a fused 3x3 convolution 0 on the way down and one more on the way up
for taps, up, pad in [([1, 1], False, 0), ([1, 1], True, 0), ([1, 1], True, 1),
                      ([1, 3, 3, 1], False, 1), ([1, 3, 3, 1], False, 0), ([1, 3, 3, 1], True, 1), ([1, 3, 3, 1], True, 2)]:
    name = f"resample.{''.join(map(str, taps))}.{'up' if up else 'down'}.{pad}"
    put_function(name, normal(1, 3, 6, 8), resample(taps, up, pad))

put_function('silu', 4 * normal(300), F.silu)
put_function('relu', normal(300), F.relu)
put_function('pool.max.3.2.0', normal(1, 3, 9, 7), lambda x: F.max_pool2d(x, 3, 2))
put_function('pool.max.2.2.0', normal(1, 3, 8, 6), lambda x: F.max_pool2d(x, 2, 2))
put_function('pool.max.3.2.1', normal(1, 3, 8, 6), lambda x: F.max_pool2d(x, 3, 2, 1))
put_function('pool.mean.3.1.1', normal(1, 3, 6, 7), lambda x: F.avg_pool2d(x, 3, 1, 1, count_include_pad=False))
put_function('pool.mean.2.2.0', normal(1, 3, 8, 6), lambda x: F.avg_pool2d(x, 2, 2))
put_function('pool.mean.0.0.0', normal(1, 3, 6, 7), lambda x: F.adaptive_avg_pool2d(x, 1))
put_function('pool.max.0.0.0', normal(1, 3, 6, 7), lambda x: F.adaptive_max_pool2d(x, 1))

# noise embedding: EDM's two modules, then SongUNet's swap of the halves
c_noise = torch.linspace(-1.55, 1.1, 7).double()
fourier = 16 * normal(12)
positional = (1 / 10000) ** (torch.arange(12).double() / 11)
put('embed.c_noise', c_noise)
for name, frequency, angle in [('fourier', fourier, torch.outer(c_noise, 2 * np.pi * fourier)),
                               ('positional', positional.float().double(), None)]:
    angle = angle if angle is not None else torch.outer(1000 * c_noise.float().double(), frequency)
    emb = torch.cat([angle.cos(), angle.sin()], dim=1)
    put(f'embed.{name}.frequency', frequency)
    put(f'embed.{name}.y', emb.reshape(7, 2, -1).flip(1).reshape(7, -1))

# consistency loss: mean over a batch of 8 of which these are 4 samples, through the student's preconditioning
noisy, network, teacher = normal(4, 3, 5, 6), normal(4, 3, 5, 6), normal(4, 3, 5, 6)
c_skip, c_out, weight = (torch.rand(4, generator=generator).double() for _ in range(3))
for name, value in dict(noisy=noisy, network=network, teacher=teacher, c_skip=c_skip, c_out=c_out, weight=weight).items():
    put(f'loss.{name}', value)
distances = dict(huber=lambda d: (d.square().sum((1, 2, 3)) + 0.03 ** 2).sqrt() - 0.03,
                 l2=lambda d: d.square().mean((1, 2, 3)), l1=lambda d: d.abs().mean((1, 2, 3)))
for name, distance in distances.items():
    x = network.clone().requires_grad_(True)
    student = c_skip.reshape(-1, 1, 1, 1) * noisy + c_out.reshape(-1, 1, 1, 1) * x
    losses = weight * distance(student - teacher)
    (losses.sum() / 8).backward()
    put(f'loss.{name}.y', losses)
    put(f'loss.{name}.dx', x.grad)

logits, label = (3 * normal(6, 10)).requires_grad_(True), torch.tensor([3, 0, 9, 5, 5, 2])
losses = F.cross_entropy(logits, label, label_smoothing=0.1, reduction='none')
(losses.sum() / 8).backward()
for name, value in dict(logits=logits, y=losses, dx=logits.grad).items():
    put(f'cross_entropy.{name}', value)
put('cross_entropy.label', label, np.int32)

# 50 steps of each optimiser with the same gradients; betas, epsilon and rate are repeated in the test
STEPS, COUNT = 50, 40
start = 1 + 0.3 * normal(COUNT).float().double()
gradients = (normal(STEPS, COUNT) * torch.logspace(-9, 1, COUNT).double()).float().double()
put('optimizer.start', start)
put('optimizer.gradients', gradients)
for name, kind, decay in [('radam', torch.optim.RAdam, 0), ('radam_decay', torch.optim.RAdam, 0.01), ('adam', torch.optim.Adam, 0)]:
    w = start.float().double().clone().requires_grad_(True)
    optimizer = kind([w], lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=decay)
    for step in range(STEPS):
        w.grad = gradients[step].clone()
        optimizer.step()
        if step + 1 in (1, 5, 6, 50):
            put(f'optimizer.{name}.{step + 1}', w, np.float64)
    put(f'optimizer.{name}.momentum', optimizer.state[w]['exp_avg'], np.float64)
    put(f'optimizer.{name}.variance', optimizer.state[w]['exp_avg_sq'], np.float64)

path = os.path.join(os.path.dirname(__file__), '..', 'tests', 'golden', 'ops_light.npz')
np.savez_compressed(path, **arrays)
print(f'{os.path.getsize(path)} bytes, {len(arrays)} arrays')
