"""Words of the command line with which a training fits the memory."""

from twotower_jax.run.memory_numbers import Number, find_numbers
from twotower_jax.run.memory_spaces import Case, Memory, lacking
from twotower_jax.run.memory_switches import Switch, mild_switches, other_switches

# Remedies that a message names, each of which is enough.
MOST = 4
NONE = (
    "lower several keys: no value of one of them would fit, not even beside another "
    "feed, order, mesh and optimizer"
)


class Remedies:
    """Finds what makes a training fit, by the memory that it then needs.

    Args:
      case: the training, which does not fit.
      memories: of `memory_spaces.find_memories`.
    """

    def __init__(self, case: Case, memories: list[Memory]):
        self._case, self._memories = case, memories

    def text(self, number: Number | None) -> str:
        """Return the remedies in words; each of them is enough by itself.

        Args:
          number: the one that asks for most; None where no number asks for much.
        """
        found = []
        if number is not None and (value := number.largest(self._fits)) is not None:
            found.append(f"lower it to {number.written(value)} or less")
        every = mild_switches(self._case) + other_switches(self._case)
        singles = [one for group in every if (one := self._first(group))]
        # More devices are not asked for where those that are there are enough.
        spread = [one for one in singles if "training.mesh.table" in one.words]
        switches = [_set([one]) for one in singles if one not in spread[1:]]
        if not switches:
            switches = self._several(lower=not found)
        return ", or ".join([*found, *switches][:MOST]) or NONE

    def _lacking(self, case: Case) -> int:
        return lacking(case, self._memories)

    def _fits(self, case: Case) -> bool:
        return self._lacking(case) == 0

    def _needed(self, case: Case) -> int:
        """Return the bytes that all memories together need."""
        shape = case.shape
        return sum(memory.needed(shape) for memory in self._memories)

    def _first(self, group: list[Switch]) -> Switch | None:
        """Return the first switch with which it fits."""
        return next((one for one in group if self._fits(one.apply(self._case))), None)

    def _several(self, lower: bool) -> list[str]:
        """Return several switches with which it fits together, [] for none.

        Args:
          lower: whether a number may be lowered beside them.
        """
        mild = mild_switches(self._case)
        for groups in (mild, mild + other_switches(self._case)):
            case, chosen = self._together(groups)
            if self._fits(case):
                return [_set(self._needed_ones(chosen, self._case))]
            if lower and (text := self._lowered(case, chosen)):
                return [text]
        return []

    def _together(self, groups: list[list[Switch]]) -> tuple[Case, list[Switch]]:
        """Return the training with the best switch of each group, and the switches."""
        case, chosen = self._case, []
        for group in groups:
            least, best = self._lacking(case), None
            for one in group:
                if not least:
                    break  # the first one that fits
                if (bytes_lacking := self._lacking(one.apply(case))) < least:
                    least, best = bytes_lacking, one
            if best is not None:
                case, chosen = best.apply(case), [*chosen, best]
        return case, chosen

    def _lowered(self, case: Case, chosen: list[Switch]) -> str:
        """Return switches and the number to lower beside them, "" where none fits."""
        numbers = find_numbers(case, options=False)
        if not numbers:
            return ""
        number = min(numbers, key=lambda one: self._needed(one.lowered(one.least)))
        value = number.largest(self._fits)
        if value is None:
            return ""
        here = {one.name: one for one in find_numbers(self._case, options=False)}
        kept = self._needed_ones(chosen, here[number.name].lowered(value))
        lower = f"lower {number.name} to {number.written(value)} or less"
        return f"{_set(kept)} and {lower}" if kept else lower

    def _needed_ones(self, chosen: list[Switch], case: Case) -> list[Switch]:
        """Return the switches without those that a training fits without."""
        for one in chosen:
            rest = [other for other in chosen if other is not one]
            applied = case
            for other in rest:
                applied = other.apply(applied)
            if self._fits(applied):
                chosen = rest
        return chosen


def _set(switches: list[Switch]) -> str:
    """Return switches in words."""
    notes = [one.note for one in switches if one.note]
    text = "set " + " ".join(one.words for one in switches)
    return f"{text} ({', '.join(notes)})" if notes else text
