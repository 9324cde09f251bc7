"""The memory that a training needs, estimated from its configuration.

A lower bound by key: tables with their optimizer, layers, bank, negatives of a step,
rows of a dispatch. What is beyond the machine is refused before anything is allocated.
"""

from itertools import pairwise
from typing import NamedTuple

from twotower_jax.config import Config
from twotower_jax.data.memory import GIB, machine_memory
from twotower_jax.errors import InputError

FLOAT = 4  # bytes
# Copies of a parameter: itself, its gradient or the step before, and moments.
COPIES = {"adam": 3, "adagrad": 2, "sgd": 1}


class Need(NamedTuple):
    """The memory that one key needs.

    Attributes:
      key: of the configuration, with its value.
      size: bytes.
    """

    key: str
    size: int


def needs(config: Config, users: int, items: int) -> list[Need]:
    """Return the memory that single keys ask for; a lower bound of the whole.

    Args:
      config: the run, of towers.
      users: in the log.
      items: in the log.

    Examples:
      >>> from twotower_jax.config import Config
      >>> config = Config()
      >>> config.negatives.bank.size = 10**9
      >>> max(needs(config, 10, 10), key=lambda need: need.size).key
      'negatives.bank.size=1000000000'
    """
    towers, training, negatives = config.towers, config.training, config.negatives
    dim, batch, copies = towers.dim, training.batch_size, COPIES[config.optimizer.name]
    found = [Need(f"towers.dim={dim}", copies * FLOAT * dim * (users + items))]
    if towers.hidden:
        widths = [dim, *towers.hidden, dim]
        weights = sum(first * second for first, second in pairwise(widths))
        key = f"towers.hidden={list(towers.hidden)}"
        found.append(Need(key, 2 * copies * FLOAT * weights))
    if config.loss.name != "full_softmax":
        easy, bank = negatives.easy.num, negatives.bank.size
        rows = batch if negatives.layout == "per_row" else 1
        found.append(Need(f"negatives.easy.num={easy}", 2 * FLOAT * dim * easy * rows))
        found.append(Need(f"negatives.bank.size={bank}", FLOAT * (dim + 2) * bank))
        slots = negatives.hard.num
        found.append(Need(f"negatives.hard.num={slots}", FLOAT * dim * slots * batch))
    steps = training.steps_per_dispatch
    key = f"training.steps_per_dispatch={steps}"
    return [*found, Need(key, 2 * FLOAT * steps * batch)]


def check_memory(config: Config, users: int, items: int) -> None:
    """Refuse a training that needs more memory than the machine has.

    Args:
      config: the run, of towers.
      users: in the log.
      items: in the log.

    Raises:
      InputError: naming the key that asks for most.
    """
    found, whole = needs(config, users, items), machine_memory()
    total = sum(need.size for need in found)
    if total > whole:
        largest = max(found, key=lambda need: need.size)
        raise InputError(
            f"{largest.key} needs {largest.size / GIB:,.0f} GiB, and the whole "
            f"training at least {total / GIB:,.0f} GiB; this machine has "
            f"{whole / GIB:,.0f} GiB; lower it"
        )
