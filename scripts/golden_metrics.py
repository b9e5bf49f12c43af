#!/usr/bin/env python3
"""Writes tests/golden/metrics.npz, which tests/unit/test_metrics.c reads: features and logits, and what torch-fidelity, pytorch-fid
and prdc say of them (pip install torch-fidelity pytorch-fid prdc). All in double, so that the formulas are compared and not their
rounding."""
import contextlib
import io

import numpy as np
import torch
from prdc import compute_prdc
from pytorch_fid.fid_score import calculate_frechet_distance
from torch_fidelity.metric_isc import isc_features_to_metric
from torch_fidelity.metric_kid import kernel_mmd
from torch_fidelity.metric_prc import calculate_precision_recall_full

rng = np.random.default_rng(7)
D = 8
mix = rng.normal(size=(D, D))
real = (rng.normal(size=(300, D)) @ mix).astype(np.float32)
fake = (0.8 * rng.normal(size=(350, D)) @ mix + 0.3).astype(np.float32)
logits = (3 * rng.normal(size=(107, 5))).astype(np.float32)
r, f = real.astype(np.float64), fake.astype(np.float64)

fid = calculate_frechet_distance(r.mean(0), np.cov(r, rowvar=False), f.mean(0), np.cov(f, rowvar=False))
kid = kernel_mmd(r[:300], f[:300], kid_kernel="poly")
score = isc_features_to_metric(torch.from_numpy(logits), splits=10, shuffle=False)
precision, recall = calculate_precision_recall_full(torch.from_numpy(f), torch.from_numpy(r), neighborhood=3)
with contextlib.redirect_stdout(io.StringIO()):
    prdc = compute_prdc(r, f, nearest_k=5)

values = dict(fid=fid, kid=kid, is_mean=score["inception_score_mean"], is_deviation=score["inception_score_std"],
              precision=precision, recall=recall, density=prdc["density"], coverage=prdc["coverage"])
print(values)
np.savez_compressed("tests/golden/metrics.npz", real=real, fake=fake, logits=logits, **{k: np.float64(v) for k, v in values.items()})
