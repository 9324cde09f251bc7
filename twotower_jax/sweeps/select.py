"""Selection without peeking: tune on validation, then test the winners.

First every arm is run at its points with `evaluation.test=false` (`rungs.race`), then
each arm at its best point with the seeds of the study. With the choices of an earlier
selection there is the second part only.
"""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext
from omegaconf import DictConfig, OmegaConf

from twotower_jax.config import Config, to_dict
from twotower_jax.errors import InputError, closest
from twotower_jax.progress import make_console
from twotower_jax.report.selected import chosen_lines
from twotower_jax.run.checks import check_names
from twotower_jax.run.folder import RunFolder, run_folder
from twotower_jax.run.loader import cached_loader
from twotower_jax.study.description import described
from twotower_jax.study.naming import name_arms
from twotower_jax.study.selection import (
    FILE,
    FOLDER,
    ArmChoice,
    Axes,
    Point,
    Selection,
    choose,
    grid_points,
    read_selection,
    shuffled,
    write_selection,
)
from twotower_jax.sweeps import arm_points, planned
from twotower_jax.sweeps.arm_points import (
    Arm,
    ArmGrid,
    Names,
    TuningRun,
    Validation,
    check_axes,
    check_reached,
    point_words,
    race,
    read_axes,
)
from twotower_jax.sweeps.baseline_arms import baseline_words, fits
from twotower_jax.sweeps.callback import print_warning
from twotower_jax.sweeps.compose import FilesOnce, compose_job, job_config
from twotower_jax.sweeps.jobs import SWEEP, Countdown
from twotower_jax.sweeps.options import Options
from twotower_jax.sweeps.wrong_words import parse_sweep

OPTION = "hydra.sweeper.selection"


def _remove_parameters(folder: Path) -> None:
    """Remove the parameters of finished runs on validation: nothing reads them.

    A run that was left at a rung keeps its state, from which it may go on.
    """
    from twotower_jax.training.checkpoint import Checkpoints

    for path in folder.glob("*/result.json"):
        if RunFolder(path.parent).is_done():
            Checkpoints(path.parent).remove()


