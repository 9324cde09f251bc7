"""Proposals of easy negatives: a weight per item, drawn by an alias table.

A proposal consists of arrays, so it enters a jitted step as an argument, and a sweep
over `alpha` runs one compiled program. `log_prob` is exact for any id, drawn or not,
because a mixture adds up the proposals of all its sources.
"""

from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
import numpy as np

from twotower_jax.data.shards import take
from twotower_jax.negatives.samplers import EASY


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


def make_proposal(name: str, counts: np.ndarray, **keys: Any) -> Proposal:
    """Proposal of a named sampler, on the device.

    Args:
      name: a sampler of `EASY`.
      counts: [num_items] training positives of each item.
      keys: of the sampler, such as the exponent alpha of popularity.

    Returns:
      The proposal.

    Raises:
      InputError: when the name is unknown.

    Examples:
      >>> proposal = make_proposal("popularity", np.array([0, 2]), alpha=1.0)
      >>> np.exp(proposal.log_q).round(4).tolist()
      [0.25, 0.75]
    """
    return from_weights(EASY[name](**keys).weights(counts))


def from_weights(weights: np.ndarray) -> Proposal:
    """Proposal q_i = w_i / sum_j w_j, on the device.

    Raises:
      ValueError: when a weight is not finite or not positive; an item that can be
        in a row must never have q = 0.

    Examples:
      >>> np.exp(from_weights(np.array([1.0, 3.0])).log_q).tolist()
      [0.25, 0.75]
    """
    return jax.tree.map(jnp.asarray, host_proposal(weights))


def host_proposal(weights: np.ndarray) -> Proposal:
    """Proposal of weights as arrays of numpy, as `from_weights`."""
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
    arrays = log_q.astype("f4"), threshold.astype("f4"), alias.astype("i4")
    return Proposal(*cast(Any, arrays))


def _alias_table(q: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return Vose's thresholds and aliases [n], in O(n) by vectorised rounds.

    Each round pairs cells below the mean with cells above it. A large cell may become
    small by the mass that it gives away, so it returns in the next round.
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


def sample(
    key: jax.Array,
    proposal: Proposal,
    shape: tuple[int, ...],
    num_items: int | None = None,
) -> jax.Array:
    """Independent draws from a proposal, with replacement.

    Args:
      shape: of the draws.

    Returns:
      Item ids of the given shape, int32.

    Examples:
      >>> one = from_weights(np.array([1e-30, 1.0]))
      >>> sample(jax.random.key(0), one, (3,)).tolist()
      [1, 1, 1]

    References:
      Vose, A Linear Algorithm for Generating Random Numbers with a Given
      Distribution, IEEE Transactions on Software Engineering 1991.
    """
    cell_key, keep_key = jax.random.split(key)
    items = proposal.alias.shape[0] if num_items is None else num_items
    cell = jax.random.randint(cell_key, shape, 0, items)
    keep = fine_uniform(keep_key, shape) < take(proposal.threshold, cell)
    return jnp.where(keep, cell, take(proposal.alias, cell)).astype(jnp.int32)


def fine_uniform(key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """Uniform numbers in [0, 1), fine near 0: multiples of 2^-48.

    `jax.random.uniform` has multiples of 2^-23 only, too coarse for a probability of
    1e-7.

    Args:
      shape: of the numbers.

    Returns:
      float32 of the given shape.
    """
    high, low = jax.random.bits(key, (2, *shape), jnp.uint32) >> 8
    value = high.astype(jnp.float32) * 2.0**-24 + low.astype(jnp.float32) * 2.0**-48
    return jnp.minimum(value, 1 - 2.0**-24)


def log_prob(proposal: Proposal, ids: jax.Array) -> jax.Array:
    """Log probability of a draw, for any item.

    Args:
      ids: [...] int32 items.

    Returns:
      [...] float32.

    Examples:
      >>> proposal = from_weights(np.array([1.0, 3.0]))
      >>> jnp.exp(log_prob(proposal, jnp.array([1, 0, 1]))).tolist()
      [0.75, 0.25, 0.75]
    """
    return take(proposal.log_q, ids)
