"""Hard negatives that the model itself mines: a window of its exact ranking."""

from __future__ import annotations

from dataclasses import dataclass

from twotower_jax.errors import InputError
from twotower_jax.lazy import jnp, np, shards
from twotower_jax.negatives.hard import HARD, HardStep, Pooled
from twotower_jax.negatives.source import RowPools
from twotower_jax.registry import key, keys_of, section, tag


@keys_of("negatives.hard.mined", words="negatives=mined")
class MinedConfig:
    """Times of the minings, and the window of ranks."""

    warmup: float = key(
        0.1,
        above=0,
        training=True,
        doc="share of the training before the first mining; until then slots are easy",
    )
    every: float = key(
        0.1, above=0, training=True, doc="share of the training between two minings"
    )
    range_min: int = key(
        100, low=0, doc="first rank of the window of the model's ranking, from 0"
    )
    range_max: int = key(500, doc="end of the window of ranks, itself not included")

    def __post_init__(self) -> None:
        if self.warmup + self.every >= 1:
            raise InputError(
                f"negatives.hard.mined.every={self.every} after negatives.hard.mined."
                f"warmup={self.warmup} leaves no time for a second mining; their sum "
                "must be below 1"
            )
        if self.range_max <= self.range_min:
            raise InputError(
                f"negatives.hard.mined.range_max={self.range_max} must be above "
                f"negatives.hard.mined.range_min={self.range_min}; ranks are "
                "[range_min, range_max), from 0"
            )


@HARD.add
@dataclass(unsafe_hash=True)
class Mined(Pooled):
    """Uniform draws from a window of the model's own ranking, mined again and again."""

    source: str = tag("mined", words="negatives=mined")
    mined: MinedConfig = section(MinedConfig)

    def pools(self, step: HardStep) -> RowPools:
        """The windows of the rows' users, which are empty before the first mining."""
        item = shards.take(step.memory["mined"], step.batch.queries.user)
        present = item < step.inputs.num_items
        number = present.sum(axis=1, keepdims=True).astype(jnp.float32)
        log_prob = jnp.where(present, -jnp.log(number), -jnp.inf)
        return RowPools(item, log_prob)


def window(items: np.ndarray, first: int, end: int, num_items: int) -> np.ndarray:
    """Ranks [first, end) of exact top-k lists as pools, [Q, end - first] int32.

    The first ranks hold items that the user would like as well (false negatives), and
    the last ones are easy. An id of ``items`` [Q, K] outside 0..num_items - 1, such as
    the -1 of `top_k`, is padding; the result has num_items there.
    """
    if not 0 <= first < end:
        raise ValueError(
            f"a window of ranks needs 0 <= first < end, got [{first}, {end})"
        )
    part = np.asarray(items, np.int32)[:, first:end]
    missing = end - first - part.shape[1]
    part = np.pad(part, ((0, 0), (0, missing)), constant_values=-1)
    return np.where((part >= 0) & (part < num_items), part, np.int32(num_items))