class Selecting:
    """One selection: its arms and axes, its runs on validation, its tests."""

    def __init__(
        self,
        context: HydraContext,
        config: DictConfig,
        launcher: Launcher,
        options: Options,
    ):
        """Prepare a selection."""
        self._context, self._config = context, config
        self._files = FilesOnce(lambda *words: compose_job(context, config, words))
        self._launcher, self._options, self._launched = launcher, options, 0
        self._tune_seeds = tuple(options.tune_seeds or ())  # type: ignore[arg-type]

    def run(self, arguments: list[str]) -> None:
        """Tune and choose, or take the choices of an earlier selection; then test."""
        columns, seeds = self._columns(arguments)
        arms = [self._arm(words) for words in itertools.product(*columns)]
        arms += self._baselines(arms)
        names = name_arms([to_dict(arm.config) for arm in arms])
        arm_points.check_one_folder(arms)
        if self._options.selection is None:
            grids = self._grids(arms)
            check_reached(list(self._options.rungs), grids)
            arm_points.check_seeds(self._tune_seeds, seeds)
            self._check_study(grids, names)
            selection, winners = self._tuned(grids, names, seeds)
        else:
            selection, winners = self._carried(arms, names, seeds)
            self._check_study(winners, names)
        self._keep(selection, arms[0].config)
        self._test(winners, seeds)
        _remove_parameters(Path(arms[0].config.output) / arms[0].config.name / FOLDER)

    # --- arms ------------------------------------------------------------------------

    def _columns(self, arguments: list[str]) -> tuple[list[list[str]], tuple[int, ...]]:
        """The overrides of each key except the seed, and the seeds."""
        params = [f"{key}={values}" for key, values in self._options.params.items()]
        parsed = parse_sweep([*params, *arguments])
        self._given = {word.key_or_group for word in parsed}
        (jobs,) = BasicSweeper.split_arguments(parsed, None)
        columns = [list(dict.fromkeys(column)) for column in zip(*jobs, strict=True)]
        seeded = [column for column in columns if column[0].startswith("seed=")]
        words = seeded[0] if seeded else [f"seed={self._config.seed}"]
        texts = (word.removeprefix("seed=") for word in words)
        seeds = tuple(map(arm_points.read_seed, texts))
        return [column for column in columns if column not in seeded], seeds

    def _arm(self, words: tuple[str, ...]) -> Arm:
        """An arm; refuse wrong input."""
        job = compose_job(self._context, self._config, words)
        config = job_config(job)
        check_names(config)
        chosen = OmegaConf.select(job, "hydra.runtime.choices.arms")
        return Arm(words, Names(config.towers.kind, config.arm, chosen), config)

    def _baselines(self, arms: list[Arm]) -> list[Arm]:
        """The baselines that are not among the arms, with `baselines=true`."""
        if not any(arm.config.baselines for arm in arms):
            return []
        folders = {run_folder(arm.config) for arm in arms}
        load, large = cached_loader(), set()
        words = baseline_words([arm.words for arm in arms])
        return [
            arm
            for arm in map(self._arm, words)
            if run_folder(arm.config) not in folders and fits(arm.config, load, large)
        ]

    def _grid(self, arm: Arm, axes: Axes, points: list[Point]) -> ArmGrid:
        """An arm at points; refuse wrong input at any of them."""
        grid = ArmGrid(arm, axes, points, [])
        option = self._options.selection or "hydra.sweeper.tune or arm_tune"
        arm_points.check_set_once(self._given, grid, option)
        for point in points:
            words = [*arm.words, *point_words(point)]
            config = job_config(self._files.compose(words))
            check_names(config)
            grid.configs.append(config)
        return grid

    def _check_study(self, grids: list[ArmGrid], names: list[str]) -> None:
        """Refuse equal arms, and an unknown primary metric, base arm or control."""
        arms = [grid.arm for grid in grids]
        configs = [arm.config for arm in arms]
        planned.check_apart([(arm.words, arm.config) for arm in arms])
        given = OmegaConf.select(self._config, "hydra.callbacks.study") or {}
        given = {k: v for k, v in given.items() if k not in ("_target_", "objective")}
        study = described(given)
        planned.check_metric(study.metric, configs)
        named = dict(zip(names, map(to_dict, configs), strict=True))
        # Without labels, the names of arms include the points that are chosen later.
        if all(config.arm for config in configs):
            planned.check_base(study.base, names)
            planned.check_controls(study.controls, names)
        tuned = {key for grid in grids for key in grid.axes}
        for warning in planned.control_warnings(named, study, tuned):
            print_warning(warning)

    # --- choices ---------------------------------------------------------------------

    def _grids(self, arms: list[Arm]) -> list[ArmGrid]:
        """Return every arm at its points."""
        options = self._options
        axes = read_axes(options)
        check_axes(axes, [arm.names for arm in arms])
        grids = []
        for arm in arms:
            own = axes.of(arm.names)
            points = grid_points(own, options.trials, options.trials_seed)
            if options.minutes is not None:  # the last ones may not be tried
                points = shuffled(points, options.trials_seed)
            grids.append(self._grid(arm, own, points))
        return grids

    def _tuned(
        self, grids: list[ArmGrid], names: list[str], seeds: tuple[int, ...]
    ) -> tuple[Selection, list[ArmGrid]]:
        """Run every arm at its points on validation, and choose."""
        options = self._options
        metric = options.metric or grids[0].arm.config.training.metric
        arm_points.check_metric(metric, grids)
        runs = sum(len(grid.points) for grid in grids) * len(self._tune_seeds)
        self._print(
            f"tuning: {runs} runs on validation, then {len(seeds) * len(grids)} of the "
            "chosen points on test"
        )
        how = Validation(metric, self._tune_seeds, self._launch, self._print)
        tried = race(grids, options, how)
        choices, winners = [], []
        for name, grid, trials in zip(names, grids, tried, strict=True):
            indices = [i for i, trial in enumerate(trials) if trial.left_at != 0]
            begun = tuple(trials[index] for index in indices)
            best, runs = choose(begun, len(self._tune_seeds)), ()
            if best is not None:
                config = grid.configs[indices[best]]
                runs = arm_points.test_runs(config, seeds)
                winners.append(
                    grid._replace(points=[begun[best].point], configs=[config])
                )
            choices.append(ArmChoice(name, grid.axes, begun, best, runs))
        selection = Selection(
            metric, self._tune_seeds, seeds, tuple(choices), options.trials
        )
        return selection, winners

    def _carried(
        self, arms: list[Arm], names: list[str], seeds: tuple[int, ...]
    ) -> tuple[Selection, list[ArmGrid]]:
        """The choices of an earlier selection for these arms, and their points.

        As `_tuned`, without any run.
        """
        path, source = _read_source(str(self._options.selection))
        arm_points.check_seeds(source.tune_seeds, seeds)
        by_name = {choice.arm: choice for choice in source.arms}
        choices, winners = [], []
        for name, arm in zip(names, arms, strict=True):
            choice = _carried_choice(name, by_name, path)
            point = choice.trials[choice.chosen or 0].point
            winners.append(self._grid(arm, choice.axes, [point]))
            runs = arm_points.test_runs(winners[-1].configs[0], seeds)
            choices.append(replace(choice, runs=runs))
        selection = replace(source, seeds=seeds, arms=tuple(choices), source=str(path))
        return selection, winners

    # --- runs ------------------------------------------------------------------------

    def _keep(self, selection: Selection, start: Config) -> None:
        """Write the selection into the folder of the study, and print it."""
        write_selection(selection, Path(start.output) / start.name)
        self._print(*chosen_lines(selection))

    def _test(self, winners: list[ArmGrid], seeds: tuple[int, ...]) -> None:
        """Run each arm at its best point on test."""
        if not winners:
            raise InputError(
                "no arm has a point of the grid at which all its runs finished (their "
                "errors are above), so nothing is tested; change hydra.sweeper.tune"
            )
        runs = [
            TuningRun(
                [*winner.arm.words, *point_words(winner.points[0]), f"seed={seed}"],
                replace(winner.configs[0], seed=seed),
            )
            for winner in winners
            for seed in seeds
        ]
        self._launch(runs)

    def _launch(self, runs: Sequence[TuningRun]) -> list[bool]:
        """Run jobs and return for each whether it finished with an objective."""
        SWEEP.countdown = Countdown(run_folder(run.config) for run in runs)
        jobs = [run.words for run in runs]
        returns = self._launcher.launch(jobs, initial_job_idx=self._launched)
        self._launched += len(jobs)
        values = [job.return_value for job in returns]
        return [isinstance(value, float) and value == value for value in values]

    def _print(self, *lines: str) -> None:
        for line in lines:
            make_console().print(line, highlight=False, markup=False, soft_wrap=True)


def _read_source(source: str) -> tuple[Path, Selection]:
    """The file of an earlier selection, and its content."""
    path = Path(source)
    path = path if path.name == FILE else path / FILE
    selection = read_selection(path.parent)
    if selection is None:
        raise InputError(
            f"{OPTION}={source}: there is no {path}; name the {FILE} of a study that "
            "hydra/sweeper=select has tuned, or its folder"
        )
    return path, selection


def _carried_choice(
    name: str, source: Mapping[str, ArmChoice], path: Path
) -> ArmChoice:
    """The choice of an arm in an earlier selection."""
    if name not in source:
        near = closest(name, list(source))
        raise InputError(
            f"{OPTION}={path} has no arm {name!r}{f' ({near})' if near else ''}; it "
            f"has {', '.join(map(repr, source))}; tune this arm there, leave it out, "
            "or give it the label of its settings (arm=...)"
        )
    if source[name].chosen is None:
        raise InputError(
            f"{OPTION}={path}: no point of {name!r} was finished by all its runs, so "
            "that nothing was chosen for it; tune it there again, or leave it out"
        )
    return source[name]
