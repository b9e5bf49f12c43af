"""Checks convert_weights.py, in TAP (tests/cli/convert.sh runs it where PyTorch is installed):

    check_convert.py build/ict FOLDER [CHECKPOINT.safetensors]

Pickles are written here by a stand-in of the persistence protocol, with reference.py's networks inside; OpenAI's network is
stated once more below, from its paper and file format. Each is converted, run by `ict apply`, compared with PyTorch in float64,
and converted back, which must give every bit. With a checkpoint of a run, that goes the way of a state dict and back too.
"""
import contextlib
import io
import pathlib
import pickle
import subprocess
import sys
import types
from unittest import mock

import numpy as np
import torch
from torch.nn import functional as F

import convert_weights
from reference import Config, UNet, coefficients, randomise, read_safetensors, write_safetensors

SIGMAS = [0.002, 0.3, 80.0]
count = failed = 0


def check(name, good, why=""):
    global count, failed
    count, failed = count + 1, failed + (not good)
    print(f"{'ok' if good else 'not ok'} {count} - {name}" + (f"\n# {why}" if why and not good else ""), flush=True)


def convert(*words):
    """convert_weights.py as from the command line, in this process, for importing PyTorch takes longer than all else."""
    said = io.StringIO()
    with contextlib.redirect_stdout(said), mock.patch.object(sys, "argv", ["convert_weights.py", *map(str, words)]):
        try:
            convert_weights.main()
        except SystemExit as end:
            return (1, said.getvalue() + end.code) if isinstance(end.code, str) else (end.code or 0, said.getvalue())
        except Exception as error:
            return 1, said.getvalue() + repr(error)
    return 0, said.getvalue()


# ------------------------------------------------------------------------------------------------------------ pickles as EDM's

class Opaque:
    """Anything that this program has no use for: an augmentation pipe, a loss."""

    def __init__(self):
        self.p = 0.12


def reconstruct(meta):
    raise AssertionError("a converter must not call what a pickle names")


class Persistent:
    """A module as the protocol pickles it: a class name, the source of its class, and a module's state."""

    def __init__(self, class_name, parameters=None, buffers=None, modules=None, kwargs=None, **attributes):
        self.class_name = class_name
        self.state = dict(training=False, _parameters=parameters or {}, _buffers=buffers or {}, _modules=modules or {},
                          _init_args=(), _init_kwargs=EasyDict(kwargs or {}), skip_scale=np.sqrt(0.5), **attributes)

    def __reduce__(self):
        meta = dict(type="class", version=6, module_src="raise SystemExit('code of a pickle was run')", class_name=self.class_name,
                    state=self.state)
        return persistence._reconstruct_persistent_obj, (meta,), None


class EasyDict(dict):
    pass


def stand_in(name, **members):
    module = types.ModuleType(name)
    for key, value in members.items():
        value.__module__, value.__qualname__, value.__name__ = name, key, key
        setattr(module, key, value)
    sys.modules[name] = module
    return module


stand_in("dnnlib")
stand_in("dnnlib.util", EasyDict=EasyDict)
stand_in("torch_utils")
persistence = stand_in("torch_utils.persistence", _reconstruct_persistent_obj=reconstruct)
stand_in("training")
stand_in("training.augment", AugmentPipe=Opaque)


def persistent_tree(module, class_name, kwargs=None):
    """A torch module with the same tensors under the same names; its ModuleDicts stay what they are in EDM's pickles."""
    children = {}
    for name, child in module.named_children():
        children[name] = persistent_tree(child, type(child).__name__)
        if isinstance(child, torch.nn.ModuleDict):
            whole = torch.nn.ModuleDict()
            whole._modules.update(children[name].state["_modules"])
            children[name] = whole
    return Persistent(class_name, dict(module._parameters), dict(module._buffers), children, kwargs)


