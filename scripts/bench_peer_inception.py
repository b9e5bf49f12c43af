#!/usr/bin/env python3
"""The rate of the Inception network of FID in PyTorch (scripts/reference_inception.py, random weights): bytes of 32 x 32 images in host
memory to features in host memory, the resizing included, as `ict bench --inception` measures ours.

    python3 scripts/bench_peer_inception.py [--device cuda] [--precision fp32|tf32] [--layout NCHW|NHWC] [--compile] [--batch 128]

tf32 is what PyTorch does by default in its convolutions on a card; NHWC is its channels_last. scripts/bench_inception runs ours and these
one after the other.
"""
import argparse
import time

import torch
import torch.nn.functional as F

from random_inception import random_weights
from reference_inception import SIZE, Layers


def network(weights, images):
    x = images.permute(0, 3, 1, 2).float()
    x = F.interpolate(x, size=(SIZE, SIZE), mode="bilinear", align_corners=False)
    return Layers(weights, 1).pooled((x - 128) / 128)


def prepared(device, layout):
    def place(a):
        a = a.to(device)
        return a.contiguous(memory_format=torch.channels_last) if layout == "NHWC" and a.dim() == 4 else a
    return {name: place(a) for name, a in random_weights().items()}


def rate(run, images, options):
    with torch.inference_mode():
        for _ in range(3):
            run(images.to(options.device)).cpu()
        done, start = 0, time.perf_counter()
        while time.perf_counter() - start < options.seconds:
            run(images.to(options.device)).cpu()
            done += len(images)
        return done / (time.perf_counter() - start)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precision", choices=("fp32", "tf32"), default="fp32")
    parser.add_argument("--layout", choices=("NCHW", "NHWC"), action="append", help="both")
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--seconds", type=float, default=5)
    options = parser.parse_args()
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = options.precision == "tf32"
    torch.backends.cudnn.benchmark = True
    images = torch.randint(0, 256, (options.batch, 32, 32, 3), dtype=torch.uint8)
    if options.device != "cpu":
        images = images.pin_memory()
    for layout in options.layout or ("NCHW", "NHWC"):
        weights = prepared(options.device, layout)
        run = lambda x: network(weights, x.contiguous())
        if options.compile:
            run = torch.compile(run)
        found = rate(run, images, options)
        mode = "compiled" if options.compile else "eager"
        print(f"PyTorch {torch.__version__}, inception, {mode}, {options.precision}, {layout}, batch {options.batch}: {found:.1f} images/s", flush=True)


if __name__ == "__main__":
    main()
