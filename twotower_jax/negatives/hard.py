"""Hard negatives: the choices of ``negatives/hard=``, and the slots that they fill.

A choice draws for the slots of each row, and states how often to expect any item among
them. `RowSlots` mixes them with easy draws. A row's pool is L items with the log
probabilities of their draws; padding has log probability -inf and an id of no item. A
row whose pool is empty draws easy negatives alone: rows form two groups.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from twotower_jax.lazy import jax, jnp, keys
from twotower_jax.negatives.source import (
    Batch,
    Count,
    Keys,
    Listed,
    RowPools,
    Slots,
    Source,
    no_pools,
)
from twotower_jax.registry import Choice, Choices, key

if TYPE_CHECKING:
    from twotower_jax.negatives.easy import EasyLaw

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

    inputs: HardInputs
    memory: dict[str, Any]  # memories of all sources
    key: Keys
    batch: Batch
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
    in_use: ClassVar = staticmethod(hard_negatives)  # whether its keys have an effect
    of_log: ClassVar[bool] = False  # whether the pools are those of the log's funnel
    scored: ClassVar[bool] = False  # whether the model scores candidates
    per_slot: ClassVar[bool] = False  # whether each slot has candidates of its own
    every_row: ClassVar[bool] = False  # whether no row lacks hard draws
    candidate_num = 0  # easy draws that are scored of a row or slot: a key of some

    source: str = ""
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
        """A tree of arrays that draws read of a `FunnelLog`, of `split.train` alone."""
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
    at = keys.fine_uniform(key, (item.shape[0], num)) * total[:, -1:]
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


class HardRatio(NamedTuple):
    """Schedule of the share of hard slots, linear in the step."""

    start: Any  # [] share at step 0
    end: Any  # [] share from step `steps` on
    steps: Any  # [] length of the schedule; 0 has the share `end` at every step


def ratio_at(ratio: HardRatio, step: jax.Array) -> jax.Array:
    """Hard ratio of a step."""
    done = jnp.clip(step.astype(jnp.float32) / jnp.maximum(ratio.steps, 1), 0, 1)
    done = jnp.where(ratio.steps > 0, done, 1)
    return ratio.start + (ratio.end - ratio.start) * done


def hard_slots(
    key: jax.Array, shape: tuple[int, int], ratio: jax.Array | float
) -> jax.Array:
    """Draw whether each slot is hard, with its row's ratio, [B, K] bool."""
    chance = jnp.reshape(jnp.asarray(ratio, jnp.float32), (-1, 1))
    return jax.random.uniform(key, shape) < chance


def switches(
    easy_num: int, hard_num: int, ratio: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Chances a, b [] that an easy column and a hard slot count, in the shared layout.

    With m columns and H slots H b / (m a + H b) = ratio, and one of a and b is 1.
    """
    easy, hard = easy_num * ratio, hard_num * (1 - ratio)
    return (
        jnp.where(easy <= hard, 1, hard / jnp.maximum(easy, 1e-30)),
        jnp.where(hard <= easy, 1, easy / jnp.maximum(hard, 1e-30)),
    )


@dataclass(frozen=True)
class RowSlots(Source):
    """Slots of each row: easy draws, and hard ones with easy draws in their place."""

    easy: EasyLaw  # law of the easy draws
    easy_num: int  # easy slots of a row
    hard_num: int  # hard slots of a row
    hard: Hard  # choice of the hard draws
    inputs: HardInputs  # of the hard draws, beside the batch
    # share of the slots that are hard; () where the last `hard_num` slots are
    ratio: tuple[HardRatio, ...] = ()
    # easy columns that the ratio switches as it does hard slots; 0 where it mixes slots
    switched: int = 0

    def init(self) -> dict:
        """The share of slots that were lost, where candidates are scored."""
        return {"lost_slots": jnp.float32(0)} if self.hard.scored else {}

    def draw(self, memory: dict, key: Keys, batch: Batch) -> Slots:
        """Slots of hard and easy draws [B, K], some of them switched off."""
        slots = self.easy_num + self.hard_num
        shape = batch.size, slots
        easy = self.easy.draw(key("negatives.slots"), batch, shape)
        if not self.hard_num:
            return Slots(easy, jnp.zeros(shape, bool), no_pools(batch.size))
        step = HardStep(self.inputs, memory, key, batch, self.easy, slots)
        hard, mixed = self.hard.draw_slots(step), key("negatives.mix")
        pooled = self._has_pool(hard.pool)
        if self.ratio and not self.switched:
            chance = jnp.where(pooled, ratio_at(self.ratio[0], batch.step), 0)
            is_hard = hard_slots(mixed, shape, chance)
        else:
            last = jnp.arange(slots) >= self.easy_num
            is_hard = last[None, :] & pooled[:, None]
        items = jnp.where(is_hard, hard.items, easy)
        if self.switched:
            on = hard_slots(mixed, shape, self._chance(batch))
            items = jnp.where(on, items, self.easy.num_items)
            is_hard &= on
        return Slots(items, is_hard, hard.pool)

    def _has_pool(self, pool: RowPools) -> jax.Array:
        if self.hard.every_row:
            return jnp.ones(pool.item.shape[0], bool)
        return has_pool(pool.log_prob)

    def _chance(self, batch: Batch) -> jax.Array:
        ratio = ratio_at(self.ratio[0], batch.step)
        return switches(self.switched, self.hard_num, ratio)[1]

    def expected(self, batch: Batch) -> tuple[jax.Array, jax.Array]:
        """Expected easy and hard draws of a row with a pool, [] float32 each."""
        if self.ratio and not self.switched:
            ratio = ratio_at(self.ratio[0], batch.step)
            slots = self.easy_num + self.hard_num
            return slots * (1 - ratio), slots * ratio
        hard = jnp.float32(self.hard_num)
        if self.switched:
            hard *= self._chance(batch)
        return jnp.float32(self.easy_num), hard

    def counts(self, memory: dict, batch: Batch, drawn: Slots) -> list[Count]:
        """Easy draws by the easy law, hard ones by the pools of the rows."""
        easy, hard = self.expected(batch)
        if self.hard.log_q == "easy":
            # Every row has the same number of easy and hard draws together.
            return [self.easy.count(batch, (easy + hard)[None])]
        counts: list[Count] = [self.easy.count(batch, easy[None])]
        if self.hard_num and not self.hard.every_row:
            of_group = jnp.stack([easy, easy + hard])
            group = jnp.where(self._has_pool(drawn.pool), 0, 1)
            counts = [self.easy.count(batch, of_group, (group,))]
        if self.hard.log_q == "mixture" and self.hard_num:
            counts += self.hard.counts(self.inputs, batch, drawn, jnp.log(hard))
        return counts

    def update(
        self, memory: dict, batch: Batch, drawn: Slots, embeddings: jax.Array
    ) -> dict:
        """Memories with the mean share of lost slots: every candidate is masked."""
        if "lost_slots" not in memory:
            return memory
        lost = drawn.is_hard & (drawn.items >= self.easy.num_items)
        share = lost.sum() / jnp.maximum(drawn.is_hard.sum(), 1)
        mean = memory["lost_slots"]
        return memory | {"lost_slots": mean + (share - mean) / (batch.step + 1)}
