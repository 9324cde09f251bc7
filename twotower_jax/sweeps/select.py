"""Selection without peeking: tune on validation, then test the winners.

The jobs go to the launcher of the sweep in two batches: every arm at every point of the
grid with `evaluation.test=false`, then each arm at its best point with the seeds of the
study.
"""

import itertools
from pathlib import Path
from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext
from omegaconf import DictConfig, OmegaConf
from rich.console import Console

from twotower_jax.config import to_dict
from twotower_jax.errors import InputError
from twotower_jax.report.selected import chosen_lines
from twotower_jax.run.inputs import check_names
from twotower_jax.study.description import described
from twotower_jax.study.naming import name_arms
from twotower_jax.study.selection import (
    ArmChoice,
    Point,
    Selection,
    Trial,
    choose,
    grid_points,
    write_selection,
)
from twotower_jax.sweeps import arm_points, planned
from twotower_jax.sweeps.arm_points import Arm, point_words
from twotower_jax.sweeps.callback import print_warning
from twotower_jax.sweeps.compose import compose_job, job_config
from twotower_jax.sweeps.options import Options


class Selecting:
    """One selection: its arms and axes, its runs on validation, its tests."""

    def __init__(
        self,
        context: HydraContext,
        config: DictConfig,
        launcher: Launcher,
        options: Options,
    ):
        """Prepare a selection.

        Args:
          context: of Hydra.
          config: of the sweep.
          launcher: runs the jobs.
          options: of the sweeper.

        Raises:
          InputError: for a seed that is not an integer.
        """
        self._context, self._config = context, config
        self._launcher, self._options, self._launched = launcher, options, 0
        # tune_seeds=100 is one seed as well as tune_seeds=[100].
        seeds = options.tune_seeds
        listed = [seeds] if isinstance(seeds, int | str) else seeds
        self._tune_seeds = tuple(_seed(str(seed)) for seed in listed)

    def run(self, arguments: list[str]) -> None:
        """Tune, choose, test.

        Args:
          arguments: overrides of the command line.

        Raises:
          InputError: for axes, seeds, a budget or a metric that cannot be, before any
            run; where no arm has a winner, after those on validation.
        """
        axes = self._axes()
        columns, seeds = self._columns(arguments, axes)
        points = grid_points(axes, self._options.budget, self._options.budget_seed)
        arms = [self._arm(words, points) for words in itertools.product(*columns)]
        names = name_arms([to_dict(arm.points[0]) for arm in arms])
        metric = self._options.metric or arms[0].points[0].training.metric
        arm_points.check_one_folder(arms)
        arm_points.check_metric(metric, arms)
        self._check_study(arms, names, axes)
        trials = self._tune_arms(arms, points, metric)
        choices = [
            self._choice(name, arm, tried, seeds)
            for name, arm, tried in zip(names, arms, trials, strict=True)
        ]
        selection = Selection(metric, axes, self._tune_seeds, seeds, tuple(choices))
        self._keep(selection, arms[0])
        self._test(arms, selection)

    def _choice(
        self, name: str, arm: Arm, trials: tuple[Trial, ...], seeds: tuple[int, ...]
    ) -> ArmChoice:
        """Return the best point of an arm, and the names of its runs on test."""
        best = choose(trials, len(self._tune_seeds))
        runs = () if best is None else arm_points.test_runs(arm.points[best], seeds)
        return ArmChoice(name, trials, best, runs)

    # --- axes and arms ---------------------------------------------------------------

    def _axes(self) -> dict[str, list[str]]:
        """Return the values of each axis, as on the command line."""
        arm_points.check_budget(self._options.budget)
        if not self._options.tune:
            raise InputError(
                "hydra.sweeper.tune has no axis; give one, such as hydra.sweeper.tune="
                "{optimizer.learning_rate:[0.02,0.05,0.1]}, or leave out "
                "hydra/sweeper=select"
            )
        for key in self._options.tune:
            arm_points.check_axis(key)
        return {key: _axis(key, values) for key, values in self._options.tune.items()}

    def _columns(
        self, arguments: list[str], axes: dict[str, list[str]]
    ) -> tuple[list[list[str]], tuple[int, ...]]:
        """Return the overrides of each key except the seed, and the seeds."""
        params = [f"{key}={values}" for key, values in self._options.params.items()]
        words = [*params, *arguments]
        parsed = OverridesParser.create().parse_overrides(words)
        if both := {one.key_or_group for one in parsed} & set(axes):
            raise InputError(
                f"{min(both)} is tuned by hydra.sweeper.tune and set for the arms too, "
                "by hydra.sweeper.params or on the command line; leave one out"
            )
        (jobs,) = BasicSweeper.split_arguments(parsed, None)
        columns = [list(dict.fromkeys(column)) for column in zip(*jobs, strict=True)]
        seeded = [one for one in columns if one[0].startswith("seed=")]
        words = seeded[0] if seeded else [f"seed={self._config.seed}"]
        seeds = tuple(_seed(word.removeprefix("seed=")) for word in words)
        arm_points.check_seeds(self._tune_seeds, seeds)
        return [one for one in columns if one not in seeded], seeds

    def _arm(self, words: tuple[str, ...], points: list[Point]) -> Arm:
        """Return an arm, composed at each point; refuse wrong input at any of them."""
        arm = Arm(words, [])
        for place, point in enumerate(points):
            overrides = [*words, *point_words(point)]
            job = compose_job(self._context, self._config, overrides)
            arm.points.append(job_config(job))
            check_names(arm.points[-1])
            arm_points.tuning_run(arm, place, point, self._tune_seeds[0])
        return arm

    def _check_study(
        self, arms: list[Arm], names: list[str], axes: dict[str, list[str]]
    ) -> None:
        """Refuse equal arms, and an unknown primary metric, base arm or control."""
        planned.check_apart([planned.Planned(arm.words, arm.points[0]) for arm in arms])
        given = OmegaConf.select(self._config, "hydra.callbacks.study") or {}
        given = {k: v for k, v in given.items() if k not in ("_target_", "objective")}
        study = described(given, "hydra.callbacks.study")
        configs = [arm.points[0] for arm in arms]
        planned.check_metric(study.metric, configs)
        named = dict(zip(names, map(to_dict, configs), strict=True))
        # Without labels, the names of arms include the points that are chosen later.
        if all(config.arm for config in configs):
            planned.check_base(study.base, names)
            planned.check_controls(study.controls, names)
        for warning in planned.control_warnings(named, study, tuple(axes)):
            print_warning(warning)

    # --- runs ------------------------------------------------------------------------

    def _tune_arms(
        self, arms: list[Arm], points: list[Point], metric: str
    ) -> list[tuple[Trial, ...]]:
        """Run every arm at every point on validation; return the trials of each."""
        pairs = list(itertools.product(arms, enumerate(points)))
        runs = [
            arm_points.tuning_run(arm, place, point, seed)
            for arm, (place, point) in pairs
            for seed in self._tune_seeds
        ]
        finished = self._launch([run.words for run in runs])
        values = [
            arm_points.valid_metric(run.config, metric) if done else None
            for run, done in zip(runs, finished, strict=True)
        ]
        size = len(self._tune_seeds)
        trials = [
            Trial(point, tuple(v for v in values[i * size :][:size] if v is not None))
            for i, (_, (_, point)) in enumerate(pairs)
        ]
        return [
            tuple(trials[i * len(points) :][: len(points)]) for i in range(len(arms))
        ]

    def _keep(self, selection: Selection, arm: Arm) -> None:
        """Write the selection into the folder of the study, and print it."""
        start = arm.points[0]
        write_selection(selection, Path(start.output) / start.name)
        for line in chosen_lines(selection):
            Console().print(line, highlight=False, markup=False, soft_wrap=True)

    def _test(self, arms: list[Arm], selection: Selection) -> None:
        """Run each arm at its best point on test."""
        jobs = [
            [
                *arm.words,
                *point_words(choice.trials[choice.chosen].point),
                f"seed={seed}",
            ]
            for arm, choice in zip(arms, selection.arms, strict=True)
            if choice.chosen is not None
            for seed in selection.seeds
        ]
        if not jobs:
            raise InputError(
                "no arm has a point of the grid at which all its runs finished (their "
                "errors are above), so nothing is tested; change hydra.sweeper.tune"
            )
        self._launch(jobs)

    def _launch(self, jobs: list[list[str]]) -> list[bool]:
        """Run jobs and return for each whether it finished with an objective."""
        returns = self._launcher.launch(jobs, initial_job_idx=self._launched)
        self._launched += len(jobs)
        values = [one.return_value for one in returns]
        return [isinstance(value, float) and value == value for value in values]


def _axis(key: str, values: Any) -> list[str]:
    """Return the distinct values of an axis, from `0.05,0.1` or a list.

    Raises:
      InputError: for an axis without values, or of several keys.
    """
    if OmegaConf.is_list(values):
        values = ",".join("null" if one is None else str(one) for one in values)
    if OmegaConf.is_dict(values):
        raise InputError(
            f"hydra.sweeper.tune.{key} holds keys; write each axis in one, such as "
            f"{key}.{next(iter(values), 'name')}: 0.05,0.1"
        )
    if values is None or not str(values).strip():
        raise InputError(
            f"hydra.sweeper.tune.{key} is empty; give its values, such as 0.05,0.1"
        )
    (one,) = OverridesParser.create().parse_overrides([f"{key}={values}"])
    if one.is_sweep_override():
        return list(dict.fromkeys(map(str, one.sweep_string_iterator())))
    return [one.get_value_element_as_str()]


def _seed(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise InputError(
            f"seed={text} is not an integer; give seeds such as 0,1"
        ) from None
