"""Pairs of a row's slots from two stages of the log, the later stage above."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from twotower_jax.errors import InputError
from twotower_jax.losses.term import Term
from twotower_jax.registry import Lazy, key

if TYPE_CHECKING:
    import jax
    import jax.numpy as jnp

    from twotower_jax.losses import logits
    from twotower_jax.losses.logits import RowTerms, Scores
    from twotower_jax.negatives import pools
else:
    jax, jnp = Lazy("jax"), Lazy("jax.numpy")
    logits = Lazy("twotower_jax.losses.logits")
    pools = Lazy("twotower_jax.negatives.pools")


@dataclass(unsafe_hash=True)
class StagePairs(Term):
    """The pairs of a row's slots from two stages of the log.

    With g_k the stage that rejected the item of slot k, later stages above earlier ones
    and easy slots below all, and with Z pairs in a row,

      (1 / Z) sum_{k, l: g_k > g_l} log(1 + e^{s_l - s_k});

    0 for a row without a pair. The scores are those of training over the temperature,
    without log q. Masked slots are in no pair. The pairs of the positive and the slots
    are those of the loss itself.

    References:
      Liu et al., RecFlow: An industrial full flow recommendation dataset, ICLR 2025
      (FS-LTR: pairs of all stages, those with the positive among them).
    """

    name: ClassVar[str] = "stage_pairs"
    weight: float = key(
        0.0,
        low=0,
        doc="weight of the pairs of a row's slots from two stages of the log, the "
        "later stage above, easy slots below all; 0: none",
        example="negatives=hard loss.stage_pairs.weight=1",
    )

    def check(self, config: Any) -> None:
        """Refuse slots without stages."""
        hard = config.negatives.hard
        if not (hard.num and hard.of_log):
            raise InputError(
                f"loss.stage_pairs.weight={self.weight} compares slots from stages of "
                f"the log, but negatives.hard.num={hard.num} of negatives/hard="
                f"{hard.source} has none; set negatives=hard, or "
                "loss.stage_pairs.weight=0"
            )

    def of_scores(self, context: Any, scores: Scores, rows: RowTerms) -> jax.Array:
        """Mean over the rows, [] float32."""
        slots, negatives = context.draws.slots, context.negatives
        stage = pools.hard_stage(slots.pool.item, slots.pool.stage, slots.items)
        stage = jnp.where(slots.is_hard, stage, -1)
        # Where slots do not mix, the last ones alone are hard: others are below them.
        first = 0 if negatives.mixes else negatives.slots - negatives.hard_num
        raw = jax.lax.stop_gradient(scores.slots)
        terms = logits.mask_at_or_above(rows.limit, raw, rows.slots.log_mult)
        kept = terms > -jnp.inf
        above = stage[:, first:, None] > stage[:, None, :]
        above &= kept[:, first:, None] & kept[:, None, :]
        lead = scores.slots[:, first:, None] - scores.slots[:, None, :]
        pairs = jnp.where(above, jax.nn.softplus(-lead), 0).sum(axis=(1, 2))
        each = pairs / jnp.maximum(above.sum(axis=(1, 2)), 1)
        return (rows.weight * each).sum()
