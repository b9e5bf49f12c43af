"""One whole step of consistency training in PyTorch, timed: what `make bench` and a card's rates are set beside.

    ./run FILE --dry-run --resolved | python3 scripts/bench_peer.py - [key=value ...] [--threads N] [--seconds S]
    ... --device cuda --precision bf16 [--compile] [--cast weights] [--batch 1024,512,256] [--sample] [--wait FILE]
    python3 scripts/bench_peer.py model.channels=32 train.batch=128 data.resolution=16 ...

It does what a careful user of PyTorch would write: batch of bytes to floats with flips, noise, teacher and student pass with the
same dropout masks, attention by scaled_dot_product_attention, backward, RAdam and the sampling EMAs in their multi-tensor forms,
no copy to the host. In both memory layouts unless one is chosen; the better one counts. In 16 bits either under autocast, as most
code does, or with all weights cast once a step (--cast weights: fewer conversions, norms in 16 bits too); fp16 with a constant
loss scale. Of several batches each is measured that fits on the card (one that does not fit is halved until it does); the best
counts. The peak of memory is the process's, libraries included, as the program prints its own (on a card: what PyTorch had
allocated there): choose a layout when it matters, or the first one's peak hides the second's.

Where commands are limited in time, --wait FILE separates the minutes of compiling, for which the card may be shared, from the
seconds of measuring, for which it may not: the process warms up, gives its memory back, makes FILE.ready and goes on when somebody
makes FILE. An eager one waits before it touches the card. What cuDNN chose for each convolution while others used the card is
chosen again then.

Lines "peer <tab> name <tab> value", printed as soon as each number is known, are for `./run bench --peer`.
"""
import time

BEGAN = time.perf_counter()  # before PyTorch is loaded: that is part of a start

import argparse
import contextlib
import copy
import gc
import math
import os
import resource
import sys

import torch
from torch.nn import functional as F

from reference import Block, Ct, UNet, config_from_lines, consistency, consistency_loss, karras, pair_probabilities, parameter_count

