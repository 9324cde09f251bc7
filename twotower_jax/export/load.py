"""An exported model in Python: lists of items for users, histories and items."""

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from twotower_jax.data.encode import codes_of, list_rows
from twotower_jax.data.parse import raw_vectors, to_number, to_vectors
from twotower_jax.data.parse_text import parse_json
from twotower_jax.errors import InputError
from twotower_jax.evaluation.ragged import Ragged, from_pairs, take_rows
from twotower_jax.evaluation.retrieve import top_k
from twotower_jax.export import files
from twotower_jax.export.index import read_index
from twotower_jax.export.towers import LoadedTower, TowerInput

Ids = Sequence[Any] | pl.Series
SHORTEST = 1e-6  # shorter vectors are not divided by their length


def load_model(folder: Path | str) -> "ServedModel | ServedLists":
    """Model of a folder that ``twotower export`` wrote, or of a finished run.

    Args:
      folder: of an export, or of a run, which is exported into its folder ``model`` on
        the first call. Every file is compared with its SHA-256.

    Returns:
      The model, whose towers are compiled on their first use; the lists of a baseline.

    Raises:
      InputError: when the folder holds neither, an export of another format version,
        missing or changed files, or a run that cannot be exported.

    Examples:
      >>> model = load_model("shoes")  # doctest: +SKIP
      >>> model.recommend(users=["ann"], k=3)  # doctest: +SKIP
    """
    folder = Path(folder)
    if (folder / "config.yaml").is_file():
        from twotower_jax.export.write import export_run  # imports training

        run, folder = folder, folder / "model"
        if not folder.exists():
            export_run(run, folder)
    manifest = files.read_manifest(folder)
    if manifest["format"] == files.LISTS_FORMAT:
        return ServedLists(folder, manifest)
    return ServedModel(folder, manifest)


class ServedLists:
    """Lists of the best items by an exported baseline, as they were written.

    Attributes:
      manifest: content of manifest.json; ``length`` is that of the lists.
      lists: columns ``user`` (null: any other user), ``rank``, ``item`` and ``score``.
    """

    def __init__(self, folder: Path, manifest: dict[str, Any]):
        self.manifest = manifest
        self.lists = pl.read_parquet(folder / files.LISTS, glob=False)

    def recommend(self, users: Ids, *, k: int = 20) -> pl.DataFrame:
        """The k best items of users; an unknown one has the most clicked items.

        Returns columns ``user``, ``rank`` from 1, ``item`` and ``score``; k rows a
        user, fewer where a list is shorter. InputError for k out of range.
        """
        _check_k(k, self.manifest["length"])
        asked, known = _as_series("user", users), self.lists.filter(pl.col("rank") <= k)
        known = known.with_columns(key=pl.col("user").cast(pl.String)).drop("user")
        key = asked.cast(pl.String)
        key = key.set(~key.is_in(known["key"].drop_nulls().implode()), None)
        table = pl.DataFrame({"user": asked, "key": key}).with_row_index("place")
        table = table.join(known, "key", "inner", nulls_equal=True)
        return table.sort("place", "rank").select("user", "rank", "item", "score")


