"""Resampled negatives: drawn from several easy draws by the model's softmax."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from twotower_jax.lazy import jax, jnp
from twotower_jax.negatives import hard
from twotower_jax.negatives.hard import HARD
from twotower_jax.negatives.source import RowPools
from twotower_jax.registry import key, tag


def resampled_log_prob(
    item: jax.Array, log_weight: jax.Array, log_q: jax.Array, *, alone: bool
) -> jax.Array:
    """Log probability of a draw from each row's pool in proportion to its weights.

    The pool of a row are M draws from q. Given the pool, item j is drawn with

      pi(j) = sum of w_k over the places k of j / sum_m w_m,

    with which logQ is exact beside draws that can be any item. Alone, draws of the pool
    say nothing of the items outside of it, and for w = e^s / q

      e^{s_j} / ((1 / M) sum_m w_m) = M q_j w_j / sum_m w_m

    is returned: the softmax with an unbiased estimate of its sum.

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
class Resampled(hard.Hard):
    """Draws from each row's pool of easy draws by the model's softmax.

    They are in proportion to e^s / q, where s is the logit of a candidate and q its
    probability as an easy draw; 0 where the row's mask or the filter of negatives drops
    it. A slot of a row whose candidates are all dropped is switched off.

    References:
      Chen et al., Learning Recommenders for Implicit Feedback with Importance
      Resampling, WWW 2022 (AdaSIR).
    """

    scored: ClassVar[bool] = True
    every_row: ClassVar[bool] = True

    source: str = tag("resampled", words="negatives=resampled")
    candidate_num: int = key(
        8, low=2, doc="easy draws per row, from which its slots are drawn"
    )

    def draw_slots(self, step: hard.HardStep) -> hard.HardDraws:
        """Draws [B, num], and pools [B, M] with the log probability of a hard draw."""
        batch, easy, inputs = step.batch, step.easy, step.inputs
        ids = step.candidates(batch.size, self.candidate_num)
        log_q = easy.log_q(ids) - easy.log_mass(batch)[:, None]
        scores, masked = batch.scores(ids)
        logits = scores * jnp.exp(-inputs.log_temperature)
        log_weight = jnp.where(masked, -jnp.inf, logits - log_q)
        key = step.key("negatives.resampled")
        drawn = hard.draw_hard(key, ids, log_weight, step.num)
        drawn = jnp.where(hard.has_pool(log_weight)[:, None], drawn, easy.num_items)
        law = resampled_log_prob(ids, log_weight, log_q, alone=inputs.alone)
        return hard.HardDraws(drawn, RowPools(ids, law))
