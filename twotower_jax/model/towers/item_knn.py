"""Item-kNN: the items that the same users clicked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from twotower_jax.lazy import np
from twotower_jax.model.towers.choice import Baseline, Clicks, Scores, baseline, binary
from twotower_jax.registry import key, keys_of

# Products of two clicks held at a time: less than 1 GB.
BLOCK = 2**23


@keys_of("baseline.item_knn", words="towers=item_knn")
class ItemKnnConfig:
    """Item-kNN: the items clicked by the same users."""

    neighbours: int = key(200, low=1, doc="most similar items kept for each item")
    shrink: float = key(
        20.0,
        low=0,
        doc="added to the denominator of the cosine of two items, in users; 0: none",
    )
    max_pairs: int = key(
        1_000_000_000, low=1, doc="limit on the sum over users of (number of items)^2"
    )


@baseline
@dataclass(unsafe_hash=True)
class ItemKnn(Baseline):
    """Baseline without towers: items that the same users clicked."""

    kind: str = "item_knn"
    label: ClassVar[str] = "item-kNN"

    def fit(self, clicks: Clicks, numbers: Any, seed: int) -> Scores:
        """Scores by the similarity to the items of the history.

          s(i) = sum_{j in history} sim(j, i) [i is among the k most similar items of j]
          sim(j, i) = n_ji / (sqrt(n_j n_i) + shrink),   j != i

        n_ji users clicked both j and i, and n_i = n_ii clicked i. Of equally similar
        items the one with the lower index is kept.

        References:
          Deshpande & Karypis, Item-Based Top-N Recommendation Algorithms, TOIS 2004.
        """
        similar = neighbours(binary(clicks), numbers.neighbours, numbers.shrink)
        return lambda history: (binary(history).astype(np.float32) @ similar).toarray()

    def excess(self, clicks: Clicks, numbers: Any) -> str | None:
        """Return the limit that the fit would exceed, None within it."""
        pairs = int((np.diff(clicks.indptr).astype(np.int64) ** 2).sum())
        if pairs <= numbers.max_pairs:
            return None
        return (
            f"item_knn counts {pairs:,} pairs of items of the same user, above "
            f"baseline.item_knn.max_pairs={numbers.max_pairs}; raise it to fit all the "
            "same"
        )


def neighbours(clicks: Clicks, number: int, shrink: float) -> Clicks:
    """Return the similarities to the most similar items of each item."""
    from scipy.sparse import csr_array, vstack  # on use, as in `click_matrix`

    by_item = clicks.T.tocsr()
    counts = by_item.sum(axis=1)
    # Work of a row: the clicks of all users of the item.
    work = np.cumsum(by_item @ clicks.sum(axis=1))
    rows, first = [], 0
    while first < len(work):
        done = work[first - 1] if first else 0
        last = max(first + 1, int(np.searchsorted(work, done + BLOCK, "right")))
        both = (by_item[first:last] @ clicks).tocoo()
        row, column = both.row + first, both.col
        other = row != column
        row, column, both = row[other], column[other], both.data[other]
        value = both / (np.sqrt(counts[row] * counts[column]) + shrink)
        sizes = np.bincount(row - first, minlength=last - first)
        kept = _largest(sizes, column, value, number)
        place = (row[kept] - first, column[kept])
        shape = (last - first, clicks.shape[1])
        rows.append(csr_array((value[kept].astype(np.float32), place), shape=shape))
        first = last
    return vstack(rows, format="csr")


def _largest(
    sizes: np.ndarray, column: np.ndarray, value: np.ndarray, number: int
) -> np.ndarray:
    """Return which values are the largest of their row; ties: lower column."""
    kept, ends = np.ones(len(value), bool), np.cumsum(sizes)
    for row in np.flatnonzero(sizes > number):
        part = slice(ends[row] - sizes[row], ends[row])
        mine = value[part]
        least = np.partition(mine, -number)[-number]
        ties = np.flatnonzero(mine == least)
        own = mine > least
        spare = number - np.count_nonzero(own)
        if len(ties) > spare:
            ties = ties[np.argpartition(column[part][ties], spare - 1)[:spare]]
        own[ties] = True
        kept[part] = own
    return kept
