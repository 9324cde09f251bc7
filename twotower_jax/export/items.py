"""The items of an exported model, which are added and removed without a rebuild."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import polars as pl

from twotower_jax.data.encode import codes_of
from twotower_jax.errors import InputError
from twotower_jax.evaluation.ragged import Ragged, from_pairs
from twotower_jax.evaluation.retrieve import top_k
from twotower_jax.export.index import INDEXES, Items

# Largest difference from 1 of the length of a vector that counts as normalised.
LENGTH_TOLERANCE = 1e-3

Ids = Sequence[Any] | pl.Series


class ItemIndex:
    """The items that a model recommends, and their vectors.

    The code of an item is its row in ``vectors``. A new item has the next code. A
    removed item keeps its code, and has it again when it is added again.

    Attributes:
      ids: [codes] ids by code, removed items included.
      vectors: [codes, dim] float32; the rows of removed items are not read.
      present: [codes] bool, False for a removed item.
      normalised: whether vectors have length 1.
    """

    def __init__(
        self,
        ids: pl.Series,
        vectors: np.ndarray,
        removed: Sequence[int],
        normalised: bool,
    ):
        """Take the items of an export.

        Args:
          ids: [codes] by code.
          vectors: [codes, dim] float32.
        """
        self.ids, self.vectors, self.normalised = ids, vectors, normalised
        self.present = np.ones(len(ids), bool)
        self.present[list(removed)] = False
        self._text = ids.cast(pl.String)
        # An approximate index: its library, how it is opened, and the object.
        self._library: str | None = None
        self._open: Callable[[], Any] | None = None
        self._graph: Any = None

    def __len__(self) -> int:
        """Return the number of items that are present."""
        return int(self.present.sum())

    def use_graph(self, library: str, open_index: Callable[[], Any]) -> None:
        """Change an approximate index along with the items."""
        self._library, self._open = library, open_index

    def graph(self) -> Any:
        """Approximate index of the items that are present; its keys are item codes."""
        if self._open is None:
            raise InputError(
                "the model has no approximate index; export the run again with "
                "--index faiss or --index usearch"
            )
        if self._graph is None:
            self._graph = self._open()
        return self._graph

    def codes(self, ids: Ids) -> np.ndarray:
        """Return the codes [n] int32 of ids, removed ones included, -1 if unknown."""
        return codes_of(as_series("id", ids).cast(pl.String), self._text)

    def add(self, items: Ids, vectors: np.ndarray) -> None:
        """Add items, new ones or removed ones. Nothing is added where one is refused.

        Args:
          items: [n] ids of the type of those of the log.
          vectors: [n, dim], finite; of length 1 (or 0) if the model is normalised.
        """
        names, rows = self._ids(items), np.array(vectors, np.float32)
        self._check_vectors(names, rows)
        codes = self.codes(names).astype(np.int64)
        known = np.flatnonzero(codes >= 0)
        doubled = known[self.present[codes[known]]]
        if len(doubled):
            raise InputError(
                f"items: {names[int(doubled[0])]!r} is in the index; remove it first "
                "to change its vector"
            )
        new = codes < 0
        codes[new] = len(self.ids) + np.arange(new.sum())
        if self._library is not None:
            INDEXES[self._library].add(self.graph(), codes, rows)
        self.ids = self.ids.append(names.filter(pl.Series(new)))
        self._text = self.ids.cast(pl.String)
        self.vectors = np.concatenate([self.vectors, rows[new]])
        self.vectors[codes] = rows
        self.present = np.concatenate([self.present, np.ones(new.sum(), bool)])
        self.present[codes] = True

    def remove(self, items: Ids) -> None:
        """Remove items. Nothing is removed where one is refused.

        Args:
          items: [n] ids.
        """
        names = self._ids(items)
        codes = self.codes(names).astype(np.int64)
        missing = (codes < 0) | ~self.present[codes]
        if missing.any():
            raise InputError(
                f"items: {names[int(np.argmax(missing))]!r} is not in the index; leave "
                "it out"
            )
        if len(codes) == len(self):
            raise InputError(
                f"items has all {len(codes)} items of the index; keep at least one"
            )
        if self._library is not None:
            INDEXES[self._library].remove(self.graph(), codes)
        self.present[codes] = False

    def _ids(self, items: Ids) -> pl.Series:
        """Return ids of the type of the log, refused where they are not of it."""
        given = as_series("item", items)
        names = given.cast(self.ids.dtype, strict=False)
        other = names.is_null() | (names.cast(pl.String) != given.cast(pl.String))
        if other.any():
            raise InputError(
                f"items: {given[other.arg_max() or 0]!r} is no id of type "
                f"{self.ids.dtype}, which the items of the log have"
            )
        if names.is_duplicated().any():
            raise InputError(
                f"items: {names.filter(names.is_duplicated())[0]!r} is given twice; "
                "give each item once"
            )
        return names

    def _check_vectors(self, names: pl.Series, rows: np.ndarray) -> None:
        """Refuse vectors that do not fit the index."""
        shape = (len(names), self.vectors.shape[1])
        if rows.shape != shape:
            raise InputError(
                f"vectors has shape {list(rows.shape)}, but {shape[0]} items of an "
                f"index of dimension {shape[1]} need {list(shape)}; give one vector of "
                "the item tower per item"
            )
        if not np.isfinite(rows).all():
            raise InputError("vectors has NaN or infinity; give finite numbers")
        length = np.linalg.norm(rows, axis=1)
        bad = (np.abs(length - 1) > LENGTH_TOLERANCE) & (length > 0)
        if self.normalised and bad.any():
            row = int(np.argmax(bad))
            raise InputError(
                f"vectors: that of {names[row]!r} has length {length[row]:.4g}, but "
                "the model is normalised (cosine); divide vectors by their length"
            )

    def items(self) -> Items:
        """Return codes and vectors of the items that are present."""
        codes = np.flatnonzero(self.present)
        all_present = len(codes) == len(self.present)
        return Items(codes, self.vectors if all_present else self.vectors[codes])

    def exact(
        self, queries: np.ndarray, k: int, seen: Ragged | None
    ) -> tuple[np.ndarray, np.ndarray]:
        """The k best items of queries; equal scores by lower code.

        Args:
          queries: [n, dim] float32.
          seen: codes that are left out, a row per query; None for none.

        Returns:
          Scores and codes [n, k], best first; code -1 where less than k are left.
        """
        items = self.items()
        if seen is not None:
            place = np.full(len(self.present), -1)
            place[items.codes] = np.arange(len(items.codes))
            rows, places = seen.rows, place[seen.items]
            seen = from_pairs(rows[places >= 0], places[places >= 0], len(queries))
        scores, best = top_k(queries, items.vectors, k, seen=seen)
        return scores, np.where(best >= 0, items.codes[best], -1)

    def approximate(
        self, queries: np.ndarray, k: int, seen: Ragged | None
    ) -> tuple[np.ndarray, np.ndarray]:
        """The k best items that the approximate index finds; as `exact`.

        Args:
          queries: [n, dim] float32.
          seen: codes that are left out, a row per query; None for none.
        """
        graph, number, codes = self.graph(), len(queries), len(self.present)
        most = k if seen is None else k + int(seen.sizes.max(initial=0))
        search = INDEXES[self._library or ""].search
        found = search(graph, np.ascontiguousarray(queries), min(most, len(self)))
        if seen is not None:
            pairs = np.arange(number)[:, None] * codes + found
            found[np.isin(pairs, seen.rows * codes + seen.items)] = -1
        scores = np.einsum("nkd,nd->nk", self.vectors[found], queries)
        scores = np.where(found >= 0, scores, -np.inf).astype(np.float32)
        order = np.lexsort((found, -scores), axis=1)[:, :k]
        return np.take_along_axis(scores, order, 1), np.take_along_axis(found, order, 1)

    def table(
        self, keys: pl.Series, column: str, codes: np.ndarray, scores: np.ndarray
    ) -> pl.DataFrame:
        """Lists of items of this index, as `lists_table`.

        Args:
          keys: [n], one per list; the first column.
          codes: [n, k], -1 for an empty place.
          scores: [n, k].
        """
        return lists_table(keys, self.ids.rename(column), codes, scores)


def lists_table(
    keys: pl.Series, ids: pl.Series, codes: np.ndarray, scores: np.ndarray
) -> pl.DataFrame:
    """Lists in long form, without empty places."""
    number, k = codes.shape
    kept = codes.reshape(-1) >= 0
    ranks = np.tile(np.arange(1, k + 1, dtype=np.int32), number)[kept]
    return pl.DataFrame(
        {
            keys.name: keys.gather(np.repeat(np.arange(number), k)[kept]),
            "rank": ranks,
            ids.name: ids.gather(codes.reshape(-1)[kept]),
            "score": scores.reshape(-1)[kept],
        }
    )


def as_series(name: str, ids: Ids) -> pl.Series:
    """Ids as a column; numbers among texts become texts."""
    if isinstance(ids, str):
        raise InputError(f"{ids!r} is one id; give a list of ids")
    return pl.Series(name, ids, strict=False)