IMAGES = 4096
LAYOUTS = {"NCHW": torch.contiguous_format, "NHWC": torch.channels_last}
TYPES = {"fp32": torch.float32, "tf32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
LOSS_SCALE = 65536.0


def attend(self, x):
    """Block.attend by PyTorch's fused attention."""
    n, c, height, width = x.shape
    q, k, v = self.qkv(x).reshape(n, self.heads, c // self.heads, 3, height * width).permute(3, 0, 1, 4, 2).unbind(0)
    return F.scaled_dot_product_attention(q, k, v).transpose(2, 3).reshape(n, c, height, width)


class Narrow(torch.nn.Module):
    """A network whose weights and input are of 16 bits and whose output is not."""

    def __init__(self, net, dtype):
        super().__init__()
        self.net, self.dtype = net.to(dtype), dtype

    def forward(self, x, c_noise, labels=None, drop=None):
        return self.net(x.to(self.dtype), c_noise.to(self.dtype), None if labels is None else labels.to(self.dtype),
                        drop=drop).float()


class Precision:
    """How the network runs: `network` is called in it, `context()` surrounds the passes."""

    def __init__(self, net, options, device):
        self.dtype, self.device = TYPES[options.precision], device
        self.low = self.dtype != torch.float32
        self.copies = self.low and options.cast == "weights"
        self.scale = LOSS_SCALE if options.precision == "fp16" else 1.0
        self.masters = list(net.parameters())
        self.network = Narrow(copy.deepcopy(net), self.dtype) if self.copies else net
        self.narrow = list(self.network.parameters())
        if options.compile:
            self.network = torch.compile(self.network, mode=options.compile)

    def context(self):
        if self.low and not self.copies:
            return torch.autocast(self.device.type, self.dtype)
        return contextlib.nullcontext()

    def before(self):
        """Weights of the step."""
        if self.copies:
            with torch.no_grad():
                torch._foreach_copy_(self.narrow, self.masters)
            for p in self.narrow:
                p.grad = None

    def after(self):
        """Gradients of the masters."""
        if self.copies:
            for master, narrow in zip(self.masters, self.narrow):
                master.grad = None if narrow.grad is None else narrow.grad.float()
        if self.scale != 1:
            torch._foreach_mul_([p.grad for p in self.masters if p.grad is not None], 1 / self.scale)


class Peer:
    def __init__(self, config, values, layout, device, options, batch):
        torch.manual_seed(0)
        self.batch, self.layout, self.device, self.ct = batch, layout, device, Ct()
        self.net = UNet(config).to(device, memory_format=layout).train()
        if config.embedding == "positional":
            self.net.map_noise.exponent = self.net.map_noise.exponent.to(device)
        self.precision = Precision(self.net, options, device)
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
        self.precision.before()
        with self.precision.context():
            net = self.precision.network
            loss = consistency_loss(net, net, x0, z, i, self.sigmas, labels, seed=self.steps, ct=self.ct)
        (loss * self.precision.scale).backward()
        self.precision.after()
        self.optimiser.step()
        self.steps += 1
        with torch.no_grad():
            for ema in self.emas:
                torch._foreach_mul_(ema, 0.999)
                torch._foreach_add_(ema, self.weights, alpha=0.001)

    def sample(self):
        """One-step samples, in the memory of the host."""
        x0, z, _, labels = self.draw()
        sigma = torch.full((self.batch,), self.ct.sigma_max, device=self.device)
        with torch.no_grad(), self.precision.context():
            return consistency(self.precision.network, self.ct.sigma_max * z, sigma, labels, ct=self.ct).cpu()

    def synchronise(self):
        if self.device.type == "cuda":
            torch.cuda.synchronize()

    def warm(self, what, calls):
        """Calls that do not count; when the first one was done."""
        for call in range(calls):
            what()
            self.synchronise()
            first = time.perf_counter() - BEGAN if call == 0 else first
        return first

    def rate(self, what, seconds):
        """Images per second over at least `seconds` and three calls."""
        calls, start, at_once = 0, time.perf_counter(), 1 if self.device.type == "cpu" else 3
        while calls < 3 or time.perf_counter() - start < seconds:
            for _ in range(at_once):
                what()
            calls += at_once
            self.synchronise()
        return calls * self.batch / (time.perf_counter() - start)


def read_configuration(words, classes):
    lines = [word.replace("=", ": ", 1) for word in words if "=" in word]
    files = [word for word in words if "=" not in word]
    for name in files:
        lines = (sys.stdin if name == "-" else open(name)).read().splitlines() + lines
    config, values = config_from_lines(lines)
    if values.get("model.class_conditional"):
        config.classes = classes
    return config, values


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("configuration", nargs="*", help="a resolved configuration (- reads it from standard input), key=value")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)), help="CPU threads (all)")
    parser.add_argument("--seconds", type=float, default=10, help="measured time of each layout")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--layout", choices=LAYOUTS, help="one layout only")
    parser.add_argument("--precision", choices=TYPES, default="fp32")
    parser.add_argument("--cast", choices=("autocast", "weights"), default="autocast", help="how 16 bits come about")
    parser.add_argument("--compile", nargs="?", const="default", help="torch.compile, in this mode")
    parser.add_argument("--classes", type=int, default=10, help="of a class-conditional model; the data would say")
    parser.add_argument("--batch", type=lambda text: [int(one) for one in text.split(",")],
                        help="images a step, or several to try, descending (train.batch)")
    parser.add_argument("--sample", action="store_true", help="also the rate of one-step sampling")
    parser.add_argument("--sample-only", action="store_true", help="nothing but that")
    parser.add_argument("--wait", metavar="FILE", help="warm up, make FILE.ready, and measure once somebody has made FILE")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = options.precision == "tf32"
    torch.backends.cudnn.benchmark = True
    Block.attend = attend if hasattr(F, "scaled_dot_product_attention") else Block.attend
    config, values = read_configuration(options.configuration, options.classes)
    measure_all(config, values, options, torch.device(options.device))


def tell(name, value):
    print(f"peer\t{name}\t{value}", flush=True)


def peak_memory(device):
    return torch.cuda.max_memory_allocated() if device.type == "cuda" else 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def wait(name):
    """Until somebody says that the card is free."""
    open(name + ".ready", "w").close()
    print("  ready, waiting", flush=True)
    while not os.path.exists(name):
        time.sleep(0.05)


def choose_again(options):
    """Makes cuDNN time its algorithms anew: what it remembers is kept apart by this switch, which 16 bits do not care about."""
    if TYPES[options.precision].itemsize == 2:
        torch.backends.cudnn.allow_tf32 = not torch.backends.cudnn.allow_tf32


