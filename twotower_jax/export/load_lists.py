"""The lists of an exported baseline in Python."""

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from twotower_jax.export.exported import exported
from twotower_jax.export.files import LISTS, LISTS_FORMAT, read_manifest
from twotower_jax.export.items import Ids, as_series
from twotower_jax.export.questions import check_k


def load_lists(folder: Path | str) -> "ServedLists":
    """Lists of a folder that ``twotower export`` wrote, or of a finished baseline.

    Args:
      folder: of an export, or of a run whose ``towers.kind`` is a baseline, which is
        exported into its folder ``model`` on the first call. Every file is compared
        with its SHA-256.

    Raises:
      InputError: when the folder holds neither, an export of another format version,
        missing or changed files, or a run that `export_run` refuses.

    Examples:
      >>> lists = load_lists("shoes")  # doctest: +SKIP
      >>> lists.recommend(users=["ann"], k=3)  # doctest: +SKIP
    """
    folder = exported(Path(folder))
    return ServedLists(folder, read_manifest(folder, LISTS_FORMAT))


class ServedLists:
    """Lists of the best items by an exported baseline, as they were written.

    A baseline has no vectors: it answers users alone, by lists of at most
    ``manifest["length"]`` items.

    Attributes:
      manifest: content of manifest.json.
      folder: of the export.
      lists: columns ``user`` (null: any other user), ``rank``, ``item`` and ``score``.
    """

    def __init__(self, folder: Path, manifest: dict[str, Any]):
        """Read the lists; `load_lists` documents the errors."""
        self.folder, self.manifest = folder, manifest
        self.lists = pl.read_parquet(folder / LISTS, glob=False)

    def recommend(self, users: Ids, *, k: int = 20) -> pl.DataFrame:
        """The k best items of users.

        Args:
          users: n ids; an unknown one has the list of the most clicked items.
          k: 1..length of the lists.

        Returns:
          Columns ``user``, ``rank`` from 1, ``item`` and ``score``; n x k rows, fewer
          where a list is shorter.

        Raises:
          InputError: for k out of range.
        """
        check_k(k, self.manifest["length"])
        asked = as_series("user", users)
        known = self.lists.filter(pl.col("rank") <= k)
        known = known.with_columns(key=pl.col("user").cast(pl.String))
        keys = pl.DataFrame({"user": asked, "key": asked.cast(pl.String)})
        keys = keys.with_columns(place=pl.Series(np.arange(len(asked))))
        unknown = ~pl.col("key").is_in(known["key"].drop_nulls().implode())
        keys = keys.with_columns(
            key=pl.when(unknown).then(None).otherwise(pl.col("key"))
        )
        found = keys.join(known.drop("user"), "key", "inner", nulls_equal=True)
        return found.sort("place", "rank").select("user", "rank", "item", "score")
