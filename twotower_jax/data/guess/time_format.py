"""Dates in a form that is not read without `data.time_format`, such as 31/05/2024."""

import re

import polars as pl

from twotower_jax.data.guess.profile import Profile
from twotower_jax.data.times import seconds_of

# Texts that are dates of such a form.
DATED = r"^\d{1,4}[./-]\d{1,2}[./-]\d{1,4}([^.\d]|$)"
# Day, month and year in either order, what stands before the time of day, and it.
PARTS = re.compile(r"\d{1,2}([./-])\d{1,2}\1(\d{4}|\d{2})((\D{1,3})\d.*)?")
CLOCKS = ("%H:%M", "%H:%M:%S", "%H:%M:%S%.f", "%I:%M %p", "%I:%M:%S %p")


def is_dated(one: Profile) -> bool:
    """Return whether a column has texts such as 31/5/2024."""
    return one.kind == "text" and one.values.head(200).str.contains(DATED).all()


def time_formats(one: Profile) -> list[str]:
    """Return the forms by which a column of texts has times, in the signs of strftime.

    Returns:
      None, one, or two where no text tells the day from the month; none for a column
      with missing values.

    Examples:
      >>> from twotower_jax.data.guess.profile import profile
      >>> time_formats(profile(pl.Series(["5/6/2024 9:05", "31/5/2024 10:00"])))
      ['%d/%m/%Y %H:%M']
      >>> time_formats(profile(pl.Series(["5/6/24", "6/5/24"])))
      ['%d/%m/%y', '%m/%d/%y']
    """
    found = None if one.missing or not is_dated(one) else PARTS.fullmatch(one.first())
    if found is None:
        return []
    values = one.values
    mark, year, clock, gap = found.groups()
    year = "%Y" if len(year) == 4 else "%y"
    days = (mark.join((*order, year)) for order in (("%d", "%m"), ("%m", "%d")))
    ends = [f"{gap}{one}" for one in CLOCKS] if clock else [""]
    forms = (_first_fit(values, [f"{day}{end}" for end in ends]) for day in days)
    return [form for form in forms if form is not None]


def no_time(one: Profile, forms: list[str]) -> str:
    """Return the remark about a column of times that cannot be read as it is."""
    if forms:
        given = " or ".join(f"data.time_format={form!r}" for form in forms)
        return (
            f"column {one.name!r} (such as {one.first()!r}) is not read as a time; "
            f"give data.columns.time={one.name} and {given} to use it"
        )
    numbers = one.values.str.contains(r"^\s*-?\d+(\.\d*)?\s*$")
    if numbers.any() and not numbers.all():
        first, other = one.values.filter(numbers)[0], one.values.filter(~numbers)[0]
        return (
            f"column {one.name!r} has numbers ({first!r}) and texts ({other!r}), so it "
            "is not read as a time; write all as seconds since 1970 or all as ISO dates"
        )
    return (
        f"column {one.name!r} (such as {one.first()!r}) is not read as a time; "
        "write seconds since 1970 or ISO dates (2024-05-31 10:00:00), or give its form "
        "by data.time_format, to use it"
    )


def _first_fit(values: pl.Series, forms: list[str]) -> str | None:
    """Return the first form that all texts have, or None."""
    for form in forms:
        if _fits(values.head(1), form) and _fits(values, form):
            return form
    return None


def _fits(values: pl.Series, form: str) -> bool:
    """Return whether all texts have a form."""
    return not seconds_of(values, form).has_nulls()