def warm_and_wait(peer, works, options):
    """Compiles everything. Memory that others have at the moment may be there later."""
    while works and not os.path.exists(options.wait):
        try:
            peer.warm(works[0], 2)
            works = works[1:]
            continue
        except torch.cuda.OutOfMemoryError:
            print("  no memory yet", flush=True)
        give_back(peer)
        time.sleep(2)
    give_back(peer)
    wait(options.wait)
    choose_again(options)


def give_back(peer):
    peer.optimiser.zero_grad(set_to_none=True)
    gc.collect()
    if peer.device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


class Found:
    """What one layout and batch reached."""

    started = False  # only the first one's first step is that of a program's start

    def __init__(self, peer, layout, options):
        self.layout, self.batch, self.parameters = layout, peer.batch, parameter_count(peer.net)
        self.rate = self.sampling = 0
        works = [] if options.sample_only else [peer.step]
        works += [peer.sample] if options.sample or options.sample_only else []
        if options.wait and options.compile and not Found.started:
            warm_and_wait(peer, works, options)
        for work in works:
            first = peer.warm(work, 4 if options.compile else 2)
            self.tell(work == peer.step, peer.rate(work, options.seconds), first, peer.device, options)
            Found.started = True

    def tell(self, training, rate, first, device, options):
        assert math.isfinite(rate)
        if not training:
            self.sampling = rate
            tell("sampling images/s", f"{rate:.6g}")
            return
        self.rate, when = rate, ""
        tell("training images/s", f"{rate:.6g}")
        tell("memory B", f"{peak_memory(device):.6g}")
        if not Found.started and not options.wait:
            tell("first step s", f"{first:.6g}")
            when = f", first step done after {first:.1f} s"
        print(f"  {self.layout}, batch {self.batch}: {rate:.1f} images/s{when}", flush=True)


def forget(device):
    """What a layout or batch left, so that the next one begins like a fresh process."""
    if hasattr(torch, "_dynamo"):
        torch._dynamo.reset()
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def measure(config, values, options, device, layout, batch):
    """One layout; the batch is halved where it does not fit. None when nothing fits."""
    while batch:
        tell("batch", batch)
        try:
            return Found(Peer(config, values, LAYOUTS[layout], device, options, batch), layout, options)
        except torch.cuda.OutOfMemoryError if device.type == "cuda" else ():
            pass  # what follows is outside the handler, which would keep the tensors of the failed step alive
        forget(device)
        print(f"  {layout}: {batch} images do not fit on the card", flush=True)
        batch //= 2
    return None


def measure_layout(config, values, options, device, layout, program):
    found = []
    tell("program", f"{program}, {layout}")
    tell("precision", options.precision)
    for batch in options.batch or [values.get("train.batch", 1024)]:
        if any(batch >= one.batch for one in found):
            continue  # its half was measured already
        found.append(measure(config, values, options, device, layout, batch))
        forget(device)
        if found[-1] is None:
            sys.exit(f"{layout}: not even one image fits on the card")
    return max(found, key=lambda one: one.rate or one.sampling)


def measure_all(config, values, options, device):
    cast = f" ({options.cast})" if TYPES[options.precision] != torch.float32 else ""
    mode = f"torch.compile ({options.compile})" if options.compile else "eager"
    program = f"PyTorch {torch.__version__.split('+')[0]} {mode}"
    where = torch.cuda.get_device_name() if device.type == "cuda" else f"{device}, {torch.get_num_threads()} threads"
    print(f"{program}, {options.precision}{cast}, {where}", flush=True)
    named = program + (", weights cast" if cast and options.cast == "weights" else "")
    layouts = [options.layout] if options.layout else LAYOUTS
    if options.wait and not options.compile:
        wait(options.wait)
    found = [measure_layout(config, values, options, device, layout, named) for layout in layouts]
    best = max(found, key=lambda one: one.rate or one.sampling)
    print(f"best: {best.layout}, batch {best.batch}: {best.rate:.1f} images/s, {best.parameters:,} parameters; "
          f"peak memory of the process: {peak_memory(device) / 2 ** 20:.1f} MiB")
    if options.sample or options.sample_only:
        print(f"sampling in one step: {max(one.sampling for one in found):.1f} images/s")


if __name__ == "__main__":
    main()
