"""Exact top-k of scores that a function computes on the host, in blocks of queries."""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from twotower_jax.evaluation.ragged import Ragged, take_rows
from twotower_jax.evaluation.retrieve import check_k
from twotower_jax.evaluation.seen_pairs import check_seen

GROUP = 16  # Columns behind one maximum.
# float32 scores that one thread computes at a time: 16 MiB. The allocator of Linux
# returns larger arrays to the system, and fresh pages cost as much as the ranking.
MAX_SCORES = 2**22
CHUNK = 2**18  # Scores that are ranked at a time: 1 MiB, which fits into a cache.


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

    Args:
      shape: Q and I.

    Returns:
      scores float32 [Q, k] and items int32 [Q, k].

    Raises:
      InputError: when k is not in 1..I.
      ValueError: when `seen` does not fit, or a score is not finite.

    Examples:
      >>> table = np.array([[1.0, 3.0, 3.0]])
      >>> top_k_of_scores(lambda rows: table[rows], (1, 3), 2)[1].tolist()
      [[1, 2]]
    """
    num_queries, num_items = shape
    check_k(k, num_items)
    check_seen(seen, num_queries, num_items)
    block = max(1, min(block, num_queries, MAX_SCORES // num_items))
    chunk = max(1, CHUNK // num_items)
    out = (
        np.full((num_queries, k), -np.inf, np.float32),
        np.full((num_queries, k), -1, np.int32),
    )

    def search(first: int) -> None:
        scores = score(slice(first, min(first + block, num_queries)))
        for begin in range(0, len(scores), chunk):
            some = _masked(scores[begin : begin + chunk], seen, first + begin)
            for query, best in enumerate(_best(some, k), first + begin):
                for whole, values in zip(out, best, strict=True):
                    whole[query, : len(values)] = values

    with ThreadPoolExecutor(min(2, os.cpu_count() or 1)) as pool:
        list(pool.map(search, range(0, num_queries, block)))
    return out


def _masked(scores: np.ndarray, seen: Ragged | None, first: int) -> np.ndarray:
    """Return a copy of the scores of queries with -inf for seen items, 0.0 for -0.0."""
    masked = np.asarray(scores, np.float32) + np.float32(0)  # -0.0 + 0.0 is 0.0
    if not np.isfinite([masked.min(), masked.max()]).all():
        raise ValueError("scores must be finite, but contain NaN or infinity")
    if seen is not None:
        some = take_rows(seen, np.arange(first, first + len(masked)))
        masked[some.rows, some.items] = -np.inf
    return masked


def _best(scores: np.ndarray, k: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return the scores and items of the list of each row, which may be short."""
    least = np.maximum(_lower_bounds(scores, k), np.finfo(np.float32).min)
    lists = []
    for row, bound in zip(scores, least, strict=True):
        items = _candidates(row, bound, k)
        values = row[items]
        # The items rise, so a stable sort puts the lower one first.
        order = np.argsort(-values, kind="stable")[:k]
        lists.append((values[order], items[order]))
    return lists


def _candidates(row: np.ndarray, bound: float, k: int) -> np.ndarray:
    """Return the places of the k best scores and of some others, in rising order.

    Args:
      row: [I] scores.
    """
    chosen = row >= bound
    if np.count_nonzero(chosen) > 2 * k:
        # Scores such as 0 are often equal to the bound; the first k of them suffice.
        tied, end = row == bound, k
        while end < len(row) and np.count_nonzero(tied[:end]) < k:
            end *= 2
        tied[end:] = False
        chosen = tied | (row > bound)
    return np.flatnonzero(chosen)


def _lower_bounds(scores: np.ndarray, k: int) -> np.ndarray:
    """Return scores [n] that are at most the k-th best of each row.

    They are the k-th best among the maxima of groups of items: each maximum is the
    score of another item. Groups have every (I // GROUP)-th item, so that the maxima of
    all groups are found column by column.
    """
    groups = scores.shape[1] // GROUP
    if groups >= 2 * k:
        whole = scores[:, : groups * GROUP].reshape(len(scores), GROUP, groups)
        scores = whole.max(axis=1)
    return np.partition(scores, -k, axis=1)[:, -k]
