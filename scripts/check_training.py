"""Checks whole training runs against reference_training.py in float64; not part of `make test` because it needs PyTorch and a few
minutes.

    make build programs && /usr/bin/python3 scripts/check_training.py [FILE.yaml key=value...]

Without arguments: the paper's iCT and the original CT on CIFAR-10 and iCT on ImageNet-64, every setting as published except the
sizes of network and batch and the length of the run; the original CT also with its 800,000 steps, of which the first 20 are looked at.

Each run twice. As a user starts it: pictures imported by `./run data import`, trained by `./run`; the loop takes the initial weights
from the run's first checkpoint, and then the metrics in the database and the weights in its last checkpoint are compared. Weights begin
such that the network's output is nearly zero, so then once more with all weights random (tests/unit/test_training.c, given a file
like those in tests/golden).
"""
import argparse
import csv
import io
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import time

import numpy as np
import torch

from golden_training import REPORTED, STEPS, draw_images, write_run
from reference import read_safetensors
from reference_training import Training

ROOT = pathlib.Path(__file__).resolve().parent.parent
ICT = ROOT / "build/ict"
# Of each number; of the way that the run has moved the weights, and of the weights themselves: as in test_training.c.
TOLERANCE, WEIGHTS_TOLERANCE, ROUNDING = 5e-5, 1e-3, 3e-7

SMALL = ["model.channels=8", "model.blocks=1", "train.batch=8", "data.name=pictures"]
SHORT = [f"train.steps={STEPS}"]
DEFAULTS = [
    # Eight stages in 20 steps: N doubles every two steps, from 11 to 1281.
    ["experiments/cifar10_main.yaml", *SMALL, *SHORT],
    ["experiments/cifar10_ct.yaml", *SMALL, *SHORT, "ct.distance=l2"],
    ["experiments/cifar10_ct.yaml", *SMALL, "ct.distance=l2"],
    ["experiments/imagenet64_main.yaml", *SMALL, *SHORT, "model.head_channels=8", "model.attention=[16, 8]", "precision=fp32"],
]


def write_pictures(folder):
    """A data set of 100 pictures, 32 x 32 in ten classes, in CIFAR-10's binary format, imported as `pictures`."""
    images, labels = draw_images(100, 32, 10, np.random.default_rng(0))
    records = np.concatenate([labels[:, None].astype(np.uint8), images.transpose(0, 3, 1, 2).reshape(100, -1)], axis=1)
    (folder / "pictures.bin").write_bytes(records.tobytes())
    ict(folder, "data", "import", "pictures", folder / "pictures.bin")


# ------------------------------------------------------------------------------------------------------------ the program

def environment(folder):
    return {**os.environ, "ICT_DB": str(folder / "ict.db"), "ICT_DATA": str(folder / "data"), "GOMP_SPINCOUNT": "1000"}


def ict(folder, *words):
    result = subprocess.run([ICT, *words], cwd=ROOT, env=environment(folder), capture_output=True, text=True)
    if result.returncode:
        sys.exit(f"ict {' '.join(map(str, words))}: {result.stdout}{result.stderr}")
    return result.stdout


def rows(folder, query):
    return list(csv.reader(io.StringIO(ict(folder, "export", "--sql", query))))[1:]


