"""Content of the columns of a sample: numbers, texts, times, lists."""

import re
from typing import NamedTuple

import numpy as np
import polars as pl

from twotower_jax.data.parse import NO_IDS
from twotower_jax.data.times import to_time
from twotower_jax.errors import InputError

LABELS = {"0", "1", "true", "false", "0.0", "1.0"}
# Texts of lists: brackets, or MIND's items with their labels.
BRACKETS = re.compile(r"\s*[\[(].*[\])]\s*")
# Numbers such as 4,12: a decimal comma, or a list of two ids below 100.
COMMAS = r"^-?\d+(,\d{1,2})?$"
LABELLED = re.compile(r"\S+-[01](\s+\S+-[01])*")


class Profile(NamedTuple):
    """Content of one column of a sample.

    Attributes:
      name: of the column.
      kind: "whole", "number", "comma" (numbers with a decimal comma), "text", "bool",
        "moment" (a date or a time), "list", "other" (records, bytes) or "empty".
      values: the values without the missing ones; numbers as float64.
      missing: share of missing values.
      distinct: number of distinct values.
      separator: of the lists in a text; "labels" where items end with -0 or -1.
    """

    name: str
    kind: str
    values: pl.Series
    missing: float
    distinct: int
    separator: str | None = None

    def few(self) -> list[str]:
        """Values as text, the most frequent first, 10 at most; of records none."""
        if self.kind == "other":
            return []
        counts = self.values.cast(pl.String).value_counts(sort=True)
        return counts.head(10).to_series(0).to_list()

    def decimal_comma(self) -> str:
        """Return why numbers with a decimal comma are not used, and the remedy."""
        some = self.values.filter(self.values.str.contains(",", literal=True))[0]
        return f"numbers such as {some!r} are read with a decimal point; write them so"

    def first(self) -> str:
        """The first value as text."""
        return str(self.values[0]) if len(self.values) else ""


def profile(values: pl.Series) -> Profile:
    """Content of one column.

    Examples:
      >>> profile(pl.Series("age", ["3", "4", None])).kind
      'whole'
      >>> profile(pl.Series("price", ["3,5", "4,12", "4"])).kind
      'comma'
      >>> profile(pl.Series("shown", ["N1-0 N2-1", "N3-1"])).separator
      'labels'
    """
    name, present = values.name, values.drop_nulls()
    missing = 1 - len(present) / max(1, len(values))
    if not len(present):
        return Profile(name, "empty", present, 1.0, 0)
    kind, separator = "text", None
    if isinstance(present.dtype, pl.Array):
        present = present.arr.to_list()
    if isinstance(present.dtype, pl.List):
        return Profile(name, "list", present, missing, len(present))
    if present.dtype.is_nested() or present.dtype in NO_IDS:
        return Profile(name, "other", present, missing, len(present))
    if present.dtype == pl.Boolean:
        kind = "bool"
    elif present.dtype in (pl.Date, pl.Datetime):
        kind = "moment"
    elif present.dtype.is_numeric():
        kind = "whole" if present.dtype.is_integer() else "number"
        present = present.cast(pl.Float64) if kind == "number" else present
    else:
        present = present.cast(pl.String).str.strip_chars()
        kind, separator = _text_kind(present)
    return Profile(name, kind, present, missing, present.n_unique(), separator)


def _text_kind(values: pl.Series) -> tuple[str, str | None]:
    """Return the kind of texts, and the separator of the lists in them."""
    head = values.head(1_000)
    if head.str.contains(f"^(?:{LABELLED.pattern})$").all():
        return "list", "labels"
    if head.str.contains(f"^(?:{BRACKETS.pattern})$").all():
        return "list", "comma" if head.str.contains(",").any() else "space"
    numbers = values.cast(pl.Float64, strict=False)
    if not numbers.has_nulls():
        whole = not values.str.contains(r"[.eE]").any()
        return ("whole" if whole else "number"), None
    if values.str.contains(COMMAS).all():
        return "comma", None
    if is_moment(values):
        return "moment", None
    for name, mark in (
        ("space", " "),
        ("bar", "|"),
        ("comma", ","),
        ("semicolon", ";"),
    ):
        parts = head.str.split(mark).list
        # Words that are ids, unlike those of a title.
        words = parts.explode(keep_nulls=False, empty_as_null=False)
        ids = words.str.contains(r"^[A-Za-z]{0,3}\d+$").all()
        if ids and parts.len().to_numpy().mean() > 1.2:
            return "list", name
    return "text", None


def is_moment(values: pl.Series) -> bool:
    """Whether all texts parse as dates or times, and none as a number."""
    try:
        to_time(values.head(200), "", "")
    except InputError:
        return False
    return bool(values.head(200).cast(pl.Float64, strict=False).is_null().all())


def numbers(one: Profile) -> np.ndarray:
    """Values of a column of numbers, [present rows] float64."""
    return one.values.cast(pl.Float64, strict=False).drop_nulls().to_numpy()
