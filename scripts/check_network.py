"""Checks networks against reference.py in float64; not part of `make test` because it needs PyTorch and, for the largest, 16 GB
of memory and some minutes.

    make build programs && /usr/bin/python3 scripts/check_network.py [--small | --full | FILE.yaml [key=value...]]

Without arguments: every sensible combination of options in small, and the papers' networks in full size. All weights random
at unit scale, dropout masks as in tests/golden, three images at noise levels 0.002, 0.3 and 80. For each network:

  - F with dropout, f, and all parameter gradients by tests/unit/test_network.c, given a file like those in tests/golden;
  - F once more by the way a user takes, `./run apply --raw`, from weights, images and labels in files, beside the error that
    PyTorch makes in float32.

Required: F within 2e-5 of the output's root mean square and 3 times PyTorch's own error, gradients within 1e-4 of their norms.
"""
import argparse
import dataclasses
import itertools
import os
import pathlib
import re
import subprocess
import sys
import tempfile

import numpy as np
import torch

from golden_network import SIGMAS, write_golden
from reference import (ADM_IMAGENET64, DDPMPP_CIFAR10, NCSNPP_CIFAR10, config_from_lines, config_to_lines, parameter_count,
                       write_safetensors)

ROOT = pathlib.Path(__file__).resolve().parent.parent

replace = dataclasses.replace
ADM_SHIFT = replace(ADM_IMAGENET64, scale_shift=True, noise_scale=1000.0)  # as OpenAI's consistency models have it
FULL = {
    "NCSN++, CIFAR-10": NCSNPP_CIFAR10,
    "NCSN++, CIFAR-10, Fourier scale 16": replace(NCSNPP_CIFAR10, fourier_scale=16.0),
    "NCSN++, CIFAR-10, 8 blocks": replace(NCSNPP_CIFAR10, blocks=8),
    "DDPM++, CIFAR-10, classes, augmentation": replace(DDPMPP_CIFAR10, classes=10, augment_dim=9, dropout=0.13),
    "ADM, ImageNet-64": ADM_IMAGENET64,
    "ADM, ImageNet-64, scale-shift, noise x 1000": ADM_SHIFT,
    "ADM, ImageNet-64, 6 blocks": replace(ADM_IMAGENET64, blocks=6),
    "ADM, ImageNet-64, 6 blocks, scale-shift, noise x 1000": replace(ADM_SHIFT, blocks=6),
}


def small_networks():
    """All combinations of the options, on two levels of 16 and 8 pixels. Those that the papers do not combine are here too."""
    base = replace(NCSNPP_CIFAR10, resolution=16, channels=8, channel_mult=(1, 2), blocks=1, attention=(8,), embedding_mult=2,
                   fourier_scale=0.02, dropout=0.0)
    common = itertools.product(("fourier", "positional"), ((1, 1), (1, 3, 3, 1)), (False, True), (0, 3))
    shapes = [("song", *each) for each in itertools.product(("standard", "residual", "skip"), ("standard", "skip"))]
    for (embedding, taps, scale_shift, classes), (architecture, encoder, decoder) in itertools.product(
            list(common), shapes + [("adm", "standard", "standard")]):
        network = replace(base, architecture=architecture, embedding=embedding, encoder=encoder, decoder=decoder, filter=taps,
                          scale_shift=scale_shift, classes=classes, augment_dim=9 if classes else 0,
                          head_channels=8 if architecture == "adm" else 0, dropout=0.2 if scale_shift else 0.0,
                          dropout_max_resolution=8 if classes else 0)
        name = [architecture, embedding, f"encoder {encoder}", f"decoder {decoder}", "filter " + "".join(map(str, taps)),
                "scale-shift, dropout" if scale_shift else "added", "classes, augmentation" if classes else "unconditional"]
        yield ", ".join(name), network


# ------------------------------------------------------------------------------------------------------------ the programs

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
    """Errors of F, f and the worst gradient as test_network.c finds them; None where it fails."""
    result = subprocess.run([newest_test_program(), path], cwd=ROOT, capture_output=True, text=True)
    found = dict(re.findall(r"^# (F|f|gradient) .*?is off by (\S+) of", result.stdout, re.MULTILINE))
    if result.returncode:
        print(result.stdout + result.stderr)
        return None
    return {name: float(value) for name, value in found.items()}


