"""How often to expect an item: frequencies of the log, or estimated from the stream.

In the stream of batches (`Streamed`) a bucket keeps the step of its last hit, A, and a
moving mean of the gaps between hits, B; an item that is hit every 50 steps is in a
batch with probability 1/50. Known limits, all of the method:

* A gap is at least 1, so that popular items of large batches, whose expected count is
  above 1, are corrected too little.
* The gap that is read is at least the time since the last hit: max(B, t - A), which the
  paper does not have. Otherwise an item not seen for long keeps its estimate, and an
  item never seen that of the start. The price: read at a step that does not depend on
  the item, as for an easy draw, the estimate of a steady item is 15 % too low on
  average (geometric gaps: 1 - 1/e + E_1(1) = .85).
* 1/B is biased upwards (Jensen): geometric gaps give E[1/B] about p (1 + alpha (1 - p)
  / (2 - alpha)), 5 % at alpha = .1 and .5 % at .01.
* Items in one bucket share a gap that is too short. The largest of several hashes' gaps
  repairs most of it while buckets are more than items, and makes it worse otherwise.

References:
  Yi et al., Sampling-Bias-Corrected Neural Modeling for Large Corpus Item
  Recommendations, RecSys 2019, algorithms 2 (one hash) and 3 (several).
"""

import functools
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from twotower_jax.arrays import shards
from twotower_jax.negatives.source import Batch


def log_frequency(counts: np.ndarray) -> np.ndarray:
    """Log of the relative frequencies: log q+_i = log(c_i / C), C = sum_j c_j.

    An item without a positive cannot be an in-batch negative: its log is -inf.

    Args:
      counts: [num_items] training positives c_i of each item; the result is float32.

    Examples:
      >>> np.exp(log_frequency(np.array([3, 1, 0]))).tolist()
      [0.75, 0.25, 0.0]
    """
    counts = np.asarray(counts, np.float64)
    with np.errstate(divide="ignore"):
        return (np.log(counts) - np.log(counts.sum())).astype(np.float32)


