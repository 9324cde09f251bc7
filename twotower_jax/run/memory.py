"""Trainings that need more memory than the machine has are refused by name."""

import copy
from collections.abc import Callable
from operator import attrgetter
from typing import Any, NamedTuple

from twotower_jax.config import Config
from twotower_jax.cost.memory import memory_parts, shared_bytes
from twotower_jax.data.memory import GIB, machine_memory
from twotower_jax.data.sizes import Sizes
from twotower_jax.errors import InputError
from twotower_jax.run.shape import training_shape

# Keys that decide the memory, each with its least value.
KEYS = {
    "towers.dim": 1,
    "towers.hidden": 1,
    "towers.history_length": 1,
    "negatives.easy.num": 0,
    "negatives.bank.size": 0,
    "negatives.hard.num": 0,
    "negatives.hard.candidate_num": 2,
    "training.batch_size": 2,
    "training.steps_per_dispatch": 1,
}
# Sizes of a log that is described on the command line, by their options.
OPTIONS = {"num_users": "--users", "num_items": "--items", "positives": "--positives"}


class Excess(NamedTuple):
    """A training that does not fit, and the key that asks for most.

    Attributes:
      word: the key, or the option, with its value.
      needs: bytes that its least value would save.
      total: bytes of the whole training.
      memory: bytes of the machine.
      fits: value of it that would fit beside all others; None: no value does.
    """

    word: str
    needs: int
    total: int
    memory: int
    fits: Any

    def __str__(self) -> str:
        """Return the message."""
        remedy = "lower it, and other keys too: no value of it alone would fit"
        if self.fits is not None:
            remedy = f"lower it to {self.fits} or less"
        return (
            f"{self.word} needs {_gib(self.needs)} GiB, and the whole training "
            f"{_gib(self.total)} GiB; this machine has {_gib(self.memory)} GiB; "
            f"{remedy}"
        )


def check_memory(config: Config, sizes: Sizes) -> None:
    """Refuse a training that needs more memory than the machine has.

    Args:
      config: the run, of towers.
      sizes: of its data.

    Raises:
      InputError: naming the key that asks for most, and a value that fits.
    """
    found = excess(config, sizes)
    if found is not None:
        raise InputError(str(found))


def needed_memory(config: Config, sizes: Sizes) -> int:
    """Return the bytes of a training where devices and host share one memory.

    Args:
      config: the run, of towers.
      sizes: of its data.
    """
    shape = training_shape(config, sizes)
    return shared_bytes(memory_parts(shape), shape.devices)


def excess(config: Config, sizes: Sizes, *, options: bool = False) -> Excess | None:
    """What a training needs beyond the memory of the machine.

    The key that asks for most is the one whose least value saves most.

    Args:
      config: the run, of towers.
      sizes: of its data.
      options: whether the sizes are options of the command line, which it may name.

    Returns:
      The excess, or None for a training that fits.
    """
    # Counts of items decide the work, not the memory.
    sizes, memory = sizes._replace(counts=None), machine_memory()
    total = needed_memory(config, sizes)
    if total <= memory:
        return None
    choices = _choices(config, sizes, options)
    best = min(choices, key=lambda word: choices[word].bytes_of(choices[word].least))
    choice = choices[best]
    saved = total - choice.bytes_of(choice.least)
    largest = _largest(lambda value: choice.bytes_of(value) <= memory, choice)
    fits = largest if largest is None else choice.written(largest)
    return Excess(best, saved, total, memory, fits)


class _Choice(NamedTuple):
    """A number that may be lowered: its least and present value, and its memory."""

    least: int
    value: int
    bytes_of: Callable[[int], int]
    written: Callable[[int], Any]


def _choices(config: Config, sizes: Sizes, options: bool) -> dict[str, _Choice]:
    """Return the numbers that may be lowered, by the word that sets them."""
    found: dict[str, _Choice] = {}
    for key, least in KEYS.items():
        value = attrgetter(key)(config)
        if not value or (isinstance(value, int) and value <= least):
            continue

        def bytes_of(number: int, key: str = key) -> int:
            return needed_memory(_lowered(config, key, number), sizes)

        def written(number: int, value: Any = value) -> Any:
            return _cut(value, number)

        shown = list(value) if isinstance(value, tuple) else value
        most = max(value) if isinstance(value, tuple) else value
        found[f"{key}={shown}"] = _Choice(least, most, bytes_of, written)
    for name, option in OPTIONS.items() if options else ():
        value = getattr(sizes, name)

        def of_size(number: int, name: str = name) -> int:
            changed = {name: number} | ({"seen": number} if name == "positives" else {})
            if name == "positives":
                changed["rows"] = number
            return needed_memory(config, sizes._replace(**changed))

        found[f"{option} {value}"] = _Choice(1, value, of_size, int)
    return found


def _largest(fits: Callable[[int], bool], choice: _Choice) -> int | None:
    """Return the largest value that fits, None where the least one does not."""
    low, high = choice.least, choice.value
    if not fits(low):
        return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low


def _cut(value: Any, number: int) -> Any:
    """Return a value lowered to a number; of widths, those above it.

    Examples:
      >>> _cut(9, 4), _cut((64, 128), 100)
      (4, [64, 100])
    """
    if isinstance(value, tuple):
        return [min(one, number) for one in value]
    return number


def _lowered(config: Config, key: str, number: int) -> Config:
    """Return a configuration with a lower value, whose rules are not checked."""
    *sections, last = key.split(".")
    config = part = copy.copy(config)
    for name in sections:
        child = copy.copy(getattr(part, name))
        setattr(part, name, child)
        part = child
    value = _cut(getattr(part, last), number)
    setattr(part, last, tuple(value) if isinstance(value, list) else value)
    return config


def _gib(size: int) -> str:
    """Return bytes in GiB, with a digit behind the point below 10."""
    value = size / GIB
    return f"{value:,.1f}" if value < 10 else f"{value:,.0f}"
