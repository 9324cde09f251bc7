"""Arrays of numbers from pickle files, without executing anything in them.

A pickle is a program: its opcodes import functions by name and call them, so that
loading one runs the code of its author. The project loads none. RecFlow is published
as pickled dictionaries of numpy arrays; these are decoded like any other format:

* ``pickletools`` splits the file into opcodes and arguments. It executes nothing, and
  neither ``pickle`` nor an import by name is used anywhere in this module.
* A name in the file stays a pair of strings. ``CALLS`` lists the few names in pickles
  of arrays, numbers and dictionaries, with the functions that replace them, which
  take numbers, strings and bytes; any other name is refused.
* Opcodes that such a pickle does not need (new objects, extension registry,
  persistent ids, buffers from outside) are refused, and so are arrays of objects.
* No length in the file is trusted: an array is a view of bytes of the file, and its
  shape must fit them. So the result is at most a constant factor larger than the file.
"""

import mmap

# It lists the opcodes of a pickle, and loads nothing.
import pickletools  # nosec B403
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

from twotower_jax.data.sources.pickle_names import (
    CALLS,
    FACTORIES,
    Name,
    RefusedError,
    Unfinished,
    as_bytes,
)
from twotower_jax.errors import InputError

_REMEDY = "nothing of it was run; download the file again from its publisher"


_PUSHED = (
    "BININT BININT1 BININT2 LONG1 LONG4 BINFLOAT BINUNICODE SHORT_BINUNICODE "
    "BINUNICODE8 BINBYTES SHORT_BINBYTES BINBYTES8 BYTEARRAY8"
)
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": ()}


class _Decoder:
    """The stack and the memo of a pickle; one method per group of opcodes."""

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
        if isinstance(value, Unfinished):
            raise RefusedError("an array without content")
        return value

    def since_mark(self) -> list[Any]:
        """Remove and return the values since the last mark."""
        start = self.marks.pop()
        values = self.stack[start:]
        if any(isinstance(value, Unfinished) for value in values):
            raise RefusedError("an array without content")
        del self.stack[start:]
        return values

    def extend(self, values: list[Any]) -> None:
        if not isinstance(self.stack[-1], list):
            raise RefusedError("an addition to something other than a list")
        self.stack[-1].extend(values)

    def update(self, values: list[Any]) -> None:
        """Set keys and values, which follow each other."""
        if not isinstance(self.stack[-1], dict) or len(values) % 2:
            raise RefusedError("an entry of something other than a dictionary")
        keys = values[::2]
        # Nested tuples can share their parts; hashing them would never end.
        if not all(isinstance(key, str | int | float) for key in keys):
            raise RefusedError("a key that is neither a number nor a string")
        self.stack[-1].update(zip(keys, values[1::2], strict=True))

    def put(self, place: int) -> None:
        self.memo[place] = self.stack[-1]

    def get(self, place: int) -> None:
        value = self.memo[place]
        if isinstance(value, Unfinished):
            value = value.value
            if value is None:
                raise RefusedError("an array without content")
        self.stack.append(value)

    def name(self, module: Any, name: Any) -> None:
        full = Name(module, name)
        if not (isinstance(module, str) and isinstance(name, str)):
            raise RefusedError("a name that is not a string")
        if full not in CALLS and full not in FACTORIES:
            raise RefusedError(f"{full}"[:200])
        self.stack.append(full)

    def reduce(self, _: None) -> None:
        """Call the function that replaces a name."""
        arguments, name = self.pop(), self.pop()
        call = CALLS.get(name) if isinstance(name, Name) else None
        if call is None or not isinstance(arguments, tuple):
            raise RefusedError(
                f"a call of {name if isinstance(name, Name) else 'a value'}"
            )
        if call is as_bytes:
            # The only copy of data; a text could be copied many times.
            self.left -= sum(len(one) for one in arguments[:1])
            if self.left < 0:
                raise RefusedError("more bytes than the file")
        self.stack.append(call(*arguments))

    def build(self, _: None) -> None:
        """Give a type or an array its content."""
        state, target = self.pop(), self.stack.pop()
        if not isinstance(target, Unfinished) or not isinstance(state, tuple):
            raise RefusedError("a state of something other than an array")
        target.value = target.build(state)
        self.stack.append(target.value)


def read_pickled_arrays(path: Path) -> Any:
    """Content of a pickle of arrays of numbers and containers of them.

    Lists, tuples, dictionaries (by numbers or strings), strings, bytes, numbers,
    None and numpy arrays of numbers; protocols 2 to 5.
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
                    raise RefusedError(f"the opcode {opcode.name}")
                step(argument)
            if content.tell() != size:
                raise ValueError(f"{size - content.tell()} bytes follow its end")
            if len(decoder.stack) != 1 or decoder.marks:
                raise ValueError("its values do not add up")
            return decoder.pop()
        except RefusedError as content_name:
            raise InputError(
                f"{path}: byte {place}: holds {content_name}, which a pickle of arrays "
                f"of numbers does not; {_REMEDY}"
            ) from None
        except (ValueError, TypeError, IndexError, KeyError, OverflowError) as error:
            reason = str(error).split("\n")[0][:200] or type(error).__name__
            raise InputError(
                f"{path}: byte {place}: is not a pickle, is cut off or damaged "
                f"({reason}); {_REMEDY}"
            ) from None
