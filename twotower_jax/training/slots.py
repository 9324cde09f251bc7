"""Slots of the rows of a batch, and the pools that hard draws come from."""

from typing import NamedTuple

import jax


class RowPools(NamedTuple):
    """The pools of the rows of a batch.

    Attributes:
      item: [B, L] int32 items; num_items is padding.
      log_prob: [B, L] float32 log probability of a draw; -inf on padding.
      stage: [B, L] int8 stages that rejected the items, -1 on padding; None where the
        pools are not those of a log.
    """

    item: jax.Array
    log_prob: jax.Array
    stage: jax.Array | None = None


class Slots(NamedTuple):
    """The slots of the rows of a batch.

    Attributes:
      items: [B, K] int32; num_items is a slot that is switched off. Before the choice
        of a source that scores candidates: [B, K, M].
      is_hard: [B, K] bool, whether the hard source drew the slot.
      pool: Pools of the hard draws, or None where the source has no pools.
    """

    items: jax.Array
    is_hard: jax.Array
    pool: RowPools | None


class HardDraws(NamedTuple):
    """Hard draws for every slot of the rows of a batch.

    Attributes:
      items: [B, K] int32 items, or [B, K, M] candidates of which one is chosen.
      pool: Pools of the draws, or None where the source has no pools.
    """

    items: jax.Array
    pool: RowPools | None
