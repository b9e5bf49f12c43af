"""The networks and the objective once more, in PyTorch, to check and to time the C implementation against.

Written from the papers (Song et al. 2021; Dhariwal & Nichol 2021; Karras et al. 2022, appendix F.1; Song & Dhariwal 2024), with
the parameter names and shapes of EDM's code, so that a state_dict goes both ways. It is a description to be read and trusted,
in the precision of its input (float64 for reference values), and shares nothing with core/.

    python3 scripts/reference.py        prints the parameter counts of the papers' networks and checks them
"""
import dataclasses
import json
import math
import struct

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F


@dataclasses.dataclass
class Config:
    """The same fields, under the same names, as `model:` in an experiment's YAML."""
    architecture: str = "song"          # song: NCSN++ and DDPM++;  adm
    resolution: int = 32
    image_channels: int = 3
    channels: int = 128
    channel_mult: tuple = (2, 2, 2)
    blocks: int = 4
    attention: tuple = (16,)            # resolutions
    head_channels: int = 0              # 0: one head
    embedding: str = "fourier"          # or positional
    fourier_scale: float = 16.0
    noise_scale: float = 1.0
    noise_mult: int = 2
    embedding_mult: int = 4
    encoder: str = "residual"           # or standard, skip
    decoder: str = "standard"           # or skip
    filter: tuple = (1, 3, 3, 1)
    dropout: float = 0.0
    dropout_max_resolution: int = 0     # 0: everywhere
    scale_shift: bool = False
    classes: int = 0
    augment_dim: int = 0


def parse_value(text):
    """A YAML scalar or list, as the resolved configuration prints it."""
    text = text.strip()
    if text.startswith("["):
        return tuple(parse_value(part) for part in text[1:-1].split(",") if part.strip())
    if text in ("true", "false"):
        return text == "true"
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            pass
    return text


def config_from_lines(lines, classes=0):
    """The network of a resolved configuration ("model.channels: 128" lines; others are kept in the returned dict)."""
    values = {}
    for line in lines:
        key, colon, value = line.strip().partition(":")
        if colon and " " not in key:
            values[key] = parse_value(value)
    known = {field.name for field in dataclasses.fields(Config)}
    model = {key[6:]: value for key, value in values.items() if key.startswith("model.") and key[6:] in known}
    model["resolution"] = values.get("data.resolution", 0) or Config.resolution
    return Config(**model, classes=classes), values


def config_to_lines(config):
    """The same, the other way; image channels, classes and resolution belong to the data."""
    skipped = ("image_channels", "classes", "resolution")

    def text(value):
        if isinstance(value, tuple):
            return "[" + ", ".join(map(str, value)) + "]"
        return str(value).lower() if isinstance(value, bool) else str(value)

    return [f"model.{key}: {text(value)}" for key, value in dataclasses.asdict(config).items() if key not in skipped]


NCSNPP_CIFAR10 = Config(fourier_scale=0.02, dropout=0.3)
DDPMPP_CIFAR10 = Config(embedding="positional", encoder="standard", filter=(1, 1), noise_mult=1)
ADM_IMAGENET64 = Config(architecture="adm", resolution=64, channels=192, channel_mult=(1, 2, 3, 4), blocks=3, attention=(32, 16, 8),
                        head_channels=64, embedding="positional", noise_mult=1, encoder="standard", filter=(1, 1),
                        classes=1000, dropout=0.2, dropout_max_resolution=16)


# ------------------------------------------------------------------------------------------------------------ layers

