"""Weights of positives from a column of a log."""

import polars as pl

from twotower_jax.data.log import Stage
from twotower_jax.data.parse import fail_at, fail_null, to_number
from twotower_jax.errors import InputError

KEY = "positives.weight"


def to_weight(values: pl.Series, stage: pl.Series | None, where: str) -> pl.Series:
    """Weights of the positives of a log; other rows have the weight 0.

    Examples:
      >>> grade = pl.Series("grade", [2.0, None])
      >>> to_weight(grade, pl.Series([5, 4]), "a.csv").to_list()
      [2.0, 0.0]
      >>> to_weight(grade, None, "a.csv")
      Traceback (most recent call last):
        ...
      InputError: a.csv: row 2, column 'grade': an empty value is not allowed; ...
    """
    name = values.name
    if stage is None:
        positive = pl.repeat(True, len(values), eager=True)
    else:
        positive = stage == int(Stage.CLICKED)
    read = values.set(~positive, None)
    try:
        numbers = to_number(read, where, name, required=False)
    except InputError as error:
        raise InputError(f"{error} ({KEY}={name})") from None
    remedy = (
        f"{KEY}={name} needs the weight of every positive: give it, remove the row, or "
        f"leave {KEY} out"
    )
    fail_null(numbers.set(~positive, 0.0), where, name, remedy)
    negative = f"is negative; {KEY}={name} needs weights of at least 0"
    fail_at(numbers < 0, values, where, name, negative)
    return numbers.fill_null(0.0)
