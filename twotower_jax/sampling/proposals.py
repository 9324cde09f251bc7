"""Proposals for easy negatives: a weight for every item, drawn by an alias table.

A proposal is its arrays, so it enters a jitted step as an argument and a sweep over
``alpha`` runs one compiled program. ``log_prob`` answers for any id, not only for
ids that were drawn: a mixture adds up the proposals of all its sources.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from twotower_jax.errors import unknown


class Proposal(NamedTuple):
    """A distribution over the catalogue.

    Attributes:
      log_q: [num_items] float32 log probability of a draw.
      threshold: [num_items] float32, chance that a cell of the alias table keeps
        its own item.
      alias: [num_items] int32, the item drawn otherwise.
    """

    log_q: jax.Array
    threshold: jax.Array
    alias: jax.Array


def uniform(counts: np.ndarray, *, alpha: float, smoothing: float) -> np.ndarray:
    """Return equal weights [num_items]; alpha and smoothing do not matter."""
    del alpha, smoothing
    return np.ones(len(counts))


def popularity(counts: np.ndarray, *, alpha: float, smoothing: float) -> np.ndarray:
    """Return weights (c_i + s)^alpha, [num_items] float64.

    alpha = 0 is uniform, .75 word2vec's noise distribution and 1 the unigram. The
    smoothing s > 0 lets an item without clicks be drawn.
    """
    return (np.asarray(counts, np.float64) + smoothing) ** alpha


def log_uniform(counts: np.ndarray, *, alpha: float, smoothing: float) -> np.ndarray:
    """Return log((k + 2) / (k + 1)) of an item's rank k by count, [num_items].

    The most clicked item has rank 0; equal counts rank by lower item. Its sum is
    log(num_items + 1). The usual stand-in for frequencies that are not known.
    """
    del alpha, smoothing
    rank = np.empty(len(counts))
    rank[np.argsort(-np.asarray(counts), kind="stable")] = np.arange(len(counts))
    return np.log1p(1 / (rank + 1))


PROPOSALS: dict[str, Callable[..., np.ndarray]] = {
    "uniform": uniform,
    "popularity": popularity,
    "log_uniform": log_uniform,
}


def make_proposal(
    name: str, counts: np.ndarray, *, alpha: float = 0.75, smoothing: float = 1.0
) -> Proposal:
    """Build the proposal ``name`` from training counts [num_items].

    Raises:
      InputError: when the name is unknown.
    """
    if name not in PROPOSALS:
        raise unknown("negatives.easy.sampler", name, PROPOSALS)
    return from_weights(PROPOSALS[name](counts, alpha=alpha, smoothing=smoothing))


def from_weights(weights: np.ndarray) -> Proposal:
    """Build a proposal q_i = w_i / sum w from weights [num_items] > 0.

    Raises:
      ValueError: when a weight is not finite or not positive; an item that can be
        in a row must never have q = 0.
    """
    weights = np.asarray(weights, np.float64)
    if weights.ndim != 1 or not len(weights):
        raise ValueError(f"weights must be [num_items], got shape {weights.shape}")
    if not (np.isfinite(weights).all() and (weights > 0).all()):
        worst = int(np.argmin(np.where(np.isfinite(weights), weights, -np.inf)))
        raise ValueError(
            f"weights must be finite and above 0, got {weights[worst]} for item {worst}"
        )
    log_q = np.log(weights) - np.log(weights.sum())
    threshold, alias = _alias_table(np.exp(log_q))
    return Proposal(
        jnp.asarray(log_q, jnp.float32),
        jnp.asarray(threshold, jnp.float32),
        jnp.asarray(alias, jnp.int32),
    )


def _alias_table(q: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return Vose's thresholds and aliases [n], in O(n) by vectorised rounds.

    Each round pairs cells below the mean with cells above it; what a large cell
    gives away may make it small, so it returns in the next round.
    """
    n = len(q)
    mass = q * n
    threshold, alias = np.ones(n), np.arange(n)
    small, large = np.flatnonzero(mass < 1), np.flatnonzero(mass >= 1)
    while len(small) and len(large):
        pairs = min(len(small), len(large))
        low, high = small[:pairs], large[:pairs]
        threshold[low], alias[low] = mass[low], high
        mass[high] -= 1 - mass[low]
        now_small = mass[high] < 1
        small = np.concatenate([small[pairs:], high[now_small]])
        large = np.concatenate([high[~now_small], large[pairs:]])
    return threshold, alias


def sample(key: jax.Array, proposal: Proposal, shape: tuple[int, ...]) -> jax.Array:
    """Draw item ids of the given shape, independently and with replacement."""
    cell_key, keep_key = jax.random.split(key)
    cell = jax.random.randint(cell_key, shape, 0, proposal.alias.shape[0])
    keep = fine_uniform(keep_key, shape) < proposal.threshold[cell]
    return jnp.where(keep, cell, proposal.alias[cell]).astype(jnp.int32)


def fine_uniform(key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """Return uniform float32 in [0, 1), fine near 0: multiples of 2^-48.

    ``jax.random.uniform`` has multiples of 2^-23 only, which a probability of 1e-7
    does not survive.
    """
    high, low = jax.random.bits(key, (2, *shape), jnp.uint32) >> 8
    value = high.astype(jnp.float32) * 2.0**-24 + low.astype(jnp.float32) * 2.0**-48
    return jnp.minimum(value, 1 - 2.0**-24)


def log_prob(proposal: Proposal, ids: jax.Array) -> jax.Array:
    """Return the log probability of a draw, for any ids, with the ids' shape."""
    return proposal.log_q[ids]