def train(folder, words):
    """Runs at least the first STEPS steps, a row of metrics each, with a checkpoint before the first."""
    command = [ICT, *words, "train.tick=1", "train.checkpoint=0", "evaluation.at=[0]", "evaluation.metrics=[]", "evaluation.samples=1",
               "evaluation.grid=0"]
    process = subprocess.Popen(command, cwd=ROOT, env=environment(folder), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    stopped = False
    while process.poll() is None:
        time.sleep(0.2)
        if not stopped and (folder / "ict.db").exists() and int(rows(folder, "SELECT coalesce(max(step), 0) FROM metric")[0][0]) > STEPS:
            process.send_signal(signal.SIGTERM)
            stopped = True
    if process.returncode not in (0, 75):
        sys.exit(f"{' '.join(words)}: exit status {process.returncode}\n{process.stdout.read()}")
    run, = (folder / "runs").iterdir()
    return run


# ------------------------------------------------------------------------------------------------------------ comparison

def report(good, text):
    print(f"  {'✓' if good else '✗'} {text}", flush=True)
    return good


def check_steps(folder, steps):
    found = {(int(step), name): float(value) for step, name, value in rows(folder, "SELECT step, name, value FROM metric")}
    good = True
    for name in REPORTED:
        off = [abs(found[k + 1, name] / step[name] - 1) for k, step in enumerate(steps)]
        good &= report(max(off) <= TOLERANCE, f"{name} of {len(steps)} steps: off by {max(off):.2g} at most")
    return good


def without_key_bias(name, value):
    """Softmax does not see the bias of attention's keys (every third): its gradient is nothing but rounding, which RAdam makes
    whole steps of."""
    return np.delete(value, np.s_[1::3]) if name.endswith("qkv.bias") else value


def check_weights(path, training):
    found, _ = read_safetensors(path)
    good = True
    for prefix, weights in training.state().items():
        squares = np.zeros(3)
        for name, value in weights.items():
            ours, theirs, start = (without_key_bias(name, np.float64(a)) for a in (found[f"{prefix}.{name}"], value, training.start[name]))
            squares += [np.square(a).sum() for a in (ours - theirs, theirs - start, theirs)]
        off, way, size = np.sqrt(squares)
        good &= report(off <= WEIGHTS_TOLERANCE * way + ROUNDING * size,
                       f"{prefix}: off by {off / way:.2g} of its way, {off / size:.2g} of itself")
    return good


def check_as_user(folder, words):
    run = train(folder, words)
    weights, _ = read_safetensors(run / "checkpoint-0.safetensors")
    images, labels = (np.load(folder / "data/pictures" / name) for name in ("images.npy", "labels.npy"))
    training = Training((run / "config.yaml").read_text().splitlines(), images, labels,
                        {name[6:]: value for name, value in weights.items() if name.startswith("model.")})
    steps = [training.step() for _ in range(STEPS)]
    print(f"  N {steps[0]['N']} to {steps[-1]['N']}, loss {steps[0]['loss']:.4g} to {steps[-1]['loss']:.4g}")
    good = check_steps(folder, steps)
    last = run / f"checkpoint-{STEPS}.safetensors"
    return check_weights(last, training) and good if last.exists() else good


def check_random(folder, words):
    """The same run with all weights random, by the test program; a run of another length is not what it can look at."""
    text = ict(folder, *words, "--dry-run", "--resolved")
    lines = [line for line in text.splitlines() if not line.startswith("evaluation.")]
    images, labels = draw_images(100, 32, 10, np.random.default_rng(1))
    write_run(folder / "random.safetensors", {key: value for key, _, value in (line.partition(": ") for line in lines) if value}, images,
              labels)
    program = max(ROOT.glob("build/*/tests/unit/test_training"), key=lambda path: path.stat().st_mtime, default=None)
    if not program:
        sys.exit("build/*/tests/unit/test_training is missing: make programs")
    result = subprocess.run([program, folder / "random.safetensors"], cwd=ROOT, capture_output=True, text=True,
                            env={**os.environ, "TRAINING_VERBOSE": "1"})
    for line in result.stdout.splitlines():
        if line.startswith("#"):
            print(f"  {line[2:]}")
    return report(result.returncode == 0, "with all weights random") or bool(print(result.stdout + result.stderr))


def check(words):
    print(*words, flush=True)
    with tempfile.TemporaryDirectory() as temporary:
        folder = pathlib.Path(temporary)
        write_pictures(folder)
        good = check_as_user(folder, words)
        return check_random(folder, words) and good if f"train.steps={STEPS}" in words else good


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("words", nargs="*", help="FILE.yaml and key=value, as for ./run")
    words = parser.parse_args().words
    torch.set_num_threads(1)  # small layers: more threads would mostly wait for each other
    sys.exit(0 if all([check(each) for each in ([words + ["data.name=pictures"]] if words else DEFAULTS)]) else 1)


if __name__ == "__main__":
    main()
