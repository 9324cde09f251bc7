"""Codes of ids over the chunks of a log, without the log in memory."""

from collections.abc import Iterable, Iterator

import numpy as np
import polars as pl

from twotower_jax.data.encode import codes_of


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
