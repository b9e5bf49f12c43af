"""Names of OpenAI's UNetModel (guided-diffusion, consistency_models) against those of EDM's DhariwalUNet.

The two networks are the same function under these conditions, which read_config() checks: residual blocks that resample
(resblock_updown), widths of 128 and more (OpenAI's GroupNorm always has 32 groups, EDM's at most one per four channels), image
out as wide as image in. What differs is order: OpenAI's blocks are numbered through, its resampling blocks end a level where
EDM's begin the next, the label embedding is a table (EDM: a linear layer on one-hot labels), and the rows of qkv are
[q, k, v][head][d] ("flash", consistency_models) or [head][q, k, v][d] ("legacy", guided-diffusion), EDM's [head][d][q, k, v].
"""
import re

BLOCK = {"in_layers.0": "norm0", "in_layers.2": "conv0", "emb_layers.1": "affine", "out_layers.0": "norm1",
         "out_layers.3": "conv1", "skip_connection": "skip"}
ATTENTION = {"norm": "norm2", "qkv": "qkv", "proj_out": "proj"}
REST = {"time_embed.0": "map_layer0", "time_embed.2": "map_layer1", "out.0": "out_norm", "out.2": "out_conv"}


def read_config(state, resolution, head_channels):
    """The network as `model:` keys, from the shapes of its tensors; and the number of classes."""
    if any(name.endswith((".op.weight", ".conv.weight")) for name in state):
        raise SystemExit("this network resamples by convolutions, not in residual blocks: DhariwalUNet cannot be it")
    channels = state["time_embed.0.weight"].shape[1]
    widths = [state["input_blocks.0.0.weight"].shape[0]]
    attention = set()
    encoder = 1 + max(int(name.split(".")[1]) for name in state if name.startswith("input_blocks."))
    decoder = 1 + max(int(name.split(".")[1]) for name in state if name.startswith("output_blocks."))
    up = {name.split(".")[1] for name in state if re.fullmatch(r"output_blocks\.\d+\.[12]\.in_layers\.0\.weight", name)}
    levels = 1 + len(up)  # all but the highest resolution end with a block that resamples
    count = decoder // levels - 1
    if decoder != levels * (count + 1) or encoder != 1 + levels * count + levels - 1:
        raise SystemExit(f"{encoder} input blocks and {decoder} output blocks are not a network of equal levels")
    multipliers = []
    for level in range(levels):
        first = 1 + level * (count + 1)
        width = state[f"input_blocks.{first}.0.out_layers.3.weight"].shape[0]
        multipliers.append(width // channels)
        if f"input_blocks.{first}.1.qkv.weight" in state:
            attention.add(resolution >> level)
        widths.append(width)
    if min(widths) < 128 or any(width % channels for width in widths):
        raise SystemExit(f"widths {widths}: below 128 channels, or not multiples of {channels}, the two networks differ")
    if state["out.2.weight"].shape[0] != state["input_blocks.0.0.weight"].shape[1]:
        raise SystemExit("this network also predicts variances: its output is twice as wide as its input")
    affine, width = state["input_blocks.1.0.emb_layers.1.weight"].shape[0], widths[1]
    config = {"architecture": "adm", "channels": channels, "channel_mult": multipliers, "blocks": count,
              "attention": sorted(attention, reverse=True), "head_channels": head_channels, "embedding": "positional",
              "noise_scale": 1000, "noise_mult": 1, "embedding_mult": state["time_embed.0.weight"].shape[0] // channels,
              "encoder": "standard", "decoder": "standard", "filter": [1, 1], "dropout": 0, "scale_shift": affine == 2 * width}
    return config, state["label_emb.weight"].shape[0] if "label_emb.weight" in state else 0


def edm_name(name, resolution, levels, blocks):
    """EDM's name of one of OpenAI's parameters."""
    layer, _, kind = name.rpartition(".")
    if layer in REST:
        return f"{REST[layer]}.{kind}"
    if name == "label_emb.weight":
        return "map_label.weight"
    side, _, rest = layer.partition(".")
    if side == "middle_block":
        place, _, part = rest.partition(".")
        r = resolution >> (levels - 1)
        where = f"dec.{r}x{r}_in{'1' if place == '2' else '0'}"
        return f"{where}.{(ATTENTION if place == '1' else BLOCK)[part]}.{kind}"
    number, place, part = re.fullmatch(r"(\d+)\.(\d+)(?:\.(.+))?", rest).groups()
    number, place = int(number), int(place)
    if side == "input_blocks":
        if number == 0:
            return f"enc.{resolution}x{resolution}_conv.{kind}"
        level, i = divmod(number - 1, blocks + 1)
        level, block = (level + 1, "down") if i == blocks else (level, f"block{i}")
        prefix = "enc"
    else:
        level, i = levels - 1 - number // (blocks + 1), number % (blocks + 1)
        block, prefix = f"block{i}", "dec"
        if place and part in BLOCK:  # the block that resamples comes after the attention, if there is one
            level, block = level - 1, "up"
    r = resolution >> level
    return f"{prefix}.{r}x{r}_{block}.{(BLOCK if part in BLOCK else ATTENTION)[part]}.{kind}"


def interleave(value, heads, order):
    """Rows of qkv, or its bias, from OpenAI's order to EDM's."""
    rows, rest = value.shape[0], value.shape[1:]
    d = rows // 3 // heads
    if order == "flash":
        value = value.reshape(3, heads, d, *rest).transpose(0, 1).transpose(1, 2)  # heads, d, 3
    else:
        value = value.reshape(heads, 3, d, *rest).transpose(1, 2)
    return value.reshape(rows, *rest)


def to_edm(state, config, resolution, order):
    """The state dict under EDM's names, in EDM's order of channels."""
    found = {}
    for name, value in state.items():
        edm = edm_name(name, resolution, len(config["channel_mult"]), config["blocks"])
        if ".qkv." in edm:
            value = interleave(value, value.shape[0] // 3 // config["head_channels"], order)
        if edm == "map_label.weight":
            value = value.t()
        if value.dim() == 3:  # guided-diffusion's attention convolves in one dimension
            value = value[..., None]
        found[edm] = value.contiguous()
    return found
