"""Codes of ids, and arrays of the features of users or items."""

import math
from typing import Any

import numpy as np
import polars as pl

from twotower_jax.data.log import Feature
from twotower_jax.data.parse import fail_at, to_ids, to_number, to_vectors, unit_vectors
from twotower_jax.errors import InputError, unknown

SEPARATOR = "|"
WIDEST = 16  # numbers in the range of ids, for each id, that a table has at most
KINDS = ("categorical", "multi", "numeric", "vector")


def codes_of(values: pl.Series, vocabulary: pl.Series) -> np.ndarray:
    """Positions of values in a vocabulary.

    Examples:
      >>> codes_of(pl.Series(["b", "x", "a"]), pl.Series(["a", "b"])).tolist()
      [1, -1, 0]
    """
    if (dense := _dense_codes(values, vocabulary)) is not None:
        return dense
    places = pl.DataFrame({"value": vocabulary}).with_row_index("code")
    column = pl.DataFrame({"value": values})
    joined = column.join(places, on="value", how="left", maintain_order="left")
    return joined["code"].cast(pl.Int32).fill_null(-1).to_numpy()


def _dense_codes(values: pl.Series, vocabulary: pl.Series) -> np.ndarray | None:
    """Return the codes of whole numbers by a table of all numbers of their range.

    None for other types, missing values, or a range much wider than the vocabulary.
    """
    whole = vocabulary.dtype.is_integer() and values.dtype.is_integer()
    if (
        not whole
        or vocabulary.is_empty()
        or values.has_nulls()
        or vocabulary.has_nulls()
    ):
        return None
    low, high = int(vocabulary.min()), int(vocabulary.max())  # type: ignore[arg-type]
    width = high - low + 1
    if width > WIDEST * len(vocabulary) or high >= 2**63:
        return None
    table = np.full(width + 1, -1, np.int32)  # the last one is for all other numbers
    table[vocabulary.cast(pl.Int64).to_numpy() - low] = np.arange(len(vocabulary))
    numbers = values.cast(pl.Int64, strict=False)
    inside = numbers.is_between(low, high).fill_null(False)
    return table[(numbers - low).set(~inside, width).to_numpy()]


def encode_ids(
    values: pl.Series, more: pl.Series | None = None
) -> tuple[np.ndarray, pl.Series]:
    """Codes of ids, and the distinct ids in order of first appearance.

    Args:
      values: [rows] ids.

    Returns:
      Codes [rows] int32, and the distinct ids by code.

    Examples:
      >>> codes, ids = encode_ids(pl.Series([7, 9, 7]), pl.Series([9, 5]))
      >>> codes.tolist(), ids.to_list()
      ([0, 1, 0], [7, 9, 5])
    """
    ids = values.unique(maintain_order=True)
    if more is not None:
        ids = ids.append(more.cast(ids.dtype)).unique(maintain_order=True)
    return codes_of(values, ids), ids


def encode_requests(values: pl.Series, where: str) -> np.ndarray:
    """Requests as int64: whole numbers that fit as they are, other ids as codes.

    Examples:
      >>> encode_requests(pl.Series([7, None, 7, None]), "a.csv").tolist()
      [7, 8, 7, 9]
    """
    values = to_ids(values, where, "request", required=False)
    missing = values.is_null()
    if missing.all():
        raise InputError(
            f"{where}: column 'request' is empty in every row; leave "
            "data.columns.request out"
        )
    low, high = values.min(), values.max()
    if not values.dtype.is_integer() or not fits(low, high, int(missing.sum())):
        values = pl.Series(encode_ids(values)[0]).set(missing, None)
    values = values.cast(pl.Int64)
    own = missing.cast(pl.Int64).cum_sum() + values.max()
    return values.fill_null(own).to_numpy()


def fits(low: Any, high: Any, more: int) -> bool:
    """Return whether whole numbers, and so many above them, are in the range of int64.

    Examples:
      >>> fits(0, 2**63 - 2, 1), fits(0, 2**63 - 2, 2)
      (True, False)
    """
    return low >= -(2**63) and high + more < 2**63


def _categorical(values: pl.Series) -> Feature:
    if isinstance(values.dtype, pl.Enum):
        # The categories of an Enum are its vocabulary, which several features share.
        codes = values.to_physical().cast(pl.Int32).fill_null(-1)
        names = values.dtype.categories
        return Feature("categorical", codes.to_numpy(), len(names), names)
    if values.dtype.is_float():
        values = values.fill_nan(None)
    vocabulary = values.drop_nulls().unique(maintain_order=True)
    codes = codes_of(values, vocabulary)
    return Feature("categorical", codes, len(vocabulary), vocabulary)


