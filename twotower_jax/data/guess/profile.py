"""Content of the columns of a sample: numbers, texts, times, lists."""

import re
from collections.abc import Callable, Iterable
from typing import NamedTuple

import numpy as np
import polars as pl

from twotower_jax.data.guess.names import (
    FLAGS,
    NO,
    QUANTITIES,
    YES,
    is_id,
    role_score,
    words,
)
from twotower_jax.data.parse import NO_IDS, mean_vectors, seconds_of, to_time
from twotower_jax.errors import InputError

# Texts of lists: MIND's items with their labels, or brackets.
LABELLED = r"^\S+-[01](\s+\S+-[01])*$"
BRACKETS = r"^\s*[\[(].*[\])]\s*$"
# Numbers such as 4,12: a decimal comma, or a list of two ids below 100.
COMMAS = r"^-?\d+(,\d{1,2})?$"
LISTS = {"space": " ", "bar": "|", "comma": ",", "semicolon": ";"}
# Texts that are dates of such a form; the day may come before the month or after it.
DATED = r"^\d{1,4}[./-]\d{1,2}[./-]\d{1,4}([^.\d]|$)"
PARTS = re.compile(r"\d{1,2}([./-])\d{1,2}\1(\d{4}|\d{2})((\D{1,3})\d.*)?")
CLOCKS = ("%H:%M", "%H:%M:%S", "%H:%M:%S%.f", "%I:%M %p", "%I:%M:%S %p")
EVENTS = 20  # most distinct values of a column of events
# Items have more values than this in a sample of enough rows.
FEW, ENOUGH = 20, 1_000
CATEGORIES = 20  # most distinct whole numbers of a category


class Profile(NamedTuple):
    """Content of one column of a sample."""

    name: str
    # whole, number, comma (numbers with a decimal comma), text, bool, moment (a date or
    # a time), list, other (records, bytes) or empty
    kind: str
    values: pl.Series  # without the missing ones; numbers as float64
    missing: float  # share
    distinct: int
    # of the lists in a text; "labels" where items end with -0 or -1
    separator: str | None = None

    def few(self) -> list[str]:
        """Values as text, the most frequent first, 10 at most; of records none."""
        return [] if self.kind == "other" else self._counts()["value"][:10].to_list()

    def shares(self) -> str:
        """The six most frequent values with their shares in the sample."""
        pairs = self._counts()[:6].iter_rows()
        return ", ".join(f"{v} {n / len(self.values):.0%}" for v, n in pairs)

    def _counts(self) -> pl.DataFrame:
        text = self.values.cast(pl.String).alias("value")
        return text.value_counts(sort=True)

    def first(self) -> str:
        """The first value as text."""
        return str(self.values[0]) if len(self.values) else ""

    def numbers(self) -> np.ndarray:
        """Values of a column of numbers, [present rows] float64."""
        return self.values.cast(pl.Float64, strict=False).drop_nulls().to_numpy()

    def is_flag(self) -> bool:
        """Whether all values are 0 and 1, or true and false."""
        values = {value.lower() for value in self.few()}
        return bool(values) and values <= FLAGS and self.distinct <= 2

    def yes(self) -> str | None:
        """The value that stands for 1 in a column of two words, such as Y and N."""
        values = self.few() if self.kind == "text" and self.distinct == 2 else []
        wanted = [value for value in values if value.lower() in YES]
        other = [value for value in values if value.lower() in NO]
        return wanted[0] if len(wanted) == len(other) == 1 else None

    def is_ids(self) -> bool:
        """Whether a column of any name may hold ids."""
        if self.kind not in ("whole", "text") or set(words(self.name)) & QUANTITIES:
            return False
        if role_score(self.name, "clicked") and self.distinct <= EVENTS:
            return False
        return not any(role_score(self.name, role) for role in ("rating", "rank"))

    def has_few(self) -> bool:
        """Whether a column has too few values for ids, in a sample of enough rows."""
        return len(self.values) >= ENOUGH and self.distinct <= FEW

    def decimal_comma(self) -> str:
        """Why numbers with a decimal comma are not used, and the remedy."""
        number = self.values.filter(self.values.str.contains(",", literal=True))[0]
        return (
            f"numbers such as {number!r} are read with a decimal point; write them so"
        )


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
    if present.is_empty():
        return Profile(name, "empty", present, 1.0, 0)
    if isinstance(present.dtype, pl.Array):
        present = present.arr.to_list()
    if isinstance(present.dtype, pl.List):
        return Profile(name, "list", present, missing, len(present))
    if present.dtype.is_nested() or present.dtype in NO_IDS:
        return Profile(name, "other", present, missing, len(present))
    separator = None
    if present.dtype == pl.Boolean:
        kind = "bool"
    elif present.dtype in (pl.Date, pl.Datetime):
        kind = "moment"
    elif present.dtype.is_integer():
        kind = "whole"
    elif present.dtype.is_numeric():
        kind, present = "number", present.cast(pl.Float64)
    else:
        present = present.cast(pl.String).str.strip_chars()
        kind, separator = _text_kind(present)
    return Profile(name, kind, present, missing, present.n_unique(), separator)


