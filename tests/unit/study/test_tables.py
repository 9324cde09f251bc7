"""Order of arms: by the mean of a metric, in the direction that the metric states."""

import polars as pl
import pytest

from twotower_jax.study.tables import rank_arms


@pytest.mark.parametrize(
    ("metric", "order"),
    [
        ("recall@20", ["high", "low"]),
        ("recall@20/tail", ["high", "low"]),
        ("gini@20", ["low", "high"]),
        ("a metric of another version", ["high", "low"]),
    ],
)
def test_arms_are_ordered_best_first(metric, order):
    cost = {"seconds": 9.0, "examples": 64.0, "examples_per_second": 7.0}
    rows = [("low", 0.1), ("high", 0.7), ("low", 0.2), ("high", 0.6)]
    table = pl.DataFrame(
        {"arm": arm, "run": str(run), "split": "test", "metric": metric, "value": value}
        | cost
        for run, (arm, value) in enumerate(rows)
    )
    assert rank_arms(table, metric) == order
