"""Arrays of numbers out of pickle files, of which nothing is executed.

A pickle is a program: its opcodes import functions by name and call them, so that
loading one runs whatever its author chose. The project reads none, with this one
exception: RecFlow is published as pickled dictionaries of numpy arrays. They are not
loaded but decoded, as any other format of data would be:

* ``pickletools`` cuts the file into opcodes and arguments. It executes nothing, and
  neither ``pickle`` nor an import by name is used anywhere in this module.
* A name in the file stays a pair of strings. ``_CALLS`` lists the few that the
  pickles of arrays, numbers and dictionaries hold; any other is refused. What they
  stand for is done by the functions below, which take numbers, strings and bytes.
* Opcodes that such a pickle has no use for (new objects, extension registry,
  persistent ids, buffers from outside) are refused, and so are arrays of objects.
* No length in the file is believed: an array is a view of bytes that are there, and
  the shape must fit them. So what is built is as large as the file, but for a factor.
"""

import mmap
import pickletools
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np

from twotower_jax.errors import InputError

MAX_DIMENSIONS = 8
MAX_SIDE = 2**40
_REMEDY = "nothing of it was run; get the file anew from its publisher"
_TYPE_CODE = re.compile(r"b1|[iu][1248]|f[248]")


class _RefusedError(Exception):
    """Something that no pickle of arrays holds."""


class _Name(NamedTuple):
    """A name as the file has it. It is never looked up."""

    module: str
    name: str

    def __str__(self) -> str:
        return f"{self.module}.{self.name}"


class _Unfinished:
    """A type or an array whose content follows in a BUILD opcode."""

    def __init__(self, build: Callable[[Any], Any]):
        self.build = build
        self.value: Any = None


def _type_of(code: str, *_: object) -> _Unfinished:
    """Stand for numpy.dtype(code): a plain type; its byte order follows."""
    if not (isinstance(code, str) and _TYPE_CODE.fullmatch(code)):
        raise _RefusedError("an array of something other than numbers")

    def build(state: tuple) -> np.dtype:
        order, fields = state[1], state[2:5]
        if order not in ("<", ">", "|", "=") or fields != (None, None, None):
            raise _RefusedError("an array of something other than numbers")
        return np.dtype(code).newbyteorder(order)

    return _Unfinished(build)


def _array_of(data: Any, dtype: Any, shape: Any, order: str) -> np.ndarray:
    """Return the bytes as an array, after a check that they are as many."""
    if not (isinstance(data, bytes | bytearray) and isinstance(dtype, np.dtype)):
        raise _RefusedError("an array that is no bytes of a plain type")
    sides = isinstance(shape, tuple) and len(shape) <= MAX_DIMENSIONS
    if not (sides and all(type(n) is int and 0 <= n <= MAX_SIDE for n in shape)):
        raise _RefusedError("an array of impossible shape")
    size = dtype.itemsize
    for side in shape:
        size *= side
    if size != len(data):
        raise _RefusedError(
            f"an array of {size} bytes by its shape, and {len(data)} are"
        )
    return np.ndarray(shape, dtype, data, order="F" if order == "F" else "C")


def _array(cls: Any, shape: Any, code: Any) -> _Unfinished:
    """Stand for numpy's _reconstruct(ndarray, (0,), b"b"): all of it follows."""
    if not isinstance(cls, _Name) or cls != _Name("numpy", "ndarray"):
        raise _RefusedError("an array of another class")

    def build(state: tuple) -> np.ndarray:
        _, shape, dtype, fortran, data = state
        return _array_of(data, dtype, shape, "F" if fortran is True else "C")

    return _Unfinished(build)


def _number(dtype: Any, data: Any) -> Any:
    """Stand for numpy's scalar(dtype, bytes)."""
    return _array_of(data, dtype, (), "C").item()


def _bytes(text: Any = "", encoding: Any = "latin1") -> bytes:
    """Stand for how protocol 2 writes bytes: as text of the same numbers."""
    if not isinstance(text, str) or encoding != "latin1":
        raise _RefusedError("an encoding other than that of bytes")
    return text.encode("latin1")


