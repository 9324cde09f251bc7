"""Columns of clicks as stages; an error names the row and the value."""

import polars as pl

from twotower_jax.data.log import Stage
from twotower_jax.data.parse import fail_at, fail_null, to_number
from twotower_jax.errors import InputError

_FLAGS = {"true": 1.0, "false": 0.0}


def to_clicked(
    values: pl.Series, where: str, column: str, positive: tuple[str, ...] = ()
) -> pl.Series:
    """Stages of a column that is 1 or true for a click.

    Examples:
      >>> to_clicked(pl.Series(["1", "false"]), "a.csv", "click").to_list()
      [5, 4]
    """
    if positive:
        return _clicked_by_value(values, where, column, positive)
    if values.dtype == pl.String:
        lower = values.str.strip_chars().str.to_lowercase()
        numbers = lower.replace_strict(_FLAGS, default=None, return_dtype=pl.Float64)
        numbers = numbers.fill_null(lower.cast(pl.Float64, strict=False))
    else:
        numbers = to_number(values, where, column, required=False)
    bad = ~numbers.is_in([0.0, 1.0]).fill_null(False)
    remedy = "give 1 for a click, else 0, or list its values in data.clicked_values"
    fail_at(bad, values, where, column, f"is neither 0 nor 1; {remedy}")
    return clicked_stage(numbers == 1)


def _clicked_by_value(
    values: pl.Series, where: str, column: str, positive: tuple[str, ...]
) -> pl.Series:
    """Return stages of a column whose values of a click are given."""
    fail_null(values, where, column, "give every row a value, or remove the row")
    return clicked_stage(values.cast(pl.String).is_in(_as_written(positive)))


def _as_written(positive: tuple[str, ...]) -> list[str]:
    """Return values of a click with true and false in small letters too.

    Hydra reads these two words as booleans, whose texts are True and False.
    """
    return [*positive, *(one.lower() for one in positive if one in ("True", "False"))]


def check_clicks(
    values: pl.Series, where: str, column: str, positive: tuple[str, ...]
) -> None:
    """Check that a column has a value of a click."""
    text = values.cast(pl.String)
    if positive and not text.is_in(_as_written(positive)).any():
        shown = ", ".join(text.drop_nulls().unique(maintain_order=True).head(10))
        raise InputError(
            f"{where}: no row of column {column!r} has a value of "
            f"data.clicked_values={list(positive)}; its values are: {shown}; choose "
            "those of a click"
        )


def clicked_stage(clicked: pl.Series) -> pl.Series:
    """Return stages (int8): CLICKED where true, EXPOSED elsewhere."""
    return clicked.cast(pl.Int8) + int(Stage.EXPOSED)
