"""Writes tests/golden/network-*.safetensors: small networks that together use every option, with random weights, and what
reference.py makes of them in float64: the bare output F, the consistency function f, and the gradient of sum(F * dF) with
respect to every parameter. tests/unit/test_network.c reads them; run this again only when a network is added.

    scripts/setup --peers && python3 scripts/golden_network.py

In a file: model.* and grad.* by parameter; input, c_noise, label, augment -> F, dF (with dropout, if the network has it);
x, sigma, label -> f (as in sampling: no dropout, augmentation labels zero). Images are n c h w. The levels are the two ends of
the paper's range and one in between. The metadata has the configuration and what the dropout masks were drawn with.
"""
import argparse
import pathlib

import numpy as np
import torch

from reference import (Config, UNet, coefficients, config_to_lines, consistency, no_dropout, parameter_count, randomise,
                       write_safetensors)

SIGMAS = [0.002, 0.3, 80.0]

NETWORKS = {
    # NCSN++ with attention on one resolution.
    "ncsnpp": Config(resolution=16, channels=8, channel_mult=(1, 2), blocks=1, attention=(8,), fourier_scale=0.02,
                     embedding_mult=2),
    # DDPM++ with labels and augmentation labels, attention at the top, several blocks.
    "ddpmpp": Config(resolution=8, channels=8, channel_mult=(1, 1), blocks=2, attention=(8,), embedding="positional",
                     noise_mult=1, embedding_mult=2, encoder="standard", filter=(1, 1), classes=10, augment_dim=9),
    # Widths that no vector register divides, norm groups of four across the seam of 6 + 6 channels, grey images, three levels.
    "seams": Config(resolution=8, image_channels=1, channels=6, channel_mult=(1, 1, 1), blocks=2, attention=(), fourier_scale=16.0,
                    embedding_mult=2),
    # ADM with two heads on one resolution and one on the other.
    "adm": Config(architecture="adm", resolution=8, channels=4, channel_mult=(1, 2), blocks=1, attention=(8, 4), head_channels=4,
                  embedding="positional", noise_mult=1, embedding_mult=2, encoder="standard", filter=(1, 1), classes=5),
    # Adaptive group norm, augmentation labels, a noise input that is scaled.
    "adm-scale-shift": Config(architecture="adm", resolution=16, channels=8, channel_mult=(1, 1), blocks=1, attention=(8,),
                              head_channels=8, embedding="positional", noise_scale=1000.0, noise_mult=1, embedding_mult=2,
                              encoder="standard", filter=(1, 1), augment_dim=9, scale_shift=True),
    # Dropout on the lower of two resolutions.
    "dropout": Config(resolution=16, channels=8, channel_mult=(1, 1), blocks=1, attention=(), fourier_scale=0.02,
                      embedding_mult=1, dropout=0.3, dropout_max_resolution=8),
    # EDM's third encoder and second decoder on three levels, the longer filter, two heads, adaptive group norm in SongUNet.
    "skip": Config(resolution=8, channels=8, channel_mult=(1, 1, 1), blocks=1, attention=(4,), head_channels=4,
                   embedding="positional", noise_mult=1, embedding_mult=1, encoder="skip", decoder="skip", classes=3,
                   scale_shift=True),
    # The residual encoder with the skip decoder and the shorter filter, grey images.
    "residual-skip": Config(resolution=8, image_channels=1, channels=4, channel_mult=(1, 2), blocks=1, attention=(),
                            fourier_scale=0.02, embedding_mult=1, decoder="skip", filter=(1, 1)),
    # ADM with what SongUNet usually has: Fourier embedding, the longer filter; dropout on the lower resolution, labels.
    "adm-fourier": Config(architecture="adm", resolution=8, channels=8, channel_mult=(1, 1), blocks=2, attention=(4,),
                          fourier_scale=0.02, embedding_mult=1, encoder="standard", classes=3, dropout=0.2,
                          dropout_max_resolution=4),
}


# ------------------------------------------------------------------------------------------------------------ masks

STREAM_DROPOUT, SEED, STEP, FIRST_SAMPLE = 64, 0x1234567890ABCDEF, 7, 5


