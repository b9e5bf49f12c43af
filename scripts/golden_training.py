"""Writes tests/golden/training-*.safetensors: small training runs as reference_training.py computes them in float64, for
tests/unit/test_training.c. Run it again only when a run is added.

    scripts/setup --peers && /usr/bin/python3 scripts/golden_training.py

A file holds all that a run is made of: in its metadata the configuration, images (n h w c, bytes) and labels, initial weights
(model.*, all random at a scale at which they matter, since with the usual initialisation the first steps would pass almost
without a network); and what must come of it: a number a step of N, loss, residual (norm of the difference of student and teacher),
gradient_norm and update_norm_mean, and final.*, every weight, teacher and average after the last step.
"""
import argparse
import pathlib

import numpy as np
import torch

from reference import UNet, config_from_lines, parameter_count, randomise, write_safetensors
from reference_training import Training

STEPS = 20
REPORTED = ("N", "loss", "residual", "gradient_norm", "update_norm_mean")

# The gradient of l1 is the sign of each element of the difference, which rounding decides where the difference is all but 0: from there
# on a run in fp32 is another one than this, on some processors and not on others. So no element comes as near as this.
KINK = 1e-5

# What the runs below share; the numbers of the paper's CIFAR-10 model where size does not matter.
COMMON = {
    "data.flip": "true", "model.architecture": "song", "model.channels": 4, "model.channel_mult": "[1, 2]", "model.blocks": 1,
    "model.attention": "[4]", "model.head_channels": 0, "model.embedding": "fourier", "model.fourier_scale": 0.02,
    "model.noise_scale": 1, "model.noise_mult": 2, "model.embedding_mult": 1, "model.encoder": "residual",
    "model.filter": "[1, 3, 3, 1]", "model.dropout": 0, "model.dropout_max_resolution": 0, "model.scale_shift": "false",
    "model.class_conditional": "false", "model.augment_dim": 0, "ct.sigma_min": 0.002, "ct.sigma_max": 80, "ct.sigma_data": 0.5,
    "ct.rho": 7, "ct.sigma_shift": "true", "ct.p_mean": -1.1, "ct.p_std": 2, "ct.huber_c": 0, "ct.teacher_ema": 0,
    "ct.teacher_schedule": "fixed", "train.steps": STEPS, "train.batch": 12, "train.optimizer": "radam", "train.lr": 1e-3,
    "train.beta1": 0.9, "train.beta2": 0.999, "train.eps": 1e-8, "train.weight_decay": 0,
}

RUNS = {
    # iCT: doubling curriculum (N = 3, 5, 9, 17), lognormal levels, pseudo-Huber, dropout with shared masks, averages for sampling.
    "ict": {"seed": 1, "model.dropout": 0.3, "ct.curriculum": "exponential", "ct.s0": 2, "ct.s1": 16, "ct.noise": "lognormal",
            "ct.weighting": "inverse_gap", "ct.distance": "pseudo_huber", "train.ema": "[0.1, 0.9]"},
    # The original CT: teacher with mu(k), square-root curriculum (N changes at every step), uniform levels, squared l2.
    "ct": {"seed": 2, "model.fourier_scale": 16, "ct.curriculum": "square_root", "ct.s0": 2, "ct.s1": 150, "ct.noise": "uniform",
           "ct.weighting": "one", "ct.distance": "l2", "ct.teacher_ema": 0.9, "ct.teacher_schedule": "ct", "train.lr": 4e-3,
           "train.ema": "[0.9999]"},
    # The rest: ADM with labels and dropout at its lower resolution only, l1, Adam with weight decay, a teacher of fixed rate, ECT's
    # unshifted coefficients, a cosine curriculum, no flips. Seed and batch are chosen for `KINK`.
    "adm": {"seed": 36, "train.batch": 6, "data.flip": "false", "model.architecture": "adm", "model.channel_mult": "[1, 1]",
            "model.embedding": "positional", "model.noise_mult": 1, "model.encoder": "standard", "model.filter": "[1, 1]", "model.head_channels": 4,
            "model.scale_shift": "true", "model.class_conditional": "true", "model.dropout": 0.2, "model.dropout_max_resolution": 4,
            "ct.sigma_shift": "false", "ct.curriculum": "cosine", "ct.s0": 4, "ct.s1": 20, "ct.noise": "lognormal",
            "ct.weighting": "inverse_gap", "ct.distance": "l1", "ct.teacher_ema": 0.5, "train.optimizer": "adam",
            "train.weight_decay": 0.01, "train.eps": 1e-4, "train.ema": "[0.2]"},
}


def draw_images(count, size, classes, generator):
    """Smooth coloured gradients: neighbouring pixels alike, no two images alike, one side brighter than the other."""
    phase = generator.uniform(0, 2 * np.pi, (count, 1, 1, 3))
    slope = generator.uniform(-0.5, 0.5, (2, count, 1, 1, 3))
    y, x = np.mgrid[0:size, 0:size][:, None, :, :, None]
    waves = np.sin(phase + slope[0] * y + slope[1] * x)
    return np.uint8(127.5 + 127.5 * waves), np.arange(count) % classes


def write_run(path, changes, images, labels):
    lines = [f"{key}: {value}" for key, value in {**COMMON, **changes}.items()]
    config, values = config_from_lines(lines)
    config.resolution = images.shape[1]
    config.classes = int(labels.max()) + 1 if values["model.class_conditional"] else 0
    torch.manual_seed(values["seed"])
    net = randomise(UNet(config), torch.Generator().manual_seed(values["seed"]))
    weights = {name: value.numpy().copy() for name, value in net.state_dict().items() if not name.endswith("resample_filter")}
    training = Training(lines, images, labels, weights)
    steps = [training.step() for _ in range(values["train.steps"])]
    nearest = min(step["nearest"] for step in steps)
    if values["ct.distance"] == "l1" and nearest < KINK:
        raise SystemExit(f"{path}: student and teacher come within {nearest:.1g} of each other: choose another seed or a smaller batch")
    tensors = {"model." + name: value for name, value in weights.items()}
    tensors.update({key: np.array([step[key] for step in steps]) for key in REPORTED})
    for prefix, final in training.state().items():
        tensors.update({f"final.{prefix}.{name}": value for name, value in final.items()})
    tensors.update({"labels": labels, "images": images})
    write_safetensors(path, tensors, {"config": "\n".join(lines) + "\n"})
    print(f"{path}: {parameter_count(net):,} parameters, N {steps[0]['N']} to {steps[-1]['N']}, loss {steps[0]['loss']:.4g} to "
          f"{steps[-1]['loss']:.4g}, {path.stat().st_size:,} bytes")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", default=pathlib.Path(__file__).parent.parent / "tests/golden", type=pathlib.Path)
    folder = parser.parse_args().out
    for name, changes in RUNS.items():
        images, labels = draw_images(30, 8, 3, np.random.default_rng(changes["seed"]))
        write_run(folder / f"training-{name}.safetensors", changes, images, labels)


if __name__ == "__main__":
    main()