class ServedModel:
    """Lists of the best items by an exported model.

    The score of a query and an item is the dot product of their vectors; where the
    model is normalised (``manifest["similarity"] == "cosine"``), this is the cosine.
    Equal scores are ordered by lower item code, the row of ``item_vectors``.

    An unknown user has no id, no features and an empty history; an unknown item of a
    history is left out. Where nothing of a query is known, `recommend` warns and lists
    the most clicked items, without a score.

    Attributes:
      manifest: content of manifest.json.
      folder: of the export.
      user_ids: [users] ids by code.
      item_ids: [items] ids by code, as in the log.
      item_vectors: [items, dim] float32 by code.
      query_tower: (inputs, number) -> [number, dim] float32 vectors of queries.
      item_tower: the same of items, for items that are not in the catalogue.
    """

    def __init__(self, folder: Path, manifest: dict[str, Any]):
        """Read the files; `load_model` documents the errors."""
        self.folder, self.manifest = folder, manifest
        text = (folder / files.VOCABULARY).read_text(encoding="utf-8")
        names = parse_json(text)
        self._features = names["item_features"]
        table = pl.read_parquet(folder / files.ITEM_TABLE, columns=["item"], glob=False)
        self.user_ids, self.item_ids = pl.Series("user", names["users"]), table["item"]
        self.item_vectors = np.load(folder / files.ITEM_VECTORS)
        self._normalised = manifest["similarity"] == "cosine"
        with np.load(folder / files.USERS) as arrays:
            self._users = dict(arrays)
        self.query_tower, self.item_tower = (
            LoadedTower(
                folder / manifest[name]["file"],
                tuple(TowerInput(**spec) for spec in manifest[name]["inputs"]),
            )
            for name in ("query_tower", "item_tower")
        )

    def __repr__(self) -> str:
        """Return the folder, the sizes and what a query is made of."""
        inputs = " and ".join(spec.name for spec in self.query_tower.inputs)
        return (
            f"ServedModel of {self.folder}: {len(self.user_ids):,} users, "
            f"{len(self.item_ids):,} items, vectors of {self.manifest['dim']} numbers "
            f"({self.manifest['similarity']}); a query is made of {inputs}"
        )

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
        _check_k(k, len(self.item_ids))
        codes, clicks = self._queries(users, histories)
        inputs = self._inputs(codes, None if histories is None else clicks)
        vectors = self.query_tower(inputs, len(codes))
        seen = self._seen(codes, clicks) if exclude_seen else None
        scores, items = top_k(vectors, self.item_vectors, k, seen=seen)
        nothing = (codes < 0) & np.array([len(items) == 0 for items in clicks], bool)
        if nothing.any():
            warnings.warn(
                f"{int(nothing.sum())} of {len(codes)} queries are of users that are "
                "not in the log, without a history; they have the most clicked items",
                stacklevel=2,
            )
            items[nothing], scores[nothing] = self._users["popular"][:k], np.nan
        keys = pl.Series("history", range(len(codes)), dtype=pl.Int64)
        keys = keys if users is None else _as_series("user", users)
        table = files.lists_table(keys, self.item_ids.rename("item"), items, scores)
        return table.with_columns(pl.col("score").fill_nan(None))

    def embed_queries(
        self, users: Ids | None = None, histories: Sequence[Ids] | None = None
    ) -> np.ndarray:
        """Vectors [n, dim] of queries, as a vector database searches by them.

        The arguments and their errors are those of `recommend`.
        """
        codes, clicks = self._queries(users, histories)
        inputs = self._inputs(codes, None if histories is None else clicks)
        return self.query_tower(inputs, len(codes))

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
        _check_k(k, len(self.item_ids) - 1)
        asked, vectors = _as_series("item", items), self.item_vectors
        codes = self._codes(asked, self.item_ids)
        if (codes < 0).any():
            raise InputError(
                f"items: {asked[int(np.argmin(codes))]!r} is not in the catalogue; "
                "leave it out (item_ids lists the catalogue, and embed_items embeds a "
                "new item)"
            )
        if not self._normalised:
            length = np.linalg.norm(vectors, axis=1, keepdims=True)
            vectors = (vectors / np.maximum(length, SHORTEST)).astype(np.float32)
        itself = Ragged(np.arange(len(codes) + 1), codes)
        scores, others = top_k(vectors[codes], vectors, k, seen=itself)
        return files.lists_table(asked, self.item_ids.rename("similar"), others, scores)

    def embed_items(self, items: pl.DataFrame) -> np.ndarray:
        """Vectors of items by the item tower, from their features.

        Args:
          items: a row per item, with a column per feature of the item tower, as in the
            input of the log (null: missing; lists, or texts joined by ``|``). A column
            ``item`` with ids gives the items of the training their own id embedding;
            all others have none.

        Returns:
          [n, dim] float32; 0 where nothing is known and the tower has no hidden layer.

        Raises:
          InputError: for a column that is missing or unknown, or text for a number.
        """
        specs = self.item_tower.inputs
        features = [spec.name for spec in specs if spec.kind != "id"]
        for name in features:
            if name not in items.columns:
                raise InputError(
                    f"the frame has no column {name!r}; the item tower reads "
                    f"{features}, and null is a missing value"
                )
        for name in items.columns:
            if name not in ("item", *features):
                raise InputError(
                    f"the frame has a column {name!r}, which the item tower does not "
                    f"read; its features are {features}; leave the column out"
                )
        codes = np.full(len(items), -1, np.int32)
        if "item" in items.columns:
            codes = self._codes(items["item"], self.item_ids)
        values = {
            spec.name: codes
            if spec.kind == "id"
            else _feature(items[spec.name], spec, self._features[spec.name])
            for spec in specs
        }
        return self.item_tower(values, len(items))

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
                f"{self.folder} has no index; export the run again with --index faiss "
                "or --index usearch"
            )
        place = self.folder / index["file"] if path is None else Path(path)
        return read_index(index["library"], place, self.item_vectors.shape)

    @staticmethod
    def _codes(ids: Ids, known: pl.Series) -> np.ndarray:
        """Return the codes [n] int32 of ids, -1 for an unknown one."""
        text = _as_series("id", ids).cast(pl.String)
        return codes_of(text, known.cast(pl.String))

    def _queries(
        self, users: Ids | None, histories: Sequence[Ids] | None
    ) -> tuple[np.ndarray, list[np.ndarray]]:
        """Return codes [n] of users, -1 for none, and n codes of given histories."""
        if users is None and histories is None:
            raise InputError("recommend needs users= or histories=; give one of them")
        if users is not None and histories is not None and len(users) != len(histories):
            raise InputError(
                f"users= has {len(users)} ids and histories= {len(histories)} lists; "
                "give one history per user"
            )
        reads = any(spec.kind == "history" for spec in self.query_tower.inputs)
        if histories is not None and not reads:
            raise InputError(
                "histories= is given, but the query tower reads no history; give "
                "users= alone, or export a run with history in towers.query"
            )
        number = len(histories if users is None else users)  # type: ignore[arg-type]
        codes = np.full(number, -1, np.int32)
        if users is not None:
            codes = self._codes(users, self.user_ids)
        if histories is None:
            return codes, [np.empty(0, np.int32)] * number
        clicks = [self._codes(history, self.item_ids) for history in histories]
        return codes, [items[items >= 0] for items in clicks]

    def _inputs(
        self, users: np.ndarray, clicks: list[np.ndarray] | None
    ) -> dict[str, np.ndarray]:
        """Inputs of the query tower; clicks replace the histories of users."""
        values, known = self.query_tower.missing(len(users)), users >= 0
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

    def _seen(self, users: np.ndarray, clicks: list[np.ndarray]) -> Ragged:
        """Item codes that are left out, a row per query."""
        if (users >= 0).any() and "seen/items" not in self._users:
            raise InputError(
                "exclude_seen=True, but the folder lists no seen items, for the run "
                "has data.mask_seen=false; set exclude_seen=False"
            )
        known = np.flatnonzero(users >= 0)
        rows, items = [np.repeat(np.arange(len(users)), [len(c) for c in clicks])], []
        items.append(np.concatenate([np.empty(0, np.int32), *clicks]))
        if len(known):
            seen = Ragged(self._users["seen/offsets"], self._users["seen/items"])
            mine = take_rows(seen, users[known])
            rows.append(known[mine.rows])
            items.append(mine.items)
        return from_pairs(np.concatenate(rows), np.concatenate(items), len(users))


