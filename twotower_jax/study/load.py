"""A study: the runs of folders, what it asks, and its arms against the base arm."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from twotower_jax.study.arms import study_table
from twotower_jax.study.comparison import choose_base, compare_arms
from twotower_jax.study.description import Description, first_description
from twotower_jax.study.runs import Runs, read_runs
from twotower_jax.study.tables import main_metric, shown_metrics


@dataclass(frozen=True)
class Study:
    """What the report, the figures and the console show.

    Attributes:
      runs: the finished and the skipped ones.
      table: what `arms.study_table` makes of them.
      comparison: what `comparison.compare_arms` makes of them.
      metric: the primary metric, one that the runs have.
      base: the base arm, one of the study.
      asked: what the study asks, as given or as its folders hold it.
    """

    runs: Runs
    table: pl.DataFrame
    comparison: pl.DataFrame
    metric: str
    base: str
    asked: Description

    @property
    def missing_base(self) -> str:
        """Why another arm than the one asked for is the base, or an empty text."""
        if self.asked.base in (None, self.base):
            return ""
        return (
            f"no finished run of the base arm {self.asked.base}; comparing to another, "
            f"{self.base}"
        )


def load_study(
    folders: Sequence[str | Path],
    given: Description | None = None,
    out: str | Path | None = None,
) -> Study:
    """Read the runs of folders and compare their arms.

    Args:
      folders: folders of sweeps.
      given: what the user asks; study.json of `out` and of the folders, in this
        order, say the rest. A base arm that only a file names may be missing.
      out: the folder of the report.
    Raises:
      InputError: no finished run, runs on different data or with different test
        queries, a metric that no run has, or a given base arm that the study lacks.
    """
    given = given or Description()
    runs = read_runs(*folders)
    asked = first_description(given, [*([out] if out else []), *runs.folders])
    table = study_table(runs)
    metric = main_metric(table, asked.metric)
    base = choose_base(table, given.base, asked.base)
    comparison = compare_arms(runs, shown_metrics(table, metric), base)
    return Study(runs, table, comparison, metric, base, asked)
