"""Names in pickles of arrays, and the functions of this project that replace them.

A name in a pickle is a pair of strings and is never imported. The functions below make
types, arrays, numbers, bytes and dictionaries from numbers, strings and bytes only.
"""

import re
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

MAX_DIMENSIONS = 8
MAX_SIDE = 2**40
_TYPE_CODE = re.compile(r"b1|[iu][1248]|f[248]")


class RefusedError(Exception):
    """Content that a pickle of arrays does not have."""


class Name(NamedTuple):
    """A name in the file. It is never imported."""

    module: str
    name: str

    def __str__(self) -> str:
        return f"{self.module}.{self.name}"


class Unfinished:
    """A type or an array whose content follows in a BUILD opcode."""

    def __init__(self, build: Callable[[Any], Any]):
        self.build = build
        self.value: Any = None


def _type_of(code: str, *_: object) -> Unfinished:
    """Replace numpy.dtype(code): a plain type; its byte order follows."""
    if not (isinstance(code, str) and _TYPE_CODE.fullmatch(code)):
        raise RefusedError("an array of something other than numbers")

    def build(state: tuple) -> np.dtype:
        order, fields = state[1], state[2:5]
        if order not in ("<", ">", "|", "=") or fields != (None, None, None):
            raise RefusedError("an array of something other than numbers")
        return np.dtype(code).newbyteorder(order)

    return Unfinished(build)


def _array_of(data: Any, dtype: Any, shape: Any, order: str) -> np.ndarray:
    """Return the bytes as an array, after a check of their number."""
    if not (isinstance(data, bytes | bytearray) and isinstance(dtype, np.dtype)):
        raise RefusedError("an array that is not bytes of a plain type")
    sides = isinstance(shape, tuple) and len(shape) <= MAX_DIMENSIONS
    if not (sides and all(type(n) is int and 0 <= n <= MAX_SIDE for n in shape)):
        raise RefusedError("an array of impossible shape")
    size = dtype.itemsize
    for side in shape:
        size *= side
    if size != len(data):
        raise RefusedError(
            f"an array of {size} bytes by its shape and {len(data)} bytes of data"
        )
    return np.ndarray(shape, dtype, data, order="F" if order == "F" else "C")


def _array(cls: Any, shape: Any, code: Any) -> Unfinished:
    """Replace numpy's _reconstruct(ndarray, (0,), b"b"): the content follows."""
    if not isinstance(cls, Name) or cls != Name("numpy", "ndarray"):
        raise RefusedError("an array of another class")

    def build(state: tuple) -> np.ndarray:
        _, shape, dtype, fortran, data = state
        return _array_of(data, dtype, shape, "F" if fortran is True else "C")

    return Unfinished(build)


def _number(dtype: Any, data: Any) -> Any:
    """Replace numpy's scalar(dtype, bytes)."""
    return _array_of(data, dtype, (), "C").item()


def as_bytes(text: Any = "", encoding: Any = "latin1") -> bytes:
    """Replace the call of protocol 2 for bytes, which are stored as Latin-1 text."""
    if not isinstance(text, str) or encoding != "latin1":
        raise RefusedError("an encoding other than that of bytes")
    return text.encode("latin1")


def _dictionary(factory: Any = None, *more: Any) -> dict:
    """Replace a dictionary with a default or an order; both are left out."""
    # Only a name is hashed or printed: for tuples that hold each other either would
    # never end, or overflow the stack.
    if more or not (factory is None or isinstance(factory, Name)):
        raise RefusedError("a dictionary made with a value")
    if factory is not None and factory not in FACTORIES:
        raise RefusedError(f"a dictionary made with {factory}")
    return {}


_NUMPY = ("numpy.core", "numpy._core")
CALLS: dict[Name, Callable | None] = {
    Name("numpy", "dtype"): _type_of,
    Name("numpy", "ndarray"): None,
    **{Name(f"{core}.multiarray", "_reconstruct"): _array for core in _NUMPY},
    **{Name(f"{core}.multiarray", "scalar"): _number for core in _NUMPY},
    **{Name(f"{core}.numeric", "_frombuffer"): _array_of for core in _NUMPY},
    Name("_codecs", "encode"): as_bytes,
    Name("__builtin__", "bytes"): as_bytes,
    Name("collections", "OrderedDict"): _dictionary,
    Name("collections", "defaultdict"): _dictionary,
}
# Factories of default values, in builtins and in the published code of RecFlow. They
# are never called: a dictionary read from a file has no defaults.
_MADE = ("str", "tuple")
FACTORIES = {
    *(
        Name(module, name)
        for module in ("builtins", "__builtin__")
        for name in ("dict", "float", "int", "list", "str", "tuple")
    ),
    *(Name(m, f"defaultdict_{n}") for m in ("utils", "__main__") for n in _MADE),
}
