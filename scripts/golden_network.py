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

import torch

from draws import SharedMasks
from reference import (Config, UNet, coefficients, config_to_lines, consistency, no_dropout, parameter_count, randomise,
                       write_safetensors)

SIGMAS = [0.002, 0.3, 80.0]
SEED, STEP, FIRST_SAMPLE = 0x1234567890ABCDEF, 7, 5  # of the dropout masks

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
    """F, the gradients of sum(F * dF), and f, all in float64. One image at a time: ADM's activations take gigabytes."""
    net, outs, fs = net.double(), [], []
    for i in range(len(inputs["sigma"])):
        t = {name: value[i:i + 1].double() for name, value in inputs.items()}
        drop = SharedMasks(SEED, STEP, FIRST_SAMPLE + i) if net.config.dropout else no_dropout
        out = net(t["input"], t["c_noise"], t.get("label"), t.get("augment"), drop)
        (out * t["dF"]).sum().backward()
        outs.append(out.detach())
        with torch.no_grad():
            fs.append(consistency(net, t["x"], t["sigma"], t.get("label")))
    return torch.cat(outs), torch.cat(fs)


def write_golden(path, config, generator, sigmas):
    """Returns the network, in float64, and its inputs."""
    net = randomise(UNet(config), generator)
    inputs = draw_inputs(config, generator, sigmas)
    tensors = {"model." + key: value.numpy().copy() for key, value in net.state_dict().items()}
    tensors.update({key: value.numpy() for key, value in inputs.items()})
    out, f = evaluate(net, inputs)
    tensors["F"], tensors["f"] = out.numpy(), f.numpy()
    tensors.update({"grad." + key: p.grad.numpy() for key, p in net.named_parameters()})
    write_safetensors(path, tensors, {"config": "\n".join(config_to_lines(config)) + "\n", "seed": SEED, "step": STEP,
                                      "first sample": FIRST_SAMPLE})
    return net, inputs


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", default=pathlib.Path(__file__).parent.parent / "tests/golden", type=pathlib.Path)
    folder = parser.parse_args().out
    for number, (name, config) in enumerate(NETWORKS.items()):
        torch.manual_seed(number)
        path = folder / f"network-{name}.safetensors"
        net, _ = write_golden(path, config, torch.Generator().manual_seed(number), SIGMAS)
        print(f"{path}: {parameter_count(net):,} parameters, {path.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
