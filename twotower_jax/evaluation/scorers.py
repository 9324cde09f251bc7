"""Scores of every item for every query, in the forms that are ranked and compared."""

from collections.abc import Callable
from typing import NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from twotower_jax.evaluation.ragged import Ragged, take_rows
from twotower_jax.evaluation.retrieve import top_k, top_k_of_scores
from twotower_jax.evaluation.spread import SpreadItems, top_k_spread

BLOCK = 2**22  # cells of the popularity order that are looked at together


class Scorer(Protocol):
    """Scores of Q queries for the whole catalogue."""

    def top_k(self, k: int, seen: Ragged | None) -> tuple[np.ndarray, np.ndarray]:
        """Return the k best scores and items of each query, as `retrieve.top_k`."""
        ...

    def of_pairs(self, pairs: Ragged) -> np.ndarray:
        """Return the scores [nnz] float64 of items of each query."""
        ...


class Embeddings(NamedTuple):
    """Embeddings whose dot products are the scores."""

    queries: jax.Array | np.ndarray  # [Q, dim] float32
    # [items, dim] float32, of one device or of several
    candidates: jax.Array | np.ndarray | SpreadItems

    def with_offset(self, offset: jax.Array) -> "Embeddings":
        """Return embeddings whose scores are larger by an offset [items] per item."""
        ones = np.ones((len(self.queries), 1), np.float32)
        queries = np.concatenate([np.asarray(self.queries), ones], axis=1)
        if isinstance(self.candidates, SpreadItems):
            return Embeddings(queries, self.candidates.with_column(offset))
        candidates = jnp.asarray(self.candidates)
        columns = jnp.concatenate([candidates, offset[:, None]], axis=1)
        return Embeddings(queries, columns)

    def top_k(self, k: int, seen: Ragged | None) -> tuple[np.ndarray, np.ndarray]:
        """Return the k best scores and items of each query."""
        if isinstance(self.candidates, SpreadItems):
            return top_k_spread(self.queries, self.candidates, k, seen)
        return top_k(self.queries, self.candidates, k, seen=seen)

    def of_pairs(self, pairs: Ragged) -> np.ndarray:
        """Return the scores [nnz] of items of each query, in blocks."""
        queries, candidates = np.asarray(self.queries), np.asarray(self.candidates)
        rows, out = pairs.rows, np.empty(len(pairs.items))
        block = max(1, (1 << 24) // max(1, queries.shape[1]))
        for i in range(0, len(rows), block):
            part = slice(i, i + block)
            left, right = queries[rows[part]], candidates[pairs.items[part]]
            out[part] = np.einsum("nd,nd->n", left, right, dtype=np.float64)
        return out


class BlockScores(NamedTuple):
    """Scores that a function computes for some queries at a time."""

    score: Callable[[slice], np.ndarray]  # queries -> scores [n, items] float32
    num_queries: int  # Q
    num_items: int  # size of the catalogue

    def top_k(self, k: int, seen: Ragged | None) -> tuple[np.ndarray, np.ndarray]:
        """Return the k best scores and items of each query."""
        shape = self.num_queries, self.num_items
        return top_k_of_scores(self.score, shape, k, seen=seen)

    def of_pairs(self, pairs: Ragged) -> np.ndarray:
        """Return the scores [nnz] of items of each query."""
        out, block = np.empty(len(pairs.items)), 256
        for first in range(0, self.num_queries, block):
            part, begin = pairs.part(first, first + block), pairs.offsets[first]
            scores = self.score(slice(first, first + part.num_rows))
            out[begin : begin + len(part.items)] = scores[part.rows, part.items]
        return out


class SharedScores(NamedTuple):
    """The same scores for every query."""

    scores: np.ndarray  # [items] float32
    num_queries: int  # Q

    def top_k(self, k: int, seen: Ragged | None) -> tuple[np.ndarray, np.ndarray]:
        """Return the k best scores and items of each query.

        A list is the begin of one order of the items, without the seen ones.
        """
        order = np.argsort(-self.scores, kind="stable")
        if seen is None:
            seen = Ragged(np.zeros(self.num_queries + 1, np.int64), order[:0])
        place = np.empty_like(order)
        place[order] = np.arange(len(order))
        items = np.full((self.num_queries, k), -1, np.int32)
        longest = min(len(order), k + int(seen.sizes.max(initial=0)))
        block = max(1, BLOCK // longest)
        for first in range(0, self.num_queries, block):
            part = seen.part(first, first + block)
            masked, free = place[part.items], np.ones((part.num_rows, longest), bool)
            free[part.rows[masked < longest], masked[masked < longest]] = False
            rank = np.cumsum(free, axis=1)
            row, column = np.nonzero(free & (rank <= k))
            items[first + row, rank[row, column] - 1] = order[column]
        scores = np.where(items < 0, -np.inf, self.scores[items])
        return scores.astype(np.float32), items

    def of_pairs(self, pairs: Ragged) -> np.ndarray:
        """Return the scores [nnz] of items of each query."""
        return self.scores[pairs.items].astype(np.float64)


# --- queries whose best items all have one score --------------------------------------

TIED_BLOCK = 256  # queries whose scores are held at a time
NEAR = 1e-6  # relative; scores of equal vectors may round so far apart


def tied_queries(scores: np.ndarray) -> np.ndarray:
    """Return [Q] whether the scores of a list are all equal."""
    if scores.shape[1] < 2:
        return np.zeros(len(scores), bool)
    return np.isfinite(scores[:, 0]) & (scores[:, 0] == scores[:, -1])


def without_order(
    embedded: Embeddings, items: np.ndarray, tied: np.ndarray, seen: Ragged | None
) -> np.ndarray:
    """Return lists whose tied ones have the tied items in a fixed random order."""
    queries, candidates = (np.asarray(vectors, np.float32) for vectors in embedded)
    order = np.random.default_rng(0).permutation(len(candidates))
    lists, k = items.copy(), items.shape[1]
    tied_rows = np.flatnonzero(tied)
    for first in range(0, len(tied_rows), TIED_BLOCK):
        rows = tied_rows[first : first + TIED_BLOCK]
        scores = queries[rows] @ candidates.T
        if seen is not None:
            left_out = take_rows(seen, rows)
            scores[left_out.rows, left_out.items] = -np.inf
        best = scores.max(axis=1, keepdims=True)
        equal = scores >= best - NEAR * np.maximum(np.abs(best), 1)
        place = np.where(equal, order, len(order))
        lists[rows] = np.argsort(place, axis=1)[:, :k]
    return lists
