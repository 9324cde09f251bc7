"""The number of runs of a sweep, before its words are expanded."""

import math
from collections.abc import Sequence
from decimal import Decimal

from hydra.core.override_parser.types import Override, RangeSweep

from twotower_jax.errors import InputError

# Hydra composes every run before the first, which takes milliseconds and memory each.
MOST = 100_000


def check_number(parsed: Sequence[Override]) -> None:
    """Refuse a sweep of more than `MOST` runs."""
    numbers = {one.get_key_element(): (one, values_listed(one)) for one in parsed}
    runs = math.prod(number for _, number in numbers.values())
    if runs <= MOST:
        return
    several = [
        f"{one.input_line} lists {_count(number)} values"
        for one, number in numbers.values()
        if number > 1
    ]
    total = f", {_count(runs)} runs together" if len(several) > 1 else ""
    raise InputError(
        f"{' and '.join(several)}{total}; a sweep has at most {MOST:,} runs: give "
        "fewer values"
    )


def _count(number: float) -> str:
    """Return a number of values in words of a message."""
    return "endlessly many" if math.isinf(number) else f"{number:,}"


def values_listed(word: Override) -> float:
    """Return how many values a word lists, without expanding a range.

    Examples:
      >>> from hydra.core.override_parser.overrides_parser import OverridesParser
      >>> words = ["seed=3", "seed=1,2", "seed=range(0,10,3)", "seed=range(0,1,0)"]
      >>> parsed = OverridesParser.create().parse_overrides(words)
      >>> [values_listed(one) for one in parsed]
      [1, 2, 4, inf]
    """
    if not (word.is_sweep_override() and word.is_discrete_sweep()):
        return 1
    value = word.value()
    if not isinstance(value, RangeSweep):
        return sum(1 for _ in word.sweep_string_iterator())
    start, stop, step = (
        Decimal(one or 0) for one in (value.start, value.stop, value.step)
    )
    if step == 0 or not all(one.is_finite() for one in (start, stop, step)):
        return math.inf
    return max(0, math.ceil((stop - start) / step))
