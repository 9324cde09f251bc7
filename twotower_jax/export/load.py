"""An exported model in Python: lists of items for users, histories and items."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from twotower_jax.config.parse_text import parse_json
from twotower_jax.errors import InputError
from twotower_jax.evaluation.ragged import Ragged
from twotower_jax.evaluation.retrieve import top_k
from twotower_jax.export.exported import exported
from twotower_jax.export.files import (
    ITEM_TABLE,
    ITEM_VECTORS,
    USERS,
    VOCABULARY,
    read_manifest,
)
from twotower_jax.export.index import read_index
from twotower_jax.export.items import Ids, ItemIndex, as_series
from twotower_jax.export.new_items import encode_items, neighbour_vectors, normalised
from twotower_jax.export.questions import check_k, check_queries, warn_unknown
from twotower_jax.export.save import save_model
from twotower_jax.export.towers import read_tower
from twotower_jax.export.users import Users, sample_codes


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
    folder = exported(Path(folder))
    return ServedModel(folder)


class ServedModel:
    """Lists of the best items by an exported model.

    The score of a query and an item is the dot product of their vectors; where the
    model is normalised (``manifest["similarity"] == "cosine"``), this is the cosine.
    Equal scores are ordered by lower item code, the row of ``item_vectors``.

    An unknown user has no id, no features and an empty history; an unknown item of a
    history is left out. Where nothing of a query is known and the tower has no hidden
    layers, all of its scores are 0, and `recommend` warns.

    Attributes:
      manifest: content of manifest.json.
      folder: of the export.
      index: the items; `index.add` and `index.remove` change them.
      query_tower: (inputs, number) -> [number, dim] float32 vectors of queries.
      item_tower: the same of items, for items that are not in the catalogue.
    """

    def __init__(self, folder: Path):
        """Read the files; `load_model` documents the errors."""
        self.manifest = read_manifest(folder)
        self.folder = folder
        names = parse_json((folder / VOCABULARY).read_text(encoding="utf-8"))
        self._features = names["item_features"]
        self.index = ItemIndex(
            pl.read_parquet(folder / ITEM_TABLE, columns=["item"], glob=False)["item"],
            np.load(folder / ITEM_VECTORS),
            self.manifest["removed_items"],
            self.manifest["similarity"] == "cosine",
        )
        if self.manifest["index"] is not None:
            self.index.use_graph(self.manifest["index"]["library"], self._read_index)
        with np.load(folder / USERS) as arrays:
            self._users = Users(names["users"], dict(arrays))
        self.query_tower, self.item_tower = (
            read_tower(folder, side, self.manifest[section], names)
            for side, section in (
                ("query", "query_tower"),
                ("candidate", "item_tower"),
            )
        )

    def __repr__(self) -> str:
        """Return the folder, the sizes and what a query is made of."""
        made = self.manifest
        inputs = " and ".join(one["name"] for one in made["query_tower"]["inputs"])
        return (
            f"ServedModel of {self.folder}: {made['users']:,} users, {made['items']:,} "
            f"items, vectors of {made['dim']} numbers ({made['similarity']}); a query "
            f"is made of {inputs}"
        )

    @property
    def user_ids(self) -> pl.Series:
        """Ids [users] by code."""
        return self._users.ids

    @property
    def item_ids(self) -> pl.Series:
        """Ids [codes] by code, as in the log; removed items included."""
        return self.index.ids

    @property
    def item_vectors(self) -> np.ndarray:
        """Vectors [codes, dim] float32 by code; removed items included."""
        return self.index.vectors

    def recommend(
        self,
        users: Ids | None = None,
        histories: Sequence[Ids] | None = None,
        *,
        k: int = 20,
        exclude_seen: bool = False,
        exact: bool = True,
    ) -> pl.DataFrame:
        """The k best items of users, of histories, or of users with new histories.

        Args:
          users: n ids; their features and histories are those of the export.
          histories: n lists of item ids, the latest last; they replace the histories
            of the users, or stand for users of whom nothing else is known.
          k: 1..items.
          exclude_seen: leave out the items of the histories, and those that the users
            clicked in the training and validation parts of the run.
          exact: False searches by the approximate index of the folder, which can miss
            items; the scores are exact.

        Returns:
          Columns ``user`` (or ``history``, the place of the history, without users),
          ``rank`` from 1, ``item`` and ``score``; n x k rows, fewer where less than k
          items are left.

        Raises:
          InputError: without users and histories, for different numbers of both, for
            histories that the query tower does not read, for k out of range, for seen
            items that the folder does not list, or without an approximate index.
        """
        check_k(k, len(self.index))
        inputs = self.query_tower.inputs
        check_queries(users, histories, any(i.kind == "history" for i in inputs))
        clicks = None if histories is None else self._history_codes(histories)
        codes = None
        if users is not None:
            codes = self._users.codes(users)
            warn_unknown(users, codes, clicks)
        number = len(codes if codes is not None else clicks or [])
        inputs = self._users.inputs(self.query_tower, number, codes, clicks)
        vectors = self.query_tower(inputs, number)
        seen = self._users.seen(number, codes, clicks) if exclude_seen else None
        search = self.index.exact if exact else self.index.approximate
        scores, items = search(vectors, k, seen)
        keys = pl.Series("history", range(number), dtype=pl.Int64)
        keys = keys if users is None else as_series("user", users)
        return self.index.table(keys, "item", items, scores)

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
        check_k(k, len(self.index) - 1)
        codes = self._catalogue_codes(items)
        catalogue = self.index.items()
        vectors = catalogue.vectors
        vectors = vectors if self.index.normalised else normalised(vectors)
        itself = Ragged(
            np.arange(len(codes) + 1), np.searchsorted(catalogue.codes, codes)
        )
        scores, places = top_k(vectors[itself.items], vectors, k, seen=itself)
        others = catalogue.codes[places]
        return self.index.table(as_series("item", items), "similar", others, scores)

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
        codes = np.full(len(items), -1)
        if "item" in items.columns:
            codes = self.index.codes(items["item"])
        values = encode_items(items, self.item_tower, self._features, codes)
        return self.item_tower(values, len(items))

    def embed_by_neighbours(
        self, content: np.ndarray, items: Ids, item_content: np.ndarray, k: int = 10
    ) -> np.ndarray:
        """Vectors of new items: the mean vector of the k items of the closest content.

        For item towers that read the id alone.
        [`neighbour_vectors`][twotower_jax.export.new_items.neighbour_vectors] has the
        formula. Means are divided by their length if the model is normalised.

        Args:
          content: [n, features] numbers that describe the new items.
          items: [m] ids of the catalogue that users saw often.
          item_content: [m, features] the same numbers of these.
          k: 1..m.

        Returns:
          [n, dim] float32.

        Raises:
          InputError: for an id that is not in the catalogue, shapes that do not fit, or
            k out of range.
        """
        codes = self._catalogue_codes(items)
        vectors = neighbour_vectors(content, item_content, self.item_vectors[codes], k)
        return normalised(vectors) if self.index.normalised else vectors

    def save(self, out: Path | str) -> None:
        """Write the model with its changed items as a new folder of an export.

        An approximate index is written as it is, and its recall is measured anew.
        """
        users = sample_codes(len(self.user_ids), "users")
        inputs = self._users.inputs(self.query_tower, len(users), users, None)
        save_model(self, self.query_tower(inputs, len(users)), Path(out))

    def open_index(self, path: Path | str | None = None) -> Any:
        """Approximate index of the item vectors, an object of faiss or usearch.

        Args:
          path: of an index of the same library that was built with other settings; None
            for that of the folder, with the changes of `index`.

        Returns:
          The index; its keys are item codes, and it searches by inner product. An
          index of faiss finds -1 for items that were removed.

        Raises:
          InputError: when the folder has no index, its library is not installed, or the
            file holds vectors of another number or dimension.
        """
        return self.index.graph() if path is None else self._read_index(Path(path))

    def _read_index(self, path: Path | None = None) -> Any:
        """Return the index of a file, or of the folder."""
        index = self.manifest["index"]
        if index is None:
            raise InputError(
                f"{self.folder} has no index; export the run again with --index faiss "
                "or --index usearch"
            )
        shape = len(self.index), self.item_vectors.shape[1]
        return read_index(index["library"], path or self.folder / index["file"], shape)

    def _catalogue_codes(self, items: Ids) -> np.ndarray:
        """Return the codes of ids of the catalogue."""
        codes = self.index.codes(items)
        unknown = (codes < 0) | ~self.index.present[codes]
        if unknown.any():
            name = list(items)[int(np.argmax(unknown))]
            raise InputError(
                f"items: {name!r} is not in the catalogue; leave it out (item_ids "
                "lists the catalogue, and embed_items embeds a new item)"
            )
        return codes

    def _history_codes(self, histories: Sequence[Ids]) -> list[np.ndarray]:
        """Return the codes of the known items of every history."""
        codes = [self.index.codes(history) for history in histories]
        return [one[one >= 0] for one in codes]
