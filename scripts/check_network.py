"""Checks networks of full size against reference.py in float64; not part of `make test` because it needs PyTorch, a few GB of
memory and a minute.

    make && python3 scripts/check_network.py [NAME...]      quickstart  ncsnpp-cifar10  ddpmpp-cifar10  adm-imagenet64

For each: the bare output, the consistency function and all parameter gradients (tests/unit/test_network.c, given a file like
those in tests/golden), and then the output once more by the way a user takes, `./run apply`, from weights and inputs in
files. All weights random; dropout masks as in tests/golden.
"""
import argparse
import dataclasses
import os
import pathlib
import subprocess
import sys
import tempfile

import numpy as np
import torch

from golden_network import SIGMAS, write_golden
from reference import (ADM_IMAGENET64, DDPMPP_CIFAR10, NCSNPP_CIFAR10, Config, coefficients, config_to_lines, read_safetensors,
                       write_safetensors)

ROOT = pathlib.Path(__file__).resolve().parent.parent

NETWORKS = {
    "quickstart": Config(resolution=16, channels=32, channel_mult=(1, 2), blocks=2, attention=(8,), fourier_scale=0.02, dropout=0.3),
    "ncsnpp-cifar10": NCSNPP_CIFAR10,
    "ddpmpp-cifar10": DDPMPP_CIFAR10,
    "adm-imagenet64": dataclasses.replace(ADM_IMAGENET64, classes=0),
}


def newest_test_program():
    programs = sorted(ROOT.glob("build/*/tests/unit/test_network"), key=lambda path: path.stat().st_mtime)
    if not programs:
        sys.exit("build/*/tests/unit/test_network is missing: make programs")
    return programs[-1]


def check_gradients(path):
    result = subprocess.run([newest_test_program(), path], cwd=ROOT, capture_output=True, text=True)
    print(f"  {'✓' if result.returncode == 0 else '✗'} F, f and all gradients (tests/unit/test_network.c)")
    if result.returncode:
        print(result.stdout + result.stderr)
    return result.returncode == 0


def write_experiment(path, config):
    """An experiment's YAML with this network on built-in data of its size."""
    model = "".join(f"  {line.removeprefix('model.')}\n" for line in config_to_lines(config))
    path.write_text(f"name: check-network\ndata:\n  name: shapes\n  resolution: {config.resolution}\nmodel:\n{model}")


def run_apply(folder, x, raw):
    np.savez(folder / "in.npz", x=x, sigma=np.array(SIGMAS, dtype=np.float32))
    command = [ROOT / "run", "apply", folder / "check.yaml", "--weights", folder / "weights.safetensors", "--input",
               folder / "in.npz", "--output", folder / "out.npz"]
    subprocess.run(command + (["--raw"] if raw else []), cwd=ROOT, check=True)
    with np.load(folder / "out.npz") as arrays:
        return arrays[arrays.files[0]]


def check_apply(folder, golden, config):
    """./run apply with and without --raw. The stored F has dropout in it, so the bare F is taken from f where c_out is not 0."""
    weights = {name[6:]: value for name, value in golden.items() if name.startswith("model.")}
    write_safetensors(folder / "weights.safetensors", weights)
    write_experiment(folder / "check.yaml", config)
    _, c_skip, c_out, _ = (c.numpy()[1:, None, None, None] for c in coefficients(torch.tensor(SIGMAS, dtype=torch.float64)))
    bare = (golden["f"][1:] - c_skip * golden["x"][1:]) / c_out
    pairs = [("f by ./run apply", run_apply(folder, golden["x"], False), golden["f"]),
             ("F by ./run apply --raw", run_apply(folder, golden["input"], True)[1:], bare)]
    worst = 0
    for name, found, expected in pairs:
        error = np.abs(found - expected).max() / np.sqrt(np.mean(expected ** 2))
        print(f"  {'✓' if error <= 2e-5 else '✗'} {name}: largest error {error:.2g} of the output's rms")
        worst = max(worst, error)
    return worst <= 2e-5


def check(name, config):
    print(name)
    with tempfile.TemporaryDirectory() as temporary:
        folder = pathlib.Path(temporary)
        write_golden(folder / "network.safetensors", config, torch.Generator().manual_seed(1), SIGMAS)
        golden, _ = read_safetensors(folder / "network.safetensors")
        gradients = check_gradients(folder / "network.safetensors")
        return check_apply(folder, golden, config) and gradients


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(NETWORKS))
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    names = parser.parse_args().names or ["quickstart", "ncsnpp-cifar10"]
    unknown = set(names) - set(NETWORKS)
    if unknown:
        parser.error(f"no network {', '.join(unknown)}; there are {', '.join(NETWORKS)}")
    sys.exit(0 if all([check(name, NETWORKS[name]) for name in names]) else 1)


if __name__ == "__main__":
    main()
