"""Reads and rewrites the pickles of EDM and ECT (network-snapshot-*.pkl, training-state-*.pt) without any of their code.

Those pickles carry the source of their classes, which their own loader would execute. Here nothing in a file is executed:
classes are replaced by plain records of their state, and only what builds tensors and numbers is let through. The protocol, as
far as it matters: an object is the call torch_utils.persistence._reconstruct_persistent_obj(meta) with meta a dict of type,
version, module_src, class_name and state; the state of a network is that of any torch.nn.Module (_parameters, _buffers,
_modules) plus _init_args and _init_kwargs.

To write a pickle, one of the same network serves as a template: every tensor's bytes are replaced where they lie, and all else,
source included, stays as it is.
"""
import collections
import io
import pickle
import pickletools
import zipfile

import torch


class Record:
    """What stands in for an object of a class that is not ours to run: its constructor's arguments and its state."""

    def __init__(self, *args, **kwargs):
        self.args, self.class_name = args, type(self).__name__
        self.state, self.items = {}, []

    def __setstate__(self, state):
        self.state = state[0] if isinstance(state, tuple) else state

    def __setitem__(self, key, value):
        self.items.append((key, value))

    def append(self, value):
        self.items.append(value)

    def extend(self, values):
        self.items.extend(values)


def rebuild_persistent(meta):
    record = Record()
    record.class_name, record.state = meta["class_name"], meta["state"] or {}
    return record


class EasyDict(dict):
    def __setstate__(self, state):
        self.update(state)


SAFE = {
    "collections": {"OrderedDict"},
    "builtins": {"set", "frozenset", "slice", "range", "complex", "bytearray", "dict", "list", "tuple", "int", "float", "bool"},
    "copyreg": {"_reconstructor"},
    "_codecs": {"encode"},
    "numpy": {"dtype", "ndarray"},
    "torch": {"Size", "device", "float32", "float64", "float16", "bfloat16", "int64", "int32", "uint8", "bool"},
}
SAFE_PLACES = {  # functions that make tensors and arrays of bytes, wherever the version at hand keeps them
    ("torch._utils", "_rebuild_tensor_v2"), ("torch._utils", "_rebuild_tensor"), ("torch._utils", "_rebuild_parameter"),
    ("numpy.core.multiarray", "scalar"), ("numpy.core.multiarray", "_reconstruct"),
    ("numpy._core.multiarray", "scalar"), ("numpy._core.multiarray", "_reconstruct"),
}


class Unpickler(pickle.Unpickler):
    """`blobs`: pairs of the bytes of each storage and the storage, in the order of the file."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.blobs = []

    def load_storage(self, blob):
        storage = torch.load(io.BytesIO(blob), map_location="cpu", weights_only=True)
        self.blobs.append((blob, storage))
        return storage

    def find_class(self, module, name):
        if (module, name) == ("torch_utils.persistence", "_reconstruct_persistent_obj"):
            return rebuild_persistent
        if module.startswith("dnnlib") and name == "EasyDict":
            return EasyDict
        if (module, name) == ("torch.storage", "_load_from_bytes"):
            return self.load_storage
        storage = module in ("torch", "torch.storage", "torch.cuda") and name.endswith("Storage")
        if storage or name in SAFE.get(module, ()) or (module, name) in SAFE_PLACES:
            return super().find_class(module, name)
        return type(name, (Record,), {"__module__": module})


class ArchiveUnpickler(Unpickler):
    """torch.save's archive: a pickle that names its storages, and a file for each."""

    def __init__(self, archive, folder):
        super().__init__(io.BytesIO(archive.read(f"{folder}/data.pkl")))
        self.archive, self.folder, self.storages = archive, folder, {}

    def persistent_load(self, token):
        _, kind, key, _, _ = token
        if key not in self.storages:
            data = bytearray(self.archive.read(f"{self.folder}/data/{key}"))
            dtype = getattr(kind, "dtype", torch.uint8)
            self.storages[key] = torch.frombuffer(data, dtype=dtype) if data else torch.empty(0, dtype=dtype)
        values = self.storages[key]
        return values.storage() if TYPED else torch.storage.TypedStorage(wrap_storage=values.untyped_storage(), dtype=values.dtype,
                                                                         _internal=True)


TYPED = not hasattr(torch.Tensor, "untyped_storage")  # before PyTorch 2


def read(path):
    """The object in the file: dicts of tensors and Records."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            folder = next(name for name in archive.namelist() if name.endswith("/data.pkl"))[:-len("/data.pkl")]
            return ArchiveUnpickler(archive, folder).load()
    with open(path, "rb") as file:
        return Unpickler(file).load()


def tensors(module, prefix=""):
    """Parameters and buffers of a Record of a module, by name, as state_dict() has them."""
    found = collections.OrderedDict()
    for kind in ("_parameters", "_buffers"):
        for name, value in (module.state.get(kind) or {}).items():
            if value is not None:
                found[prefix + name] = value.detach()
    for name, child in (module.state.get("_modules") or {}).items():
        if child is not None:
            found.update(tensors(child, f"{prefix}{name}."))
    return found


def rewrite(template, choose, values, path):
    """Writes the template with new tensors: `choose` finds the module in the unpickled template, `values` are float32 arrays by
    name. Buffers that `values` lacks stay."""
    data = bytearray(template.read_bytes())
    reader = Unpickler(io.BytesIO(data))
    module = choose(reader.load())
    places = blob_places(data, [blob for blob, _ in reader.blobs])
    by_address = {address(storage): (place, blob, storage) for place, (blob, storage) in zip(places, reader.blobs)}
    old = tensors(module)
    unknown = [name for name in values if name not in old]
    missing = [name for name in old if name not in values and not name.endswith("resample_filter")]
    if unknown or missing:
        raise SystemExit(f"{template}: another network; it lacks {unknown[:6]}, and has {missing[:6]} besides")
    for name, value in values.items():
        tensor = old[name]
        if tuple(tensor.shape) != value.shape or tensor.dtype != torch.float32 or not tensor.is_contiguous():
            raise SystemExit(f"{template}: {name} is {tensor.dtype} {tuple(tensor.shape)}, not float32 {value.shape}")
        place, blob, storage = by_address[tensor.data_ptr() - 4 * tensor.storage_offset()]
        # torch's format of a single storage ends with its raw bytes.
        start = place + len(blob) - untyped(storage).nbytes() + 4 * tensor.storage_offset()
        data[start:start + value.nbytes] = value.astype("<f4").tobytes()
    path.write_bytes(data)


def untyped(storage):
    """The bytes of a storage: PyTorch 2 warns of asking its typed one."""
    return getattr(storage, "_untyped_storage", storage)


def address(storage):
    return untyped(storage).data_ptr()


def blob_places(data, blobs):
    """Where the byte strings lie in the pickle; they come in the same order."""
    places, wanted = [], iter(blobs)
    blob = next(wanted, None)
    for opcode, argument, position in pickletools.genops(bytes(data)):
        if blob is not None and opcode.name in ("BINBYTES", "BINBYTES8", "SHORT_BINBYTES") and argument == blob:
            header = {"SHORT_BINBYTES": 2, "BINBYTES": 5, "BINBYTES8": 9}[opcode.name]
            places.append(position + header)
            blob = next(wanted, None)
    if blob is not None:
        raise SystemExit("the template keeps its tensors in a way that this program does not know")
    return places