def _check_k(k: int, most: int) -> None:
    if not 1 <= k <= most:
        raise InputError(f"k={k} is out of range; give 1 to {most}")


def _as_series(name: str, ids: Ids) -> pl.Series:
    """Ids as a column; numbers among texts become texts."""
    if isinstance(ids, str):
        raise InputError(f"{ids!r} is one id; give a list of ids")
    return pl.Series(name, ids, strict=False)


def _feature(column: pl.Series, spec: TowerInput, values: Any) -> np.ndarray:
    """Return the values of one feature of items, as in the input of the log."""
    array = spec.missing(len(column))
    if spec.kind == "numeric":
        numbers = to_number(column, "the frame", spec.name, required=False)
        if values["deviation"] > 0:
            scaled = (numbers - values["mean"]) / values["deviation"]
            array[:] = scaled.fill_null(0).to_numpy()
        return array
    if spec.kind == "vector":
        return raw_vectors(to_vectors(column, "the frame", spec.name, spec.width))
    names = pl.Series(values).cast(pl.String)
    if spec.kind == "categorical":
        array[:] = codes_of(column.cast(pl.String), names)
        return array
    rows = list_rows(column)
    known = rows.with_columns(
        pl.Series("code", codes_of(rows["value"].cast(pl.String), names))
    ).filter(pl.col("code") >= 0)
    places = known.select("row", "code", place=pl.int_range(pl.len()).over("row"))
    kept = places.filter(pl.col("place") < (spec.width or 0))
    array[kept["row"].to_numpy(), kept["place"].to_numpy()] = kept["code"].to_numpy()
    return array