def _dictionary(factory: Any = None, *more: Any) -> dict:
    """Stand for a dictionary with a default or an order; both are left out."""
    # Only a name is hashed or printed: either would never end, or overflow the stack,
    # for tuples that hold each other.
    if more or not (factory is None or isinstance(factory, _Name)):
        raise _RefusedError("a dictionary made with a value")
    if factory is not None and factory not in _FACTORIES:
        raise _RefusedError(f"a dictionary made with {factory}")
    return {}


_NUMPY = ("numpy.core", "numpy._core")
_CALLS: dict[_Name, Callable | None] = {
    _Name("numpy", "dtype"): _type_of,
    _Name("numpy", "ndarray"): None,
    **{_Name(f"{core}.multiarray", "_reconstruct"): _array for core in _NUMPY},
    **{_Name(f"{core}.multiarray", "scalar"): _number for core in _NUMPY},
    **{_Name(f"{core}.numeric", "_frombuffer"): _array_of for core in _NUMPY},
    _Name("_codecs", "encode"): _bytes,
    _Name("__builtin__", "bytes"): _bytes,
    _Name("collections", "OrderedDict"): _dictionary,
    _Name("collections", "defaultdict"): _dictionary,
}
# Makers of default values, of builtins and of the published code of RecFlow. They are
# never called: a dictionary that was read has no defaults.
_MADE = ("str", "tuple")
_FACTORIES = {
    *(
        _Name(module, name)
        for module in ("builtins", "__builtin__")
        for name in ("dict", "float", "int", "list", "str", "tuple")
    ),
    *(_Name(m, f"defaultdict_{n}") for m in ("utils", "__main__") for n in _MADE),
}
_PUSHED = (
    "BININT BININT1 BININT2 LONG1 LONG4 BINFLOAT BINUNICODE SHORT_BINUNICODE "
    "BINUNICODE8 BINBYTES SHORT_BINBYTES BINBYTES8 BYTEARRAY8"
)
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": ()}


