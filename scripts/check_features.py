#!/usr/bin/env python3
"""Compares the Inception network of full size with PyTorch in float64: two images of 32 x 32 pixels, both conventions of input, features and
logits. Weights are random, with batch norms calibrated on images, or those of a file that `./run weights import` takes.

    make programs && python3 scripts/check_features.py [--weights FILE.safetensors]

Errors are relative to the largest value; PyTorch's own in float32 stands beside ours.
"""
import argparse
import pathlib
import subprocess
import sys
import tempfile

import numpy as np
import torch

from reference import read_safetensors, write_safetensors
from reference_inception import inception, random_images, random_inception

ROOT = pathlib.Path(__file__).resolve().parent.parent


def newest_program():
    programs = sorted(ROOT.glob("build/*/tests/unit/test_inception"), key=lambda path: path.stat().st_mtime)
    if not programs:
        sys.exit("build/*/tests/unit/test_inception is missing: make programs")
    return programs[-1]


def weights_of(options, folder, generator):
    if options.weights:
        tensors, _ = read_safetensors(options.weights)
        return options.weights, {name: torch.from_numpy(a.astype(np.float32)) for name, a in tensors.items()}
    weights = random_inception(1, random_images(4, 32, generator), generator)
    path = folder / "weights.safetensors"
    write_safetensors(path, {name: a.numpy() for name, a in weights.items()}, {"kind": "inception"})
    return path, weights


def answers(weights, images, dtype):
    weights = {name: a.to(dtype) for name, a in weights.items()}
    return {f"small.{convention}.{key}": value for convention in ("tf1", "pytorch-fid")
            for key, value in zip(("features", "logits", "scores"), inception(weights, images, convention))}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", help="a safetensors file of kind inception")
    options = parser.parse_args()
    generator = torch.Generator().manual_seed(20151205)
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        path, weights = weights_of(options, folder, generator)
        images = random_images(2, 32, generator)
        exact, single = (answers(weights, images, dtype) for dtype in (torch.float64, torch.float32))
        np.savez(folder / "exact.npz", **{"small.images": images.astype(np.float32)},
                 **{key: value.numpy().astype(np.float32) for key, value in exact.items()})
        result = subprocess.run([newest_program(), folder / "exact.npz", path], cwd=ROOT, capture_output=True, text=True)
    for line in result.stdout.splitlines():
        if line.startswith("# small"):
            _, key, error = line.split()
            size, spread = exact[key].abs().max(), (exact[key][0] - exact[key][1]).abs().max()
            print(f"{key[6:]:22} {error:>8}   PyTorch in float32 {(single[key] - exact[key]).abs().max() / size:8.2g}"
                  f"   the images differ by {spread / size:.2f}")
    if result.returncode:
        sys.exit(result.stdout + result.stderr)


if __name__ == "__main__":
    main()
