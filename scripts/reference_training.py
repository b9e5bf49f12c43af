"""Consistency training once more, as a plain loop in PyTorch, to check the trainer against.

Written from the papers (Song et al. 2023, "CM": algorithm 3; Song & Dhariwal 2024, "iCT": sections 3.1 to 3.5), step by step as
a reader would write it down, in float64. The optimisers are torch.optim's own. What a step draws at random comes from draws.py,
which computes the program's own draws from their keys, so the loop needs nothing from the program but the images, the initial
weights and the resolved configuration.
"""
import copy
import dataclasses
import math

import numpy as np
import torch

from draws import SharedMasks, flips, image_indices, noise, pairs
from reference import Ct, UNet, config_from_lines, consistency, karras, pair_probabilities


# ------------------------------------------------------------------------------------------------------------ the method

def points(curriculum, s0, s1, k, K):
    """N(k), in points: one more than the intervals that the papers' codes count."""
    u = k / K
    if curriculum == "exponential":  # iCT, equation 9
        stage = math.floor(K / (math.log2(s1 // s0) + 1))
        return min(s0 * 2 ** (k // max(stage, 1)), s1) + 1
    if curriculum == "square_root":  # CM, section 5; at least one interval, as in OpenAI's code
        return max(math.ceil(math.sqrt(u * ((s1 + 1) ** 2 - s0 ** 2) + s0 ** 2) - 1), 1) + 1
    share = {"constant": 1.0, "linear": u, "square": u * u, "cosine": (1 - math.cos(math.pi * u)) / 2}[curriculum]
    return math.ceil(s0 + share * (s1 - s0) - 1e-9) + 1


def teacher_decay(values, N):
    """mu: a constant, or that of CM, section 5, with N - 1 in the denominator as in OpenAI's code."""
    mu0 = values["ct.teacher_ema"]
    if values["ct.teacher_schedule"] == "fixed" or mu0 == 0:
        return mu0
    return math.exp(values["ct.s0"] * math.log(mu0) / (N - 1))


def average_decay(ema, k):
    """A fixed decay, or that of a power-function average of relative width `ema` (Karras et al. 2024, algorithm 2)."""
    if ema > 0.5:
        return ema
    t = ema ** -2
    gamma = np.roots([1, 7, 16 - t, 12 - t]).real.max()
    return (1 - 1 / (k + 1)) ** (gamma + 1)


def distances(kind, c, x, y):
    """Per image: pseudo-Huber on the norm of the whole image (iCT, equation 8); squared l2 and l1 as means over its elements."""
    difference = (x - y).flatten(1)
    if kind == "l2":
        return difference.square().mean(1)
    if kind == "l1":
        return difference.abs().mean(1)
    return torch.sqrt(difference.square().sum(1) + c * c) - c


# ------------------------------------------------------------------------------------------------------------ the loop

def to_tensor(array):
    return torch.from_numpy(np.array(array, dtype=np.float64))


class Training:
    """`lines`: a resolved configuration. images: uint8, count h w c. labels: integers, or None. weights: arrays by EDM's names."""

    def __init__(self, lines, images, labels, weights):
        self.config, self.values = config_from_lines(lines)
        values = self.values
        self.config.resolution, self.config.image_channels = images.shape[1], images.shape[3]
        if values["model.class_conditional"]:
            self.config.classes = int(labels.max()) + 1
        self.images, self.labels, self.start, self.k, self.batch = images, labels, weights, 0, values["train.batch"]
        self.ct = Ct(**{field.name: values["ct." + field.name] for field in dataclasses.fields(Ct)})
        self.student = UNet(self.config).double()
        self.student.load_state_dict({name: to_tensor(value) for name, value in weights.items()}, strict=False)
        missing = {name for name, _ in self.student.named_parameters()} - set(weights)
        assert not missing and len(weights) > 0, f"no weights for {missing}"
        self.teacher = copy.deepcopy(self.student)
        emas = values["train.ema"] if isinstance(values["train.ema"], tuple) else (values["train.ema"],)
        self.averages = {ema: copy.deepcopy(self.student) for ema in emas}
        kind = {"radam": torch.optim.RAdam, "adam": torch.optim.Adam}[values["train.optimizer"]]
        self.optimiser = kind(self.student.parameters(), lr=values["train.lr"], betas=(values["train.beta1"], values["train.beta2"]),
                              eps=values["train.eps"], weight_decay=values["train.weight_decay"])

    def draw(self, N):
        """x0, z (n c h w), i, one-hot labels of the step."""
        values, seed = self.values, self.values["seed"]
        chosen = image_indices(seed, self.k, self.batch, len(self.images))
        x0 = self.images[chosen] / 127.5 - 1
        if values["data.flip"]:
            mirrored = flips(seed, self.k, self.batch)
            x0[mirrored] = x0[mirrored][:, :, ::-1]
        z = noise(seed, self.k, self.batch, x0.shape[1:])
        sigmas = karras(N, self.ct)
        p = pair_probabilities(sigmas, self.ct).numpy() if values["ct.noise"] == "lognormal" else np.full(N - 1, 1 / (N - 1))
        one_hot = to_tensor(np.eye(self.config.classes)[self.labels[chosen]]) if self.config.classes else None
        return (*(to_tensor(a.transpose(0, 3, 1, 2)) for a in (x0, z)), torch.from_numpy(pairs(seed, self.k, self.batch, p)), one_hot)

    def denoise(self, net, x, sigma, labels):
        return consistency(net, x, sigma, labels, SharedMasks(self.values["seed"], self.k), self.ct)

    def step(self):
        """One step; what the program reports of it."""
        values = self.values
        N = points(values["ct.curriculum"], values["ct.s0"], values["ct.s1"], self.k, values["train.steps"])
        x0, z, i, labels = self.draw(N)
        sigmas = karras(N, self.ct)
        low, high = sigmas[i], sigmas[i + 1]
        with torch.no_grad():
            target = self.denoise(self.teacher, x0 + low.view(-1, 1, 1, 1) * z, low, labels)
        out = self.denoise(self.student, x0 + high.view(-1, 1, 1, 1) * z, high, labels)
        c = values["ct.huber_c"] or 0.00054 * math.sqrt(x0[0].numel())
        weight = 1 / (high - low) if values["ct.weighting"] == "inverse_gap" else torch.ones_like(high)
        loss = (weight * distances(values["ct.distance"], c, out, target)).mean()
        self.optimiser.zero_grad()
        loss.backward()
        before = [p.detach().clone() for p in self.student.parameters()]
        self.optimiser.step()
        self.follow(N)
        self.k += 1
        return {"N": N, "loss": loss.item(), "residual": (out - target).flatten(1).norm(dim=1).mean().item(),
                "nearest": (out - target).abs().min().item(),
                "gradient_norm": math.sqrt(sum(p.grad.square().sum().item() for p in self.student.parameters())),
                "update_norm_mean": math.sqrt(sum((p.detach() - q).square().sum().item()
                                                  for p, q in zip(self.student.parameters(), before)))}

    @torch.no_grad()
    def follow(self, N):
        """The teacher, and after it the averages for sampling, move towards the new weights."""
        follower = {self.teacher: teacher_decay(self.values, N),
                    **{net: average_decay(ema, self.k) for ema, net in self.averages.items()}}
        for net, decay in follower.items():
            for p, q in zip(net.parameters(), self.student.parameters()):
                p.mul_(decay).add_(q, alpha=1 - decay)

    def state(self):
        """All weights: by the prefixes and names that checkpoints give them."""
        nets = {"model": self.student, **{f"ema:{ema!r}": net for ema, net in self.averages.items()}}
        if self.values["ct.teacher_ema"]:
            nets["teacher"] = self.teacher
        return {prefix: {name: p.detach().numpy() for name, p in net.named_parameters()} for prefix, net in nets.items()}
