"""Resampled negatives: drawn from several easy draws by the model's softmax."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from twotower_jax.lazy import jax, jnp
from twotower_jax.negatives.hard import (
    HARD,
    Hard,
    HardDraws,
    HardStep,
    draw_hard,
    hard_negatives,
    has_pool,
)
from twotower_jax.negatives.source import row_pools
from twotower_jax.registry import key, tag


def resampled_log_prob(
    item: jax.Array, log_weight: jax.Array, log_q: jax.Array, *, alone: bool
) -> jax.Array:
    """Log probability of a draw from each row's pool in proportion to its weights.

    The pool of a row are M draws from q. A draw is place k with probability
    w_k / sum_m w_m. Its item may stand at several places, and given the pool, item j is
    drawn with

      pi(j) = sum of w_k over the places of j / sum_m w_m.

    Beside draws that can be any item, logQ with this pi is exact given the pool, as for
    any pool. Alone, draws of the pool say nothing of the items outside of it. Then

      e^{s_j} / ((1 / M) sum_m w_m) = M q_j w_j / sum_m w_m

    is returned for w = e^s / q: the softmax with an estimate of its sum. The mean of
    e^{s_j} over it is the sum of all e^s, exactly so over pools and draws.

    References:
      Chen et al., WWW 2022 (AdaSIR), sections 3 and 4.
    """
    top = log_weight.max(axis=1, keepdims=True)
    top = jnp.where(jnp.isneginf(top), 0, top)
    weight = jnp.exp(log_weight - top)
    total = weight.sum(axis=1, keepdims=True)
    log_total = jnp.log(jnp.where(total > 0, total, 1)) + top
    if alone:
        number = jnp.log(jnp.float32(item.shape[1]))
        return log_weight + log_q + number - log_total
    same = item[:, :, None] == item[:, None, :]
    merged = jnp.einsum("bij,bj->bi", same.astype(weight.dtype), weight)
    return jnp.where(weight > 0, jnp.log(merged) + top - log_total, -jnp.inf)


@HARD.add
@dataclass(unsafe_hash=True)
class Resampled(Hard):
    """Draws from each row's pool of easy draws by the model's softmax.

    They are in proportion to e^s / q, where s is the logit of a candidate, its current
    score over the temperature, and q its probability as an easy draw. Candidates that
    the row's mask or the filter of negatives drops have the weight 0. The log q of the
    draws is exact, see `resampled_log_prob`. A slot of a row whose candidates are all
    dropped is switched off.

    References:
      Chen et al., Learning Recommenders for Implicit Feedback with Importance
      Resampling, WWW 2022 (AdaSIR).
    """

    scored: ClassVar[bool] = True
    every_row: ClassVar[bool] = True

    source: str = tag("resampled", decides=hard_negatives)
    candidate_num: int = key(
        8,
        low=2,
        decides=hard_negatives,
        doc="easy draws per row, from which its slots are drawn",
        example="negatives=resampled negatives.hard.candidate_num=32",
    )

    @property
    def candidates(self) -> int:
        """Easy draws of a row."""
        return self.candidate_num

    def draw_slots(self, step: HardStep) -> HardDraws:
        """Draws [B, num], and pools [B, M] with the log probability of a hard draw."""
        batch, easy, inputs = step.batch, step.easy, step.inputs
        shape = (batch.size, self.candidate_num)
        ids = easy.draw(step.key("negatives.hard"), batch, shape)
        log_q = easy.log_q(ids) - easy.log_mass(batch)[:, None]
        scores, masked = batch.scores(ids)
        logits = scores * jnp.exp(-inputs.log_temperature)
        log_weight = jnp.where(masked, -jnp.inf, logits - log_q)
        key = step.key("negatives.resampled")
        drawn = draw_hard(key, ids, log_weight, step.num)
        drawn = jnp.where(has_pool(log_weight)[:, None], drawn, easy.num_items)
        law = resampled_log_prob(ids, log_weight, log_q, alone=inputs.alone)
        return HardDraws(drawn, row_pools(ids, law))
