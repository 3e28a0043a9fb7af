"""Public weight files of feature networks, read as data: checked by hash, never downloaded, never run.

A .pth file holds a pickle, which may run any code when it is loaded. Here it is a list of instructions, of which only
those are understood that describe dictionaries of tensors; a file with any other is refused.
"""

import hashlib
import io
import math
import pickletools
import struct
import zipfile
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from equipoise.core.errors import CheckpointError

MAX_BYTES = 4 << 30


def read_weights(path: Path, *, sha256: str | None = None) -> dict[str, Tensor]:
    """The tensors of a local file by name: what `torch.save(network.state_dict(), path)` wrote, or safetensors.

    `sha256`, the hash of the file in hexadecimal digits or its beginning, is compared before anything is read. Raises
    CheckpointError where the file is missing, is another one, or holds anything but tensors by name.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise CheckpointError(
            f"{path}: no weights can be read ({error.strerror or error}). Expected a local file; nothing is ever "
            "downloaded. Get the file yourself and pass its path."
        ) from error
    found = hashlib.sha256(content).hexdigest()
    if sha256 is not None and not found.startswith(sha256.lower()):
        raise CheckpointError(
            f"{path}: expected SHA-256 {sha256.lower()}, found {found}. This is another file, or a damaged one. "
            "Get the original again, or pass the hash of the file that you mean."
        )
    try:
        if content.startswith(b"PK"):
            return _zipped(content)
        if len(content) > 8 and content[8:9] == b"{":
            return safetensors.torch.load(content)
        return _streamed(content)
    except (_Refused, SafetensorError, zipfile.BadZipFile, *_MALFORMED) as error:
        raise CheckpointError(
            f"{path}: not a file of tensors by name ({type(error).__name__}: {error}). Expected what "
            "torch.save(network.state_dict(), path) writes, or safetensors. Whole pickled networks and TorchScript are "
            "not read."
        ) from error


def check_keys(what: str, weights: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> None:
    """Raise CheckpointError unless the weights have exactly the expected names and shapes."""
    missing, more = sorted(expected.keys() - weights.keys()), sorted(weights.keys() - expected.keys())
    reshaped = [
        f"{name} {list(weights[name].shape)} instead of {list(expected[name].shape)}"
        for name in sorted(expected.keys() & weights.keys())
        if weights[name].shape != expected[name].shape
    ]
    for problem, names in [("missing", missing), ("unexpected", more), ("of another shape", reshaped)]:
        if names:
            listing = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
            raise CheckpointError(
                f"These are not the weights of {what}: {len(names)} of its {len(expected)} tensors are {problem} "
                f"({listing}). Pass the file that was made for it."
            )


# ---------------------------------------------------------------- the two layouts of torch.save


@dataclass(frozen=True)
class _Storage:
    """Memory that several tensors may share: `length` numbers of one type."""

    key: str
    dtype: torch.dtype
    length: int


@dataclass(frozen=True)
class _Strided:
    """A tensor as the file describes it, before its storage has been read."""

    storage: _Storage
    offset: int
    size: tuple[int, ...]
    stride: tuple[int, ...]

    def tensor(self, content: Mapping[str, bytes]) -> Tensor:
        numbers = (self.offset, *self.size, *self.stride)
        if len(self.size) != len(self.stride) or not all(type(n) is int and n >= 0 for n in numbers):
            raise _Refused(f"a tensor of size {self.size}, stride {self.stride} and offset {self.offset}")
        if 0 in self.size:
            return torch.empty(self.size, dtype=self.storage.dtype)
        last = self.offset + sum((n - 1) * step for n, step in zip(self.size, self.stride))
        # Strides of 0 would make a large tensor of a small file.
        if last >= self.storage.length or math.prod(self.size) > self.storage.length:
            raise _Refused(f"a tensor of size {self.size} in a storage of {self.storage.length} numbers")
        data = content[self.storage.key]
        if len(data) != self.storage.length * self.storage.dtype.itemsize:
            raise _Refused(f"{len(data)} bytes in a storage of {self.storage.length} {self.storage.dtype}")
        flat = torch.frombuffer(bytearray(data), dtype=self.storage.dtype)
        return flat.as_strided(self.size, self.stride, self.offset).clone(memory_format=torch.contiguous_format)


def _zipped(content: bytes) -> dict[str, Tensor]:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        if sum(info.file_size for info in archive.infolist()) > MAX_BYTES:
            raise _Refused(f"more than {MAX_BYTES} bytes when unpacked")
        roots = [name.removesuffix("data.pkl") for name in archive.namelist() if name.endswith("/data.pkl")]
        if len(roots) != 1:
            raise _Refused("no single data.pkl in the archive")
        described = _tensors(_described(io.BytesIO(archive.read(f"{roots[0]}data.pkl"))))
        keys = {strided.storage.key for strided in described.values()}
        data = {key: archive.read(f"{roots[0]}data/{key}") for key in keys}
    return {name: strided.tensor(data) for name, strided in described.items()}


MAGIC = 0x1950A86A20F9469CFC6C


def _streamed(content: bytes) -> dict[str, Tensor]:
    """The layout before torch 1.6: five pickles one after the other, then the storages."""
    stream = io.BytesIO(content)
    if _described(stream) != MAGIC or _described(stream) != 1001:
        raise _Refused("it does not begin as torch.save begins")
    _described(stream)  # the sizes of the machine's integers
    described = _tensors(_described(stream))
    keys = _described(stream)
    widths = {strided.storage.key: strided.storage.dtype.itemsize for strided in described.values()}
    data = {}
    for key in keys:
        (length,) = struct.unpack("<q", stream.read(8))
        if key not in widths or length < 0:
            raise _Refused(f"a storage {key!r} of {length} numbers that no tensor uses")
        data[key] = stream.read(length * widths[key])
    return {name: strided.tensor(data) for name, strided in described.items()}


def _tensors(described: Any) -> dict[str, _Strided]:
    if type(described) is not dict or not all(
        type(name) is str and type(value) is _Strided for name, value in described.items()
    ):
        raise _Refused("it holds something other than a dictionary of tensors")
    return described


# ---------------------------------------------------------------- the instructions that are understood


class _Refused(Exception):
    """The file asks for something that a dictionary of tensors does not need."""


_MALFORMED = (
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    RuntimeError,
    OverflowError,
    EOFError,
    struct.error,
    zlib.error,
)

_MARK = object()
_ORDERED_DICT, _TENSOR, _PARAMETER = "collections OrderedDict", "torch._utils _rebuild_tensor_v2", "_rebuild_parameter"
_DTYPES = {
    "DoubleStorage": torch.float64,
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_LITERALS = {
    *("BININT", "BININT1", "BININT2", "LONG1"),
    *("BINUNICODE", "BINSTRING", "SHORT_BINSTRING"),
}


def _described(stream: BinaryIO) -> Any:
    """What the next pickle of a stream describes, made of plain containers, numbers, names and `_Strided`."""
    stack: list[Any] = []
    memory: dict[int, Any] = {}
    argument: Any
    for opcode, argument, _ in pickletools.genops(stream):
        match opcode.name:
            case "PROTO":
                pass
            case name if name in _LITERALS:
                stack.append(argument)
            case name if name in _CONSTANTS:
                stack.append(_CONSTANTS[name])
            case "MARK":
                stack.append(_MARK)
            case "EMPTY_DICT":
                stack.append({})
            case "EMPTY_LIST":
                stack.append([])
            case "EMPTY_TUPLE":
                stack.append(())
            case "TUPLE":
                stack.append(tuple(_to_mark(stack)))
            case "TUPLE1" | "TUPLE2" | "TUPLE3" as name:
                stack.append(tuple(_last(stack, int(name[-1]))))
            case "APPEND":
                (value,) = _last(stack, 1)
                stack[-1].append(value)
            case "APPENDS":
                values = _to_mark(stack)
                stack[-1].extend(values)
            case "SETITEM":
                key, value = _last(stack, 2)
                stack[-1][key] = value
            case "SETITEMS":
                values = _to_mark(stack)
                stack[-1].update(zip(values[::2], values[1::2], strict=True))
            case "BINPUT" | "LONG_BINPUT":
                memory[argument] = stack[-1]
            case "BINGET" | "LONG_BINGET":
                stack.append(memory[argument])
            case "GLOBAL":
                stack.append(_name(argument))
            case "BINPERSID":
                (value,) = _last(stack, 1)
                stack.append(_storage(*value))
            case "REDUCE":
                function, arguments = _last(stack, 2)
                stack.append(_made(function, arguments))
            case "BUILD":
                _last(stack, 1)  # a state dict's notes on the versions of its layers
            case "STOP":
                (value,) = stack
                return value
            case name:
                raise _Refused(f"the instruction {name}")
    raise _Refused("it has no end")


def _last(stack: list[Any], count: int) -> list[Any]:
    values = stack[-count:]
    del stack[-count:]
    if len(values) < count or any(value is _MARK for value in values):
        raise _Refused("instructions that do not fit each other")
    return values


def _to_mark(stack: list[Any]) -> list[Any]:
    values: list[Any] = []
    while (value := stack.pop()) is not _MARK:
        values.append(value)
    return values[::-1]


@dataclass(frozen=True)
class _Name:
    """A function or class that the file names. It is compared with the few that are known, and never looked up."""

    text: str


def _name(text: str) -> _Name:
    module, _, name = text.partition(" ")
    if text in (_ORDERED_DICT, _TENSOR, f"torch._utils {_PARAMETER}") or (module == "torch" and name in _DTYPES):
        return _Name(text)
    raise _Refused(f"it names {module}.{name}")


def _storage(kind: str, dtype: _Name, key: str, _location: str, length: int, *_: None) -> _Storage:
    known = type(dtype) is _Name and dtype.text.removeprefix("torch ") in _DTYPES
    if kind != "storage" or not known or type(key) is not str or type(length) is not int or length < 0:
        raise _Refused("a storage that is described in an unknown way")
    return _Storage(key, _DTYPES[dtype.text.removeprefix("torch ")], length)


def _made(function: Any, arguments: Iterable[Any]) -> Any:
    arguments = tuple(arguments)
    if function == _Name(_ORDERED_DICT) and len(arguments) <= 1:
        return {key: value for pairs in arguments for key, value in pairs}
    if function == _Name(_TENSOR) and type(arguments[0]) is _Storage:
        return _Strided(*arguments[:4])
    if function == _Name(f"torch._utils {_PARAMETER}") and type(arguments[0]) is _Strided:
        return arguments[0]
    raise _Refused("a call that makes no tensor")
