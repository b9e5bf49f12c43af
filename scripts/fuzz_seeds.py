#!/usr/bin/env python3
"""Writes the seeds of the fuzz targets (tests/fuzz/seeds/<target>/) that are made, not found: small sound files of
every form that a reader knows. Files that a fuzzer found, there too, are left alone. Needs numpy, Pillow and the
program (build/ict).

    scripts/fuzz_seeds.py
"""
import gzip
import io
import json
import pathlib
import re
import sqlite3
import struct
import subprocess
import tarfile
import tempfile
import zipfile
import zlib

import numpy as np
from PIL import Image

ROOT = pathlib.Path(__file__).resolve().parent.parent
SEEDS = ROOT / "tests/fuzz/seeds"
rng = np.random.default_rng(0)


def seed(target, name, content):
    path = SEEDS / target / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)


def picture(width=4, height=4, mode="RGB", form="PNG", **options):
    shape = (height, width) if mode in ("L", "P", "1") else (height, width, 4 if mode == "RGBA" else 3)
    pixels = rng.integers(0, 2 if mode == "1" else 250, shape, np.uint8)
    image = Image.fromarray(pixels * 255 if mode == "1" else pixels)
    if mode in ("1", "P", "CMYK"):
        image = image.convert("RGB").convert(mode)
    out = io.BytesIO()
    image.save(out, form, **options)
    return out.getvalue()


def chunk(kind, content):
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(width, height, depth, colour, interlace=0, extra=b"", rows=None):
    head = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlace)
    samples = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colour]
    rows = bytes(height * (1 + (width * depth * samples + 7) // 8)) if rows is None else rows
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + extra + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b""))


def images():
    for mode in ("RGB", "L", "P", "1", "RGBA"):
        seed("image", f"png-{mode.lower()}", picture(mode=mode))
    seed("image", "png-16-bit", png(2, 2, 16, 2))
    seed("image", "png-interlaced", png(8, 8, 1, 0, interlace=1, rows=bytes(64)))
    seed("image", "png-transparent-colour", png(2, 2, 8, 2, extra=chunk(b"tRNS", bytes(6))))
    seed("image", "png-claims-gigabytes", png(16384, 16384, 8, 2, rows=b""))
    seed("image", "png-cut", picture()[:-20])
    for name, options in {"rgb": {}, "progressive": {"progressive": True}, "420": {"subsampling": 2}}.items():
        seed("image", f"jpeg-{name}", picture(16, 16, form="JPEG", quality=50, **options))
    seed("image", "jpeg-grey", picture(8, 8, "L", "JPEG"))
    seed("image", "jpeg-cmyk", picture(8, 8, "CMYK", "JPEG"))
    jpeg = bytearray(picture(8, 8, form="JPEG"))
    at = jpeg.index(b"\xff\xc0")
    jpeg[at + 5:at + 9] = struct.pack(">HH", 16000, 16000)
    seed("image", "jpeg-claims-gigabytes", bytes(jpeg))


def zipped(members, method=zipfile.ZIP_STORED):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        for name, content in members:
            archive.writestr(zipfile.ZipInfo(name), content, method)
    return out.getvalue()


def zips():
    pictures = [(f"0000{i}/img{i}.png", picture(2, 2)) for i in range(3)]
    labels = json.dumps({"labels": [[name, i] for i, (name, _) in enumerate(pictures)]})
    seed("zip", "labelled", zipped([*pictures, ("dataset.json", labels)]))
    seed("zip", "deflated", zipped([*pictures, ("dataset.json", labels)], zipfile.ZIP_DEFLATED))
    seed("zip", "unlabelled", zipped(pictures))
    seed("zip", "jpeg", zipped([("a.jpg", picture(8, 8, form="JPEG")), ("dataset.json", '{"labels": null}')]))
    seed("zip", "label-missing", zipped([*pictures, ("dataset.json", '{"labels": [["a.png", 1]]}')]))
    seed("zip", "label-not-whole", zipped([*pictures, ("dataset.json", '{"labels": [["00000/img0.png", 1.5]]}')]))
    seed("zip", "labels-twice", zipped([*pictures, ("dataset.json", labels), ("dataset.json", labels)]))
    seed("zip", "sizes-differ", zipped([("a.png", picture(2, 2)), ("b.png", picture(3, 2))]))
    seed("zip", "empty", zipped([]))
    claims = bytearray(zipped([("a.png", pictures[0][1])], zipfile.ZIP_DEFLATED))
    at = claims.index(b"PK\1\2")
    claims[at + 24:at + 28] = claims[22:26] = struct.pack("<I", 500 << 20)
    seed("zip", "claims-500-megabytes", bytes(claims))


