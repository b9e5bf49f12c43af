"""One whole step of consistency training in PyTorch eager mode, timed: what `make bench` sets this project's rate beside.

    ./run FILE --dry-run | python3 scripts/bench_peer.py - [key=value ...] [--threads N] [--seconds S] [--device cpu|cuda]
    python3 scripts/bench_peer.py model.channels=32 train.batch=128 data.resolution=16 ...

It does what a careful user of PyTorch would write: batch of bytes to floats with flips, noise, teacher and student pass with the
same dropout masks, backward, RAdam and the sampling EMAs in their multi-tensor forms, no copy to the host. In both memory
layouts, float32, unless one is chosen; the better one counts. The peak of memory is the process's, libraries included, as the
program prints its own: choose a layout when it matters, or the first one's peak hides the second's.
"""
import argparse
import math
import os
import resource
import sys
import time

import torch

from reference import Ct, UNet, config_from_lines, consistency_loss, karras, pair_probabilities, parameter_count

IMAGES = 4096
LAYOUTS = {"NCHW": torch.contiguous_format, "NHWC": torch.channels_last}


class Peer:
    def __init__(self, config, values, layout, device):
        torch.manual_seed(0)
        self.batch = values.get("train.batch", 1024)
        self.layout, self.device, self.ct = layout, device, Ct()
        self.net = UNet(config).to(device, memory_format=layout).train()
        # torch < 2 keeps its scalars on the host in a slower single-tensor loop unless asked for foreach.
        self.optimiser = torch.optim.RAdam(self.net.parameters(), lr=values.get("train.lr", 1e-4), foreach=True)
        emas = values.get("train.ema", (0.05,))
        self.weights = [p for p in self.net.parameters()]
        self.emas = [[p.detach().clone() for p in self.weights] for _ in (emas if isinstance(emas, tuple) else (emas,))]
        shape = (IMAGES, config.image_channels, config.resolution, config.resolution)
        self.images = torch.randint(0, 256, shape, dtype=torch.uint8, device=device)
        N = values.get("ct.s1", 1280) + 1
        self.sigmas = karras(N).float().to(device)
        self.p = pair_probabilities(karras(N)).float().to(device)
        self.classes, self.steps = config.classes, 0

    def draw(self):
        order = torch.randint(0, IMAGES, (self.batch,), device=self.device)
        x0 = (self.images[order].float() / 127.5 - 1).to(memory_format=self.layout)
        flipped = torch.rand(self.batch, 1, 1, 1, device=self.device) < 0.5
        x0 = torch.where(flipped, x0.flip(3), x0)
        labels = torch.eye(self.classes, device=self.device)[order % self.classes] if self.classes else None
        return x0, torch.randn_like(x0), torch.multinomial(self.p, self.batch, replacement=True), labels

    def step(self):
        x0, z, i, labels = self.draw()
        self.optimiser.zero_grad(set_to_none=True)
        consistency_loss(self.net, self.net, x0, z, i, self.sigmas, labels, seed=self.steps, ct=self.ct).backward()
        self.optimiser.step()
        self.steps += 1
        with torch.no_grad():
            for ema in self.emas:
                torch._foreach_mul_(ema, 0.999)
                torch._foreach_add_(ema, self.weights, alpha=0.001)

    def synchronise(self):
        if self.device.type == "cuda":
            torch.cuda.synchronize()

    def rate(self, seconds):
        """Images per second over at least `seconds` and three steps, after two steps that do not count."""
        for _ in range(2):
            self.step()
        self.synchronise()
        start, first = time.perf_counter(), self.steps
        while self.steps - first < 3 or time.perf_counter() - start < seconds:
            self.step()
            self.synchronise()
        return (self.steps - first) * self.batch / (time.perf_counter() - start)


def read_configuration(words):
    lines = [word.replace("=", ": ", 1) for word in words if "=" in word]
    files = [word for word in words if "=" not in word]
    for name in files:
        lines = (sys.stdin if name == "-" else open(name)).read().splitlines() + lines
    config, values = config_from_lines(lines)
    if values.get("model.class_conditional"):
        config.classes = values.get("model.classes", 10)
    return config, values


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("configuration", nargs="*", help="a resolved configuration (- reads it from standard input), key=value")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)), help="CPU threads (all)")
    parser.add_argument("--seconds", type=float, default=10, help="measured time of each layout")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--layout", choices=LAYOUTS, help="one layout only")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    config, values = read_configuration(options.configuration)
    device = torch.device(options.device)
    rates = {}
    for name in [options.layout] if options.layout else LAYOUTS:
        peer = Peer(config, values, LAYOUTS[name], device)
        rates[name] = peer.rate(options.seconds)
        parameters, batch = parameter_count(peer.net), peer.batch
        del peer
    best = max(rates, key=rates.get)
    print(f"PyTorch {torch.__version__} eager, float32, {device}, {torch.get_num_threads()} threads, {parameters:,} parameters, "
          f"batch {batch}: " + ", ".join(f"{name} {rate:.1f} images/s" for name, rate in rates.items()))
    peak = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(f"peak memory of the process: {peak / 2 ** 20:.1f} MiB")
    print(f"peer_images_per_second {rates[best]:.6g}")
    assert all(math.isfinite(rate) for rate in rates.values())


if __name__ == "__main__":
    main()
