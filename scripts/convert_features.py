#!/usr/bin/env python3
"""Feature networks, as PyTorch keeps them, to the one safetensors file that `./run weights import` takes.

    python3 scripts/convert_features.py vgg16-397923af.pth vgg.pth vgg16-lpips.safetensors
    ./run weights import vgg16-lpips vgg16-lpips.safetensors

    python3 scripts/convert_features.py inception pt_inception-2015-12-05-6726825d.pth inception.safetensors
    ./run weights import inception inception.safetensors

    python3 scripts/convert_features.py vgg16-fc2 vgg16-397923af.pth vgg16.safetensors
    ./run weights import vgg16 vgg16.safetensors

vgg16-397923af.pth is torchvision's VGG-16 (its name begins its SHA-256), vgg.pth the heads of LPIPS v0.1 for it, from the
repository richzhang/PerceptualSimilarity; of VGG-16 the convolutions are kept for LPIPS, besides the first two fully connected layers for
precision and recall. pt_inception-2015-12-05-6726825d.pth is the Inception network of
FID, from the releases of mseitzer/pytorch-fid (torch-fidelity's weights-inception-2015-12-05-6726825d.pth is the same). The file
says what it was made of (SHA-256 and MD5 of the sources), and whoever imports it as vgg16-lpips or inception is held to that; --any
converts other weights of these layers, to be imported under another name.
"""
import argparse
import hashlib
import pathlib
import sys

import torch

from reference import write_safetensors
from reference_features import STAGES, VGG_PLACES, vgg16_fc2_file
from reference_inception import inception_shapes

VGG_SHA256, LPIPS_MD5, INCEPTION_SHA256 = "397923af", "d507d7349b931f0638a25a48a722f98a", "6726825d"


def digest(path, kind):
    return hashlib.new(kind, pathlib.Path(path).read_bytes()).hexdigest()


def tensors_of(path):
    try:
        tensors = torch.load(path, map_location="cpu", weights_only=True)
    except TypeError:  # before PyTorch 1.13
        tensors = torch.load(path, map_location="cpu")
    if not isinstance(tensors, dict):
        sys.exit(f"{path}: holds a {type(tensors).__name__}, not a dictionary of tensors")
    return tensors


def pick(path, tensors, shapes):
    """The tensors with these names and ranks."""
    wrong = [name for name, rank in shapes.items() if name not in tensors or tensors[name].dim() != rank]
    if wrong:
        sys.exit(f"{path}: {', '.join(wrong[:4])}{' ...' if len(wrong) > 4 else ''} missing or of another shape")
    return {name: tensors[name].float().numpy() for name in shapes}


def check_pin(options, path, digests, key, pin):
    if not digests[key].startswith(pin) and not options.any:
        sys.exit(f"{path}: its {key.split('_')[1].upper()} is {digests[key]}, that of the published file begins with {pin}: "
                 "the download is damaged or another file (--any takes it all the same)")


CONVOLUTIONS = {f"features.{layer}.{part}": rank for stage in STAGES for layer in stage for part, rank in (("weight", 4), ("bias", 1))}


def convert_lpips(options):
    metadata = {"kind": "vgg16", "vgg16_sha256": digest(options.vgg, "sha256"), "lpips_md5": digest(options.lpips, "md5"),
                "lpips_sha256": digest(options.lpips, "sha256")}
    check_pin(options, options.vgg, metadata, "vgg16_sha256", VGG_SHA256)
    check_pin(options, options.lpips, metadata, "lpips_md5", LPIPS_MD5)
    tensors = pick(options.vgg, tensors_of(options.vgg), CONVOLUTIONS)
    tensors.update(pick(options.lpips, tensors_of(options.lpips), {f"lin{i}.model.1.weight": 4 for i in range(5)}))
    return tensors, metadata


def convert_vgg16_fc2(options):
    metadata = {"kind": "vgg16-fc2", "vgg16_sha256": digest(options.vgg, "sha256")}
    check_pin(options, options.vgg, metadata, "vgg16_sha256", VGG_SHA256)
    layers = {f"classifier.{layer}.{part}": rank for layer in (0, 3) for part, rank in (("weight", 2), ("bias", 1))}
    tensors = pick(options.vgg, tensors_of(options.vgg), {**CONVOLUTIONS, **layers})
    width, places = tensors["features.28.weight"].shape[0], VGG_PLACES ** 2
    if tensors["classifier.0.weight"].shape[1] != width * places:
        sys.exit(f"{options.vgg}: classifier.0 reads {tensors['classifier.0.weight'].shape[1]} numbers, not {width} x {places}")
    return vgg16_fc2_file(tensors), metadata


def convert_inception(options):
    """Every tensor by name and shape, nothing else but counters of batch norms; the hash of the values goes with that of the file."""
    metadata = {"kind": "inception", "pth_sha256": digest(options.inception, "sha256"), "pth_md5": digest(options.inception, "md5")}
    check_pin(options, options.inception, metadata, "pth_sha256", INCEPTION_SHA256)
    found, shapes = tensors_of(options.inception), inception_shapes()
    wrong = [name for name, shape in shapes.items() if name not in found or tuple(found[name].shape) != shape]
    wrong += [name for name in found if name not in shapes and not name.endswith("num_batches_tracked")]
    if wrong:
        sys.exit(f"{options.inception}: {', '.join(wrong[:4])}{' ...' if len(wrong) > 4 else ''} missing, of another shape or no part "
                 "of the network")
    tensors = {name: found[name].float().numpy() for name in shapes}
    metadata["values_sha256"] = hashlib.sha256(b"".join(a.tobytes() for a in tensors.values())).hexdigest()
    return tensors, metadata


# What the first word of the command line may be, and the files that follow it; without such a word it is LPIPS.
KINDS = {"inception": (convert_inception, {"inception": "pt_inception-2015-12-05-6726825d.pth"}),
         "vgg16-fc2": (convert_vgg16_fc2, {"vgg": "vgg16-397923af.pth"}),
         "lpips": (convert_lpips, {"vgg": "vgg16-397923af.pth (or: inception or vgg16-fc2, and its .pth)", "lpips": "vgg.pth of LPIPS v0.1"})}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    named = sys.argv[1] if len(sys.argv) > 1 and sys.argv[1] in KINDS else None
    convert, files = KINDS[named or "lpips"]
    if named:
        parser.add_argument("kind", help=named)
    for name, text in files.items():
        parser.add_argument(name, help=text)
    parser.add_argument("output", help="a safetensors file")
    parser.add_argument("--any", action="store_true", help="take other weights than the published ones")
    options = parser.parse_args()
    tensors, metadata = convert(options)
    write_safetensors(options.output, tensors, metadata)
    print(f"{options.output}: {sum(a.size for a in tensors.values()):,} parameters")


if __name__ == "__main__":
    main()