def npy(array):
    out = io.BytesIO()
    np.save(out, array)
    return out.getvalue()


def npy_text(header):
    header = header.ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header.encode()


def arrays():
    for kind in ("u1", "<i4", "<i8", "<f4", "<f8", ">f4", "<c8"):
        seed("npy", "type-" + kind.strip("<").replace(">", "big-"), npy(np.arange(6).astype(kind).reshape(2, 3)))
    seed("npy", "scalar", npy(np.float32(3)))
    seed("npy", "empty", npy(np.zeros((0, 3), np.float32)))
    seed("npy", "fortran", npy(np.asfortranarray(rng.random((2, 3)))))
    seed("npy", "version-2", b"\x93NUMPY\x02\x00" + struct.pack("<I", 118) + npy(np.zeros(2))[10:])
    seed("npy", "pickled", npy(np.array([None], object)))
    claim = "{'descr': '|u1', 'fortran_order': False, 'shape': (%s), }"
    seed("npy", "claims-a-million-million", npy_text(claim % "1000000000000,"))
    seed("npy", "claims-past-64-bits", npy_text(claim % "4294967296, 4294967296, 4294967296"))
    seed("npy", "nothing-times-much", npy_text(claim % "0, 4611686018427387904, 4611686018427387904"))
    members = {"a": np.arange(3, dtype=np.float32), "b/c": np.zeros((2, 2), np.uint8)}
    for name, save in {"stored": np.savez, "deflated": np.savez_compressed}.items():
        out = io.BytesIO()
        save(out, **members)
        seed("npz", name, out.getvalue())
    seed("npz", "other-member", zipped([("a.txt", b"text")]))
    seed("npz", "damaged-member", zipped([("a.npy", npy(np.zeros(3))[:100])]))


def imagenet():
    whole = {"data": rng.integers(0, 250, (3, 12), np.uint8), "labels": np.array([1, 1000, 7]), "mean": np.zeros(12)}
    files = {}
    for name, change, save in [("stored", {}, np.savez), ("deflated", {}, np.savez_compressed),
                               ("label-zero", {"labels": np.array([1, 0, 7])}, np.savez),
                               ("labels-short", {"labels": np.array([1])}, np.savez),
                               ("not-square", {"data": np.zeros((3, 15), np.uint8)}, np.savez),
                               ("floats", {"data": np.zeros((3, 12))}, np.savez)]:
        out = io.BytesIO()
        save(out, **{**whole, **change})
        seed("imagenet", name, files.setdefault(name, out.getvalue()))
    inner = [("train_data_batch_10.npz", files["deflated"]), ("train_data_batch_9.npz", files["stored"])]
    seed("imagenet", "zip-of-two", zipped(inner))
    seed("imagenet", "zip-of-two-deflated", zipped(inner, zipfile.ZIP_DEFLATED))
    seed("imagenet", "pickles", zipped([("train_data_batch_1", b"\x80\x03")]))
    claim = npy_text("{'descr': '|u1', 'fortran_order': False, 'shape': (1000000000000, 12288), }")
    seed("imagenet", "claims-petabytes", zipped([("data.npy", claim), ("labels.npy", npy(np.array([1])))]))


def safetensors(tensors, metadata=None, data=None):
    header, place = ({"__metadata__": metadata} if metadata else {}), 0
    for name, array in tensors.items():
        kind = {"f4": "F32", "f2": "F16", "f8": "F64", "i8": "I64"}[array.dtype.str[1:]]
        header[name] = {"dtype": kind, "shape": list(array.shape), "data_offsets": [place, place + array.nbytes]}
        place += array.nbytes
    text = json.dumps(header, separators=(",", ":")).encode()
    content = b"".join(array.tobytes() for array in tensors.values()) if data is None else data
    return struct.pack("<Q", len(text)) + text + content