def write_experiment(path, config):
    """An experiment's YAML with this network on built-in data of its size; the weights say how many classes there are."""
    model = "".join(f"  {line.removeprefix('model.')}\n" for line in config_to_lines(config))
    path.write_text(f"name: check-network\ndata:\n  name: shapes\n  resolution: {config.resolution}\nmodel:\n{model}")


def run_apply(folder, inputs):
    arrays = {"x": inputs["input"].numpy(), "sigma": inputs["sigma"].numpy()}
    if "label" in inputs:
        arrays["labels"] = inputs["label"].argmax(1).numpy()
    np.savez(folder / "in.npz", **arrays)
    subprocess.run([ROOT / "build/ict", "apply", folder / "check.yaml", "--weights", folder / "weights.safetensors", "--input",
                    folder / "in.npz", "--output", folder / "out.npz", "--raw"], cwd=ROOT, check=True)
    with np.load(folder / "out.npz") as arrays:
        return arrays["F"]


# ------------------------------------------------------------------------------------------------------------ comparison

def bare_output(net, inputs, dtype):
    """F without dropout, and without augmentation labels, which `apply` sets to zero; one image at a time."""
    net, outs = net.to(dtype), []
    with torch.no_grad():
        for i in range(len(SIGMAS)):
            x, c_noise, label = (inputs[name][i:i + 1].to(dtype) if name in inputs else None
                                 for name in ("input", "c_noise", "label"))
            outs.append(net(x, c_noise, label))
    return torch.cat(outs).double().numpy()


def error_of(found, expected):
    """Root mean square and largest error, in units of the expected values' root mean square."""
    unit = np.sqrt(np.mean(expected ** 2))
    return np.sqrt(np.mean((found - expected) ** 2)) / unit, np.abs(found - expected).max() / unit


def check(name, config, folder):
    """Returns one row of numbers, or None when something is beyond its limit."""
    net, inputs = write_golden(folder / "network.safetensors", config, torch.Generator().manual_seed(1), SIGMAS)
    count = parameter_count(net)
    found = check_gradients(folder / "network.safetensors")
    (folder / "network.safetensors").unlink()
    for p in net.parameters():
        p.grad = None
    expected = bare_output(net, inputs, torch.float64)
    float32 = bare_output(net, inputs, torch.float32)
    write_safetensors(folder / "weights.safetensors", {key: value.numpy() for key, value in net.state_dict().items()})
    del net
    write_experiment(folder / "check.yaml", config)
    (rms, largest), (peer_rms, peer_largest) = (error_of(out, expected) for out in (run_apply(folder, inputs), float32))
    good = found is not None and largest <= 2e-5 and rms <= 3 * peer_rms
    numbers = [largest, peer_largest, rms / peer_rms, found["gradient"] if found else float("nan")]
    print(f"{'✓' if good else '✗'} {name} | {count:,} | " + " | ".join(f"{x:.2g}" for x in numbers), flush=True)
    return good, numbers


def check_all(networks):
    print("  network | parameters | F: largest error / rms F | the same, PyTorch float32 | rms error / PyTorch's | worst gradient error / its norm")
    with tempfile.TemporaryDirectory() as temporary:
        rows = [check(name, config, pathlib.Path(temporary)) for name, config in networks]
    worst = [max(column) for column in zip(*(numbers for _, numbers in rows))]
    print(f"  worst of {len(rows)} | | " + " | ".join(f"{x:.2g}" for x in worst))
    return all(good for good, _ in rows)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--small", action="store_true", help="all combinations of options, small")
    parser.add_argument("--full", action="store_true", help="the papers' networks")
    parser.add_argument("--only", default="", metavar="WORD", help="those networks whose description has it")
    parser.add_argument("words", nargs="*", help="FILE.yaml and key=value, as for ./run")
    options = parser.parse_args()
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    networks = [] if options.full and not options.small else list(small_networks())
    networks += [] if options.small and not options.full else FULL.items()
    if options.words:
        networks = [(" ".join(options.words), read_network(options.words))]
    sys.exit(0 if check_all([each for each in networks if options.only in each[0]]) else 1)


if __name__ == "__main__":
    main()
