"""Trainings that need more memory than the machine has are refused by name."""

from typing import NamedTuple

from twotower_jax.config import Config
from twotower_jax.data.memory import GIB, machine_memory
from twotower_jax.data.sizes import Sizes
from twotower_jax.errors import InputError
from twotower_jax.run.memory_numbers import Number, find_numbers
from twotower_jax.run.memory_remedies import Remedies
from twotower_jax.run.memory_spaces import Case, Memory, find_memories


class Excess(NamedTuple):
    """A training that does not fit a memory, and what asks for most of it.

    Attributes:
      word: the key, the option or the part that asks for most.
      needs: bytes that the least value of it would save.
      total: bytes of all that lies in the memory.
      memory: that memory.
      remedy: keys and values with which the training fits, in words.
    """

    word: str
    needs: int
    total: int
    memory: Memory
    remedy: str

    def __str__(self) -> str:
        """Return the message."""
        room = self.memory.room.replace("{}", _gib(self.memory.size))
        return (
            f"{self.word} needs {_gib(self.needs)} GiB, and {self.memory.what} "
            f"{_gib(self.total)} GiB; {room}; {self.remedy}"
        )


def check_memory(config: Config, sizes: Sizes) -> None:
    """Refuse a training that needs more memory than the machine or its devices have.

    Args:
      config: the run, of towers.
      sizes: of its data.

    Raises:
      InputError: naming the key that asks for most, and values that fit.
    """
    found = excess(config, sizes)
    if found is not None:
        raise InputError(str(found))


def excess(config: Config, sizes: Sizes, *, options: bool = False) -> Excess | None:
    """Return by how much a training exceeds the memory of this host or its devices.

    The key that asks for most is the one whose least value saves most. A part of the
    memory is named instead where no key saves half of it.

    Args:
      config: the run, of towers.
      sizes: of its data.
      options: whether the sizes are options of the command line, which it may name.

    Returns:
      The excess of the first memory that is too small; None for a training that fits.
    """
    # Counts of items decide the work, not the memory.
    case = Case(config, sizes._replace(counts=None))
    shape = case.shape
    memories = find_memories(machine_memory(), shape.devices)
    memory = next((one for one in memories if one.needed(shape) > one.size), None)
    if memory is None:
        return None
    number, needs = _largest_number(case, memory, options)
    part = max(memory.parts(shape), key=lambda one: one.size)
    if 2 * needs < part.size:
        number, needs = None, part.size
    word = f"the part '{part.name}'" if number is None else number.word
    remedy = Remedies(case, memories).text(number)
    return Excess(word, needs, memory.needed(shape), memory, remedy)


def _largest_number(
    case: Case, memory: Memory, options: bool
) -> tuple[Number | None, int]:
    """Return the number whose least value saves most, and the bytes that it saves."""
    total, best, saved = memory.needed(case.shape), None, 0
    for number in find_numbers(case, options):
        less = total - memory.needed(number.lowered(number.least).shape)
        if less > saved:
            best, saved = number, less
    return best, saved


def _gib(size: int) -> str:
    """Return bytes in GiB, with a digit behind the point below 10."""
    value = size / GIB
    return f"{value:,.1f}" if value < 10 else f"{value:,.0f}"
