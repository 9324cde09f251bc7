"""Slots of each row: hard negatives mixed with easy ones.

A row whose pool is empty draws easy negatives alone: rows form two groups.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from twotower_jax.negatives import source as src
from twotower_jax.negatives.easy import EasyLaw
from twotower_jax.negatives.hard import Hard, HardInputs, HardStep, has_pool


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
    """Which slots are hard: each with its row's ratio, independently, [B, K] bool."""
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
class RowSlots(src.Source):
    """Slots of each row: easy draws, and hard ones with easy draws in their place."""

    easy: EasyLaw  # law of the easy draws
    easy_num: int  # easy slots of a row
    hard_num: int  # hard slots of a row
    hard: Hard  # choice of the hard draws
    inputs: HardInputs  # what the hard draws read beside the batch
    # share of the slots that are hard; () where the last `hard_num` slots are
    ratio: tuple[HardRatio, ...] = ()
    # easy columns that the ratio switches as it does hard slots; 0 where it mixes slots
    switched: int = 0

    @property
    def slots(self) -> int:
        """Number of slots of a row."""
        return self.easy_num + self.hard_num

    def init(self) -> dict:
        """The share of slots that were lost, where candidates are scored."""
        return {"lost_slots": jnp.float32(0)} if self.hard.scored else {}

    def draw(self, memory: dict, key: src.Keys, batch: src.Batch) -> src.Slots:
        """Slots of hard and easy draws [B, K], some of them switched off."""
        shape = (batch.size, self.slots)
        easy = self.easy.draw(key("negatives.slots"), batch, shape)
        if not self.hard_num:
            return src.Slots(easy, jnp.zeros(shape, bool), src.no_pools(batch.size))
        hard = self.hard.draw_slots(
            HardStep(self.inputs, memory, key, batch, self.easy, self.slots)
        )
        pooled = self._has_pool(hard.pool)
        mixed = key("negatives.mix")
        if self.ratio and not self.switched:
            chance = jnp.where(pooled, ratio_at(self.ratio[0], batch.step), 0)
            is_hard = hard_slots(mixed, shape, chance)
        else:
            last = jnp.arange(self.slots) >= self.slots - self.hard_num
            is_hard = last[None, :] & pooled[:, None]
        items = jnp.where(is_hard, hard.items, easy)
        if self.switched:
            on = jax.random.uniform(mixed, shape) < self._chance(batch)
            items = jnp.where(on, items, self.easy.num_items)
            is_hard &= on
        return src.Slots(items, is_hard, hard.pool)

    def _has_pool(self, pool: src.RowPools) -> jax.Array:
        """Return which rows can draw hard negatives, [B] bool."""
        if self.hard.every_row:
            return jnp.ones(pool.item.shape[0], bool)
        return has_pool(pool.log_prob)

    def _chance(self, batch: src.Batch) -> jax.Array:
        """Return the chance that a hard slot counts, of the shared layout."""
        ratio = ratio_at(self.ratio[0], batch.step)
        return switches(self.switched, self.hard_num, ratio)[1]

    def expected(self, batch: src.Batch) -> tuple[jax.Array, jax.Array]:
        """Expected easy and hard draws of a row with a pool, [] float32 each."""
        if self.ratio and not self.switched:
            ratio = ratio_at(self.ratio[0], batch.step)
            return self.slots * (1 - ratio), self.slots * ratio
        hard = jnp.float32(self.hard_num)
        if self.switched:
            hard *= self._chance(batch)
        return jnp.float32(self.easy_num), hard

    def counts(
        self, memory: dict, batch: src.Batch, drawn: src.Slots
    ) -> list[src.Count]:
        """Easy draws by the easy law, hard ones by the pools of the rows."""
        easy, hard = self.expected(batch)
        if self.hard.log_q == "easy":
            # Every row has the same number of easy and hard draws together.
            return [self.easy.count(batch, (easy + hard)[None])]
        counts: list[src.Count] = [self.easy.count(batch, easy[None])]
        if self.hard_num and not self.hard.every_row:
            of_group = jnp.stack([easy, easy + hard])
            group = jnp.where(self._has_pool(drawn.pool), 0, 1)
            counts = [self.easy.count(batch, of_group, (group,))]
        if self.hard.log_q == "mixture" and self.hard_num:
            counts += self.hard.counts(self.inputs, batch, drawn, jnp.log(hard))
        return counts

    def update(
        self, memory: dict, batch: src.Batch, drawn: src.Slots, embeddings: jax.Array
    ) -> dict:
        """Memories with the mean share of lost slots: every candidate is masked."""
        if "lost_slots" not in memory:
            return memory
        lost = drawn.is_hard & (drawn.items >= self.easy.num_items)
        share = lost.sum() / jnp.maximum(drawn.is_hard.sum(), 1)
        mean = memory["lost_slots"]
        mean += (share - mean) / (batch.step + 1)
        return memory | {"lost_slots": mean}
