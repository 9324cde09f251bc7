"""Sources of hard negatives: each draws the hard slots of the rows of a batch."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from twotower_jax import keys
from twotower_jax.data.shards import take, take_known, take_rows
from twotower_jax.model.inputs import Inputs
from twotower_jax.registry import Registry
from twotower_jax.sampling.hard import draw_hard
from twotower_jax.training.scored_draws import (
    choose_best,
    choose_resampled,
    draw_candidates,
    draw_pool,
)
from twotower_jax.training.slots import HardDraws, RowPools, Slots
from twotower_jax.training.types import Batch, Program, TrainData, TrainState


class HardSource(NamedTuple):
    """A choice of ``negatives.hard.source``.

    Attributes:
      draw: Function of the program, the data, the state and the batch.
      choose: Function of the program, the data, the state, the batch, the inputs of
        the query tower and the slots, which returns slots with one item each.
      of_log: Whether the pools are those of the log's funnel, in ``TrainData.pools``.
      mined: Whether the model mines the pools during the training.
      scored: Whether the model scores candidates, from which ``choose`` fills the
        slots; every row has some.
    """

    draw: Callable[[Program, TrainData, TrainState, Batch], HardDraws]
    choose: Callable[[Program, TrainData, TrainState, Batch, Inputs, Slots], Slots]
    of_log: bool = False
    mined: bool = False
    scored: bool = False


def draw_from_log(
    program: Program, data: TrainData, state: TrainState, batch: Batch
) -> HardDraws:
    """Draws from the pool of each positive: items that a stage of the funnel rejected.

    Returns:
      Draws [B, K] and the pools.
    """
    if data.pools is None:
        raise ValueError(
            "negatives.hard.source=log draws from pools; the data has none"
        )
    pool = take_rows(jnp.asarray(data.pools.of_row), batch.rows)
    pool = jnp.where(pool < 0, len(data.pools.item), pool)

    def rows_of(values: np.ndarray, padding: float) -> jax.Array:
        return take_known(jnp.asarray(values), pool, padding)

    rows = RowPools(
        rows_of(data.pools.item, program.structure.num_items),
        rows_of(data.pools.log_prob, -jnp.inf),
        rows_of(data.pools.stage, -1),
    )
    return _draw_from(rows, program, state)


def draw_from_mined(
    program: Program, data: TrainData, state: TrainState, batch: Batch
) -> HardDraws:
    """Uniform draws from the window of the ranking that was mined last.

    Returns:
      Draws [B, K] and the pools, which are empty before the first mining.
    """
    del data
    item = take(state.samplers["mined"], batch.queries.user)
    present = item < program.structure.num_items
    number = present.sum(axis=1, keepdims=True).astype(jnp.float32)
    rows = RowPools(item, jnp.where(present, -jnp.log(number), -jnp.inf))
    return _draw_from(rows, program, state)


def _draw_from(pool: RowPools, program: Program, state: TrainState) -> HardDraws:
    key = keys.stream(program.hyper.seed, "negatives.hard", state.step)
    number = program.structure.negatives.slots
    return HardDraws(draw_hard(key, pool.item, pool.log_prob, number), pool)


def keep_items(
    program: Program,
    data: TrainData,
    state: TrainState,
    batch: Batch,
    queries: Inputs,
    slots: Slots,
) -> Slots:
    """The slots as they were drawn.

    Args:
      slots: Slots with items [B, K].
    """
    del program, data, state, batch, queries
    return slots


HARD_SOURCES: Registry[HardSource] = Registry(
    "negatives.hard.source",
    {
        "log": HardSource(draw_from_log, keep_items, of_log=True),
        "mined": HardSource(draw_from_mined, keep_items, mined=True),
        "dns": HardSource(draw_candidates, choose_best, scored=True),
        "resampled": HardSource(draw_pool, choose_resampled, scored=True),
    },
)