def edm_network(config, class_name, **attributes):
    """A network as EDM and ECT keep it: preconditioning around SongUNet or DhariwalUNet."""
    net = randomise(UNet(config), torch.Generator().manual_seed(3))
    inside = dict(img_resolution=config.resolution, in_channels=config.image_channels, out_channels=config.image_channels,
                  label_dim=config.classes, model_channels=config.channels, channel_mult=list(config.channel_mult),
                  channel_mult_emb=config.embedding_mult, num_blocks=config.blocks, attn_resolutions=list(config.attention),
                  dropout=config.dropout, augment_dim=config.augment_dim)
    if config.architecture == "song":
        inside.update(embedding_type=config.embedding, channel_mult_noise=config.noise_mult, encoder_type=config.encoder,
                      decoder_type=config.decoder, resample_filter=list(config.filter))
    model = persistent_tree(net, "SongUNet" if config.architecture == "song" else "DhariwalUNet", inside)
    outer = Persistent(class_name, modules={"model": model}, kwargs={"model_type": model.class_name}, sigma_data=0.5,
                       img_resolution=config.resolution, label_dim=config.classes, **attributes)
    return net, outer


# ------------------------------------------------------------------------------------------------------------ OpenAI's network

def openai_state(generator, channels, mults, blocks, attention, resolution, classes, scale_shift, d):
    """Random weights under OpenAI's names, and the structure: what follows what."""
    state, skips, levels = {}, [], len(mults)

    def layer(name, out, *rest, bias=True):
        fan = max(1, int(np.prod(rest)))
        state[name + ".weight"] = torch.randn(out, *rest, generator=generator) / fan ** 0.5 if rest else \
            1 + 0.3 * torch.randn(out, generator=generator)
        if bias:
            state[name + ".bias"] = 0.3 * torch.randn(out, generator=generator)

    def block(name, c_in, c_out):
        layer(f"{name}.in_layers.0", c_in), layer(f"{name}.in_layers.2", c_out, c_in, 3, 3)
        layer(f"{name}.emb_layers.1", c_out * (2 if scale_shift else 1), 4 * channels)
        layer(f"{name}.out_layers.0", c_out), layer(f"{name}.out_layers.3", c_out, c_out, 3, 3)
        if c_in != c_out:
            layer(f"{name}.skip_connection", c_out, c_in, 1, 1)

    def attend(name, c):
        layer(f"{name}.norm", c), layer(f"{name}.qkv", 3 * c, c, 1, 1), layer(f"{name}.proj_out", c, c, 1, 1)

    layer("time_embed.0", 4 * channels, channels), layer("time_embed.2", 4 * channels, 4 * channels)
    layer("label_emb", classes, 4 * channels, bias=False)
    c = channels * mults[0]
    layer("input_blocks.0.0", c, 3, 3, 3)
    skips, number = [c], 0
    for level, mult in enumerate(mults):
        for _ in range(blocks):
            number += 1
            block(f"input_blocks.{number}.0", c, channels * mult)
            c = channels * mult
            if resolution >> level in attention:
                attend(f"input_blocks.{number}.1", c)
            skips.append(c)
        if level < levels - 1:
            number += 1
            block(f"input_blocks.{number}.0", c, c)
            skips.append(c)
    block("middle_block.0", c, c), attend("middle_block.1", c), block("middle_block.2", c, c)
    number = 0
    for level in reversed(range(levels)):
        for i in range(blocks + 1):
            block(f"output_blocks.{number}.0", c + skips.pop(), channels * mults[level])
            c, last = channels * mults[level], 0
            if resolution >> level in attention:
                attend(f"output_blocks.{number}.1", c)
                last = 1
            if level and i == blocks:
                block(f"output_blocks.{number}.{last + 1}", c, c)
            number += 1
    layer("out.0", c), layer("out.2", 3, c, 3, 3)
    return state


