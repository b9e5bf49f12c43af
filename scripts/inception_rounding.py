#!/usr/bin/env python3
"""What rounding the factors of its convolutions does to the Inception network's features, emulated in PyTorch on a CPU: sums stay in
fp32. Random weights (random_inception.py), N smooth random images and noisy copies of them.

    python3 scripts/inception_rounding.py [N=40]

Printed: the largest and the rms error of four images' features against float64, in units of the features' largest and rms; the Frechet
distance between images and noisy copies over the first N/4 features, and how far it is from fp32's. Some minutes on two cores."""
import sys

import numpy as np
import torch
import torch.nn.functional as F

import reference_inception as reference

FEW = 4


def mantissa(bits):
    """Rounds to the nearest number of so many explicit bits, ties to even."""
    def rounded(x):
        drop = 23 - bits
        i = x.contiguous().view(torch.int32)
        return ((i + ((i >> drop) & 1) + ((1 << (drop - 1)) - 1)) & ~((1 << drop) - 1)).view(torch.float32)
    return rounded


def half(x):
    return x.half().float()


def halves(x):
    return half(x) + half(x - half(x))


def scaled(cut):
    """Rows of weights are scaled by a power of two first, as core/backend/cuda/conv_parts.cuh does."""
    def rows(w):
        scale = torch.exp2(torch.floor(torch.log2(w.abs().amax((1, 2, 3), keepdim=True))))
        return cut(w / scale) * scale
    return rows


def same(x):
    return x


# name: x, weights
CUTS = {"fp32": (same, same), "tf32": (mantissa(10), mantissa(10)), "fp16": (half, scaled(half)), "bf16": (mantissa(7), mantissa(7)),
        "fp16 x, weights whole": (half, same), "two halves of fp16 each": (halves, scaled(halves))}


class Rounded(reference.Layers):
    cuts = same, same

    def conv(self, name, x, width, kernel=(1, 1), stride=1, pad=None):
        w = dict(self.weights)
        w[f"{name}.conv.weight"] = self.cuts[1](w[f"{name}.conv.weight"])
        return reference.Layers(w, self.divisor).conv(name, self.cuts[0](x), width, kernel, stride, pad)


def features(weights, images, cuts, dtype=torch.float32):
    net, out = Rounded(weights, 1), []
    net.cuts = cuts
    for i in range(0, len(images), 8):
        out.append(net.pooled(reference.prepare(images[i:i + 8], "tf1", dtype)))
    return torch.cat(out).double().numpy()


def frechet(a, b):
    mean, c1, c2 = a.mean(0) - b.mean(0), np.cov(a.T), np.cov(b.T)
    values, vectors = np.linalg.eigh(c1)
    root = vectors * np.sqrt(values.clip(0)) @ vectors.T
    return mean @ mean + np.trace(c1) + np.trace(c2) - 2 * np.sqrt(np.linalg.eigvalsh(root @ c2 @ root).clip(0)).sum()


@torch.inference_mode()
def main():
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 40
    generator = torch.Generator().manual_seed(20151205)
    weights = reference.random_inception(1, reference.random_images(4, 32, generator), generator)
    images = torch.as_tensor(reference.random_images(count, 32, generator))
    noisy = (images.float() + 16 * torch.randn(images.shape, generator=generator)).clamp(0, 255).to(torch.uint8)
    exact = features({name: w.double() for name, w in weights.items()}, images[:FEW], (same, same), torch.float64)
    first = None
    print("| factors | largest error | rms error | distance | of fp32's |\n|---|---|---|---|---|")
    for name, cuts in CUTS.items():
        a, b = features(weights, images, cuts), features(weights, noisy, cuts)
        off = a[:FEW] - exact
        distance = frechet(a[:, :count // 4], b[:, :count // 4])
        first = first or distance
        print(f"| {name} | {np.abs(off).max() / np.abs(exact).max():.1e} | {np.sqrt((off ** 2).mean() / (exact ** 2).mean()):.1e} | "
              f"{distance:.4f} | {distance / first - 1:+.1e} |", flush=True)


main()