def weights():
    w, b = rng.random((2, 3)).astype(np.float32), rng.random(3).astype(np.float32)
    seed("safetensors", "weights", safetensors({"w": w, "b": b}))
    seed("safetensors", "prefix", safetensors({"model.w": w, "model.b": b}, {"format": "pt"}))
    seed("safetensors", "half", safetensors({"w": w.astype(np.float16), "b": b.astype(np.float64)}))
    seed("safetensors", "whole-numbers", safetensors({"w": w.astype(np.int64), "b": np.zeros((0,), np.float32)}))
    seed("safetensors", "checksum", safetensors({"w": w}, {"checksum": "0" * 16}))
    seed("safetensors", "cut", safetensors({"w": w}, data=b"abc"))
    seed("safetensors", "empty", safetensors({}))
    huge = b'{"w":{"dtype":"F32","shape":[1000000000000],"data_offsets":[0,4000000000000]}}'
    seed("safetensors", "claims-terabytes", struct.pack("<Q", len(huge)) + huge)
    seed("safetensors", "header-past-the-end", struct.pack("<Q", 1 << 62) + b"{}")
    page = b'{"w":1,'
    seed("safetensors", "header-breaks-off-at-a-page", struct.pack("<Q", 4088) + b" " * (4088 - len(page)) + page)
    meter = 33  # METER_NUMBERS of core/train/meter.h
    two = np.ones(2, np.float32)
    facts = {"checksum": "0" * 16, "format": "ict-checkpoint-1", "step": "3", "images": "12", "N": "10", "seed": "7",
             "batch": "4", "config": "", "data": "", "meter": " ".join(["0x1p+0"] * meter)}
    state = {"model.w": two, "optim.momentum.w": two, "optim.variance.w": two}
    seed("checkpoint", "whole", checked(safetensors(state, facts)))
    seed("checkpoint", "other-seed", checked(safetensors(state, {**facts, "seed": "8"})))
    seed("checkpoint", "meter-cut", checked(safetensors(state, {**facts, "meter": "0x1p+0 nan"})))
    seed("checkpoint", "array-missing", checked(safetensors({"model.w": two}, facts)))
    seed("checkpoint", "wrong-checksum", safetensors(state, facts))


def fnv(*parts):
    """The checksum of core/base/safetensors.c: FNV-1a over words of eight bytes, the last one padded with zeros."""
    value = 0xCBF29CE484222325
    for part in parts:
        words = len(part) // 8 * 8
        for at in range(0, words, 8):
            value = (value ^ int.from_bytes(part[at:at + 8], "little")) * 0x100000001B3 % 2**64
        value = (value ^ int.from_bytes(part[words:], "little")) * 0x100000001B3 % 2**64
    return value


def checked(content):
    size = struct.unpack("<Q", content[:8])[0]
    header, data = json.loads(content[8:8 + size]), content[8 + size:]
    total = sum(fnv(k.encode(), v.encode()) for k, v in header["__metadata__"].items() if k != "checksum")
    for name, tensor in header.items():
        if name != "__metadata__":
            begin, end = tensor["data_offsets"]
            shape = struct.pack(f"<{len(tensor['shape'])}q", *tensor["shape"])
            total += fnv(name.encode(), tensor["dtype"].encode(), shape, data[begin:end])
    return content.replace(b'"checksum":"' + b"0" * 16, b'"checksum":"%016x' % (total % 2**64))


def cifar():
    record = bytes([3]) + rng.integers(0, 8, 3072, np.uint8).tobytes()
    seed("cifar", "bare", record)
    seed("cifar", "bare-bad-label", bytes([10]) + record[1:])
    seed("cifar", "bare-cut", record[:-1])

    def archive(members, size=None):
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as tar:
            for name, content in members:
                info = tarfile.TarInfo("cifar-10-batches-bin/" + name)
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
        return out.getvalue()[:size]

    whole = archive([("batches.meta.txt", b"x"), ("data_batch_2.bin", record), ("data_batch_1.bin", record)], 11264)
    seed("cifar", "tar", whole)
    seed("cifar", "tar.gz", gzip.compress(whole, 9, mtime=0))
    seed("cifar", "tar-cut", whole[:3000])
    digits = bytearray(whole[:512])
    digits[148:512] = b"7" * 364
    digits[257:262] = b"ustar"
    seed("cifar", "tar-digits-to-the-end", bytes(digits))


