#!/usr/bin/env python3
"""Compares feature networks of full size with PyTorch in float64 on two images of 32 x 32 pixels: the Inception network (both conventions of
input, features and logits), VGG-16's second fully connected layer, and LPIPS (resized to 224 x 224, distances of two pairs and their sum's
gradient for the images). Weights are random, Inception's with batch norms calibrated on images,
or those of a file that `./run weights import` takes.

    make programs && python3 scripts/check_features.py [inception | vgg16-fc2 | vgg16] [--weights FILE.safetensors]

Errors are relative to the largest value, of LPIPS to the norm; PyTorch's own in float32 stands beside ours. A gradient through millions of
rectifiers is nobody's to 1e-4: some switch where rounding decides. torch-fidelity's extractor for VGG-16 is compared with
the reference too, where it is installed.
"""
import argparse
import pathlib
import subprocess
import sys
import tempfile

import numpy as np
import torch

from reference import read_safetensors, write_safetensors
from reference_features import distance, heads_of, random_vgg16, random_vgg16_fc2, vgg16, vgg16_fc2, vgg16_fc2_file
from reference_inception import inception, random_images, random_inception

ROOT = pathlib.Path(__file__).resolve().parent.parent


def newest_program(kind):
    name = {"inception": "test_inception", "vgg16-fc2": "test_vgg16", "vgg16": "test_perceptual"}[kind]
    programs = sorted(ROOT.glob(f"build/*/tests/unit/{name}"), key=lambda path: path.stat().st_mtime)
    if not programs:
        sys.exit(f"build/*/tests/unit/{name} is missing: make programs")
    return programs[-1]


def weights_of(options, folder, generator):
    """The file, and what the reference takes."""
    if options.weights:
        tensors, _ = read_safetensors(options.weights)
        weights = {name: torch.from_numpy(a.astype(np.float32)) for name, a in tensors.items()}
        if options.kind == "vgg16-fc2":
            weights["classifier.0.weight"] = weights["classifier.0.weight"].flatten(1)
        return options.weights, weights
    if options.kind == "inception":
        weights = file = random_inception(1, random_images(4, 32, generator), generator)
    elif options.kind == "vgg16":
        weights = file = random_vgg16([64, 128, 256, 512, 512], generator)
    else:
        weights = random_vgg16_fc2([64, 128, 256, 512, 512], 4096, generator)
        file = vgg16_fc2_file(weights)
    path = folder / "weights.safetensors"
    write_safetensors(path, {name: a.numpy() for name, a in file.items()}, {"kind": options.kind})
    return path, weights


def answers(kind, weights, images, dtype):
    weights = {name: a.to(dtype) for name, a in weights.items()}
    if kind == "vgg16-fc2":
        return {"small.features": vgg16_fc2(weights, images)}
    return {f"small.{convention}.{key}": value for convention in ("tf1", "pytorch-fid")
            for key, value in zip(("features", "logits", "scores"), inception(weights, images, convention))}


def lpips(weights, images, dtype):
    """Of images of values in [-1, 1], the second pair of them beside the first: n c h w."""
    weights = {name: a.to(dtype) for name, a in weights.items()}
    x0, x1 = (x.to(dtype) for x in images)
    x0 = x0.clone().requires_grad_(True)
    d = distance(vgg16(weights, x0, 224), vgg16(weights, x1, 224), heads_of(weights))
    d.sum().backward()
    return {"small.d": d.detach(), "small.dx": x0.grad.permute(0, 2, 3, 1)}


def check_lpips(options, folder, generator):
    path, weights = weights_of(options, folder, generator)
    x = torch.from_numpy(random_images(4, 32, generator)).permute(0, 3, 1, 2).float() / 127.5 - 1
    exact, single = (lpips(weights, (x[:2], x[2:]), dtype) for dtype in (torch.float64, torch.float32))
    arrays = {"small.x0": x[:2].permute(0, 2, 3, 1), "small.x1": x[2:].permute(0, 2, 3, 1), **exact}
    np.savez(folder / "exact.npz", **{key: np.ascontiguousarray(a.numpy().astype(np.float32)) for key, a in arrays.items()})
    result = subprocess.run([newest_program("vgg16"), folder / "exact.npz", path], cwd=ROOT, capture_output=True, text=True)
    good = result.returncode == 0
    for line in result.stdout.splitlines():
        if line.startswith("# small"):
            _, key, error = line.split()
            peer = ((single[key] - exact[key]).norm() / exact[key].norm()).item()
            good = good and float(error) <= max(1e-4, 3 * peer)
            print(f"{key[6:]:22} {error:>8}   PyTorch in float32 {peer:8.2g}")
    return 0 if good else result.stdout + result.stderr + "further from float64 than three times PyTorch in float32"


def check_peer(weights, images, exact):
    try:
        from torch_fidelity.feature_extractor_vgg16 import FeatureExtractorVGG16
        import torchvision
    except ImportError:
        return
    with tempfile.TemporaryDirectory() as folder:
        whole = {**torchvision.models.vgg16(weights=None).state_dict(), **weights}
        torch.save(whole, f"{folder}/vgg16.pth")
        extractor = FeatureExtractorVGG16("vgg16", ["fc2_relu"], f"{folder}/vgg16.pth")
    peer, = extractor(torch.from_numpy(images).permute(0, 3, 1, 2))
    print(f"the reference is within {(peer - exact).abs().max() / exact.abs().max():.2g} of torch-fidelity's float32")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", nargs="?", choices=["inception", "vgg16-fc2", "vgg16"], default="inception")
    parser.add_argument("--weights", help="a safetensors file of that kind")
    options = parser.parse_args()
    generator = torch.Generator().manual_seed(20151205)
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        if options.kind == "vgg16":
            sys.exit(check_lpips(options, folder, generator))
        path, weights = weights_of(options, folder, generator)
        images = random_images(2, 32, generator)
        exact, single = (answers(options.kind, weights, images, dtype) for dtype in (torch.float64, torch.float32))
        np.savez(folder / "exact.npz", **{"small.images": images.astype(np.float32)},
                 **{key: value.numpy().astype(np.float32) for key, value in exact.items()})
        result = subprocess.run([newest_program(options.kind), folder / "exact.npz", path], cwd=ROOT, capture_output=True, text=True)
    for line in result.stdout.splitlines():
        if line.startswith("# small"):
            _, key, error = line.split()
            size, spread = exact[key].abs().max(), (exact[key][0] - exact[key][1]).abs().max()
            print(f"{key[6:]:22} {error:>8}   PyTorch in float32 {(single[key] - exact[key]).abs().max() / size:8.2g}"
                  f"   the images differ by {spread / size:.2f}")
    if options.kind == "vgg16-fc2":
        check_peer(weights, images, exact["small.features"])
    if result.returncode:
        sys.exit(result.stdout + result.stderr)


if __name__ == "__main__":
    main()
