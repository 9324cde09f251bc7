"""Exact top-k of the whole catalogue for every query, in blocks of queries."""

import functools
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import jax
import jax.numpy as jnp
import numpy as np

from twotower_jax.errors import InputError
from twotower_jax.evaluation.ragged import Ragged

GROUP = 16  # columns behind one maximum; 8 and 32 measured no faster on a CPU
MAX_SCORES = 32 * 2**20  # float32 scores held by one thread: 128 MiB
# Blocks of a call reuse one score buffer; fresh pages cost as much as the product, and
# glibc takes them for every array above 32 MiB. 64 and 256 queries measured no faster.
BLOCKS_PER_CALL, BLOCK = 8, 128
# With one query, XLA on a CPU rounds the scores of the last items differently, so that
# items of equal vectors get different scores.
MIN_BLOCK = 2


def top_k(
    queries: jax.Array | np.ndarray,
    candidates: jax.Array | np.ndarray,
    k: int,
    *,
    seen: Ragged | None = None,
    block: int = BLOCK,
) -> tuple[np.ndarray, np.ndarray]:
    """The k best-scoring candidates of each query, best first.

    The score is the dot product in float32, of every query with every candidate:
    nothing is sampled or approximated. Equal scores are ordered by lower item index
    (-0.0 equals 0.0), and items of equal vectors have equal scores. Each of at most two
    threads holds `block x I` scores; `block` shrinks where that would exceed
    `MAX_SCORES`.

    Args:
      queries: [Q, D] float, finite.
      candidates: [I, D] float, finite; the row is the item.
      k: 1..I.
      seen: items that must not be returned, one row per query; None masks nothing.
      block: queries scored at a time; a single one is scored beside a query of zeros.

    Returns:
      scores float32 [Q, k] and items int32 [Q, k]. A query with fewer than k items
      left has score -inf and item -1 in the remaining places.

    Raises:
      InputError: when k is not in 1..I.
      ValueError: when shapes differ, `seen` contains an item outside of the catalogue,
        or embeddings are not finite or so large that a score may overflow.

    Examples:
      >>> scores, items = top_k(np.ones((1, 1)), np.array([[1.0], [3.0], [3.0]]), 2)
      >>> scores.tolist(), items.tolist()
      ([[3.0, 3.0]], [[1, 2]])
    """
    query = np.asarray(queries, dtype=np.float32)
    item = jnp.asarray(candidates, dtype=jnp.float32)
    _check(query, item, k, seen, block)
    num_items, num_queries = len(item), len(query)
    if num_queries == 0:
        return np.empty((0, k), np.float32), np.empty((0, k), np.int32)
    padding = _padding(num_items, k)
    table = jnp.pad(item, ((0, padding), (0, 0))) if padding else item
    most = min(block, num_queries, MAX_SCORES // table.shape[0])
    block = max(MIN_BLOCK, most)
    workers = _workers()
    blocks = -(-num_queries // block)
    per_call = min(BLOCKS_PER_CALL, -(-blocks // workers))
    width = pair_width(seen, block)

    def search(first: int) -> tuple[np.ndarray, ...]:
        shape = per_call, block
        rows, columns = pairs_to_mask(seen, first, shape, width, table.shape[0])
        chunk = np.zeros((per_call * block, query.shape[1]), np.float32)
        part = query[first : first + len(chunk)]
        chunk[: len(part)] = part
        chunk = chunk.reshape(per_call, block, -1)
        best = _search(chunk, table, rows, columns, k=k, num_items=num_items)
        return tuple(np.asarray(x).reshape(-1, k)[: len(part)] for x in best)

    with ThreadPoolExecutor(workers) as pool:
        parts = list(pool.map(search, range(0, num_queries, per_call * block)))
    return np.concatenate([s for s, _ in parts]), np.concatenate([i for _, i in parts])


@functools.partial(jax.jit, static_argnames=("k", "num_items"))
def _search(
    queries: jax.Array,
    table: jax.Array,
    rows: jax.Array,
    columns: jax.Array,
    *,
    k: int,
    num_items: int,
) -> tuple[jax.Array, jax.Array]:
    """Search blocks of queries one after the other."""

    def of_block(block: tuple[jax.Array, ...]) -> tuple[jax.Array, jax.Array]:
        query, row, column = block
        # HIGHEST: accelerators otherwise round float32 products to fewer bits.
        scores = jax.lax.dot_general(
            query, table, (((1,), (1,)), ((), ())), precision=jax.lax.Precision.HIGHEST
        )
        return _best(scores, row, column, k=k, num_items=num_items)

    return jax.lax.map(of_block, (queries, rows, columns))


@functools.partial(jax.jit, static_argnames=("k", "num_items"))
def _best(
    scores: jax.Array, row: jax.Array, column: jax.Array, *, k: int, num_items: int
) -> tuple[jax.Array, jax.Array]:
    """Return scores and items [block, k] of scores [block, columns] less the pairs."""
    if row.shape[0]:
        scores = scores.at[row, column].set(-jnp.inf, mode="drop")
    if _grouped(num_items, k):
        best, item = _pick_grouped(scores, k, num_items)
    else:
        best, item = jax.lax.top_k(_one_zero(scores), k)
    return best, jnp.where(best == -jnp.inf, -1, item).astype(jnp.int32)


def _pick_grouped(
    scores: jax.Array, k: int, num_items: int
) -> tuple[jax.Array, jax.Array]:
    """Return the top k of scores [block, columns] by way of the maxima of groups.

    The k groups of largest maximum (ties: lower group) contain the top k. Proof: let
    item x lie in a group that was not selected. The best item of each selected group
    has a score above that of x, or, as groups are contiguous, a score not below it and
    a lower index: k items come before x. Sorting the selected groups carries the tie
    rule through the second top k.
    """
    block, columns = scores.shape
    groups = scores.reshape(block, columns // GROUP, GROUP)
    best = jnp.max(groups, axis=-1)
    # Padding is in the last group only: mending its maximum here saves the pass over
    # all scores that masking the padding columns would cost.
    in_last = num_items - (columns - GROUP)
    best = best.at[:, -1].set(jnp.max(groups[:, -1, :in_last], axis=-1))
    selected = jnp.sort(jax.lax.top_k(_one_zero(best), k)[1], axis=-1)
    inside = jnp.take_along_axis(groups, selected[:, :, None], axis=1)
    item = selected[:, :, None] * GROUP + jnp.arange(GROUP)[None, None, :]
    inside = jnp.where(item < num_items, _one_zero(inside), -jnp.inf)
    scores, at = jax.lax.top_k(inside.reshape(block, k * GROUP), k)
    return scores, jnp.take_along_axis(item.reshape(block, k * GROUP), at, axis=1)


def _one_zero(scores: jax.Array) -> jax.Array:
    """Return the scores with 0.0 for -0.0, which `lax.top_k` would not tie."""
    return jnp.where(scores == 0, 0.0, scores)


def _grouped(num_items: int, k: int) -> bool:
    """Return whether groups leave enough columns out to be faster."""
    return num_items > 2 * GROUP * k


def _padding(num_items: int, k: int) -> int:
    """Return the columns that fill the last group, 0 where there are no groups."""
    return -num_items % GROUP if _grouped(num_items, k) else 0


def _workers() -> int:
    """Return the number of host threads: `lax.top_k` uses a single core on a CPU."""
    return min(2, os.cpu_count() or 1) if jax.default_backend() == "cpu" else 1


def _check(
    queries: np.ndarray, candidates: jax.Array, k: int, seen: Ragged | None, block: int
) -> None:
    """Refuse arguments outside the contract of `top_k`."""
    shapes = f"{queries.shape} and {candidates.shape}"
    if queries.ndim != 2 or candidates.ndim != 2:
        raise ValueError(f"queries and candidates must be matrices, got {shapes}")
    if queries.shape[1] != candidates.shape[1]:
        raise ValueError(f"queries and candidates differ in width: {shapes}")
    if block < 1:
        raise ValueError(f"block must be at least 1, got {block}")
    check_k(k, len(candidates))
    check_seen(seen, len(queries), len(candidates))
    if not queries.size or not candidates.size:
        return
    # A score is at most D times the largest entries, so one look at the embeddings
    # saves a look at every score.
    largest = {}
    for name, values in (("queries", queries), ("candidates", candidates)):
        largest[name] = float(jnp.max(jnp.abs(values)))
        if not np.isfinite(largest[name]):
            raise ValueError(f"{name} must be finite, but contain NaN or infinity")
    limit = float(np.finfo(np.float32).max)
    if largest["queries"] * largest["candidates"] * queries.shape[1] > limit:
        raise ValueError(
            f"scores may overflow float32: entries of queries reach "
            f"{largest['queries']:.3g}, of candidates {largest['candidates']:.3g}"
        )


def check_k(k: int, num_items: int) -> None:
    """Raise InputError unless k is in 1..num_items."""
    if not 1 <= k <= num_items:
        raise InputError(
            f"evaluation.k={k} must be between 1 and the number of items in the "
            f"catalogue, {num_items}; set evaluation.k to at most {num_items}"
        )


# --- items to mask, as pairs of a row and a column ------------------------------------


def pair_width(seen: Ragged | None, block: int) -> int:
    """Return the pairs kept per block: those of the largest, up to a power of two.

    One width for all blocks, and for similar data, means one compiled program.
    """
    if seen is None or len(seen.items) == 0:
        return 0
    edges = np.append(seen.offsets[:-1:block], seen.offsets[-1])
    return 1 << int(np.diff(edges).max() - 1).bit_length()


def pairs_to_mask(
    seen: Ragged | None, first: int, shape: tuple[int, int], width: int, outside: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return rows and columns int32 [blocks, width] to mask, from query `first` on."""
    blocks, block = shape
    rows = np.zeros((blocks, width), np.int32)
    columns = np.full((blocks, width), outside, np.int32)
    if seen is None or width == 0:
        return rows, columns
    for index in range(blocks):
        low = min(first + index * block, seen.num_rows)
        part = seen.part(low, low + block)
        rows[index, : len(part.items)] = part.rows
        columns[index, : len(part.items)] = part.items
    return rows, columns


def check_seen(seen: Ragged | None, num_queries: int, num_items: int) -> None:
    """Raise ValueError unless `seen` has a row per query and known items."""
    if seen is None:
        return
    if seen.num_rows != num_queries:
        raise ValueError(f"seen has {seen.num_rows} rows for {num_queries} queries")
    if len(seen.items) and (seen.items.min() < 0 or seen.items.max() >= num_items):
        span = f"{seen.items.min()}..{seen.items.max()}"
        raise ValueError(f"seen items must be in 0..{num_items - 1}, got {span}")


# --- scores that a function computes on the host --------------------------------------

MAX_HOST_SCORES = 2**22  # float32 scores of a thread: 16 MiB, without fresh pages


def top_k_of_scores(
    score: Callable[[slice], np.ndarray],
    shape: tuple[int, int],
    k: int,
    *,
    seen: Ragged | None = None,
    block: int = 256,
) -> tuple[np.ndarray, np.ndarray]:
    """The k best-scoring items of each query, for scores that are no dot products.

    The tie rule, the masks and the results are those of `retrieve.top_k`.
    """
    num_queries, num_items = shape
    check_k(k, num_items)
    check_seen(seen, num_queries, num_items)
    block = max(1, min(block, num_queries, MAX_HOST_SCORES // num_items))
    width, columns = pair_width(seen, block), num_items + _padding(num_items, k)

    def search(first: int) -> tuple[np.ndarray, ...]:
        part = score(slice(first, min(first + block, num_queries)))
        if not np.isfinite([part.min(), part.max()]).all():
            raise ValueError("scores must be finite, but contain NaN or infinity")
        scores = np.zeros((block, columns), np.float32)
        scores[: len(part), :num_items] = part
        rows, items = pairs_to_mask(seen, first, (1, block), width, columns)
        best = _best(scores, rows[0], items[0], k=k, num_items=num_items)
        return tuple(np.asarray(x)[: len(part)] for x in best)

    with ThreadPoolExecutor(min(2, os.cpu_count() or 1)) as pool:
        parts = list(pool.map(search, range(0, num_queries, block)))
    empty = np.empty((0, k), np.float32), np.empty((0, k), np.int32)
    scores, items = zip(empty, *parts, strict=True)
    return np.concatenate(scores), np.concatenate(items)
