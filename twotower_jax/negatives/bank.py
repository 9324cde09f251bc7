"""The cross-batch bank: candidates of the last batches as additional negatives.

Embeddings of items move slowly after a warm-up, so those of the last batches are close
to the current ones, at the price of a copy. An entry has its log q at its push; an item
can be in the bank several times.

References:
  Wang et al., Cross-Batch Negative Sampling for Training Two-Tower Recommenders, SIGIR
  2021.
"""

from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp

from twotower_jax.negatives.frequency import PositiveLaw
from twotower_jax.negatives.source import Batch, ByItem, Count, Keys, Source, Stored


class Bank(NamedTuple):
    """A ring of M entries. Where step is -1 an entry is empty and must be masked."""

    embedding: jax.Array  # [M, D] float32; 0 where empty
    item: jax.Array  # [M] int32; num_items where empty
    log_q: jax.Array  # [M] float32, log q of the item at its push; 0 where empty
    step: jax.Array  # [M] int32, step of the push; -1 where empty


def init_bank(size: int, dim: int, num_items: int) -> Bank:
    """Empty bank."""
    if size < 1:
        raise ValueError(f"size of the bank must be at least 1, got {size}")
    return Bank(
        embedding=jnp.zeros((size, dim), jnp.float32),
        item=jnp.full(size, num_items, jnp.int32),
        log_q=jnp.zeros(size, jnp.float32),
        step=jnp.full(size, -1, jnp.int32),
    )


def push(
    bank: Bank,
    embeddings: jax.Array,
    items: jax.Array,
    log_q: jax.Array,
    step: jax.Array | int,
) -> Bank:
    """The bank with a batch in place of its oldest entries, without gradients.

    Entry i goes to place (step B + i) mod M, a function of the step, so that no
    position is carried and a resumed run continues the same ring.
    """
    size, batch = bank.item.shape[0], embeddings.shape[0]
    if batch > size:
        raise ValueError(
            f"a batch of {batch} does not fit into a bank of {size} entries; the bank "
            "must hold at least one batch"
        )
    step = jnp.asarray(step, jnp.int32)
    first = _times_modulo(step, batch, size)
    place = (first + jnp.arange(batch, dtype=jnp.uint32)) % jnp.uint32(size)

    def put(stored: jax.Array, new: jax.Array) -> jax.Array:
        return stored.at[place].set(new.astype(stored.dtype), unique_indices=True)

    new = Bank(embeddings, items, log_q, jnp.full(batch, step))
    return jax.lax.stop_gradient(jax.tree.map(put, bank, new))


def _times_modulo(step: jax.Array, factor: int, modulus: int) -> jax.Array:
    """Return (step * factor) mod modulus, below 2^31, without leaving 32 bits."""
    modulo = jnp.uint32(modulus)
    power = step.astype(jnp.uint32) % modulo
    result = jnp.zeros_like(power)
    while factor:
        if factor & 1:
            result = (result + power) % modulo
        power = (power + power) % modulo
        factor >>= 1
    return result


def filled(bank: Bank) -> jax.Array:
    """Number of entries that hold a candidate, [] int32."""
    return (bank.step >= 0).sum(dtype=jnp.int32)


def mean_age(bank: Bank, step: jax.Array | int) -> jax.Array:
    """Mean age of the filled entries, in steps."""
    age = jnp.asarray(step, jnp.int32) - bank.step
    return _mean(bank, age.astype(jnp.float32), empty=0.0)


def drift(bank: Bank, current: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Mean distance (the paper's D; 0 if empty) and cosine (1) of the current ones."""
    current = current.astype(jnp.float32)
    distance = jnp.linalg.norm(current - bank.embedding, axis=1)
    lengths = jnp.linalg.norm(current, axis=1) * jnp.linalg.norm(bank.embedding, axis=1)
    product = (current * bank.embedding).sum(axis=1)
    cosine = jnp.where(lengths > 0, product / jnp.where(lengths > 0, lengths, 1), 0)
    return _mean(bank, distance, empty=0.0), _mean(bank, cosine, empty=1.0)


def _mean(bank: Bank, values: jax.Array, empty: float) -> jax.Array:
    """Return the mean of values [M] over the filled entries, ``empty`` without any."""
    total = jnp.where(bank.step >= 0, values, 0).sum()
    number = filled(bank)
    return jnp.where(number > 0, total / jnp.maximum(number, 1), jnp.float32(empty))


@dataclass(frozen=True)
class CrossBatch(Source):
    """The candidates of earlier batches: M draws from q+."""

    law: PositiveLaw  # the law q+ of the positives of a batch
    size: int  # number M of entries, at least a batch
    dim: int  # numbers of an embedding
    num_items: int  # size of the catalogue
    warmup: jax.Array | int = 0  # [] steps before the bank is used

    def init(self) -> dict:
        """The empty bank, as the memory "bank"."""
        return {"bank": init_bank(self.size, self.dim, self.num_items)}

    def draw(self, memory: dict, key: Keys, batch: Batch) -> Stored:
        """The entries [M]; none is on before the warm-up is over."""
        bank, used = memory["bank"], self._used(memory, batch)
        on = (bank.item < self.num_items) & (used > 0)
        return Stored(bank.item, bank.embedding, on, bank.log_q + jnp.log(used))

    def counts(self, memory: dict, batch: Batch, drawn: Stored) -> list[Count]:
        """An item is expected as often as it is put in: entries in use times q+."""
        log_q = partial(self.law.log_q, memory, batch)
        return [ByItem(id(self.law), log_q, self._used(memory, batch))]

    def update(
        self, memory: dict, batch: Batch, drawn: Stored, embeddings: jax.Array
    ) -> dict:
        """The bank with the items of the batch in place of its oldest entries."""
        log_q = self.law.log_q(memory, batch, batch.items)
        bank = push(memory["bank"], embeddings, batch.items, log_q, batch.step)
        return memory | {"bank": bank}

    def _used(self, memory: dict, batch: Batch) -> jax.Array:
        """Return the number of entries in use; 0 until the warm-up is over."""
        used = jnp.where(batch.step >= self.warmup, filled(memory["bank"]), 0)
        return used.astype(jnp.float32)
