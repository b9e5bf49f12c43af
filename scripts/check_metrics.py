#!/usr/bin/env python3
"""Compares `./run eval --features` with pytorch-fid, torch-fidelity and prdc on the same features, as the files go that a user has
(pip install torch-fidelity pytorch-fid prdc mpmath), and Frechet distances of ill-conditioned and singular covariances with an
evaluation in 50 digits. Prints a table and ends with 1 where a difference is above 1e-6 relative. A minute on one core."""
import contextlib
import io
import json
import os
import subprocess
import sys
import tempfile

import mpmath
import numpy as np
import torch
from prdc import compute_prdc
from pytorch_fid.fid_score import calculate_frechet_distance
from torch_fidelity.metric_kid import kernel_mmd
from torch_fidelity.metric_prc import calculate_precision_recall_full

from draws import STREAM_ORDER, permuted, philox

N, D = 2000, 64
SUBSETS, SIZE, SEED = 100, 1000, 2020  # eval/metric.c
rng = np.random.default_rng(11)


def ours(fake, real):
    with tempfile.TemporaryDirectory() as folder:
        a, b = os.path.join(folder, "a.npz"), os.path.join(folder, "b.npz")
        np.savez(a, features=fake)
        np.savez(b, features=real)
        out = subprocess.run(["./run", "eval", "--features", a, b, "--format", "json"], check=True, capture_output=True)
        return {row["metric"]: row["value"] for row in json.loads(out.stdout)}


def subset(epoch):
    """draws.permuted() for many places at once."""
    half = next(h for h in range(1, 17) if 4 ** h >= N)
    places, out = np.arange(SIZE, dtype=np.uint64), np.full(SIZE, N, dtype=np.uint64)
    while (out >= N).any():
        left, right = places >> np.uint64(half), places & np.uint64(2 ** half - 1)
        for number in range(4):
            counter = [right] + [np.full_like(right, c) for c in (number, epoch, STREAM_ORDER)]
            left, right = right, left ^ (philox(counter, SEED)[0].astype(np.uint64) & np.uint64(2 ** half - 1))
        places = left << np.uint64(half) | right
        out = np.where(out >= N, places, out)
    return out.astype(np.int64)


def kernel_distances(fake, real):
    """The subsets that eval/kernel_distance.c draws, each by torch-fidelity's function."""
    values = []
    for i in range(SUBSETS):
        values.append(kernel_mmd(fake[subset(2 * i)], real[subset(2 * i + 1)], kid_kernel="poly"))
    return np.mean(values), np.std(values)


def peers(fake, real):
    f, r = fake.astype(np.float64), real.astype(np.float64)
    precision, recall = calculate_precision_recall_full(torch.from_numpy(f), torch.from_numpy(r), neighborhood=3)
    with contextlib.redirect_stdout(io.StringIO()):
        dense = compute_prdc(r, f, nearest_k=5)
    mean, deviation = kernel_distances(f, r)
    return {"fd-features": calculate_frechet_distance(f.mean(0), np.cov(f, rowvar=False), r.mean(0), np.cov(r, rowvar=False)),
            "kd-features": mean, "kd-features-deviation": deviation, "precision-features": precision,
            "recall-features": recall, "density-features": dense["density"], "coverage-features": dense["coverage"]}


def moments_exact(rows):
    x = rows.astype(np.longdouble)
    centred = x - x.mean(0)
    return x.mean(0), centred.T @ centred / (len(x) - 1)


def matrix(values):
    return mpmath.matrix([[mpmath.mpf(str(np.format_float_positional(v, unique=True))) for v in row] for row in values])


def frechet_exact(fake, real):
    """tr (C1^1/2 C2 C1^1/2)^1/2 in 50 digits, from covariances in 80-bit floats."""
    mpmath.mp.dps = 50
    (m1, c1), (m2, c2) = moments_exact(fake), moments_exact(real)
    a, b = matrix(c1), matrix(c2)
    values, vectors = mpmath.eigsy(a)
    root = vectors * mpmath.diag([mpmath.sqrt(max(v, 0)) for v in values]) * vectors.T
    inner = root * b * root
    trace = sum(mpmath.sqrt(max(v, 0)) for v in mpmath.eigsy((inner + inner.T) / 2, eigvals_only=True))
    return float(mpmath.mpf(str(((m1 - m2) ** 2).sum())) + sum(a[i, i] + b[i, i] for i in range(len(c1))) - 2 * trace)


def report(title, value, expected):
    difference = abs(value - expected) / max(abs(expected), 1e-300) if value != expected else 0.0
    print(f"| {title} | {value:.12g} | {expected:.12g} | {difference:.1e} |", flush=True)
    return difference <= 1e-6


def main():
    assert [int(place) for place in subset(7)[:3]] == [permuted(SEED, 7, place, N) for place in range(3)]
    print("| what | ours | peer | relative difference |\n|---|---:|---:|---:|")
    mix = rng.normal(size=(D, D))
    real = (rng.normal(size=(N, D)) @ mix / 8).astype(np.float32)
    fake = (0.9 * rng.normal(size=(N, D)) @ mix / 8 + 0.1).astype(np.float32)
    mine, theirs = ours(fake, real), peers(fake, real)
    good = [report(name, mine[name], theirs[name]) for name in theirs]
    scales = np.logspace(0, -6, D)
    rank = (np.arange(D) < 20) * 1.0
    for title, a, b in (("condition 1e12", scales, 0.9 * scales), ("condition 1e12, against well-conditioned", scales, np.ones(D)),
                        ("rank 20 of 64, both", rank, 0.9 * rank), ("rank 20 of 64, one", rank, np.ones(D))):
        turn, _ = np.linalg.qr(rng.normal(size=(D, D)))
        one = ((rng.normal(size=(N, D)) * a) @ turn).astype(np.float32)
        two = ((rng.normal(size=(N, D)) * b) @ turn).astype(np.float32)
        good.append(report("fd, " + title, ours(one, two)["fd-features"], frechet_exact(one, two)))
    sys.exit(0 if all(good) else 1)


main()
