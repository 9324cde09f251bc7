"""An exported model in Python: lists of items for users, histories and items."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from twotower_jax.data.encode import codes_of
from twotower_jax.errors import InputError
from twotower_jax.evaluation.ragged import Ragged, from_pairs, take_rows
from twotower_jax.evaluation.retrieve import top_k
from twotower_jax.export.files import (
    ITEM_TABLE,
    ITEM_VECTORS,
    USERS,
    VOCABULARY,
    read_manifest,
)
from twotower_jax.export.index import read_index
from twotower_jax.export.towers import LoadedTower, TowerInput

# A product of one vector with the items rounds the last items in another way on a CPU,
# which would part items of equal vectors. Products of matrices do not.
MIN_QUERIES = 2

Ids = Sequence[Any] | pl.Series


def load_model(folder: Path | str) -> "ServedModel":
    """Model of a folder that ``twotower export`` wrote, or of a finished run.

    Args:
      folder: of an export, or of a run, which is exported into its folder ``model`` on
        the first call. Every file is compared with its SHA-256.

    Returns:
      The model; towers are compiled on their first use.

    Raises:
      InputError: when the folder holds neither, an export of another format version,
        missing or changed files, or a run that `export_run` refuses.

    Examples:
      >>> model = load_model("shoes")  # doctest: +SKIP
      >>> model.recommend(users=["ann"], k=3)  # doctest: +SKIP
    """
    folder = Path(folder)
    if (folder / "config.yaml").is_file():
        from twotower_jax.export.write import export_once  # imports training

        folder = export_once(folder)
    return ServedModel(folder)


class ServedModel:
    """Exact lists of the best items by an exported model.

    The score of a query and an item is the dot product of their vectors; where the
    model is normalised (``manifest["similarity"] == "cosine"``), this is the cosine.
    Equal scores are ordered by lower item code, the row of ``item_vectors``.

    An unknown user has no id, no features and an empty history; an unknown item of a
    history is left out. Where nothing of a query is known and the tower has no hidden
    layers, all of its scores are 0.

    Attributes:
      manifest: content of manifest.json.
      user_ids: [users] ids by code.
      item_ids: [items] ids by code, of the type that they had in the log.
      item_vectors: [items, dim] float32.
      query_tower: (inputs, number) -> [number, dim] float32 vectors of queries.
      item_tower: the same of items, for items that are not in the catalogue.
    """

    def __init__(self, folder: Path):
        """Read the files; `load_model` documents the errors.

        Args:
          folder: of the export.
        """
        self.manifest = read_manifest(folder)
        self._folder = folder
        names = json.loads((folder / VOCABULARY).read_text(encoding="utf-8"))
        self.user_ids = pl.Series("user", names["users"])
        self.item_ids = pl.read_parquet(folder / ITEM_TABLE, columns=["item"])["item"]
        self.item_vectors = np.load(folder / ITEM_VECTORS)
        with np.load(folder / USERS) as arrays:
            self._users = dict(arrays)
        self.query_tower, self.item_tower = (
            _tower(folder, self.manifest[f"{side}_tower"]) for side in ("query", "item")
        )
        self._user_text = self.user_ids.cast(pl.String)
        self._item_text = self.item_ids.cast(pl.String)

    def recommend(
        self,
        users: Ids | None = None,
        histories: Sequence[Ids] | None = None,
        *,
        k: int = 20,
        exclude_seen: bool = False,
    ) -> pl.DataFrame:
        """The k best items of users, of histories, or of users with new histories.

        Args:
          users: n ids; their features and histories are those of the export.
          histories: n lists of item ids, the latest last; they replace the histories
            of the users, or stand for users of whom nothing else is known.
          k: 1..items.
          exclude_seen: leave out the items of the histories, and those that the users
            clicked in the training and validation parts of the run.

        Returns:
          Columns ``user`` (or ``history``, the place of the history, without users),
          ``rank`` from 1, ``item`` and ``score``; n x k rows, fewer where less than k
          items are left.

        Raises:
          InputError: without users and histories, for different numbers of both, for
            histories that the query tower does not read, for k out of range, or for
            seen items that the folder does not list.
        """
        self._check(users, histories, k)
        codes = None if users is None else self._codes(users, self._user_text)
        clicks = None if histories is None else self._history_codes(histories)
        number = len(codes if codes is not None else clicks or [])
        vectors = self.query_tower(self._inputs(number, codes, clicks), number)
        seen = self._seen(number, codes, clicks) if exclude_seen else None
        scores, items = _lists(vectors, self.item_vectors, k, seen)
        keys = pl.Series("history", range(number), dtype=pl.Int64)
        keys = keys if users is None else _series("user", users)
        return self._table(keys, "item", items, scores)

    def similar(self, items: Ids, k: int = 20) -> pl.DataFrame:
        """The k other items whose vectors have the largest cosine with those of items.

        Args:
          items: n ids of the catalogue.
          k: 1..items-1.

        Returns:
          Columns ``item``, ``rank`` from 1, ``similar`` (an item) and ``score``, the
          cosine; n x k rows.

        Raises:
          InputError: for an item that is not in the catalogue, or k out of range.
        """
        self._check_k(k, len(self.item_ids) - 1)
        codes = self._codes(items, self._item_text)
        if (codes < 0).any():
            name = list(items)[int(np.argmax(codes < 0))]
            raise InputError(
                f"items: {name!r} is not in the catalogue; leave it out (item_ids "
                "lists the catalogue, and item_tower embeds a new item)"
            )
        vectors = self.item_vectors
        if self.manifest["similarity"] != "cosine":
            length = np.linalg.norm(vectors, axis=1, keepdims=True)
            vectors = vectors / np.maximum(length, np.float32(1e-6))
        itself = Ragged(np.arange(len(codes) + 1), codes)
        scores, others = _lists(vectors[codes], vectors, k, itself)
        return self._table(_series("item", items), "similar", others, scores)

    def open_index(self, path: Path | str | None = None) -> Any:
        """Approximate index of the item vectors, an object of faiss or usearch.

        Args:
          path: of an index of the same library that was built with other settings; None
            for that of the folder.

        Returns:
          The index; its keys are item codes, and it searches by inner product.

        Raises:
          InputError: when the folder has no index, its library is not installed, or the
            file holds vectors of another number or dimension.
        """
        index = self.manifest["index"]
        if index is None:
            raise InputError(
                f"{self._folder} has no index; export the run again with --index faiss "
                "or --index usearch"
            )
        place = self._folder / index["file"] if path is None else Path(path)
        return read_index(index["library"], place, self.item_vectors.shape)

    def _check(
        self, users: Ids | None, histories: Sequence[Ids] | None, k: int
    ) -> None:
        """Refuse arguments of `recommend`."""
        self._check_k(k, len(self.item_ids))
        if users is None and histories is None:
            raise InputError("recommend needs users= or histories=; give one of them")
        if histories is None:
            return
        if users is not None and len(users) != len(histories):
            raise InputError(
                f"users= has {len(users)} ids and histories= {len(histories)} lists; "
                "give one history per user"
            )
        if all(one.kind != "history" for one in self.query_tower.inputs):
            raise InputError(
                "histories= is given, but the query tower reads no history; give "
                "users= alone, or export a run with history in towers.query"
            )

    def _check_k(self, k: int, most: int) -> None:
        if not 1 <= k <= most:
            raise InputError(f"k={k} is out of range; give 1 to {most}")

    def _codes(self, ids: Ids, text: pl.Series) -> np.ndarray:
        """Return the codes [n] int32 of ids, -1 for an unknown one."""
        return codes_of(_series("id", ids).cast(pl.String), text)

    def _history_codes(self, histories: Sequence[Ids]) -> list[np.ndarray]:
        """Return the codes of the known items of every history."""
        codes = [self._codes(history, self._item_text) for history in histories]
        return [one[one >= 0] for one in codes]

    def _inputs(
        self, number: int, users: np.ndarray | None, clicks: list[np.ndarray] | None
    ) -> dict[str, np.ndarray]:
        """Return the inputs of the query tower."""
        values = self.query_tower.missing(number)
        if users is not None:
            known = users >= 0
            for name, array in values.items():
                stored = self._users.get(f"inputs/{name}")
                codes = users[known]
                array[known] = codes if stored is None else stored[codes]
        for row, items in enumerate(clicks or []):
            history = values["history"]
            last = items[::-1][: history.shape[1]]  # the latest first
            history[row] = -1
            history[row, : len(last)] = last
        return values

    def _seen(
        self, number: int, users: np.ndarray | None, clicks: list[np.ndarray] | None
    ) -> Ragged:
        """Return the items that are left out, a row per query."""
        rows, items = [np.empty(0, np.int64)], [np.empty(0, np.int32)]
        if users is not None:
            if "seen/items" not in self._users:
                raise InputError(
                    "exclude_seen=True, but the folder lists no seen items, for the "
                    "run has data.mask_seen=false; set exclude_seen=False"
                )
            known = np.flatnonzero(users >= 0)
            seen = Ragged(self._users["seen/offsets"], self._users["seen/items"])
            mine = take_rows(seen, users[known])
            rows.append(known[mine.rows])
            items.append(mine.items)
        for row, history in enumerate(clicks or []):
            rows.append(np.full(len(history), row))
            items.append(history)
        return from_pairs(np.concatenate(rows), np.concatenate(items), number)

    def _table(
        self, keys: pl.Series, column: str, items: np.ndarray, scores: np.ndarray
    ) -> pl.DataFrame:
        """Return lists [n, k] in long form, without empty places."""
        number, k = items.shape
        kept = items.reshape(-1) >= 0
        ranks = np.tile(np.arange(1, k + 1, dtype=np.int32), number)[kept]
        return pl.DataFrame(
            {
                keys.name: keys.gather(np.repeat(np.arange(number), k)[kept]),
                "rank": ranks,
                column: self.item_ids.gather(items.reshape(-1)[kept]),
                "score": scores.reshape(-1)[kept],
            }
        )


def _lists(
    vectors: np.ndarray, items: np.ndarray, k: int, seen: Ragged | None
) -> tuple[np.ndarray, np.ndarray]:
    """Return `top_k`, of at least MIN_QUERIES queries."""
    number = len(vectors)
    padding = max(0, MIN_QUERIES - number)
    padded = np.pad(vectors, ((0, padding), (0, 0)))
    if seen is not None:
        seen = Ragged(np.pad(seen.offsets, (0, padding), mode="edge"), seen.items)
    scores, best = top_k(padded, items, k, seen=seen)
    return scores[:number], best[:number]


def _series(name: str, ids: Ids) -> pl.Series:
    """Return ids as a column; numbers among texts become texts."""
    if isinstance(ids, str):
        raise InputError(f"{ids!r} is one id; give a list of ids")
    return pl.Series(name, ids, strict=False)


def _tower(folder: Path, section: dict[str, Any]) -> LoadedTower:
    """Return a tower from its section of the manifest."""
    inputs = tuple(TowerInput(**one) for one in section["inputs"])
    return LoadedTower(folder / section["file"], inputs)
