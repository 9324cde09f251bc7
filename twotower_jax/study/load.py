"""A study: its runs, its description, and the comparisons of its arms."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from twotower_jax.study.base import Base, choose_base, number_apart
from twotower_jax.study.comparison import Pairing, compare_arms, pair_arms
from twotower_jax.study.controls import Control, choose_controls
from twotower_jax.study.description import Description, first_description
from twotower_jax.study.naming import is_baseline
from twotower_jax.study.runs import Runs, read_runs
from twotower_jax.study.tables import (
    main_metric,
    requested_metrics,
    shown_metrics,
    study_table,
)
from twotower_jax.study.trained import trained_arms
from twotower_jax.study.tuning import Tuning, study_tuning
from twotower_jax.study.verdicts import MARGIN


@dataclass(frozen=True)
class Study:
    """The content of the report, the figures and the console table."""

    runs: Runs  # the finished and the skipped runs
    pairing: Pairing  # the runs by arm and seed, and the table of all metrics
    metric: str  # the primary metric, which at least one run has
    shown: list[str]  # the metrics of the tables, the primary one first
    # the base arm, which has a finished run, and the rule that chose it
    base_rule: Base
    description: Description  # as given, completed from study.json of the folders
    tuning: Tuning  # whether the arms were tuned alike
    # the arms against the base, a result of `comparison.compare_arms`
    comparison: pl.DataFrame
    controls: dict[str, Control]  # the control of each trained arm except the base
    controlled: pl.DataFrame  # the arms against their controls, as `comparison`
    # the arms against the described rival, as `comparison`; empty without a finished
    # run of it
    rivalled: pl.DataFrame

    @property
    def table(self) -> pl.DataFrame:
        """The result of `arms.study_table`."""
        return self.pairing.table

    @property
    def base(self) -> str:
        """The name of the base arm; "" without one."""
        return self.base_rule.arm

    @property
    def one_number(self) -> str:
        """The key with which alone the trained arms differ in a number; ""."""
        configs = [
            next(iter(one.values())).config for one in self.pairing.arms.values()
        ]
        return number_apart([one for one in configs if not is_baseline(one)])

    @property
    def margin(self) -> float:
        """The share of a mean up to which a difference is equivalent."""
        return self.description.margin or MARGIN

    @property
    def rival(self) -> str:
        """The arm of `rivalled`; "" without one."""
        return "" if self.rivalled.is_empty() else self.rivalled["base"][0]

    def against(self, arm: str) -> pl.DataFrame:
        """The other arms against one of them, as `comparison`."""
        return _against(self.pairing, self.shown, arm, self.margin, self.tuning)

    @property
    def missing_base(self) -> str:
        """The reason for another base arm than the described one, or for none."""
        if self.description.base in (None, self.base):
            return "" if self.base else self.base_rule.sentence
        return (
            f"The base arm {self.description.base} has no finished run. "
            f"{self.base_rule.sentence}"
        )


def load_study(
    folders: Sequence[str | Path],
    given: Description | None = None,
    out: str | Path | None = None,
) -> Study:
    """Read the runs of folders and compare their arms."""
    given = given or Description()
    runs = read_runs(*folders)
    places = [*([out] if out else []), *runs.folders]
    description = first_description(given, places)
    table = study_table(runs)
    metric = main_metric(table, description.metric)
    requested = requested_metrics(run.config for run in runs.finished)
    metrics = shown_metrics(table, metric, requested)
    pairing = pair_arms(runs, table, metrics)
    configs = {
        arm: next(iter(ones.values())).config for arm, ones in pairing.arms.items()
    }
    rule = choose_base(configs, given.base, description.base)
    base = rule.arm
    tuning = study_tuning(runs, pairing.arms, description.tuned)
    margin = description.margin or MARGIN
    rival = description.rival if description.rival in pairing.arms else ""
    controls = _controls(pairing, base, tuning, description.controls or {})
    to_control = {arm: one.control for arm, one in controls.items() if one.control}
    return Study(
        runs,
        pairing,
        metric,
        metrics,
        rule,
        description,
        tuning,
        _against(pairing, metrics, base, margin, tuning),
        controls,
        compare_arms(pairing, metrics, to_control, margin, tuning.withheld),
        _against(pairing, metrics, rival or "", margin, tuning),
    )


def _against(
    pairing: Pairing, metrics: Sequence[str], arm: str, margin: float, tuning: Tuning
) -> pl.DataFrame:
    """The comparison of the other arms to one; an empty one for the name ""."""
    others = {one: arm for one in pairing.arms if arm and one != arm}
    return compare_arms(pairing, metrics, others, margin, tuning.withheld)


def _controls(
    pairing: Pairing, base: str, tuning: Tuning, declared: dict[str, str]
) -> dict[str, Control]:
    """The control of each trained arm; a declared one may have no run."""
    configs = trained_arms(
        {arm: next(iter(runs.values())).config for arm, runs in pairing.arms.items()}
    )
    known = {
        arm: control
        for arm, control in declared.items()
        if arm in configs and control in configs
    }
    return choose_controls(configs, base, tuned=tuning.keys, declared=known)
