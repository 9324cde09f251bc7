"""Hard negatives: the choices of ``negatives/hard=``, and what each of them draws.

A choice draws for the slots of each row (`Hard.draw_slots`), and states how often to
expect any item among them (`Hard.counts`). `RowSlots` mixes them with easy draws.

A row's pool is L items with their log probabilities; padding has log probability -inf
and an id that no item has. A draw has the log probability that its pool states, and
nothing else is drawn.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from twotower_jax.lazy import Lazy, jax, jnp
from twotower_jax.negatives.source import Batch, Count, Keys, Listed, RowPools, Slots
from twotower_jax.registry import Choice, Choices, key, tag

if TYPE_CHECKING:
    from twotower_jax.negatives import easy as easy_laws
    from twotower_jax.negatives.easy import EasyLaw
else:
    easy_laws = Lazy("twotower_jax.negatives.easy")


HARD: Choices[Hard] = Choices("negatives.hard.source")


def hard_negatives(values: Mapping[str, Any]) -> bool:
    """Whether any slot is ever hard, given all values by dotted key."""
    if not values["negatives.hard.num"]:
        return False
    return values["negatives.hard_ratio"] != 0 or bool(values["negatives.hard_start"])


def _decides_num(values: Mapping[str, Any]) -> bool:
    """Slots that are never hard are easy draws per row, and else none."""
    return (
        hard_negatives(values)
        or values["negatives.layout"] == "per_row"
        or not values["negatives.hard.num"]
    )


def _decides_log_q(values: Mapping[str, Any]) -> bool:
    """Whether hard slots are corrected by a log q."""
    return hard_negatives(values) and values.get("loss.logq.correct", "none") != "none"


class HardDraws(NamedTuple):
    """Hard draws for every slot of the rows of a batch."""

    # [B, K] int32; num_items where every candidate of the slot is masked
    items: jax.Array
    pool: RowPools  # Pools of the draws; L is 0 where they are not counted by pools


class HardInputs(NamedTuple):
    """Inputs of the hard draws of a step beside the batch."""

    num_items: int  # size of the catalogue
    # what `Hard.prepare` made of the log; of `Funnel` the pools, with the arrays item,
    # log_prob and stage [P, L], and of_row [n], the pool of each training positive, -1
    # for none
    arrays: Any = ()
    # [] log of the temperature of the scores, of which () has none
    log_temperature: Any = ()
    alone: bool = False  # whether a row has no other draws


class HardStep(NamedTuple):
    """What hard draws read in a step."""

    inputs: HardInputs  # what is read beside the batch
    memory: dict[str, Any]  # memories of all sources
    key: Keys  # keys of the step
    batch: Batch  # B rows
    easy: EasyLaw  # the law of easy draws, from which candidates come
    num: int  # number of slots of a row


@dataclass(unsafe_hash=True)
class Hard(Choice):
    """Base of the sources of hard draws, which slots mix with easy ones.

    A subclass defines `draw_slots`, and `counts` where its draws have no pools.
    """

    choices: ClassVar[Choices[Hard]] = HARD
    of_log: ClassVar[bool] = False  # whether the pools are those of the log's funnel
    scored: ClassVar[bool] = False  # whether the model scores candidates
    per_slot: ClassVar[bool] = False  # whether each slot has candidates of its own
    # whether no row lacks hard draws, as a row with an empty pool does
    every_row: ClassVar[bool] = False

    source: str = tag("", decides=hard_negatives)
    num: int = key(
        0,
        low=0,
        decides=_decides_num,
        doc="hard slots per row; 0: no hard negatives",
        example="negatives=hard negatives.hard.num=8",
    )
    log_q: str = key(
        "mixture",
        choices=("mixture", "easy", "none"),
        decides=_decides_log_q,
        doc="log q of hard draws: that of the row's mixture, of an easy draw, or none",
        example="negatives=hard negatives.hard.log_q=easy",
    )

    @property
    def candidates(self) -> int:
        """Easy draws that the model scores, of a row or of a slot; 0 for none."""
        return 0

    def prepare(self, log: Any, split: Any) -> Any:
        """Arrays that the draws read of a `FunnelLog`, a tree of them; () for none.

        Only ``split.train`` is known at the training.
        """
        return ()

    def draw_slots(self, step: HardStep) -> HardDraws:
        """Hard draws [B, step.num] of the rows."""
        raise NotImplementedError

    def counts(
        self, inputs: HardInputs, batch: Batch, drawn: Slots, log_num: jax.Array
    ) -> list[Count]:
        """Expected counts of hard draws: by default those of the rows' pools.

        Args:
          drawn: the slots of the rows.
          log_num: [] log of the number of hard draws of a row.
        """
        pool = drawn.pool
        if not pool.size:
            return []
        return [Listed(pool.item, pool.log_prob + log_num)]


@dataclass(unsafe_hash=True)
class Pooled(Hard):
    """Base of the sources that draw from a pool of each row."""

    def pools(self, step: HardStep) -> RowPools:
        """The pools of the rows."""
        raise NotImplementedError

    def draw_slots(self, step: HardStep) -> HardDraws:
        """Independent draws from the pools."""
        pool, key = self.pools(step), step.key("negatives.hard")
        return HardDraws(draw_hard(key, pool.item, pool.log_prob, step.num), pool)


def draw_hard(
    key: jax.Array, item: jax.Array, log_prob: jax.Array, num: int
) -> jax.Array:
    """Draws from each row's pool, independent and with replacement, [B, num] int32.

    By inverse of the cumulated probabilities, at uniform numbers of 48 bits (see
    `fine_uniform`). A pool that ascends by probability, as those of the log do, keeps
    the proportions of its items to about 1e-6, however small they are; in another order
    a probability is right to about 1e-7 of the whole.
    """
    total = cumulated(log_prob)
    # u < 1, and then u * sum < sum in floats too.
    at = easy_laws.fine_uniform(key, (item.shape[0], num)) * total[:, -1:]
    place = jax.vmap(lambda row, u: jnp.searchsorted(row, u, side="right"))(total, at)
    place = jnp.minimum(place, item.shape[1] - 1)
    return jnp.take_along_axis(item, place, axis=1).astype(jnp.int32)


def cumulated(log_prob: jax.Array) -> jax.Array:
    """Sums from the left of the probabilities of each row, [B, L] float32.

    In units of the row's largest probability. They never fall, nor rise on padding, as
    a plain parallel sum does by a rounding; padding would be drawn with that chance.
    """
    top = log_prob.max(axis=1, keepdims=True)
    prob = jnp.exp(log_prob - jnp.where(top > -jnp.inf, top, 0))
    total = jnp.where(prob > 0, jnp.cumsum(prob, axis=1), 0)
    return jax.lax.cummax(total, axis=1)


def hard_stage(item: jax.Array, stage: jax.Array, ids: jax.Array) -> jax.Array:
    """Stages of any items in each row's pool, -1 outside of it, [B, K] integers."""
    same = ids[:, :, None] == item[:, None, :]
    return jnp.where(same, stage[:, None, :], -1).max(axis=2)


def has_pool(log_prob: jax.Array) -> jax.Array:
    """Whether each row's pool has an entry, [B] bool."""
    return (log_prob > -jnp.inf).any(axis=1)