def log_effective(counts: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """`log_frequency` of counts c_i w_i, of positives resampled by weights w_i."""
    return log_frequency(np.asarray(counts) * weights)


def log_expected_count(*sources: tuple[jax.Array, jax.Array | float]) -> jax.Array:
    """Log of expected counts: log N_j, N_j the sum over sources of draws times q_j.

    For a row with n - 1 in-batch draws from q+, m easy draws from q^E and h hard ones
    from its pool pi_u: N_j(u) = (n - 1) q+_j + m q^E_j + h pi_u(j). logQ subtracts the
    log of this sum, because the source of a negative is unknown to its row.

    Args:
      sources: pairs of log q [...] float32, -inf where a source cannot draw the item,
        and the number of draws, which broadcasts; 0 leaves a source out.

    Examples:
      >>> half, tenth = jnp.log(jnp.float32(0.5)), jnp.log(jnp.float32(0.1))
      >>> count = log_expected_count((half, 3), (tenth, 5))  # 3 * .5 + 5 * .1
      >>> round(float(jnp.exp(count)), 4)
      2.0
    """
    if not sources:
        raise ValueError("no source draws a negative; give at least one")
    terms = (q + jnp.log(jnp.asarray(draws, jnp.float32)) for q, draws in sources)
    return functools.reduce(jnp.logaddexp, terms)


# One odd multiplier a hash: the first 32 bits of the fractional parts of the cube
# roots of the first primes (the round constants of SHA-256, FIPS 180-4), lowest bit 1.
MULTIPLIERS = (
    *(0x428A2F99, 0x71374491, 0xB5C0FBCF, 0xE9B5DBA5),
    *(0x3956C25B, 0x59F111F1, 0x923F82A5, 0xAB1C5ED5),
    *(0xD807AA99, 0x12835B01, 0x243185BF, 0x550C7DC3),
    *(0x72BE5D75, 0x80DEB1FF, 0x9BDC06A7, 0xC19BF175),
)


class Frequency(NamedTuple):
    """Hashed arrays of m hashes and H buckets, which a mesh spreads by buckets."""

    last: jax.Array  # [m, H] int32, A: 1 + the step of the last hit; 0 for none
    gap: jax.Array  # [m, H] float32, B: mean number of steps between hits


def init_frequency(hashes: int, buckets: int, initial_gap: float) -> Frequency:
    """Arrays before the first step: no hit yet, and every gap is initial_gap."""
    if not 1 <= hashes <= len(MULTIPLIERS):
        raise ValueError(f"hashes must be in 1..{len(MULTIPLIERS)}, got {hashes}")
    if buckets < 1:
        raise ValueError(f"buckets must be at least 1, got {buckets}")
    if not initial_gap >= 1:
        raise ValueError(f"initial_gap must be at least 1 step, got {initial_gap}")
    shape = (hashes, buckets)
    last, gap = jnp.zeros(shape, jnp.int32), jnp.full(shape, initial_gap, jnp.float32)
    return Frequency(last, gap)


def bucket_of(ids: jax.Array, hashes: int, buckets: int) -> jax.Array:
    """Bucket of every id under each hash: h_i(y) = mix(mix(y) * c_i) mod H.

    All but the reduction to H is a bijection of uint32. Without the inner mix,
    consecutive ids would be an arithmetic progression under every hash.
    """
    shape = (hashes, *(1,) * jnp.ndim(ids))
    multiplier = jnp.asarray(MULTIPLIERS[:hashes], jnp.uint32).reshape(shape)
    word = _mix(jnp.asarray(ids).astype(jnp.uint32))
    return (_mix(word[None] * multiplier) % jnp.uint32(buckets)).astype(jnp.int32)


def _mix(word: jax.Array) -> jax.Array:
    """Return MurmurHash3's 32-bit finaliser (public domain) of uint32 words."""
    word = (word ^ (word >> 16)) * jnp.uint32(0x85EBCA6B)
    word = (word ^ (word >> 13)) * jnp.uint32(0xC2B2AE35)
    return word ^ (word >> 16)


def update(
    frequency: Frequency,
    ids: jax.Array,
    step: jax.Array | int,
    alpha: jax.Array | float,
    *,
    buckets: int | None = None,
) -> Frequency:
    """Arrays after a batch: B <- (1 - alpha) B + alpha (t - A), A <- t = step + 1.

    Once for every bucket that the batch hits, however often. The work is O(m B), for
    any H, if the arrays are donated and the same program reads `log_count` from the
    returned ones; a read of the arrays before costs a copy of them.
    """
    hashes, stored = frequency.gap.shape
    place = bucket_of(ids, hashes, buckets or stored)
    place = jnp.where((ids < 0)[None], stored, place)  # a negative id is padding

    def hit(
        frequency: Frequency, place: jax.Array, now: jax.Array, alpha: jax.Array
    ) -> Frequency:
        own = shards.own_places(place, frequency.gap.shape[1])
        at = jnp.arange(hashes, dtype=jnp.int32)[:, None], own
        last, gap = (values.at[at].get(mode="clip") for values in frequency)
        newest = (now - last).astype(jnp.float32)
        gap = gap + alpha * (newest - gap)
        # What is written to A is made to depend on the new B. XLA then reads both
        # arrays before it writes either, and needs no copy of A (an
        # optimization_barrier does not get that far).
        new = jnp.where(gap >= 0, now, last), gap
        both = zip(frequency, new, strict=True)
        return Frequency(*(x.at[at].set(values, mode="drop") for x, values in both))

    specs = shards.BY_COLUMNS, shards.WHOLE, shards.WHOLE, shards.WHOLE
    now, alpha = jnp.asarray(step, jnp.int32) + 1, jnp.asarray(alpha, jnp.float32)
    on_own = shards.on_tables(hit, specs, shards.BY_COLUMNS)
    return on_own(frequency, place, now, alpha)


def log_count(
    frequency: Frequency,
    ids: jax.Array,
    step: jax.Array | int,
    buckets: int | None = None,
) -> jax.Array:
    """Log probability that items are in a batch: -log max_i max(B_i, t - A_i)[h_i(y)].

    A collision can only shorten gaps, so that the largest is taken. The time since the
    last hit, t - A with t = step + 1, is a lower bound of the gap that is under way.
    """
    hashes, stored = frequency.gap.shape
    place = bucket_of(ids, hashes, buckets or stored)
    row = jnp.arange(hashes, dtype=jnp.int32).reshape(hashes, *(1,) * jnp.ndim(ids))

    def read(frequency: Frequency, place: jax.Array) -> Frequency:
        own = shards.own_places(place, frequency.gap.shape[1])
        at = [x.at[row, own].get(mode="fill", fill_value=0) for x in frequency]
        return Frequency(*map(shards.over_tables, at))

    specs = shards.BY_COLUMNS, shards.WHOLE
    last, gap = shards.on_tables(read, specs, shards.WHOLE)(frequency, place)
    since = jnp.asarray(step, jnp.int32) + 1 - last
    gap = jnp.maximum(gap, since.astype(jnp.float32))
    return -jnp.log(gap.max(axis=0))


def log_q(
    frequency: Frequency,
    ids: jax.Array,
    batch_size: jax.Array | int,
    step: jax.Array | int,
    buckets: int | None = None,
) -> jax.Array:
    """Log probability of one of batch_size draws, at most -log(batch_size)."""
    draws = jnp.log(jnp.float32(batch_size))
    return log_count(frequency, ids, step, buckets) - draws


class Counted(NamedTuple):
    """The law q+ of the positives of a batch from exact counts."""

    log_q_plus: jax.Array  # [num_items] float32 log q+

    def init(self) -> dict:
        """No memory."""
        return {}

    def observe(self, memory: dict, batch: Batch) -> dict:
        """Memories as they are."""
        return memory

    def log_q(self, memory: dict, batch: Batch, items: jax.Array) -> jax.Array:
        """Log probability [...] that a positive of the batch is the item."""
        return shards.take(self.log_q_plus, items)


@dataclass(frozen=True)
class Streamed:
    """The law q+ of the positives of a batch, estimated from the stream of batches."""

    alpha: Any  # [] weight of the newest gap
    buckets: int  # number of buckets of each hash function
    hashes: int = 2  # number of hash functions
    initial_gap: float = 50.0  # gap of every bucket before the first step, in steps

    def init(self) -> dict:
        """Arrays before the first step, as the memory "frequency"."""
        arrays = init_frequency(self.hashes, self.buckets, self.initial_gap)
        return {"frequency": arrays}

    def observe(self, memory: dict, batch: Batch) -> dict:
        """Memories with the items of a batch counted, before its draws."""
        seen = memory["frequency"], batch.items, batch.step, self.alpha
        return memory | {"frequency": update(*seen, buckets=self.buckets)}

    def log_q(self, memory: dict, batch: Batch, items: jax.Array) -> jax.Array:
        """Log probability [...] that a positive of the batch is the item."""
        seen = memory["frequency"], items, batch.size, batch.step
        return log_q(*seen, self.buckets)


jax.tree_util.register_dataclass(
    Streamed, ["alpha"], ["buckets", "hashes", "initial_gap"]
)
PositiveLaw = Counted | Streamed
