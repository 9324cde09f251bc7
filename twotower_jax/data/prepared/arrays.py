"""A log and its split as files of arrays; each is written whole and then named."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from twotower_jax.data.drafts import draft_of
from twotower_jax.data.encode import codes_of
from twotower_jax.data.log import Feature, FunnelLog, Pairs, Split
from twotower_jax.errors import InputError

COLUMNS = ("user", "item", "stage", "time", "request", "rank", "part", "weight")
PAIRS = ("user", "item", "time", "request", "weight")
PARTS = ("train", "valid", "test", "before")
SIDES = ("user", "item")


def write_array(path: Path, parts: Iterable[np.ndarray], rows: int) -> None:
    """Write an array of one axis, part by part."""
    path.parent.mkdir(parents=True, exist_ok=True)
    written = 0
    with draft_of(path) as draft:
        with draft.open("wb") as file:
            for part in parts:
                if not written:
                    header = {"descr": part.dtype.str, "fortran_order": False}
                    shape = {"shape": (rows,)}
                    np.lib.format.write_array_header_1_0(file, header | shape)
                file.write(np.ascontiguousarray(part).data)
                written += len(part)
        if written != rows:
            raise ValueError(f"{path} has {written} rows in place of {rows}")


def save_array(path: Path, values: np.ndarray) -> None:
    """Write an array of any shape."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with draft_of(path) as draft, draft.open("wb") as file:
        np.save(file, values, allow_pickle=False)


def save_series(path: Path, values: pl.Series) -> None:
    """Write a column as a parquet file with the column "value"."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with draft_of(path) as draft:
        pl.DataFrame({"value": values}).write_parquet(draft, compression="lz4")


def load_array(path: Path) -> np.ndarray:
    """Return a memory map of an array."""
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False)
    except ValueError as error:
        raise InputError(f"{path} is damaged: {error}; prepare it again") from None


def load_series(path: Path, name: str) -> pl.Series:
    """Return a column that `save_series` wrote."""
    with path.open("rb") as file:
        return pl.read_parquet(file)["value"].rename(name)


def save_features(
    folder: Path, features: dict[str, dict[str, Feature]]
) -> list[dict[str, Any]]:
    """Write features; return what `load_features` needs beside the files."""
    described = []
    for side, named in features.items():
        for number, (name, one) in enumerate(named.items()):
            stem = f"{side}_feature_{number}"
            save_array(folder / f"{stem}.npy", one.values)
            if one.vocabulary is not None:
                save_series(folder / f"{stem}.parquet", one.vocabulary)
            row = {"side": side, "name": name, "stem": stem, "kind": one.kind}
            row |= {"size": one.size, "mean": one.mean, "deviation": one.deviation}
            described.append(row | {"vocabulary": one.vocabulary is not None})
    return described


def load_features(
    folder: Path, described: list[dict[str, Any]]
) -> dict[str, dict[str, Feature]]:
    """Return the features by side and name."""
    found: dict[str, dict[str, Feature]] = {side: {} for side in SIDES}
    for row in described:
        path = folder / f"{row['stem']}.parquet"
        found[row["side"]][row["name"]] = Feature(
            row["kind"],
            load_array(folder / f"{row['stem']}.npy"),
            row["size"],
            load_series(path, row["name"]) if row["vocabulary"] else None,
            row["mean"],
            row["deviation"],
        )
    return found


def load_columns(folder: Path, names: Iterable[str]) -> dict[str, Any]:
    """Return memory maps of the columns that a folder has."""
    paths = {name: folder / f"{name}.npy" for name in names}
    return {name: load_array(path) for name, path in paths.items() if path.exists()}


def load_log(
    folder: Path, features: list[dict[str, Any]], dropped: dict[str, int]
) -> FunnelLog:
    """Return a log whose columns are memory maps."""
    of_sides = load_features(folder, features)
    return FunnelLog(
        **load_columns(folder, COLUMNS),
        user_ids=load_series(folder / "user_ids.parquet", "user"),
        item_ids=load_series(folder / "item_ids.parquet", "item"),
        user_features=of_sides["user"],
        item_features=of_sides["item"],
        dropped=dropped,
    )


def save_log(folder: Path, log: FunnelLog) -> list[dict[str, Any]]:
    """Write a log; return the description of its features."""
    for name in COLUMNS:
        if (values := getattr(log, name)) is not None:
            save_array(folder / f"{name}.npy", values)
    for side in SIDES:
        save_series(folder / f"{side}_ids.parquet", getattr(log, f"{side}_ids"))
    features = {side: getattr(log, f"{side}_features") for side in SIDES}
    return save_features(folder, features)


def load_split(out: Path, report: dict[str, int]) -> Split:
    """Return the positives of each part, whose columns are memory maps."""
    parts: dict[str, Any] = {
        name: Pairs(**load_columns(out / name, PAIRS))
        for name in PARTS
        if (out / name).is_dir()
    }
    return Split(**parts, report=report)


def distinct(parts: Iterable[pl.Series]) -> pl.Series:
    """Return the distinct values of a column in order of first appearance.

    Examples:
      >>> distinct([pl.Series([7, 9, 7]), pl.Series([9, 5])]).to_list()
      [7, 9, 5]
    """
    known: pl.Series | None = None
    for part in parts:
        values = part.unique(maintain_order=True)
        if known is not None:
            new = ~values.is_in(known.implode(), nulls_equal=True)
            values = pl.concat([known, values.filter(new)])
        known = values
    if known is None:
        raise ValueError("no part")
    return known


def codes(parts: Iterable[pl.Series], ids: pl.Series) -> Iterator[np.ndarray]:
    """Yield the codes of a column, part by part, [rows of the part] int32."""
    for part in parts:
        yield codes_of(part, ids)


def requests(
    parts: Iterable[pl.Series], largest: int, ids: pl.Series | None
) -> Iterator[np.ndarray]:
    """Yield the requests by parts, as `data.encode.encode_requests` of the whole."""
    missing = 0
    for part in parts:
        empty = part.is_null()
        values = part if ids is None else pl.Series(codes_of(part, ids))
        own = empty.cast(pl.Int64).cum_sum() + (missing + largest)
        yield values.cast(pl.Int64).set(empty, None).fill_null(own).to_numpy()
        missing += int(empty.sum())