def openai_forward(state, x, time, labels, blocks, order, d):
    """The network from its names alone. A block with resampling is known by its place: the last of a level."""
    def conv(name, x, pad):
        return F.conv2d(x, state[name + ".weight"], state[name + ".bias"], padding=pad)

    def linear(name, x):
        return F.linear(x, state[name + ".weight"], state[name + ".bias"])

    def norm(name, x):
        return F.group_norm(x, 32, state[name + ".weight"], state[name + ".bias"], 1e-5)

    def resized(x, way):
        if way == "up":
            return F.interpolate(x, scale_factor=2, mode="nearest")
        return F.avg_pool2d(x, 2) if way == "down" else x

    def block(name, x, way=None):
        h = conv(f"{name}.in_layers.2", resized(F.silu(norm(f"{name}.in_layers.0", x)), way), 1)
        x = resized(x, way)
        e = linear(f"{name}.emb_layers.1", F.silu(emb))[:, :, None, None]
        if e.shape[1] == 2 * h.shape[1]:
            scale, shift = e.chunk(2, 1)
            h = norm(f"{name}.out_layers.0", h) * (1 + scale) + shift
        else:
            h = norm(f"{name}.out_layers.0", h + e)
        h = conv(f"{name}.out_layers.3", F.silu(h), 1)
        return h + (conv(f"{name}.skip_connection", x, 0) if f"{name}.skip_connection.weight" in state else x)

    def attend(name, x):
        n, c, height, width = x.shape
        qkv = conv(f"{name}.qkv", norm(f"{name}.norm", x), 0).flatten(2)
        if order == "flash":
            q, k, v = qkv.reshape(n, 3, c // d, d, -1).unbind(1)
        else:
            q, k, v = qkv.reshape(n, c // d, 3, d, -1).unbind(2)
        weight = torch.softmax(q.transpose(-1, -2) @ k / d ** 0.5, dim=-1)
        return x + conv(f"{name}.proj_out", (v @ weight.transpose(-1, -2)).reshape(n, c, height, width), 0)

    half = state["time_embed.0.weight"].shape[1] // 2
    angle = time[:, None] * torch.exp(-np.log(10000.0) * torch.arange(half, dtype=time.dtype) / half)
    emb = linear("time_embed.2", F.silu(linear("time_embed.0", torch.cat([angle.cos(), angle.sin()], 1))))
    emb = emb + state["label_emb.weight"][labels]
    h, skips, number = conv("input_blocks.0.0", x, 1), [], 0
    skips.append(h)
    while f"input_blocks.{number + 1}.0.in_layers.0.weight" in state:
        number += 1
        name = f"input_blocks.{number}"
        h = block(f"{name}.0", h, "down" if number % (blocks + 1) == 0 else None)
        h = attend(f"{name}.1", h) if f"{name}.1.qkv.weight" in state else h
        skips.append(h)
    h = block("middle_block.2", attend("middle_block.1", block("middle_block.0", h)))
    for number in range(len(skips)):
        name = f"output_blocks.{number}"
        h = block(f"{name}.0", torch.cat([h, skips.pop()], 1))
        for place in (1, 2):
            if f"{name}.{place}.qkv.weight" in state:
                h = attend(f"{name}.{place}", h)
            if f"{name}.{place}.in_layers.0.weight" in state:
                h = block(f"{name}.{place}", h, "up")
    return conv("out.2", F.silu(norm("out.0", h)), 1)


# ------------------------------------------------------------------------------------------------------------ checks

class Bench:
    def __init__(self, ict, folder):
        self.ict, self.folder = ict, folder

    def apply(self, name, x, labels, *words):
        arrays = {"x": x.numpy(), "sigma": np.array(SIGMAS, dtype=np.float32)}
        if labels is not None:
            arrays["labels"] = labels.numpy()
        np.savez(self.folder / "in.npz", **arrays)
        where = self.folder / name
        result = subprocess.run([self.ict, "apply", where / "config.yaml", "--weights", where / "model.safetensors", "--input",
                                 self.folder / "in.npz", "--output", self.folder / "out.npz", "--threads", "2", *words],
                                capture_output=True, text=True)
        if result.returncode:
            return None, result.stderr
        with np.load(self.folder / "out.npz") as arrays:
            return arrays[arrays.files[0]], result.stderr

    def near(self, what, found, expected, said=""):
        good = found is not None
        off = np.abs(found - expected).max() / np.sqrt(np.mean(expected ** 2)) if good else np.inf
        check(f"{what}, within 2e-5 of its root mean square", good and off <= 2e-5, f"off by {off:.2g}; {said}")

    def edm(self, name, config, class_name, shifted, suffix=".pkl", **attributes):
        """One network there and back. `shifted`: sigma_min of c_skip and c_out; None: it has no f."""
        net, outer = edm_network(config, class_name, **attributes)
        content = {"ema": outer, "augment_pipe": Opaque(), "dataset_kwargs": EasyDict(path="x.zip")}
        path = self.folder / f"{name}{suffix}"
        if suffix == ".pkl":
            path.write_bytes(pickle.dumps(content))
        else:
            torch.save({"net": outer, "optimizer_state": {"state": {}}}, path)
        status, said = convert(path, self.folder / name)
        check(f"{name}: is converted", status == 0, said)
        net, x = net.double(), torch.randn(3, config.image_channels, config.resolution, config.resolution, generator=torch.Generator().manual_seed(4))
        sigma = torch.tensor(SIGMAS).double()
        labels = torch.arange(3) % config.classes if config.classes else None
        hot = F.one_hot(labels, config.classes).double() if config.classes else None
        with torch.no_grad():
            bare = net(x.double(), (0.25 * torch.log(sigma)).float().double(), hot).numpy()
        self.near(f"{name}: F", self.apply(name, x, labels, "--raw")[0], bare)
        self.function(name, net, x, sigma, labels, hot, shifted)
        self.back(name, net, path if suffix == ".pkl" else None)

    def function(self, name, net, x, sigma, labels, hot, shifted):
        found, said = self.apply(name, x, labels)
        if shifted is None:
            check(f"{name}: f is refused, and why is said", found is None and "noise input is not ln(sigma)/4" in said, said)
            return
        wide = (-1, 1, 1, 1)
        c_in, _, _, c_noise = coefficients(sigma)
        s = sigma - shifted
        c_skip, c_out = 0.25 / (s ** 2 + 0.25), 0.5 * s / torch.sqrt(sigma ** 2 + 0.25)
        with torch.no_grad():
            out = net((c_in.view(wide) * x).float().double(), c_noise.float().double(), hot)
        self.near(f"{name}: f", found, (c_skip.view(wide) * x + c_out.view(wide) * out).numpy(), said)
        _, said = self.apply(name, x, labels, f"ct.sigma_shift={'true' if shifted == 0 else 'false'}")
        check(f"{name}: the other f is warned about", "c_skip and c_out see" in said, said)

    def back(self, name, net, template):
        status, said = convert(self.folder / name / "model.safetensors", self.folder / f"{name}.back.pt")
        state = torch.load(self.folder / f"{name}.back.pt") if status == 0 else {}
        expected = net.float().state_dict()
        check(f"{name}: back as a state dict, every bit and every buffer",
              set(state) == set(expected) and all(torch.equal(state[key], expected[key]) for key in state),
              said + str(set(state) ^ set(expected)))
        if not template:
            return
        other = {key: value + 1 for key, value in read_safetensors(self.folder / name / "model.safetensors")[0].items()}
        convert_back(self, name, template, other)


def convert_back(bench, name, template, other):
    """Other numbers into the pickle, and out of it again; all else stays as it was. Then the first ones give the first file."""
    write_safetensors(bench.folder / "other.safetensors", other)
    changed, again = bench.folder / "changed.pkl", bench.folder / "again.pkl"
    status, said = convert(bench.folder / "other.safetensors", changed, "--template", template)
    status = status or convert(changed, bench.folder / "changed")[0]
    found = read_safetensors(bench.folder / "changed" / "model.safetensors")[0] if status == 0 else {}
    check(f"{name}: other weights go into a template and come out of it",
          set(found) == set(other) and all(np.array_equal(found[key], other[key]) for key in found), said)
    status, said = convert(bench.folder / name / "model.safetensors", again, "--template", changed)
    check(f"{name}: the first ones make the first pickle again, byte for byte",
          status == 0 and again.read_bytes() == template.read_bytes(), said)


def check_openai(bench, name, scale_shift, order):
    generator, d = torch.Generator().manual_seed(5), 64
    state = openai_state(generator, 128, (1, 2), 1, (4,), 8, 7, scale_shift, d)
    torch.save(state, bench.folder / f"{name}.pt")
    status, said = convert(bench.folder / f"{name}.pt", bench.folder / name, "--resolution", "8", "--qkv", order)
    check(f"{name}: is converted", status == 0, said)
    x, labels, sigma = torch.randn(3, 3, 8, 8, generator=generator), torch.tensor([0, 6, 3]), torch.tensor(SIGMAS).double()
    with torch.no_grad():
        expected = openai_forward({key: value.double() for key, value in state.items()}, x.double(),
                                  1000 * (0.25 * torch.log(sigma)).float().double(), labels, 1, order, d)
    bench.near(f"{name}: F", *reversed([expected.numpy(), bench.apply(name, x, labels, "--raw")[0]]))


def check_refusals(bench):
    _, outer = edm_network(Config(resolution=8, channels=8, channel_mult=(1,), blocks=1, attention=()), "iDDPMPrecond")
    (bench.folder / "odd.pkl").write_bytes(pickle.dumps({"ema": outer}))
    status, said = convert(bench.folder / "odd.pkl", bench.folder / "odd")
    check("another preconditioning is refused by name", status != 0 and "the network is a iDDPMPrecond" in said, said)
    status, said = convert(bench.folder / "odd.pkl", bench.folder / "odd", "--set", "net")
    check("a set that is not there is refused", status != 0 and "no network under 'net'" in said, said)
    evil = b"cposix\nsystem\n(S'touch " + str(bench.folder / "evil").encode() + b"'\ntR."
    (bench.folder / "evil.pkl").write_bytes(evil)
    status, said = convert(bench.folder / "evil.pkl", bench.folder / "odd")
    check("nothing in a pickle is executed", status != 0 and not (bench.folder / "evil").exists(), said)
    torch.save({"time_embed.0.weight": torch.zeros(4, 4)}, bench.folder / "flat.pt")
    status, said = convert(bench.folder / "flat.pt", bench.folder / "odd")
    check("OpenAI's files do not say how large their images are", status != 0 and "--resolution" in said, said)


def check_checkpoint(bench, path):
    """A run's checkpoint: to a state dict and nothing lost."""
    status, said = convert(path, bench.folder / "run.pt", "--set", "ema:0.05")
    state = torch.load(bench.folder / "run.pt") if status == 0 else {}
    expected = {key[len("ema:0.05."):]: value for key, value in read_safetensors(path)[0].items() if key.startswith("ema:0.05.")}
    check("a checkpoint's average becomes a state dict, every bit",
          len(expected) > 0 and set(state) == set(expected) and all(np.array_equal(state[key].numpy(), expected[key]) for key in state), said)


def main():
    bench = Bench(pathlib.Path(sys.argv[1]).resolve(), pathlib.Path(sys.argv[2]).resolve())
    torch.set_num_threads(2)
    small = dict(resolution=8, channels=8, channel_mult=(1, 2), blocks=1, attention=(4,), embedding_mult=2)
    ddpmpp = Config(**small, embedding="positional", noise_mult=1, encoder="standard", filter=(1, 1), augment_dim=9)
    ncsnpp = Config(**small, classes=3)
    skip = Config(**{**small, "channel_mult": (1, 1, 1)}, encoder="skip", decoder="skip")
    adm = Config(**{**small, "channels": 64}, architecture="adm", head_channels=64, embedding="positional", noise_mult=1,
                 encoder="standard", filter=(1, 1), scale_shift=True, classes=3)
    bench.edm("edm-ddpmpp", ddpmpp, "EDMPrecond", 0, sigma_min=0, sigma_max=float("inf"))
    bench.edm("edm-skip", skip, "EDMPrecond", 0, sigma_min=0)
    bench.edm("edm-adm", adm, "EDMPrecond", 0, sigma_min=0)
    bench.edm("ect-ncsnpp", ncsnpp, "ECMPrecond", 0.003, sigma_min=0.003)
    bench.edm("ect-state", ncsnpp, "ECMPrecond", 0.003, suffix=".pt", sigma_min=0.003)
    bench.edm("edm-vp", ddpmpp, "VPPrecond", None, sigma_min=0.002)
    check_openai(bench, "openai-flash", True, "flash")
    check_openai(bench, "openai-legacy", False, "legacy")
    check_refusals(bench)
    if len(sys.argv) > 3:
        check_checkpoint(bench, pathlib.Path(sys.argv[3]))
    print(f"1..{count}")
    sys.exit(failed > 0)


if __name__ == "__main__":
    main()
