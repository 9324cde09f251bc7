"""Ids to codes, and features of users or items to arrays."""

import math

import numpy as np
import polars as pl

from twotower_jax.data.log import Feature
from twotower_jax.data.parse import fail_at, to_ids, to_number
from twotower_jax.errors import InputError, unknown

SEPARATOR = "|"
KINDS = ("categorical", "multi", "numeric")


def codes_of(values: pl.Series, vocabulary: pl.Series) -> np.ndarray:
    """Return int32 positions of values in a vocabulary, -1 where there is none."""
    known = pl.DataFrame({"value": vocabulary}).with_row_index("code")
    column = pl.DataFrame({"value": values})
    joined = column.join(known, on="value", how="left", maintain_order="left")
    return joined["code"].cast(pl.Int32).fill_null(-1).to_numpy()


def encode_ids(
    values: pl.Series, more: pl.Series | None = None
) -> tuple[np.ndarray, pl.Series]:
    """Return codes [rows] int32 and the distinct ids in order of first appearance.

    ``more`` are ids that follow those of the rows (a catalogue); they get codes
    even where no row has them.
    """
    ids = values.unique(maintain_order=True)
    if more is not None:
        ids = ids.append(more.cast(ids.dtype)).unique(maintain_order=True)
    return codes_of(values, ids), ids


def _categorical(values: pl.Series) -> Feature:
    if isinstance(values.dtype, pl.Enum):
        # An Enum brings its own vocabulary, which several features can share.
        codes = values.to_physical().cast(pl.Int32).fill_null(-1)
        return Feature("categorical", codes.to_numpy(), len(values.dtype.categories))
    if values.dtype.is_float():
        values = values.fill_nan(None)
    vocabulary = values.drop_nulls().unique(maintain_order=True)
    return Feature("categorical", codes_of(values, vocabulary), len(vocabulary))


def _multi(values: pl.Series) -> Feature:
    """Encode lists, or strings that a bar separates; a value counts once a list."""
    if not isinstance(values.dtype, pl.List):
        values = values.cast(pl.String).str.split(SEPARATOR)
    rows = pl.DataFrame({"value": values}).with_row_index("row").explode("value")
    rows = rows.filter(pl.col("value").is_not_null())
    if rows["value"].dtype == pl.String:
        rows = rows.with_columns(pl.col("value").str.strip_chars())
        rows = rows.filter(pl.col("value") != "")
    rows = rows.unique(maintain_order=True)
    rows = rows.with_columns(pl.int_range(pl.len()).over("row").alias("place"))
    codes, vocabulary = encode_ids(rows["value"])
    width = int(rows["place"].max() or 0) + 1  # type: ignore[arg-type]
    out = np.full((len(values), width), -1, np.int32)
    out[rows["row"].to_numpy(), rows["place"].to_numpy()] = codes
    return Feature("multi", out, len(vocabulary))


def _numeric(values: pl.Series, where: str, name: str) -> Feature:
    numbers = to_number(values, where, name, required=False)
    known = numbers.is_not_null().to_numpy()
    out = np.zeros(len(numbers), np.float64)
    present = numbers.drop_nulls().to_numpy()
    if len(present):
        # Exactly rounded sums: the same bits on every machine.
        mean = math.fsum(present) / len(present)
        spread = math.sqrt(math.fsum((present - mean) ** 2) / len(present))
        if spread > 0:
            out[known] = (present - mean) / spread
    return Feature("numeric", out.astype(np.float32))


def encode_feature(values: pl.Series, kind: str, where: str, name: str) -> Feature:
    """Encode one value per entity.

    Args:
      values: [entities]; null is missing. An Enum keeps its own codes.
      kind: "categorical", "multi" (lists, or strings joined by ``|``) or "numeric".
      where: the file, for errors.
      name: the feature, for errors.

    Raises:
      InputError: text or an infinite number in a numeric feature, unknown kind.
    """
    if kind == "categorical":
        if values.dtype.is_nested():
            raise InputError(
                f"{where}: feature {name!r} holds lists; declare it as 'multi'"
            )
        return _categorical(values)
    if kind == "multi":
        return _multi(values)
    if kind == "numeric":
        return _numeric(values, where, name)
    raise unknown(f"kind of feature {name!r}", kind, KINDS)


def encode_features(
    table: pl.DataFrame, key: str, ids: pl.Series, kinds: dict[str, str], where: str
) -> dict[str, Feature]:
    """Encode the columns of a table with one row per entity, in the order of ids.

    Ids without a row have missing values, rows of other ids are not used. Ids of
    different types (1 and '1') are compared as text.

    Raises:
      InputError: an id twice, or no row for any of the ids.
    """
    keys = to_ids(table[key], where, key)
    fail_at(
        ~keys.is_first_distinct(),
        keys,
        where,
        key,
        "is there twice; keep one row an id",
    )
    if keys.dtype != ids.dtype:
        keys, ids = keys.cast(pl.String), ids.cast(pl.String)
    place = pl.Series(codes_of(ids, keys))
    if len(ids) and (place < 0).all():
        raise InputError(
            f"{where}: none of its ids in column {key!r} (such as {keys.head(1)[0]!r}) "
            f"occurs in the log (such as {ids[0]!r}); check that the ids match"
            if len(keys)
            else f"{where}: has no rows; give one row per id"
        )
    place = place.set(place < 0, None)
    return {
        name: encode_feature(table[name].gather(place), kind, where, name)
        for name, kind in kinds.items()
    }