def _text_kind(values: pl.Series) -> tuple[str, str | None]:
    """Return the kind of texts, and the separator of the lists in them."""
    head = values.head(1_000)
    if head.str.contains(LABELLED).all():
        return "list", "labels"
    if head.str.contains(BRACKETS).all():
        return "list", "comma" if head.str.contains(",").any() else "space"
    if not values.cast(pl.Float64, strict=False).has_nulls():
        return ("number" if values.str.contains(r"[.eE]").any() else "whole"), None
    if values.str.contains(COMMAS).all():
        return "comma", None
    if _are_moments(values.head(200)):
        return "moment", None
    for name, mark in LISTS.items():
        parts = head.str.split(mark).list
        # Words that are ids, unlike those of a title.
        parted = parts.explode(keep_nulls=False, empty_as_null=False)
        ids = parted.str.contains(r"^[A-Za-z]{0,3}\d+$").all()
        if ids and parts.len().to_numpy().mean() > 1.2:
            return "list", name
    return "text", None


def _are_moments(values: pl.Series) -> bool:
    """Return whether all texts parse as dates or times, and none as a number."""
    try:
        to_time(values, "", "")
    except InputError:
        return False
    return bool(values.cast(pl.Float64, strict=False).is_null().all())


def is_dated(column: Profile) -> bool:
    """Whether a column has texts such as 31/5/2024."""
    return column.kind == "text" and column.values.head(200).str.contains(DATED).all()


def time_formats(column: Profile) -> list[str]:
    """Forms by which all texts of a column are times, in the signs of strftime.

    Two where no text tells the day from the month; none for a column with missing
    values.

    Examples:
      >>> time_formats(profile(pl.Series(["5/6/2024 9:05", "31/5/2024 10:00"])))
      ['%d/%m/%Y %H:%M']
      >>> time_formats(profile(pl.Series(["5/6/24", "6/5/24"])))
      ['%d/%m/%y', '%m/%d/%y']
    """
    if column.missing or not is_dated(column):
        return []
    if not (parts := PARTS.fullmatch(column.first())):
        return []
    mark, year, clock, gap = parts.groups()
    ends = [f"{gap}{form}" for form in CLOCKS] if clock else [""]
    year = "%Y" if len(year) == 4 else "%y"
    days = (mark.join((*order, year)) for order in (("%d", "%m"), ("%m", "%d")))
    forms = (_first_fit(column.values, [day + end for end in ends]) for day in days)
    return [form for form in forms if form is not None]


def _first_fit(values: pl.Series, forms: list[str]) -> str | None:
    """Return the first form that all texts have, or None."""
    fits = (
        form
        for form in forms
        if not any(seconds_of(part, form).has_nulls() for part in (values[:1], values))
    )
    return next(fits, None)


def best_named(
    role: str, columns: Iterable[Profile], fits: Callable[[Profile], bool]
) -> Profile | None:
    """Column whose name fits a role best; of equals an id, then the first one."""
    scored = [(role_score(c.name, role), is_id(c.name), c) for c in columns if fits(c)]
    best = max(scored, key=lambda row: row[:2], default=(0, False, None))
    return best[2] if best[0] else None


def constant_within(group: Profile, columns: Iterable[Profile]) -> list[Profile]:
    """Columns of one value in each group, and of fewer values than groups.

    Examples:
      >>> def column(name, values):
      ...     return Profile(name, "whole", pl.Series(values), 0.0, len(set(values)))
      >>> visit, line = column("order", [1, 1, 2, 3]), column("line", [1, 2, 1, 1])
      >>> buyer = column("buyer", [7, 7, 7, 8])
      >>> [one.name for one in constant_within(visit, [buyer, line])]
      ['buyer']
    """

    def is_constant(column: Profile) -> bool:
        if column.missing or group.missing or not 1 < column.distinct < group.distinct:
            return False
        pairs = pl.DataFrame({"group": group.values, "value": column.values})
        return pairs.n_unique() == group.distinct

    return [column for column in columns if is_constant(column)]


def feature_kind(column: Profile, rows: int) -> str | None:
    """Kind of a feature; None for a column that describes nothing.

    Lists and texts with bars are vector where they hold fractions, else multi; whole
    numbers of 20 values or fewer, repeated ids (by their name) and repeated texts are
    categorical, other numbers numeric.
    """
    if column.kind in ("empty", "moment", "comma") or column.distinct < 2:
        return None
    if column.kind == "list" or _has_bars(column):
        return "vector" if mean_vectors(column.values.head(1_000)) else "multi"
    if column.kind == "other":
        return None
    if column.kind == "bool":
        return "categorical"
    if column.kind == "number":
        return "numeric"
    if column.kind == "whole" and not is_id(column.name):
        return "categorical" if column.distinct <= CATEGORIES else "numeric"
    return "categorical" if column.distinct <= 0.5 * rows else None


def _has_bars(column: Profile) -> bool:
    if column.kind != "text":
        return False
    return bool(column.values.str.contains("|", literal=True).to_numpy().mean() > 0.1)
