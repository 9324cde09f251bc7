"""Exact top-k of a catalogue whose embeddings are spread over devices.

Each device ranks its own items, for a part of the queries where several devices hold
the same items. The k best items of all are among the k best of each device, and devices
hold items in ascending order, so that a stable merge keeps the tie rule of
`retrieve.top_k`. Where several processes hold the devices, all of them get all lists.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from twotower_jax.arrays.processes import alone, gathered, on_host, put
from twotower_jax.evaluation.ragged import Ragged, keep, take_rows
from twotower_jax.evaluation.retrieve import check_k, top_k

Lists = tuple[np.ndarray, np.ndarray]  # scores [Q, k] and items [Q, k]


class Block(NamedTuple):
    """Items of one device."""

    copy: int  # number of the copy of the catalogue to which the block belongs, from 0
    first: int  # its first item
    vectors: jax.Array  # [n, dim], without padding


@dataclass(frozen=True)
class SpreadItems:
    """Embeddings of a catalogue on several devices."""

    blocks: tuple[Block, ...]  # those of this process
    whole: jax.Array  # [n, dim] one array of all devices, with padding at its end
    num_items: int  # size of the catalogue
    copies: int  # number of copies of the catalogue, each over as many devices

    def __len__(self) -> int:
        return self.num_items

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        """Return all embeddings [items, dim] on the host."""
        del copy
        return np.asarray(on_host(self.whole)[: self.num_items], dtype)

    def with_column(self, values: Any) -> "SpreadItems | jax.Array":
        """Return items with one more number each, where they are."""
        where = self.whole.sharding
        more = np.zeros((len(self.whole), 1), np.float32)
        more[: self.num_items, 0] = values
        join = jax.jit(lambda *parts: jnp.concatenate(parts, 1), out_shardings=where)
        return spread_items(join(self.whole, put(more, where)), self.num_items)


def spread_items(embeddings: jax.Array, num_items: int) -> SpreadItems | jax.Array:
    """Blocks of embeddings that lie on several devices."""
    sharding = embeddings.sharding
    if len(sharding.device_set) == 1:
        return embeddings[:num_items]
    blocks = []
    for shard in embeddings.addressable_shards:
        first = shard.index[0].start or 0
        own = shard.data[: max(0, num_items - first)]
        blocks.append(Block(shard.replica_id, first, own))
    places = sharding.devices_indices_map(embeddings.shape).values()
    distinct = len({place[0].start or 0 for place in places})
    return SpreadItems(tuple(blocks), embeddings, num_items, len(places) // distinct)


def top_k_spread(
    queries: jax.Array | np.ndarray,
    items: SpreadItems,
    k: int,
    seen: Ragged | None = None,
) -> Lists:
    """The k best-scoring items of each query, best first, as `retrieve.top_k`."""
    check_k(k, len(items))
    query = np.asarray(queries, np.float32)
    parts = np.array_split(np.arange(len(query)), items.copies)
    with ThreadPoolExecutor(len(items.blocks)) as pool:

        def of_block(block: Block) -> Lists:
            rows = parts[block.copy]
            own = None if seen is None else take_rows(seen, rows)
            return _of_block(query[rows], block, own, k)

        own_lists = list(pool.map(of_block, items.blocks))
    lists = _of_all_processes(items.blocks, own_lists, [len(part) for part in parts])
    merged = [
        _merged([lists[place] for place in sorted(lists) if place[0] == copy], k)
        for copy in range(items.copies)
    ]
    scores, best = zip(*merged, strict=True)
    return np.concatenate(scores), np.concatenate(best)


def _of_block(query: np.ndarray, block: Block, seen: Ragged | None, k: int) -> Lists:
    """Return the lists of one device, filled up with the item -1 of score -inf."""
    scores = np.full((len(query), k), -np.inf, np.float32)
    items, size = np.full((len(query), k), -1, np.int32), len(block.vectors)
    if size:
        with jax.default_device(next(iter(block.vectors.devices()))):
            if seen is not None:  # by their places in the block
                inside = (seen.items >= block.first) & (seen.items < block.first + size)
                seen = keep(seen, inside)
                seen = seen._replace(items=seen.items - np.int32(block.first))
            best = top_k(query, block.vectors, min(k, size), seen=seen)
        scores[:, :size] = best[0]
        items[:, :size] = np.where(best[1] < 0, -1, best[1] + block.first)
    return scores, items


def _of_all_processes(
    blocks: Sequence[Block], lists: list[Lists], sizes: list[int]
) -> dict[tuple[int, int], Lists]:
    """Return the lists of the blocks of all processes, by copy and first item."""
    places = [(block.copy, block.first) for block in blocks]
    if alone():
        return dict(zip(places, lists, strict=True))

    def exchanged(values: list[np.ndarray]) -> np.ndarray:
        """Return arrays [n, k] of all blocks; in the exchange they have one n."""
        more = [max(sizes) - len(part) for part in values]
        equal = [np.pad(x, ((0, n), (0, 0))) for x, n in zip(values, more, strict=True)]
        return np.concatenate(gathered(np.stack(equal)))

    all_places = np.concatenate(gathered(np.array(places))).tolist()
    scores, items = (exchanged(list(parts)) for parts in zip(*lists, strict=True))
    return {
        (copy, first): (scores[i][: sizes[copy]], items[i][: sizes[copy]])
        for i, (copy, first) in enumerate(all_places)
    }


def _merged(lists: list[Lists], k: int) -> Lists:
    """Return the k best of lists in the order of their items."""
    scores = np.concatenate([part for part, _ in lists], axis=1)
    items = np.concatenate([part for _, part in lists], axis=1)
    order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    best = np.take_along_axis(scores, order, axis=1)
    return best, np.take_along_axis(items, order, axis=1).astype(np.int32)
