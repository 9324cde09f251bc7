"""The baselines as arms of a sweep: `baselines=true` runs them after its jobs.

A sweep crosses its axes, and a baseline reads few of them. So a baseline has one run
per seed and data set of the sweep, whatever else is swept.
"""

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException
from rich.console import Console

from twotower_jax.config import Config
from twotower_jax.errors import InputError
from twotower_jax.progress import make_console
from twotower_jax.run.folder import RunFolder, run_folder
from twotower_jax.sweeps.compose import FilesOnce, command_line, compose_all, to_config
from twotower_jax.sweeps.jobs import EXPECTED, SWEEP

Words = tuple[str, ...]

# Keys and groups of overrides that a baseline reads, or that name its run.
READ = ("seed", "name", "output", "experiment", "data", "evaluation", "baseline")
READ += ("towers.query",)
# Their values in an arm come from its own file.
REPLACED = ("arms", "arm", "towers.kind")


def adds_arms(hydra: Any) -> bool:
    """Whether the sweeper of a sweep has the baselines as arms."""
    return hydra.sweeper["_target_"].endswith((".BasicSweeper", ".SelectSweeper"))


def as_job(config: Config, hydra: Any) -> Config:
    """The configuration of a job of a sweep, whose baselines are other jobs."""
    return replace(config, baselines=False) if adds_arms(hydra) else config


def baseline_words(jobs: Sequence[Words]) -> list[Words]:
    """The overrides of the baselines of a sweep, the seeds of one together.

    Examples:
      >>> jobs = [("name=a", f"loss.margin={m}", "seed=0") for m in (2, 3)]
      >>> baseline_words(jobs)[-1]
      ('name=a', 'seed=0', 'arms=baseline/ials')
    """
    from twotower_jax.model.towers import BASELINES

    common = set(jobs[0]).intersection(*jobs[1:])
    kept = [tuple(word for word in job if _keeps(word, common)) for job in jobs]
    return [
        (*words, f"arms=baseline/{kind}")
        for kind in BASELINES
        for words in dict.fromkeys(kept)
    ]


def _keeps(word: str, common: set[str]) -> bool:
    """Whether an override of a job is one of its baselines too."""
    key = word.lstrip("+~").partition("=")[0]
    if key.startswith(READ):
        return True
    return word in common and key not in REPLACED


def plan_baselines(
    jobs: Sequence[Words], arms: Sequence[Config]
) -> list[tuple[Words, Config]]:
    """The baselines of a sweep that are not among its arms, with their words."""
    from twotower_jax.model.towers import baselines_for

    if not any(config.baselines for config in arms):
        return []
    folders = {run_folder(replace(config, seed=0)) for config in arms}
    return [
        (words, config)
        for words, config in composed(baseline_words(jobs))
        if run_folder(replace(config, seed=0)) not in folders
        and config.towers.kind in baselines_for(config.data.mask_seen)
    ]


def composed(jobs: Sequence[Words]) -> list[tuple[Words, Config]]:
    """The words and the configuration of each job that composes.

    Errors of composition are left to Hydra and to the jobs.
    """
    made, files = [], FilesOnce(compose_all)
    for words in jobs:
        with contextlib.suppress(HydraException, OmegaConfBaseException, ValueError):
            made.append((words, to_config(files.compose(words))))
    return made


def run_baselines(configs: Sequence[Config]) -> None:
    """Run the baselines of a sweep in this process, and print a line for each.

    A baseline that the data are too large for is left out with its reason. Where no job
    of the sweep has begun a run, for its input is wrong, no baseline does either.
    """
    begun = [
        config
        for config in configs
        if any(run_folder(config).parent.glob("*/config.yaml"))
    ]
    if not begun:
        return
    from twotower_jax.run.loader import cached_loader

    load, large, configs = cached_loader(), set(), []
    for config in begun:
        try:
            if fits(config, load, large):
                SWEEP.claim(config)
                configs.append(replace(config, baselines=False))
        except InputError as error:
            SWEEP.fail(error)
    _run_in_turn(configs, load=load)


def run_later(configs: Sequence[Config]) -> None:
    """Run what another process worked on, and print a line for each."""
    _run_in_turn(configs, make_console())


def _run_in_turn(
    configs: Sequence[Config],
    console: Console | None = None,
    load: Callable[[Config], Any] | None = None,
) -> None:
    """Run one after the other, each output on a console, and print a line for each."""
    # Imported on use, for they import JAX.
    from twotower_jax.report.console import print_line
    from twotower_jax.sweeps.runner import IN_TURN, run_many

    command = command_line()
    for outcome in run_many(
        configs, console=console, command=command, options=IN_TURN, load=load
    ):
        if console is not None:
            outcome.show(console)
        if isinstance(outcome.error, EXPECTED):
            SWEEP.fail(outcome.error)
        else:
            print_line(make_console(), outcome.config, outcome.get(), [])


def fits(config: Config, load: Callable[[Config], Any], large: set[str]) -> bool:
    """Whether a baseline is within its limit, or was fitted before."""
    from twotower_jax.run.loader import oversized

    reason = oversized(config, load(config))
    if reason is None or RunFolder(run_folder(config)).is_done():
        return True
    if reason not in large:
        large.add(reason)
        line = f"baseline left out: {reason}"
        make_console().print(line, highlight=False, soft_wrap=True)
    return False