def list_rows(values: pl.Series) -> pl.DataFrame:
    """Values of lists, or of texts joined by ``|``; a value counts once per list.

    Examples:
      >>> list_rows(pl.Series(["a|b", None, "b|b"])).rows()
      [(0, 'a'), (0, 'b'), (2, 'b')]
    """
    if isinstance(values.dtype, pl.Array):
        values = values.arr.to_list()
    if not isinstance(values.dtype, pl.List):
        values = values.cast(pl.String).str.split(SEPARATOR)
    rows = pl.DataFrame({"value": values}).with_row_index("row").explode("value")
    rows = rows.filter(pl.col("value").is_not_null())
    if rows["value"].dtype == pl.String:
        rows = rows.with_columns(pl.col("value").str.strip_chars())
        rows = rows.filter(pl.col("value") != "")
    return rows.unique(maintain_order=True)


def _multi(values: pl.Series) -> Feature:
    """Encode lists, or texts separated by a bar."""
    rows = list_rows(values)
    rows = rows.with_columns(pl.int_range(pl.len()).over("row").alias("place"))
    codes, vocabulary = encode_ids(rows["value"])
    width = int(rows["place"].max() or 0) + 1  # type: ignore[arg-type]
    out = np.full((len(values), width), -1, np.int32)
    out[rows["row"].to_numpy(), rows["place"].to_numpy()] = codes
    return Feature("multi", out, len(vocabulary), vocabulary)


def _numeric(values: pl.Series, where: str, name: str) -> Feature:
    numbers = to_number(values, where, name, required=False)
    has_value = numbers.is_not_null().to_numpy()
    out = np.zeros(len(numbers), np.float64)
    present = numbers.drop_nulls().to_numpy()
    mean = spread = 0.0
    if len(present):
        # Exactly rounded sums: the same bits on every machine.
        mean = math.fsum(present) / len(present)
        spread = math.sqrt(math.fsum((present - mean) ** 2) / len(present))
        if spread > 0:
            out[has_value] = (present - mean) / spread
    return Feature("numeric", out.astype(np.float32), mean=mean, deviation=spread)


def encode_feature(values: pl.Series, kind: str, where: str, name: str) -> Feature:
    """Array of one feature.

    Examples:
      >>> encode_feature(pl.Series(["a", None, "a"]), "categorical", "f", "town").values
      array([ 0, -1,  0], dtype=int32)
      >>> encode_feature(pl.Series(["a|b", "b"]), "multi", "f", "tags").values
      array([[ 0,  1],
             [ 1, -1]], dtype=int32)
      >>> encode_feature(pl.Series([1.0, 3.0]), "numeric", "f", "age").values
      array([-1.,  1.], dtype=float32)
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
    if kind == "vector":
        return Feature("vector", unit_vectors(to_vectors(values, where, name)))
    raise unknown(f"kind of feature {name!r}", kind, KINDS)


def encode_features(
    table: pl.DataFrame, key: str, ids: pl.Series, kinds: dict[str, str], where: str
) -> dict[str, Feature]:
    """Features of users or items, in the order of their codes.

    An id without a row has missing values; rows of other ids are not used. Ids of
    different types (1 and '1') are compared as text.
    """
    keys = to_ids(table[key], where, key)
    fail_at(
        ~keys.is_first_distinct(),
        keys,
        where,
        key,
        "occurs twice; keep one row per id",
    )
    if keys.dtype != ids.dtype:
        keys, ids = keys.cast(pl.String), ids.cast(pl.String)
    place = _places(ids, keys, key, where)
    return {
        name: encode_feature(table[name].gather(place), kind, where, name)
        for name, kind in kinds.items()
    }


def _places(ids: pl.Series, keys: pl.Series, key: str, where: str) -> pl.Series:
    """Return the row of each id in a table with these keys; null without a row."""
    place = pl.Series(codes_of(ids, keys))
    if len(ids) and (place < 0).all():
        raise InputError(
            f"{where}: none of its ids in column {key!r} (such as {keys.head(1)[0]!r}) "
            f"occurs in the log (such as {ids[0]!r}); check that the ids match"
            if len(keys)
            else f"{where}: has no rows; give one row per id"
        )
    return place.set(place < 0, None)
