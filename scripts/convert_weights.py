#!/usr/bin/env python3
"""Weights of other programs' networks to this program's files, and back. Needs PyTorch (scripts/setup --peers).

    convert_weights.py network-snapshot-000500.pkl FOLDER       EDM's and ECT's pickles (`--set ema` unless told)
    convert_weights.py training-state-000500.pt FOLDER          ECT's training state (`--set net`)
    convert_weights.py ct_imagenet64.pt FOLDER --resolution 64  OpenAI's consistency models (ADM)
    convert_weights.py model.safetensors OUT.pt                 a torch state dict under EDM's names
    convert_weights.py model.safetensors OUT.pkl --template network-snapshot-000500.pkl

FOLDER gets model.safetensors and config.yaml, and then

    ./run sample FOLDER
    ./run apply FOLDER/config.yaml --weights FOLDER/model.safetensors --input IN.npz --output OUT.npz [--raw]

A checkpoint of this program is read as well (`--set raw`, `ema:0.05`, ...). Every conversion and its way back keep each bit.
No code in a pickle is executed; a pickle is written by replacing the numbers in one of the same network, the template.

Which function of F the weights are for stands in the file (`parametrisation`) and, as ct.*, in config.yaml:

    boundary  f = c_skip x + c_out F with sigma - sigma_min in both, so that f(x, sigma_min) = x: consistency models, ECT
    edm       the same with sigma: EDM's denoisers; ct.sigma_shift false
    vp, ve    EDM's other preconditionings, whose noise input is no multiple of ln(sigma): usable with --raw alone
"""
import argparse
import pathlib
import re
import sys

import torch

import edm_pickle
import openai_unet
from reference import read_safetensors, write_safetensors

# EDM's own names and defaults of what a network is built from; ours, under `model:`.
SONG = {"model_channels": 128, "channel_mult": [1, 2, 2, 2], "channel_mult_emb": 4, "num_blocks": 4, "attn_resolutions": [16],
        "dropout": 0.10, "label_dropout": 0, "augment_dim": 0, "embedding_type": "positional", "channel_mult_noise": 1,
        "encoder_type": "standard", "decoder_type": "standard", "resample_filter": [1, 1]}
ADM = {"model_channels": 192, "channel_mult": [1, 2, 3, 4], "channel_mult_emb": 4, "num_blocks": 3, "attn_resolutions": [32, 16, 8],
       "dropout": 0.10, "label_dropout": 0, "augment_dim": 0}
OURS = {"model_channels": "channels", "channel_mult": "channel_mult", "channel_mult_emb": "embedding_mult", "num_blocks": "blocks",
        "attn_resolutions": "attention", "dropout": "dropout", "label_dropout": "label_dropout", "augment_dim": "augment_dim",
        "embedding_type": "embedding", "channel_mult_noise": "noise_mult", "encoder_type": "encoder", "decoder_type": "decoder",
        "resample_filter": "filter"}
ADM_FIXED = {"architecture": "adm", "head_channels": 64, "embedding": "positional", "noise_mult": 1, "encoder": "standard",
             "decoder": "standard", "filter": [1, 1], "scale_shift": True}
# Class of the outer network -> parametrisation, and the smallest sigma where the file does not say it.
PRECONDITIONING = {"EDMPrecond": ("edm", 0.002), "ECMPrecond": ("boundary", 0.003), "VPPrecond": ("vp", 0.002),
                   "VEPrecond": ("ve", 0.02)}


# ------------------------------------------------------------------------------------------------------------ configuration

def config_text(model, ct, resolution, classes):
    """Lines that are an experiment's file and a stored configuration alike."""
    def text(value):
        if isinstance(value, (list, tuple)):
            return "[" + ", ".join(text(each) for each in value) + "]"
        return str(value).lower() if isinstance(value, bool) else f"{value:.9g}" if isinstance(value, float) else str(value)

    lines = {"data.resolution": resolution, **{f"model.{key}": value for key, value in model.items()},
             "model.class_conditional": classes > 0, **{f"ct.{key}": value for key, value in ct.items()}}
    return "".join(f"{key}: {text(value)}\n" for key, value in lines.items())