def texts():
    for path in ("experiments/quickstart.yaml", "experiments/cifar10_deep.yaml", "ablations/ema.yaml"):
        seed("yaml", pathlib.Path(path).stem, (ROOT / path).read_bytes())
    seed("yaml", "resolved", "seed: 3\nprecision: fp16\ndata.name: cifar10\nmodel.channels: 128\nmodel.multipliers: [2, 2, 2]\n"
         "ct.s0: 10\nct.distance: huber\ntrain.ema: [0.05, 0.1]\ntrain.learning_rate: 1e-4\ndata.flip: true\n")
    seed("yaml", "arms", "name: x\nset: { train.batch: 8 }\narms:\n  a b: { ct.s0: 2 }\n  c:\ngrid: { seed: [0, 1], "
         "ct.p_std: [1, 2.5] }\nscales: { smoke: { train.steps: 3 } }\n")
    seed("yaml", "refused", "a: &x 1\nb: *x\n? [k]\n: !!int 3\n<<: {a: 1}\na: 2\n---\nc: |\n  text\n")
    seed("yaml", "quotes", "notes: \"tab \\t \\u00e9 \\x00\"\nname: 'it''s'\nset:\n  data:\n    name: >-\n      folded\n      twice\n")
    seed("yaml", "deep", "[" * 40 + "]" * 40 + "\n")


def datasets():
    """The three files of fuzz_dataset.c; needs no random numbers, so that later seeds do not depend on it."""
    info = ("name: set\nsource: seeds\ncount: 2\nheight: 2\nwidth: 2\nchannels: 3\nclasses: 3\n"
            "class_names: [ant, bee, cat]\nhash: " + "0" * 64 + "\n")
    images, labels, between = npy(np.zeros((2, 2, 2, 3), np.uint8)), npy(np.array([0, 2], np.int32)), b"\n====\n"

    def files(name, *pieces):
        seed("dataset", name, between.join(pieces))

    files("whole", images, labels, info.encode())
    files("unlabelled", images, b"", info.replace("classes: 3", "classes: 0").encode())
    files("label-too-large", images, npy(np.array([0, 3], np.int32)), info.encode())
    files("other-shape", images[:-1], labels, info.encode())
    files("claims-gigabytes", images, labels, re.sub("(height|width): 2", r"\1: 65536", info).encode())
    files("negative", images, labels, info.replace("count: 2", "count: -2").encode())
    files("many-classes", images, labels, info.replace("classes: 3", "classes: 2147483647").encode())


def databases():
    """One run with a metric, an evaluation and an event, in the smallest pages; needs the program."""
    program = ROOT / "build/ict"
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "x.db"
        subprocess.run([program, "ls", "--db", path], cwd=ROOT, check=True, capture_output=True)
        base = sqlite3.connect(path, isolation_level=None)
        base.executescript("PRAGMA journal_mode = delete; PRAGMA page_size = 512; VACUUM")
        seed("database", "empty", path.read_bytes())

        def insert(table, **given):
            columns = [row[1:3] for row in base.execute(f"PRAGMA table_info({table})")]
            row = [given.get(name, 1 if kind in ("INTEGER", "REAL") else "x") for name, kind in columns]
            base.execute(f"INSERT INTO {table} VALUES ({', '.join('?' * len(row))})", row)

        insert("experiment", id=1)
        insert("run", id="0123456789", experiment_id=1, state="done", config="seed: 0\n")
        insert("plan", experiment_id=1, run_id="0123456789")
        for table in ("metric", "evaluation", "artifact", "event"):
            insert(table, run_id="0123456789")
        base.close()
        content = path.read_bytes()
        seed("database", "one-run", content)
        seed("database", "cut", content[:len(content) // 2])
        seed("database", "no-database", b"SQLite format 4\0" + content[16:200])


if __name__ == "__main__":
    images(), zips(), arrays(), weights(), cifar(), texts(), imagenet(), datasets(), databases()
    files = [path for path in SEEDS.rglob("*") if path.is_file()]
    print(f"{len(files)} seeds, {sum(path.stat().st_size for path in files)} bytes")
