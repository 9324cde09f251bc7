"""Numbers of a training that may be lowered until it fits the memory."""

import copy
from collections.abc import Callable, Iterator
from operator import attrgetter
from typing import Any, NamedTuple

from twotower_jax.config import Config
from twotower_jax.run.memory_spaces import Case

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


class Number(NamedTuple):
    """A number that may be lowered.

    Attributes:
      name: its key or option.
      word: the key or the option with its value.
      least, value: its least and its present value; of widths, the largest one.
      lowered: returns the training with another value of it.
      written: returns that value as it is written.
    """

    name: str
    word: str
    least: int
    value: int
    lowered: Callable[[int], Case]
    written: Callable[[int], Any]

    def largest(self, fits: Callable[[Case], bool]) -> int | None:
        """Return the largest value that fits, None where the least one does not.

        Args:
          fits: whether a training fits; the present value does not.
        """
        low, high = self.least, self.value
        if not fits(self.lowered(low)):
            return None
        while high - low > 1:
            middle = (low + high) // 2
            enough = fits(self.lowered(middle))
            low, high = (middle, high) if enough else (low, middle)
        return low


def find_numbers(case: Case, options: bool) -> list[Number]:
    """Return the numbers of a training that may be lowered.

    Args:
      case: the training.
      options: whether the sizes are options of the command line, which may be lowered.
    """
    return [*_keys(case), *(_options(case) if options else ())]


def with_value(config: Config, key: str, value: Any) -> Config:
    """Return a configuration with another value of a key, whose rules are not checked.

    Args:
      config: the run.
      key: dotted.
      value: of that key.

    Examples:
      >>> with_value(Config(), "towers.dim", 3).towers.dim
      3
    """
    *sections, last = key.split(".")
    config = part = copy.copy(config)
    for name in sections:
        child = copy.copy(getattr(part, name))
        setattr(part, name, child)
        part = child
    setattr(part, last, value)
    return config


def _keys(case: Case) -> Iterator[Number]:
    """Yield the numbers that are keys."""
    for key, least in KEYS.items():
        value = attrgetter(key)(case.config)
        if not value or (isinstance(value, int) and value <= least):
            continue

        def lowered(number: int, key: str = key, value: Any = value) -> Case:
            cut = _cut(value, number)
            cut = tuple(cut) if isinstance(cut, list) else cut
            return case._replace(config=with_value(case.config, key, cut))

        def written(number: int, value: Any = value) -> Any:
            return _cut(value, number)

        shown = list(value) if isinstance(value, tuple) else value
        most = max(value) if isinstance(value, tuple) else value
        yield Number(key, f"{key}={shown}", least, most, lowered, written)


def _options(case: Case) -> Iterator[Number]:
    """Yield the numbers that are options of the command line."""
    for name, option in OPTIONS.items():
        value = getattr(case.sizes, name)

        def lowered(number: int, name: str = name) -> Case:
            changed = {name: number}
            if name == "positives":
                changed |= {"seen": number, "rows": number}
            return case._replace(sizes=case.sizes._replace(**changed))

        yield Number(option, f"{option} {value}", 1, value, lowered, int)


def _cut(value: Any, number: int) -> Any:
    """Return a value lowered to a number; of widths, those above it.

    Examples:
      >>> _cut(9, 4), _cut((64, 128), 100)
      (4, [64, 100])
    """
    if isinstance(value, tuple):
        return [min(one, number) for one in value]
    return number
