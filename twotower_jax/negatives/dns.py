"""Dynamic negatives: the best scored of several easy draws."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from twotower_jax.errors import InputError
from twotower_jax.lazy import jax, jnp
from twotower_jax.negatives.hard import HARD, Hard, HardDraws, HardStep
from twotower_jax.negatives.source import no_pools
from twotower_jax.registry import key, tag

# Below this log r, log1p(-r) = -r to the last bit, and e^log_r still is a float32.
TINY_LOG_R = -60.0


def best_of(scores: jax.Array) -> jax.Array:
    """Index [...] of the best of scores [..., M] of independent draws; ties: the first.

    References:
      Zhang et al., Optimizing Top-N Collaborative Filtering via Dynamic Negative Item
      Sampling, SIGIR 2013; Shi et al., WWW 2023, DNS(M, N) with M = 1.
    """
    return jnp.argmax(scores, axis=-1).astype(jnp.int32)


def dns_log_prob(
    scores: jax.Array, log_q: jax.Array, candidate_num: jax.Array | int
) -> jax.Array:
    """Exact log probability that `best_of` selects each item.

    With M draws from q, F(s) the sum of q_k over the items with s_k <= s, and T the
    items of the score of j, of which the first draw is an independent one,

      p_j = q_j / q(T) * F^M * (1 - (1 - q(T) / F)^M),

    computed in logs. Where M = 1 it is q. No gradient passes: scores matter by their
    order.

    Args:
      scores: [..., N] float score of every item of the catalogue.
      log_q: [N] float log probability of a draw; normalised here. -inf is never drawn.
      candidate_num: M >= 1, independent draws per slot.

    Examples:
      >>> half = jnp.log(jnp.array([0.5, 0.5]))
      >>> p = jnp.exp(dns_log_prob(jnp.array([0.0, 1.0]), half, 2))
      >>> [round(x, 4) for x in p.tolist()]
      [0.25, 0.75]
    """
    scores, log_q = jax.lax.stop_gradient((scores, log_q))
    draws = jnp.asarray(candidate_num, jnp.float32)
    rows = scores.reshape(-1, scores.shape[-1])
    of_row = jax.vmap(_dns_row, in_axes=(0, None, None))
    return of_row(rows, log_q.astype(jnp.float32), draws).reshape(scores.shape)


def _dns_row(scores: jax.Array, log_q: jax.Array, draws: jax.Array) -> jax.Array:
    """Return ``dns_log_prob`` of a row of scores [N], by groups of equal scores."""
    size = scores.shape[0]
    order = jnp.argsort(scores)
    ranked, weight = scores[order], log_q[order]
    new = jnp.concatenate([jnp.zeros(1, bool), ranked[1:] != ranked[:-1]])
    group = jnp.cumsum(new, dtype=jnp.int32)

    peak = jax.ops.segment_max(weight, group, size, indices_are_sorted=True)
    peak = jnp.where(jnp.isneginf(peak), 0, peak)
    part = jnp.exp(weight - peak[group])
    mass = jax.ops.segment_sum(part, group, size, indices_are_sorted=True)
    log_mass = jnp.log(mass) + peak
    log_below = jax.lax.cumlogsumexp(log_mass)
    # Rounding may put a group's mass above the sum that it is part of.
    log_r = jnp.minimum(log_mass - log_below, 0)
    small = log_r < TINY_LOG_R
    some = jnp.log(-jnp.expm1(draws * jnp.log1p(-jnp.exp(log_r))))
    log_hit = jnp.where(small, jnp.log(draws) + log_r, some)
    log_best = draws * (log_below - log_below[-1]) + log_hit

    log_prob = weight + (log_best - log_mass)[group]
    log_prob = jnp.where(jnp.isneginf(weight), -jnp.inf, log_prob)
    return jnp.zeros(size, jnp.float32).at[order].set(log_prob, unique_indices=True)


@HARD.add
@dataclass(unsafe_hash=True)
class BestOf(Hard):
    """The candidate of each slot that has the best score under the current parameters.

    The row's mask and the filter of negatives apply before the choice: the best of
    plain draws is often an item that the user likes. A slot with masked candidates
    alone is off.

    The expected counts of ``negatives.hard.log_q=easy`` do not describe the choice. Its
    exact probability is that of `dns_log_prob`, with masked items at -inf.
    """

    scored: ClassVar[bool] = True
    per_slot: ClassVar[bool] = True
    every_row: ClassVar[bool] = True

    source: str = tag("dns", words="negatives=dns")
    candidate_num: int = key(
        8, low=2, doc="easy draws per slot, of which the best scored is kept"
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.log_q == "mixture" and self.num:
            raise InputError(
                "negatives.hard.log_q=mixture cannot be computed for "
                "negatives/hard=dns in training: the probability of being the best "
                "draw needs the score of every item; set negatives.hard.log_q=easy or "
                "none"
            )

    def draw_slots(self, step: HardStep) -> HardDraws:
        """The best of M easy draws for each slot."""
        batch = step.batch
        ids = step.candidates(batch.size, step.num, self.candidate_num)
        scores, masked = batch.scores(ids)
        best = best_of(jnp.where(masked, -jnp.inf, scores))[..., None]
        items = jnp.take_along_axis(ids, best, axis=-1)[..., 0]
        items = jnp.where(masked.all(axis=-1), step.easy.num_items, items)
        return HardDraws(items, no_pools(batch.size))