def philox(counter, key):
    """Philox4x32-10 on arrays of counters: four uint64 arrays holding 32 bits each."""
    x, low = list(counter), np.uint64(0xFFFFFFFF)
    k0, k1 = key & 0xFFFFFFFF, key >> 32
    for _ in range(10):
        p0, p1 = x[0] * np.uint64(0xD2511F53), x[2] * np.uint64(0xCD9E8D57)
        x = [(p1 >> np.uint64(32)) ^ x[1] ^ np.uint64(k0), p1 & low, (p0 >> np.uint64(32)) ^ x[3] ^ np.uint64(k1), p0 & low]
        k0, k1 = (k0 + 0x9E3779B9) & 0xFFFFFFFF, (k1 + 0xBB67AE85) & 0xFFFFFFFF
    return x


def keep_mask(layer, sample, count, rate):
    """Whether each element of one sample survives: eight 16-bit lanes a block, in the order of the words' halves, low first."""
    blocks = np.arange((count + 7) // 8, dtype=np.uint64)
    same = np.ones_like(blocks)
    words = philox([blocks, same * np.uint64(sample), same * np.uint64(STEP), same * np.uint64(STREAM_DROPOUT + layer)], SEED)
    lanes = np.stack([half for w in words for half in (w & np.uint64(0xFFFF), w >> np.uint64(16))], axis=1).reshape(-1)[:count]
    return lanes >= round(rate * 65536)


class SharedMasks:
    """reference.py's `drop`: numbers the layers that drop something as they come, elements in n h w c order."""

    def __init__(self):
        self.layer = 0

    def __call__(self, x, rate):
        if not rate:
            return x
        n, c, h, w = x.shape
        masks = [keep_mask(self.layer, FIRST_SAMPLE + i, c * h * w, rate).reshape(h, w, c) for i in range(n)]
        self.layer += 1
        return x * torch.from_numpy(np.stack(masks)).permute(0, 3, 1, 2).to(x.dtype) / (1 - rate)


# ------------------------------------------------------------------------------------------------------------ files

def draw_inputs(config, generator, sigmas):
    def normal(*shape):
        return torch.randn(*shape, generator=generator)

    n, wide = len(sigmas), (-1, 1, 1, 1)
    sigma = torch.tensor(sigmas)
    x = normal(n, config.image_channels, config.resolution, config.resolution) * torch.sqrt(sigma ** 2 + 0.25).view(wide)
    inputs = {"x": x, "sigma": sigma, "dF": normal(*x.shape)}
    # What the bare network gets is rounded to float32 before the reference sees it: rounding is no error of the network.
    c_in, _, _, c_noise = coefficients(sigma.double())
    inputs["input"], inputs["c_noise"] = (c_in.view(wide) * x.double()).float(), c_noise.float()
    if config.classes:
        inputs["label"] = torch.eye(config.classes)[torch.arange(n) * 2 % config.classes]
    if config.augment_dim:
        inputs["augment"] = normal(n, config.augment_dim)
    return inputs


def evaluate(net, inputs):
    """F, the gradients of sum(F * dF), and f, all in float64."""
    net = net.double()
    t = {name: value.double() for name, value in inputs.items()}
    drop = SharedMasks() if net.config.dropout else no_dropout
    out = net(t["input"], t["c_noise"], t.get("label"), t.get("augment"), drop)
    (out * t["dF"]).sum().backward()
    with torch.no_grad():
        return out.detach(), consistency(net, t["x"], t["sigma"], t.get("label"))


def write_golden(path, config, generator, sigmas):
    net = randomise(UNet(config), generator)
    inputs = draw_inputs(config, generator, sigmas)
    tensors = {"model." + key: value.numpy().copy() for key, value in net.state_dict().items()}
    tensors.update({key: value.numpy() for key, value in inputs.items()})
    out, f = evaluate(net, inputs)
    tensors["F"], tensors["f"] = out.numpy(), f.numpy()
    tensors.update({"grad." + key: p.grad.numpy() for key, p in net.named_parameters()})
    write_safetensors(path, tensors, {"config": "\n".join(config_to_lines(config)) + "\n", "seed": SEED, "step": STEP,
                                      "first sample": FIRST_SAMPLE})
    print(f"{path}: {parameter_count(net):,} parameters, rms F {out.square().mean().sqrt():.3f}, {path.stat().st_size:,} bytes")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", default=pathlib.Path(__file__).parent.parent / "tests/golden", type=pathlib.Path)
    folder = parser.parse_args().out
    for number, (name, config) in enumerate(NETWORKS.items()):
        torch.manual_seed(number)
        write_golden(folder / f"network-{name}.safetensors", config, torch.Generator().manual_seed(number), SIGMAS)


if __name__ == "__main__":
    main()
