"""Hard negatives: the choices of ``negatives/hard=``, and what each of them draws.

A choice draws for the slots of each row, and states how often to expect any item among
them. `RowSlots` mixes them with easy draws. A row's pool is L items with the log
probabilities of their draws; padding has log probability -inf and an id of no item.
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


class HardDraws(NamedTuple):
    """Hard draws for every slot of the rows of a batch."""

    items: jax.Array  # [B, K] int32; num_items where all candidates are masked
    pool: RowPools  # pools of the draws; L is 0 where they are not counted by pools


class HardInputs(NamedTuple):
    """Inputs of the hard draws of a step beside the batch."""

    num_items: int  # size of the catalogue
    # what `Hard.prepare` made of the log; of `Funnel` the pools [P, L], and of_row [n],
    # the pool of each training positive, -1 for none
    arrays: Any = ()
    log_temperature: Any = ()  # [] log of the temperature; () where scores have none
    alone: bool = False  # whether a row has no other draws


class HardStep(NamedTuple):
    """What hard draws read in a step."""

    inputs: HardInputs  # what is read beside the batch
    memory: dict[str, Any]  # memories of all sources
    key: Keys  # keys of the step
    batch: Batch  # B rows
    easy: EasyLaw  # the law of easy draws, from which candidates come
    num: int  # number of slots of a row

    def candidates(self, *shape: int) -> jax.Array:
        """Easy draws of a shape, from which hard ones are chosen."""
        return self.easy.draw(self.key("negatives.hard"), self.batch, shape)


@dataclass(unsafe_hash=True)
class Hard(Choice):
    """Base of the sources of hard draws, which slots mix with easy ones.

    A subclass defines `draw_slots`, and `counts` where its draws have no pools.
    """

    choices: ClassVar[Choices[Hard]] = HARD
    of_log: ClassVar[bool] = False  # whether the pools are those of the log's funnel
    scored: ClassVar[bool] = False  # whether the model scores candidates
    per_slot: ClassVar[bool] = False  # whether each slot has candidates of its own
    every_row: ClassVar[bool] = False  # whether no row lacks hard draws
    candidate_num = (
        0  # easy draws that the model scores, of a row or slot: a key of some
    )

    source: str = tag("", decides=hard_negatives)
    num: int = key(
        0,
        low=0,
        # Slots that are never hard are easy draws per row, and else none.
        decides=lambda values: (
            hard_negatives(values)
            or values["negatives.layout"] == "per_row"
            or not values["negatives.hard.num"]
        ),
        doc="hard slots per row; 0: no hard negatives",
        example="negatives=hard negatives.hard.num=8",
    )
    log_q: str = key(
        "mixture",
        choices=("mixture", "easy", "none"),
        decides=lambda values: (
            hard_negatives(values) and values.get("loss.logq.correct", "none") != "none"
        ),
        doc="log q of hard draws: that of the row's mixture, of an easy draw, or none",
        example="negatives=hard negatives.hard.log_q=easy",
    )

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

        ``log_num`` [] is the log of the number of hard draws of a row.
        """
        pool = drawn.pool
        return [Listed(pool.item, pool.log_prob + log_num)] if pool.size else []


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

    By inverse of the cumulated probabilities, at uniform numbers of 48 bits. A pool
    that ascends by probability, as those of the log do, keeps the proportions of its
    items to about 1e-6; in another order a probability is right to about 1e-7 of the
    whole.
    """
    total = cumulated(log_prob)
    # u < 1, and then u * sum < sum in floats too.
    at = easy_laws.fine_uniform(key, (item.shape[0], num)) * total[:, -1:]
    place = jax.vmap(lambda row, u: jnp.searchsorted(row, u, side="right"))(total, at)
    place = jnp.minimum(place, item.shape[1] - 1)
    return jnp.take_along_axis(item, place, axis=1).astype(jnp.int32)


def cumulated(log_prob: jax.Array) -> jax.Array:
    """Sums from the left of each row's probabilities over the largest, [B, L] float32.

    They never fall, nor rise on padding, as a plain parallel sum does by a rounding.
    """
    top = log_prob.max(axis=1, keepdims=True)
    prob = jnp.exp(log_prob - jnp.where(top > -jnp.inf, top, 0))
    total = jnp.where(prob > 0, jnp.cumsum(prob, axis=1), 0)
    return jax.lax.cummax(total, axis=1)


def has_pool(log_prob: jax.Array) -> jax.Array:
    """Whether each row's pool has an entry, [B] bool."""
    return (log_prob > -jnp.inf).any(axis=1)