class Conv(nn.Module):
    """3x3 or 1x1 convolution, and FIR resampling by two before it (after it when `filter_last`: NCSN++'s input pyramid).

    kernel 0: resampling alone. The filter is the outer product of its normalised taps, applied to each channel.
    """

    def __init__(self, c_in, c_out, kernel, resample=None, taps=(1, 1), filter_last=False):
        super().__init__()
        self.kernel, self.resample, self.filter_last, self.pad = kernel, resample, filter_last, (len(taps) - 1) // 2
        if kernel:
            self.weight = nn.Parameter(torch.randn(c_out, c_in, kernel, kernel) / math.sqrt(c_in * kernel * kernel))
            self.bias = nn.Parameter(torch.zeros(c_out))
        if resample:
            row = torch.tensor(taps, dtype=torch.float32) / sum(taps)
            self.register_buffer("resample_filter", (row[:, None] * row[None, :])[None, None])

    def filtered(self, x, pad):
        bank = self.resample_filter.to(x.dtype).expand(x.shape[1], -1, -1, -1)
        if self.resample == "up":
            return F.conv_transpose2d(x, 4 * bank, stride=2, padding=pad, groups=x.shape[1])
        return F.conv2d(x, bank, stride=2, padding=pad, groups=x.shape[1])

    def forward(self, x):
        if self.filter_last:
            x = F.conv2d(x, self.weight, padding=self.kernel // 2 + self.pad)
            return self.filtered(x, 0) + self.bias[:, None, None]
        if self.resample:
            x = self.filtered(x, self.pad)
        return F.conv2d(x, self.weight, self.bias, padding=self.kernel // 2) if self.kernel else x


class Norm(nn.Module):
    """Group norm with groups of at least four channels, at most 32 of them."""

    def __init__(self, channels, epsilon):
        super().__init__()
        self.groups, self.epsilon = min(32, channels // 4), epsilon
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x):
        return F.group_norm(x, self.groups, self.weight, self.bias, self.epsilon)


class Block(nn.Module):
    def __init__(self, net, c_in, c_out, resolution, attention=False, resample=None):
        super().__init__()
        config, song = net.config, net.song
        self.width, self.scale_shift = c_out, config.scale_shift
        self.skip_scale = math.sqrt(0.5) if song else 1.0
        epsilon = 1e-6 if song else 1e-5
        here = config.dropout_max_resolution == 0 or resolution <= config.dropout_max_resolution
        self.dropout = config.dropout if here else 0.0
        self.norm0 = Norm(c_in, epsilon)
        self.conv0 = Conv(c_in, c_out, 3, resample, config.filter)
        self.affine = nn.Linear(config.channels * config.embedding_mult, c_out * (2 if config.scale_shift else 1))
        self.norm1 = Norm(c_out, epsilon)
        self.conv1 = Conv(c_out, c_out, 3)
        self.skip = None
        if c_in != c_out or resample:
            self.skip = Conv(c_in, c_out, 1 if song or c_in != c_out else 0, resample, config.filter)
        self.heads = 0
        if attention:
            self.heads = c_out // config.head_channels if config.head_channels else 1
            self.norm2 = Norm(c_out, epsilon)
            self.qkv = Conv(c_out, 3 * c_out, 1)
            self.proj = Conv(c_out, c_out, 1)

    def forward(self, x, embedding, drop):
        h = self.conv0(F.silu(self.norm0(x)))
        affine = self.affine(embedding)[:, :, None, None]
        if self.scale_shift:
            scale, shift = affine.chunk(2, dim=1)
            h = self.norm1(h) * (1 + scale) + shift
        else:
            h = self.norm1(h + affine)
        h = drop(F.silu(h), self.dropout)
        x = (self.conv1(h) + (x if self.skip is None else self.skip(x))) * self.skip_scale
        return (self.proj(self.attend(self.norm2(x))) + x) * self.skip_scale if self.heads else x

    def attend(self, x):
        n, c, height, width = x.shape
        d = c // self.heads
        # EDM stores the three rows of a unit next to each other: [head][d][query, key, value].
        q, k, v = self.qkv(x).reshape(n * self.heads, d, 3, height * width).unbind(2)
        weight = torch.softmax(q.transpose(1, 2) @ k / math.sqrt(d), dim=2)
        return (v @ weight.transpose(1, 2)).reshape(n, c, height, width)


class NoiseEmbedding(nn.Module):
    """Sines and cosines of the noise level: SongUNet sines first, ADM cosines first."""

    def __init__(self, config, song):
        super().__init__()
        half = config.channels * config.noise_mult // 2
        self.fourier, self.sines_first = config.embedding == "fourier", song
        if self.fourier:
            self.register_buffer("freqs", torch.randn(half) * config.fourier_scale)
        else:
            self.exponent = torch.arange(half, dtype=torch.float64) / (half - 1 if song else half)

    def forward(self, c_noise):
        if self.fourier:
            frequency = 2 * math.pi * self.freqs.to(c_noise.dtype)
        else:
            frequency = (10000.0 ** -self.exponent).to(c_noise.dtype)
        angle = c_noise[:, None] * frequency[None, :]
        waves = [angle.sin(), angle.cos()] if self.sines_first else [angle.cos(), angle.sin()]
        return torch.cat(waves, dim=1)


def no_dropout(x, rate):
    return x


def random_dropout(x, rate):
    return F.dropout(x, rate) if rate else x


# ------------------------------------------------------------------------------------------------------------ the network

class UNet(nn.Module):
    """F(x, c_noise): x already multiplied by c_in, c_noise by noise_scale here. `drop` is called as drop(h, rate) by every
    residual block in the order of the forward pass."""

    def __init__(self, config):
        super().__init__()
        self.config, self.song = config, config.architecture == "song"
        noise = config.channels * config.noise_mult
        width = config.channels * config.embedding_mult
        self.map_noise = NoiseEmbedding(config, self.song)
        self.map_layer0 = nn.Linear(noise, width)
        self.map_layer1 = nn.Linear(width, width)
        if config.classes:
            self.map_label = nn.Linear(config.classes, noise if self.song else width, bias=self.song)
        if config.augment_dim:
            self.map_augment = nn.Linear(config.augment_dim, noise, bias=False)
        self.enc, self.dec = nn.ModuleDict(), nn.ModuleDict()
        skips, c = self.build_encoder()
        c = self.build_decoder(skips, c)
        if not self.song:
            self.out_norm, self.out_conv = Norm(c, 1e-5), Conv(c, config.image_channels, 3)

    def build_encoder(self):
        config, skips = self.config, []
        pyramid = config.image_channels
        for level, mult in enumerate(config.channel_mult):
            r = config.resolution >> level
            if level == 0:
                c = config.channels * (1 if self.song else mult)
                self.enc[f"{r}x{r}_conv"] = Conv(config.image_channels, c, 3)
            else:
                self.enc[f"{r}x{r}_down"] = Block(self, c, c, r, resample="down")
                if self.song and config.encoder == "residual":
                    self.enc[f"{r}x{r}_aux_residual"] = Conv(pyramid, c, 3, "down", config.filter, filter_last=True)
                    pyramid = c
                if self.song and config.encoder == "skip":
                    self.enc[f"{r}x{r}_aux_down"] = Conv(pyramid, pyramid, 0, "down", config.filter)
                    self.enc[f"{r}x{r}_aux_skip"] = Conv(pyramid, c, 1)
            skips.append(c)
            for i in range(config.blocks):
                self.enc[f"{r}x{r}_block{i}"] = Block(self, c, config.channels * mult, r, r in config.attention)
                c = config.channels * mult
                skips.append(c)
        return skips, c

    def build_decoder(self, skips, c):
        config = self.config
        for level, mult in reversed(list(enumerate(config.channel_mult))):
            r = config.resolution >> level
            if level == len(config.channel_mult) - 1:
                self.dec[f"{r}x{r}_in0"] = Block(self, c, c, r, attention=True)
                self.dec[f"{r}x{r}_in1"] = Block(self, c, c, r)
            else:
                self.dec[f"{r}x{r}_up"] = Block(self, c, c, r, resample="up")
            for i in range(config.blocks + 1):
                # SongUNet attends once a resolution, after its last block.
                attention = r in config.attention and (i == config.blocks or not self.song)
                self.dec[f"{r}x{r}_block{i}"] = Block(self, c + skips.pop(), config.channels * mult, r, attention)
                c = config.channels * mult
            if self.song and (level == 0 or config.decoder == "skip"):
                if level < len(config.channel_mult) - 1 and config.decoder == "skip":
                    self.dec[f"{r}x{r}_aux_up"] = Conv(config.image_channels, config.image_channels, 0, "up", config.filter)
                self.dec[f"{r}x{r}_aux_norm"] = Norm(c, 1e-6)
                self.dec[f"{r}x{r}_aux_conv"] = Conv(c, config.image_channels, 3)
        return c

    def embed(self, c_noise, labels, augment):
        e = self.map_noise(c_noise * self.config.noise_scale)
        if self.config.augment_dim and augment is not None:
            e = e + self.map_augment(augment)
        if self.config.classes and self.song:
            e = e + self.map_label(labels * math.sqrt(self.config.classes))
        e = self.map_layer1(F.silu(self.map_layer0(e)))
        if self.config.classes and not self.song:
            e = e + self.map_label(labels)
        return F.silu(e)

    def forward(self, x, c_noise, labels=None, augment=None, drop=no_dropout):
        e = self.embed(c_noise, labels, augment)
        pyramid, skips = x, []
        for name, layer in self.enc.items():
            if name.endswith("_aux_residual"):
                x = skips[-1] = pyramid = (x + layer(pyramid)) * math.sqrt(0.5)
                continue
            if name.endswith("_aux_down"):
                pyramid = layer(pyramid)
                continue
            if name.endswith("_aux_skip"):
                x = skips[-1] = x + layer(pyramid)
                continue
            x = layer(x, e, drop) if isinstance(layer, Block) else layer(x)
            skips.append(x)
        image = 0
        for name, layer in self.dec.items():
            if name.endswith("_aux_up"):
                image = layer(image)
            elif name.endswith("_aux_norm"):
                normed = layer(x)
            elif name.endswith("_aux_conv"):
                image = image + layer(F.silu(normed))
            else:
                x = layer(torch.cat([x, skips.pop()], dim=1) if "_block" in name else x, e, drop)
        return image if self.song else self.out_conv(F.silu(self.out_norm(x)))


def parameter_count(net):
    return sum(p.numel() for p in net.parameters())


def randomise(net, generator):
    """Every parameter at a scale at which it matters, those that begin at zero too: a wrong sign, transpose or missing term
    shows in the output."""
    with torch.no_grad():
        for name, p in net.named_parameters():
            noise = torch.randn(p.shape, generator=generator)
            if p.dim() > 1:
                p.copy_(noise / math.sqrt(p[0].numel()))
            elif "norm" in name and name.endswith("weight"):
                p.copy_(1 + 0.3 * noise)
            else:
                p.copy_(0.3 * noise)
    return net


# ------------------------------------------------------------------------------------------------------------ the method

@dataclasses.dataclass
class Ct:
    sigma_min: float = 0.002
    sigma_max: float = 80.0
    sigma_data: float = 0.5
    rho: float = 7.0
    p_mean: float = -1.1
    p_std: float = 2.0
    sigma_shift: bool = True


def coefficients(sigma, ct=Ct()):
    """c_in, c_skip, c_out, c_noise (CM, appendix C: c_skip = 1 and c_out = 0 at sigma_min; without the shift, as ECT trains)."""
    s, d = sigma - ct.sigma_min if ct.sigma_shift else sigma, ct.sigma_data
    return (1 / torch.sqrt(sigma ** 2 + d * d), d * d / (s ** 2 + d * d), d * s / torch.sqrt(sigma ** 2 + d * d),
            0.25 * torch.log(sigma))


def consistency(net, x, sigma, labels=None, drop=no_dropout, ct=Ct()):
    """f(x, sigma), x: n c h w, sigma: n."""
    c_in, c_skip, c_out, c_noise = coefficients(sigma, ct)
    wide = (-1, 1, 1, 1)
    out = net(c_in.view(wide) * x, c_noise, labels, drop=drop)
    return c_skip.view(wide) * x + c_out.view(wide) * out


def karras(N, ct=Ct()):
    """The N levels, ascending."""
    u = torch.arange(N, dtype=torch.float64) / (N - 1)
    low, high = ct.sigma_min ** (1 / ct.rho), ct.sigma_max ** (1 / ct.rho)
    return (low + u * (high - low)) ** ct.rho


def pair_probabilities(sigmas, ct=Ct()):
    """iCT's discretised log-normal law of the pair (i, i + 1)."""
    cdf = torch.erf((torch.log(sigmas) - ct.p_mean) / (math.sqrt(2) * ct.p_std))
    p = cdf[1:] - cdf[:-1]
    return p / p.sum()


def pseudo_huber(x, y, c):
    """Per image, on the norm of the whole image."""
    return torch.sqrt((x - y).flatten(1).square().sum(1) + c * c) - c


def consistency_loss(student, teacher, x0, z, i, sigmas, labels=None, seed=0, ct=Ct()):
    """Mean over the batch of lambda * pseudo-Huber of the pair (student at sigma[i + 1], teacher at sigma[i]), with lambda the
    inverse gap (iCT section 3). Both passes use the same dropout masks: the generator is set to `seed` before each."""
    high, low = sigmas[i + 1], sigmas[i]
    c = 0.00054 * math.sqrt(x0[0].numel())
    wide = (-1, 1, 1, 1)
    with torch.no_grad():
        torch.manual_seed(seed)
        target = consistency(teacher, x0 + low.view(wide) * z, low, labels, random_dropout, ct)
    torch.manual_seed(seed)
    out = consistency(student, x0 + high.view(wide) * z, high, labels, random_dropout, ct)
    return (pseudo_huber(out, target, c) / (high - low)).mean()


# ------------------------------------------------------------------------------------------------------------ files

def write_safetensors(path, tensors, metadata=None):
    """Arrays by name, bytes and half precision as they are, all others as float32: eight bytes of header length, a JSON header, the data."""
    kept = {"uint8": ("U8", "u1"), "float16": ("F16", "<f2")}
    header, arrays, offset = {}, {}, 0
    if metadata:
        header["__metadata__"] = {k: str(v) for k, v in metadata.items()}
    for name, a in tensors.items():
        dtype, stored = kept.get(a.dtype.name, ("F32", "<f4"))
        arrays[name] = np.ascontiguousarray(a, dtype=stored)
        header[name] = {"dtype": dtype, "shape": list(a.shape), "data_offsets": [offset, offset + arrays[name].nbytes]}
        offset += arrays[name].nbytes
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for a in arrays.values():
            file.write(a.tobytes())


def read_safetensors(path):
    types = {"F32": "<f4", "F64": "<f8", "F16": "<f2", "I64": "<i8", "I32": "<i4", "U8": "u1"}
    with open(path, "rb") as file:
        size, = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(size))
        data = file.read()
    metadata = header.pop("__metadata__", {})
    tensors = {name: np.frombuffer(data[t["data_offsets"][0]:t["data_offsets"][1]], types[t["dtype"]]).reshape(t["shape"])
               for name, t in header.items()}
    return tensors, metadata


def main():
    replace = dataclasses.replace
    expected = [
        ("NCSN++, CIFAR-10", NCSNPP_CIFAR10, 56395523),
        ("NCSN++, CIFAR-10, twice the blocks", replace(NCSNPP_CIFAR10, blocks=8), 97610499),
        ("ADM, ImageNet-64", ADM_IMAGENET64, 282168003),
        ("ADM, ImageNet-64, scale and shift", replace(ADM_IMAGENET64, scale_shift=True), 295899267),
        ("ADM, ImageNet-64, twice the blocks", replace(ADM_IMAGENET64, blocks=6), 472767555),
        ("ADM, ImageNet-64, twice the blocks, scale and shift", replace(ADM_IMAGENET64, blocks=6, scale_shift=True), 495357699),
    ]
    for name, config, count in expected:
        found = parameter_count(UNet(config))
        print(f"{'✓' if found == count else '✗'} {name}: {found:,} parameters, expected {count:,}")
        if found != count:
            raise SystemExit(1)


if __name__ == "__main__":
    main()
