#!/usr/bin/env python3
"""Writes an Inception network of full size with random weights, for measurements where the published ones cannot be had. Batch norms
know the statistics of smooth random images; without that, deep features would be all but constant.

    python3 scripts/random_inception.py FILE.safetensors && ./run weights import inception-own FILE.safetensors
"""
import argparse

import torch

from reference import write_safetensors
from reference_inception import random_images, random_inception


def random_weights():
    generator = torch.Generator().manual_seed(20151205)
    return random_inception(1, random_images(4, 32, generator), generator)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file")
    options = parser.parse_args()
    write_safetensors(options.file, {name: a.numpy() for name, a in random_weights().items()},
                      {"kind": "inception", "note": "random weights of scripts/random_inception.py, for measurements"})


if __name__ == "__main__":
    main()