def model_of_edm(network):
    """`model:` keys of a SongUNet or DhariwalUNet, from the arguments it was built with."""
    defaults = {"SongUNet": SONG, "DhariwalUNet": ADM}.get(network.class_name)
    if defaults is None:
        raise SystemExit(f"the network is a {network.class_name}; SongUNet and DhariwalUNet can be converted")
    given = dict(network.state["_init_kwargs"])
    arguments = {**defaults, **{key: value for key, value in given.items() if key in defaults}}
    if given.get("out_channels", given["in_channels"]) != given["in_channels"]:
        raise SystemExit("this network also predicts variances: its output is twice as wide as its input")
    model = {"architecture": "song", "head_channels": 0} if defaults is SONG else dict(ADM_FIXED)
    model.update({OURS[key]: value for key, value in arguments.items()})
    if not model["label_dropout"] or not given.get("label_dim"):
        model["label_dropout"] = 0
    return model, given["img_resolution"], given.get("label_dim", 0)


def from_edm(outer):
    """State dict and configuration of an EDM or ECT network, unpickled."""
    parametrisation, sigma_min = PRECONDITIONING.get(outer.class_name, (None, None))
    if parametrisation is None:
        raise SystemExit(f"the network is a {outer.class_name}; {', '.join(PRECONDITIONING)} can be converted")
    network = outer.state["_modules"]["model"]
    model, resolution, classes = model_of_edm(network)
    ct = {"sigma_min": float(outer.state.get("sigma_min") or sigma_min), "sigma_data": float(outer.state.get("sigma_data", 0.5)),
          "sigma_shift": parametrisation == "boundary"}
    return edm_pickle.tensors(network), config_text(model, ct, resolution, classes), parametrisation


def from_openai(state, options):
    if not options.resolution:
        raise SystemExit("--resolution: how large the images are stands in no OpenAI file (64 for ImageNet-64)")
    model, classes = openai_unet.read_config(state, options.resolution, options.head_channels)
    found = openai_unet.to_edm(state, model, options.resolution, options.qkv)
    config = config_text(model, {"sigma_shift": True}, options.resolution, classes)
    return found, config + "evaluation.clip: true\n", "boundary"  # their sampler clips at every step


# ------------------------------------------------------------------------------------------------------------ to our files

def read_foreign(path, options):
    """State dict (EDM's names), configuration and parametrisation of whatever network the file holds."""
    content = edm_pickle.read(path)
    if isinstance(content, edm_pickle.Record):
        return from_edm(content)
    if not isinstance(content, dict):
        raise SystemExit(f"{path}: neither a network nor a dictionary")
    if "time_embed.0.weight" in content:
        return from_openai(content, options)
    name = options.set or next((each for each in ("ema", "net") if isinstance(content.get(each), edm_pickle.Record)), None)
    if name is None or not isinstance(content.get(name), edm_pickle.Record):
        raise SystemExit(f"{path}: no network under '{name or 'ema'}'; there are {', '.join(map(str, list(content)[:12]))}")
    return from_edm(content[name])


def to_folder(path, out, options):
    state, config, parametrisation = read_foreign(path, options)
    arrays = {name: value.float().numpy() for name, value in state.items() if not name.endswith("resample_filter")}
    out.mkdir(parents=True, exist_ok=True)
    write_safetensors(out / "model.safetensors", arrays, {"config": config, "parametrisation": parametrisation, "source": path.name})
    (out / "config.yaml").write_text(f"# The network of {path.name}; its weights are in model.safetensors.\n{config}")
    print(f"{out}/model.safetensors: {sum(a.size for a in arrays.values()):,} numbers in {len(arrays)} tensors; {parametrisation}")


# ------------------------------------------------------------------------------------------------------------ from our files

