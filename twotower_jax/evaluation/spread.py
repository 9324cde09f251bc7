"""Exact top-k of a catalogue whose embeddings are spread over devices.

Each device ranks its own items, for a part of the queries where several devices hold
the same items, and the lists of the devices are merged. The k best items of all are
among the k best of each device, and devices hold items in ascending order, so that a
stable merge keeps the tie rule of `retrieve.top_k`.
"""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from twotower_jax.evaluation.ragged import Ragged, take_rows
from twotower_jax.evaluation.retrieve import check_k, top_k


@dataclass(frozen=True)
class SpreadItems:
    """Embeddings of a catalogue on several devices.

    Attributes:
      copies: Copies of the catalogue; each has the blocks [n, dim] of its devices, in
        the order of the items.
    """

    copies: tuple[tuple[jax.Array, ...], ...]

    def __len__(self) -> int:
        """Return the number of items."""
        return sum(map(len, self.copies[0]))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        """Return all embeddings [items, dim] on the host."""
        del copy
        return np.concatenate([np.asarray(one, dtype) for one in self.copies[0]])


def spread_items(embeddings: jax.Array, num_items: int) -> SpreadItems | jax.Array:
    """Blocks of embeddings that lie on several devices.

    Args:
      embeddings: [n, dim], spread over devices by rows, copied, or both; rows behind
        the last item are padding.
      num_items: Size of the catalogue.

    Returns:
      The blocks without padding; the array itself, of one device.
    """
    if len(embeddings.sharding.device_set) == 1:
        return embeddings[:num_items]
    copies: dict[int, dict[int, jax.Array]] = {}
    for shard in embeddings.addressable_shards:
        first = shard.index[0].start or 0
        own = shard.data[: max(0, num_items - first)]
        copies.setdefault(shard.replica_id, {})[first] = own
    return SpreadItems(
        tuple(tuple(one[first] for first in sorted(one)) for one in copies.values())
    )


def top_k_spread(
    queries: jax.Array | np.ndarray,
    items: SpreadItems,
    k: int,
    seen: Ragged | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """The k best-scoring items of each query, best first, as `retrieve.top_k`.

    Args:
      queries: [Q, D] float, finite.
      items: The catalogue.
      k: 1 to the number of items.
      seen: Items that must not be returned, one row per query; None masks nothing.

    Returns:
      scores float32 [Q, k] and items int32 [Q, k].

    Raises:
      InputError: when k is not in 1..I.
    """
    check_k(k, len(items))
    query = np.asarray(queries, np.float32)
    parts = np.array_split(np.arange(len(query)), len(items.copies))
    with ThreadPoolExecutor(len(items.copies) * len(items.copies[0])) as pool:
        waiting = []
        for blocks, rows in zip(items.copies, parts, strict=True):
            own = None if seen is None else take_rows(seen, rows)
            first = 0
            for block in blocks:
                one = pool.submit(_of_block, query[rows], block, first, own, k)
                waiting.append(one)
                first += len(block)
        lists = [one.result() for one in waiting]
    width = len(items.copies[0])
    merged = [_merged(lists[i : i + width], k) for i in range(0, len(lists), width)]
    scores, found = zip(*merged, strict=True)
    return np.concatenate(scores), np.concatenate(found)


def _of_block(
    query: np.ndarray, block: jax.Array, first: int, seen: Ragged | None, k: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return scores and items [Q, at most k] of the items of one device."""
    if not len(block):
        return np.zeros((len(query), 0), np.float32), np.zeros((len(query), 0), int)
    with jax.default_device(next(iter(block.devices()))):
        own = None if seen is None else _within(seen, first, len(block))
        scores, items = top_k(query, block, min(k, len(block)), seen=own)
    return scores, np.where(items < 0, -1, items + first)


def _within(seen: Ragged, first: int, number: int) -> Ragged:
    """Return the items of each row that a block has, by their places in it."""
    here = (seen.items >= first) & (seen.items < first + number)
    before = np.concatenate([[0], np.cumsum(here)])
    return Ragged(before[seen.offsets], seen.items[here] - np.int32(first))


def _merged(
    lists: list[tuple[np.ndarray, np.ndarray]], k: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return the k best of lists in the order of their items."""
    scores = np.concatenate([one for one, _ in lists], axis=1)
    items = np.concatenate([one for _, one in lists], axis=1)
    order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    best = np.take_along_axis(scores, order, axis=1)
    return best, np.take_along_axis(items, order, axis=1).astype(np.int32)