class _Decoder:
    """The stack and the memo of a pickle; one method a group of opcodes."""

    def __init__(self, size: int):
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}
        self.left = size
        steps: dict[str, Callable[[Any], None]] = {
            "PROTO": lambda _: None,
            "FRAME": lambda _: None,
            "MARK": lambda _: self.marks.append(len(self.stack)),
            "EMPTY_LIST": lambda _: self.stack.append([]),
            "EMPTY_DICT": lambda _: self.stack.append({}),
            "APPEND": lambda _: self.extend([self.pop()]),
            "APPENDS": lambda _: self.extend(self.since_mark()),
            "SETITEM": lambda _: self.update([self.pop() for _ in "kv"][::-1]),
            "SETITEMS": lambda _: self.update(self.since_mark()),
            "TUPLE": lambda _: self.stack.append(tuple(self.since_mark())),
            "MEMOIZE": lambda _: self.put(len(self.memo)),
            "GLOBAL": lambda text: self.name(*text.split(" ", 1)),
            "STACK_GLOBAL": lambda _: self.name(*[self.pop() for _ in "mn"][::-1]),
            "REDUCE": self.reduce,
            "BUILD": self.build,
        }
        for length in (1, 2, 3):
            steps[f"TUPLE{length}"] = lambda _, n=length: self.stack.append(
                tuple([self.pop() for _ in range(n)][::-1])
            )
        steps |= dict.fromkeys(_PUSHED.split(), self.stack.append)
        steps |= dict.fromkeys(("BINPUT", "LONG_BINPUT"), self.put)
        steps |= dict.fromkeys(("BINGET", "LONG_BINGET"), self.get)
        for opcode, value in _CONSTANTS.items():
            steps[opcode] = lambda _, v=value: self.stack.append(v)
        self.steps = steps

    def pop(self) -> Any:
        """Return the last value; an array must be finished by then."""
        value = self.stack.pop()
        if isinstance(value, _Unfinished):
            raise _RefusedError("an array without content")
        return value

    def since_mark(self) -> list[Any]:
        """Remove and return the values since the last mark."""
        start = self.marks.pop()
        values = self.stack[start:]
        if any(isinstance(value, _Unfinished) for value in values):
            raise _RefusedError("an array without content")
        del self.stack[start:]
        return values

    def extend(self, values: list[Any]) -> None:
        if not isinstance(self.stack[-1], list):
            raise _RefusedError("an addition to something other than a list")
        self.stack[-1].extend(values)

    def update(self, values: list[Any]) -> None:
        """Set keys and values, which follow each other."""
        if not isinstance(self.stack[-1], dict) or len(values) % 2:
            raise _RefusedError("an entry of something other than a dictionary")
        keys = values[::2]
        # Nested tuples can share their parts, and hashing them would never end.
        if not all(isinstance(key, str | int | float) for key in keys):
            raise _RefusedError("a key that is neither a number nor a string")
        self.stack[-1].update(zip(keys, values[1::2], strict=True))

    def put(self, place: int) -> None:
        self.memo[place] = self.stack[-1]

    def get(self, place: int) -> None:
        value = self.memo[place]
        if isinstance(value, _Unfinished):
            value = value.value
            if value is None:
                raise _RefusedError("an array without content")
        self.stack.append(value)

    def name(self, module: Any, name: Any) -> None:
        found = _Name(module, name)
        if not (isinstance(module, str) and isinstance(name, str)):
            raise _RefusedError("a name that is no string")
        if found not in _CALLS and found not in _FACTORIES:
            raise _RefusedError(f"{found}"[:200])
        self.stack.append(found)

    def reduce(self, _: None) -> None:
        """Do what a known name stands for."""
        arguments, name = self.pop(), self.pop()
        call = _CALLS.get(name) if isinstance(name, _Name) else None
        if call is None or not isinstance(arguments, tuple):
            raise _RefusedError(
                f"a call of {name if isinstance(name, _Name) else 'a value'}"
            )
        if call is _bytes:
            # The one copy that is made; the text could be copied again and again.
            self.left -= sum(len(one) for one in arguments[:1])
            if self.left < 0:
                raise _RefusedError("more bytes than the file")
        self.stack.append(call(*arguments))

    def build(self, _: None) -> None:
        """Give a type or an array its content."""
        state, target = self.pop(), self.stack.pop()
        if not isinstance(target, _Unfinished) or not isinstance(state, tuple):
            raise _RefusedError("a state of something other than an array")
        target.value = target.build(state)
        self.stack.append(target.value)


def read_pickled_arrays(path: Path) -> Any:
    """Return what a pickle holds: arrays of numbers, and containers of them.

    Lists, tuples, dictionaries (by numbers or strings), strings, bytes, numbers,
    None and numpy arrays of numbers; protocols 2 to 5.

    Raises:
      InputError: anything else in the file, naming what was found and at which byte,
        or a file that is empty, cut off or damaged.
    """
    size = path.stat().st_size
    if size == 0:
        raise InputError(f"{path}: is empty; {_REMEDY}")
    decoder, place = _Decoder(size), 0
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=1) as content:
        try:
            for opcode, argument, position in pickletools.genops(cast(Any, content)):
                place = position or 0
                if opcode.name == "STOP":
                    break
                step = decoder.steps.get(opcode.name)
                if step is None:
                    raise _RefusedError(f"the opcode {opcode.name}")
                step(argument)
            if content.tell() != size:
                raise ValueError(f"{size - content.tell()} bytes follow its end")
            if len(decoder.stack) != 1 or decoder.marks:
                raise ValueError("its values do not add up")
            return decoder.pop()
        except _RefusedError as found:
            raise InputError(
                f"{path}: byte {place}: holds {found}, which no pickle of arrays of "
                f"numbers does; {_REMEDY}"
            ) from None
        except (ValueError, TypeError, IndexError, KeyError, OverflowError) as error:
            reason = str(error).split("\n")[0][:200] or type(error).__name__
            raise InputError(
                f"{path}: byte {place}: is no pickle, cut off or damaged ({reason}); "
                f"{_REMEDY}"
            ) from None