def read_ours(path, options):
    """Bare names -> float32 arrays: of a checkpoint the set that was asked for."""
    tensors, metadata = read_safetensors(path)
    if any(name.startswith(("enc.", "dec.")) for name in tensors):
        return dict(tensors), metadata.get("config", "")
    prefix = "model." if (options.set or "raw") == "raw" else options.set + "."
    found = {name[len(prefix):]: value for name, value in tensors.items() if name.startswith(prefix)}
    if not found:
        sets = sorted({re.sub(r"\.(enc|dec|map_|out_).*", "", name) for name in tensors} - {"optim"})
        raise SystemExit(f"{path}: no set '{options.set}'; there are {', '.join(sets)} (model is called raw)")
    return found, metadata.get("config", "")


def resample_filters(names, taps):
    """EDM's buffers: every convolution that resamples keeps its filter."""
    row = torch.tensor(taps, dtype=torch.float32)
    bank = torch.outer(row, row)[None, None] / row.sum() ** 2
    layers = {re.match(r"(.*_(?:down|up)\.(?:conv0))\.weight", name) for name in names}
    found = {f"{each.group(1)}.resample_filter": bank.clone() for each in layers if each}
    found.update({key.replace("conv0", "skip"): bank.clone() for key in found})
    found.update({name.replace("weight", "resample_filter"): bank.clone() for name in names if name.endswith("aux_residual.weight")})
    found.update({re.sub("aux_skip.weight", "aux_down.resample_filter", name): bank.clone()
                  for name in names if name.endswith("aux_skip.weight")})
    levels = sorted((int(re.match(r"dec\.(\d+)x", name).group(1)) for name in names if name.endswith("aux_norm.weight")))
    found.update({f"dec.{r}x{r}_aux_up.resample_filter": bank.clone() for r in levels[1:]})
    return found


def config_beside(path):
    beside = path.parent / "config.yaml"
    return beside.read_text() if beside.exists() else ""


def to_state_dict(path, out, options):
    arrays, config = read_ours(path, options)
    state = {name: torch.from_numpy(value.copy()) for name, value in arrays.items()}
    taps = re.search(r"^model\.filter: \[(.*)\]", config or config_beside(path), re.MULTILINE)
    if taps:
        state.update(resample_filters(list(arrays), [float(each) for each in taps.group(1).split(",")]))
    torch.save(state, out)
    print(f"{out}: {len(state)} tensors" + ("" if taps else "; without resampling filters, which no configuration told"))


def to_pickle(path, out, options):
    arrays, _ = read_ours(path, options)

    def choose(content):
        outer = content if isinstance(content, edm_pickle.Record) else content[options.template_set]
        return outer.state["_modules"]["model"]

    edm_pickle.rewrite(options.template, choose, arrays, out)
    print(f"{out}: {len(arrays)} tensors in the place of those of {options.template}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=pathlib.Path)
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("--set", help="which of several: ema, net; raw, ema:0.05, ... of a checkpoint")
    parser.add_argument("--template", type=pathlib.Path, help="a pickle of the same network, to write a pickle")
    parser.add_argument("--template-set", default="ema", help="which network in it is replaced (default ema)")
    parser.add_argument("--resolution", type=int, help="OpenAI: of the images")
    parser.add_argument("--head-channels", type=int, default=64, help="OpenAI: channels of an attention head (default 64)")
    parser.add_argument("--qkv", choices=("flash", "legacy"), default="flash",
                        help="OpenAI: order of attention's rows: flash in consistency_models, legacy in guided-diffusion")
    options = parser.parse_args()
    if options.source.suffix != ".safetensors":
        to_folder(options.source, options.out, options)
    elif options.out.suffix == ".pkl":
        if not options.template:
            sys.exit("--template: a pickle is written by replacing the numbers in one of the same network")
        to_pickle(options.source, options.out, options)
    else:
        to_state_dict(options.source, options.out, options)


if __name__ == "__main__":
    main()
