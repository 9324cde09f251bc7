"""Vectors of numbers in the cells of a column, such as embeddings of texts."""

import numpy as np
import polars as pl

from twotower_jax.data.parse import fail_at
from twotower_jax.errors import InputError

# Shorter vectors are divided by this instead of their length.
SHORTEST = 1e-6
# Share of numbers among the values of lists that are meant as vectors.
MEANT = 0.9


def is_list(values: pl.Series) -> bool:
    """Return whether the type of a column is polars' List or Array."""
    return isinstance(values.dtype, pl.List | pl.Array)


def to_lists(values: pl.Series) -> pl.Series:
    """Cells as lists; null for an empty cell.

    Examples:
      >>> to_lists(pl.Series(["1|2", "[3, 4]", ""])).to_list()
      [['1', '2'], ['3', '4'], None]
    """
    if isinstance(values.dtype, pl.Array):
        values = values.arr.to_list()
    if not isinstance(values.dtype, pl.List):
        text = values.cast(pl.String).str.replace_all(r"[\[\]()|,;\s]+", "|")
        text = text.str.strip_chars("|")
        values = text.set(text == "", None).str.split("|")
    return values.set(values.list.len() == 0, None)


def mean_vectors(values: pl.Series) -> bool:
    """Return whether at least 90 % of the values are numbers and one is a fraction.

    Examples:
      >>> mean_vectors(pl.Series(["0.5|1", "2|3"])), mean_vectors(pl.Series(["1|2"]))
      (True, False)
    """
    flat = to_lists(values).explode(keep_nulls=False, empty_as_null=False)
    if not (flat.dtype == pl.String or flat.dtype.is_numeric()):
        return False
    numbers = flat.cast(pl.Float64, strict=False)
    parsed = numbers.drop_nulls()
    meant = len(parsed) >= MEANT * len(flat) and len(parsed) > len(values)
    return bool(meant and not (parsed == parsed.round()).all())


def to_vectors(
    values: pl.Series, where: str, column: str, width: int | None = None
) -> pl.Series:
    """Vectors of one length.

    Examples:
      >>> to_vectors(pl.Series(["1|2", None]), "a.csv", "text").to_list()
      [[1.0, 2.0], None]
    """
    if values.dtype in (pl.Categorical, pl.Enum):
        values = values.cast(pl.String)
    if not (is_list(values) or values.dtype in (pl.String, pl.Null)):
        raise InputError(
            f"{where}: column {column!r} has values of type {values.dtype}; give lists "
            "of numbers, or declare it as 'numeric'"
        )
    lists = to_lists(values)
    lengths = lists.list.len()
    others = "other rows have" if width is None else "the log has"
    if width is None:
        if not len(present := lengths.drop_nulls()):
            raise InputError(
                f"{where}: column {column!r} has no vector in any row; leave it out"
            )
        width = int(present.mode().sort()[-1])
    problem = f"numbers, but {others} {width}; give each row as many, or none"
    fail_at(lengths != width, lengths, where, column, problem)
    numbers = lists.list.eval(pl.element().cast(pl.Float32, strict=False))
    finite = numbers.list.eval(pl.element().is_finite().fill_null(False)).list.all()
    if (bad := ~finite.fill_null(True)).any():
        row = bad.arg_max() or 0
        _fail_in(lists[row], f"{where}: row {row + 1}", column)
    return numbers.cast(pl.Array(pl.Float32, width))


def _fail_in(cell: pl.Series, where: str, column: str) -> None:
    """Raise an error for the value of a cell that is not a number in float32."""
    value = cell.to_list()
    for place, one in enumerate(value):
        number = pl.Series([one]).cast(pl.Float32, strict=False)[0]
        if number is None or not np.isfinite(number):
            shown = "an empty value" if one is None else repr(one)
            raise InputError(
                f"{where}, column {column!r}: number {place + 1} of {len(value)} is "
                f"{shown}, which is not a finite number; leave the whole cell empty "
                "where a vector is missing"
            )


def unit_vectors(vectors: pl.Series) -> np.ndarray:
    """Vectors divided by their lengths.

    Examples:
      >>> unit_vectors(to_vectors(pl.Series(["3|4", None]), "a.csv", "text")).tolist()
      [[0.6000000238418579, 0.800000011920929], [0.0, 0.0]]
    """
    raw = raw_vectors(vectors)
    length = np.sqrt(np.einsum("nd,nd->n", raw, raw, dtype=np.float64))
    return raw / np.maximum(length, SHORTEST)[:, None].astype(np.float32)


def raw_vectors(vectors: pl.Series) -> np.ndarray:
    """Vectors as they are."""
    out = np.zeros((len(vectors), vectors.dtype.size), np.float32)  # type: ignore
    out[vectors.is_not_null().to_numpy()] = vectors.drop_nulls().to_numpy()
    return out
