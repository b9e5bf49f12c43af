"""Checks networks of full size against reference.py in float64; not part of `make test` because it needs PyTorch, a few GB of
memory and a minute.

    make build programs && python3 scripts/check_network.py [FILE.yaml [key=value...]]

Without arguments: the quickstart's network and that of the paper's CIFAR-10 model.

For each network: the bare output, the consistency function and all parameter gradients (tests/unit/test_network.c, given a file like
those in tests/golden), and then the output once more by the way a user takes, `./run apply`, from weights and inputs in
files. All weights random; dropout masks as in tests/golden.
"""
import argparse
import os
import pathlib
import subprocess
import sys
import tempfile

import numpy as np
import torch

from golden_network import SIGMAS, write_golden
from reference import UNet, coefficients, config_from_lines, config_to_lines, read_safetensors, write_safetensors

ROOT = pathlib.Path(__file__).resolve().parent.parent

# The data decide only the size of the images here; built-in ones are always there.
DEFAULTS = [["experiments/quickstart.yaml"], ["experiments/cifar10_main.yaml", "data.name=shapes", "data.resolution=32"]]


def read_network(words):
    """The network of the first run that the words mean, without classes."""
    command = [ROOT / "build/ict", *words, "--dry-run", "--resolved"]
    lines = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout.splitlines()
    again = [i for i, line in enumerate(lines) if line.startswith("seed:")][1:2]
    config, _ = config_from_lines(lines[:again[0]] if again else lines)
    return config


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
    command = [ROOT / "build/ict", "apply", folder / "check.yaml", "--weights", folder / "weights.safetensors", "--input",
               folder / "in.npz", "--output", folder / "out.npz"]
    subprocess.run(command + (["--raw"] if raw else []), cwd=ROOT, check=True)
    with np.load(folder / "out.npz") as arrays:
        return arrays[arrays.files[0]]


def pytorch_float32(golden, config):
    """The bare F in float32: what rounding alone does in a well-made implementation."""
    net = UNet(config)
    net.load_state_dict({name[6:]: torch.from_numpy(value.copy()) for name, value in golden.items() if name.startswith("model.")})
    with torch.no_grad():
        return net(torch.from_numpy(golden["input"].copy()), torch.from_numpy(golden["c_noise"].copy())).numpy()[1:]


def error_of(found, expected):
    """Root mean square and largest error, in units of the expected values' root mean square."""
    unit = np.sqrt(np.mean(expected ** 2))
    return np.sqrt(np.mean((found - expected) ** 2)) / unit, np.abs(found - expected).max() / unit


def check_apply(folder, golden, config):
    """./run apply with and without --raw. The stored F has dropout in it, so the bare F is taken from f where c_out is not 0."""
    weights = {name[6:]: value for name, value in golden.items() if name.startswith("model.")}
    write_safetensors(folder / "weights.safetensors", weights)
    write_experiment(folder / "check.yaml", config)
    _, c_skip, c_out, _ = (c.numpy()[1:, None, None, None] for c in coefficients(torch.tensor(SIGMAS, dtype=torch.float64)))
    bare = (golden["f"][1:] - c_skip * golden["x"][1:]) / c_out
    errors = {"f by ict apply": error_of(run_apply(folder, golden["x"], False), golden["f"]),
              "F by ict apply --raw": error_of(run_apply(folder, golden["input"], True)[1:], bare),
              "F by PyTorch in float32": error_of(pytorch_float32(golden, config), bare)}
    for name, (rms, largest) in errors.items():
        print(f"  {'✓' if largest <= 2e-5 else '✗'} {name}: error {rms:.2g} rms, {largest:.2g} at most, of the output's rms")
    ratio = errors["F by ict apply --raw"][0] / errors["F by PyTorch in float32"][0]
    print(f"  {'✓' if ratio <= 3 else '✗'} rms error {ratio:.1f} times PyTorch's")
    return ratio <= 3 and all(largest <= 2e-5 for _, largest in errors.values())


def check(words):
    config = read_network(words)
    print(*words)
    with tempfile.TemporaryDirectory() as temporary:
        folder = pathlib.Path(temporary)
        write_golden(folder / "network.safetensors", config, torch.Generator().manual_seed(1), SIGMAS)
        golden, _ = read_safetensors(folder / "network.safetensors")
        gradients = check_gradients(folder / "network.safetensors")
        return check_apply(folder, golden, config) and gradients


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("words", nargs="*", help="FILE.yaml and key=value, as for ./run")
    words = parser.parse_args().words
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    sys.exit(0 if all([check(each) for each in ([words] if words else DEFAULTS)]) else 1)


if __name__ == "__main__":
    main()
