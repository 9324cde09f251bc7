"""A study: its runs, its description, and the comparison of its arms to the base."""

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
    """The content of the report, the figures and the console table.

    Attributes:
      runs: the finished and the skipped runs.
      table: the result of `arms.study_table`.
      comparison: the result of `comparison.compare_arms`.
      metric: the primary metric, which at least one run has.
      base: the base arm, which has a finished run.
      description: as given, completed from study.json of the folders.
    """

    runs: Runs
    table: pl.DataFrame
    comparison: pl.DataFrame
    metric: str
    base: str
    description: Description

    @property
    def missing_base(self) -> str:
        """The reason for another base arm than the described one, or an empty text."""
        if self.description.base in (None, self.base):
            return ""
        return (
            f"The base arm {self.description.base} has no finished run; the arms are "
            f"compared to {self.base} instead."
        )


def load_study(
    folders: Sequence[str | Path],
    given: Description | None = None,
    out: str | Path | None = None,
) -> Study:
    """Read the runs of folders and compare their arms.

    Args:
      folders: folders of sweeps.
      given: the parts of the description that the user gives. The rest comes from
        study.json of `out` and of the folders, in this order. A base arm from a file
        may have no run.
      out: the folder of the report.

    Returns:
      The study.

    Raises:
      InputError: no finished run, runs on different data or with different test
        queries, a metric that no run has, or a given base arm that the study lacks.
    """
    given = given or Description()
    runs = read_runs(*folders)
    places = [*([out] if out else []), *runs.folders]
    description = first_description(given, places)
    table = study_table(runs)
    metric = main_metric(table, description.metric)
    base = choose_base(table, given.base, description.base)
    comparison = compare_arms(runs, shown_metrics(table, metric), base)
    return Study(runs, table, comparison, metric, base, description)
