"""Choices of logQ, and the log q+ of the positives of a batch."""

from typing import NamedTuple

import jax

from twotower_jax.data.shards import take
from twotower_jax.registry import Registry
from twotower_jax.sampling import frequency
from twotower_jax.sampling.mixture import log_inclusion
from twotower_jax.training.types import Program, TrainState


class Correction(NamedTuple):
    """Logits that are corrected by log q; a choice of ``loss.logq.correct``.

    Attributes:
      negatives: Whether the negatives are corrected.
      positive: Whether the positive is corrected too.
    """

    negatives: bool
    positive: bool


CORRECTIONS: Registry[Correction] = Registry(
    "loss.logq.correct",
    {
        "all": Correction(negatives=True, positive=True),
        "negatives": Correction(negatives=True, positive=False),
        "none": Correction(negatives=False, positive=False),
    },
)


class HardLogQ(NamedTuple):
    """How hard draws are corrected; a choice of ``negatives.hard.log_q``.

    Attributes:
      of_pool: Hard draws are expected by the probabilities of the row's pool.
      as_easy: Hard draws are expected as if the easy proposal had drawn them.
      corrected: Hard slots are corrected by their expected counts.
    """

    of_pool: bool
    as_easy: bool
    corrected: bool


HARD_LOG_Q: Registry[HardLogQ] = Registry(
    "negatives.hard.log_q",
    {
        "mixture": HardLogQ(of_pool=True, as_easy=False, corrected=True),
        "easy": HardLogQ(of_pool=False, as_easy=True, corrected=True),
        "none": HardLogQ(of_pool=False, as_easy=False, corrected=False),
    },
)


def log_q_plus(
    program: Program, state: TrainState, batch_size: int, items: jax.Array
) -> jax.Array:
    """Log probability that a positive of a batch is the item, counted or streamed.

    Args:
      items: [...] int32.

    Returns:
      [...] float32.
    """
    if "frequency" in state.samplers:
        seen, buckets = state.samplers["frequency"], program.structure.buckets
        return frequency.log_q(seen, items, batch_size, state.step, buckets)
    return take(program.hyper.log_q_batch, items)


def log_in_others(
    program: Program,
    state: TrainState,
    batch_size: int,
    items: jax.Array,
    others: int | jax.Array | None = None,
) -> jax.Array:
    """Log probability that one of the n - 1 other rows of a batch has the item.

    Counted, it is 1 - (1 - q+)^(n - 1). A streaming frequency counts an item once per
    batch, so that it estimates I = 1 - (1 - q+)^n itself; then 1 - (1 - I)^((n - 1)/n).

    Args:
      items: [...] int32.
      others: Number of other rows that are draws from q+; None for n - 1.

    Returns:
      [...] float32.
    """
    others = batch_size - 1 if others is None else others
    if "frequency" not in state.samplers:
        return log_inclusion(take(program.hyper.log_q_batch, items), others)
    seen, buckets = state.samplers["frequency"], program.structure.buckets
    seen = frequency.log_count(seen, items, state.step, buckets)
    return log_inclusion(seen, others / batch_size)
