#!/usr/bin/env python3
"""Writes tests/golden/numpy.npy and numpy.npz, which tests/unit/test_base.c reads: files as numpy itself writes them."""
import numpy as np

np.save("tests/golden/numpy.npy", np.arange(6, dtype=np.float32).reshape(2, 3) / 4)
np.savez_compressed(
    "tests/golden/numpy.npz",
    bytes=np.arange(64, dtype=np.uint8).reshape(4, 4, 4),
    ints=np.array([-2**31, 7], dtype=np.int32),
    longs=np.array([2**40], dtype=np.int64),
    scalar=np.float64(0.1),
    empty=np.zeros((0, 5), dtype=np.float32),
)
