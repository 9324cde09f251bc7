"""Hydra's callback of a sweep: checks before its first job, a report at its end."""

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from twotower_jax.config import Config
from twotower_jax.errors import InputError
from twotower_jax.registry import check_inside
from twotower_jax.sweeps.baseline_arms import (
    Words,
    composed,
    plan_baselines,
    run_baselines,
    run_later,
)
from twotower_jax.sweeps.compose import check_groups
from twotower_jax.sweeps.jobs import SWEEP
from twotower_jax.sweeps.wrong_words import check_number, parse_sweep

if TYPE_CHECKING:
    from twotower_jax.study.description import Description


def check_mode() -> None:
    """Refuse a selection without a sweep, for a single run neither tunes nor tests."""
    job = HydraConfig.get()
    sweeper = job.runtime.choices["hydra/sweeper"]
    if job.mode == RunMode.RUN and sweeper in ("select", "halving"):
        raise InputError(
            f"hydra/sweeper={sweeper} tunes and tests by a sweep, and this is a single "
            "run; add -m (and no hydra.mode=RUN), or leave the sweeper out"
        )


def check_arms(config: DictConfig, study: "Description") -> list[Config]:
    """Refuse a sweep that could not end with a report, before its first job.

    A warning is printed for every arm that will have no control.

    The jobs of Hydra's basic sweeper can be listed before they run. The labels of the
    jobs of other sweepers are checked one by one, by `SweepState.claim`. Errors of
    composition are left to Hydra and to the jobs.
    """
    sweeper = config.hydra.sweeper
    if not str((sweeper or {}).get("_target_")).endswith(".BasicSweeper"):
        return []
    params = [f"{key}={value}" for key, value in (sweeper.params or {}).items()]
    try:
        # As typed: each job resolves a word such as name=x${seed} for itself.
        typed: Any = OmegaConf.to_container(config.hydra.overrides.task, resolve=False)
        named, swept = parse_sweep(params), parse_sweep(typed)
        check_number([*named, *swept])
        (jobs,) = BasicSweeper.split_arguments([*named, *swept], None)
    except (HydraException, OmegaConfBaseException, AssertionError):
        return []
    for word in (*named, *swept):
        _check_once(word)
        if word.key_or_group == "name" and word.is_sweep_override():
            for name in word.sweep_string_iterator():
                check_inside("name", str(name))
    jobs = [tuple(job) for job in jobs]
    arms = list(dict.fromkeys(map(_seedless, jobs)))
    for words in arms:
        check_groups(words)
    planned = composed(arms)
    if not planned:
        return []
    baselines = plan_baselines(jobs, [config for _, config in planned])
    # A part of a study may lack the base arm and controls that its file names.
    part = {word.key_or_group for word in swept} & set(sweeper.params or {}) - {"seed"}
    by_hand = any(
        "callbacks.study.base" in word for word in config.hydra.overrides.hydra
    )
    whole = len(planned) == len(arms) and (by_hand or not part)
    from twotower_jax.sweeps.planned import check_planned

    fitted = {_seedless(words): replace(arm, seed=0) for words, arm in baselines}
    for warning in check_planned([*planned, *fitted.items()], study, whole=whole):
        print_warning(warning)
    return [config for _, config in baselines]


def print_warning(text: str) -> None:
    """Print a warning of a sweep before it trains."""
    print_line(f"warning: {text}")


def print_line(text: str) -> None:
    """Print a line of a sweep."""
    from twotower_jax.progress import make_console

    make_console().print(text, highlight=False, markup=False, soft_wrap=True)


def _seedless(words: Words) -> Words:
    """Return overrides without the seed."""
    return tuple(word for word in words if not word.startswith("seed="))


def _check_once(swept: Override) -> None:
    """Refuse a value that a key has twice: two jobs would share one folder."""
    if not swept.is_sweep_override():
        return
    value, times = Counter(map(str, swept.sweep_string_iterator())).most_common(1)[0]
    if times > 1:
        word = f"{swept.get_key_element()}={value}"
        raise InputError(f"{word} is in the sweep twice; name each value once")


def _check_name(config: DictConfig) -> None:
    """End the process where ``name`` leads out of ``output``."""
    try:
        if not OmegaConf.is_missing(config, "name"):
            check_inside("name", str(config.name))
    except OmegaConfBaseException:
        pass  # the run names the word whose reference has no value
    except InputError as error:
        SWEEP.fail(error)
        # Hydra makes a warning of an exception in a callback.
        raise SystemExit(2) from None


class StudyCallback(Callback):
    """Ends a sweep with study.csv, comparison.csv, report.html and the tables of arms.

    An experiment describes its question by `hydra.callbacks.study`; study.json keeps
    it. The libraries of reports are imported when a sweep ends.
    """

    def __init__(self, objective: bool = True, **given: Any):
        """Keep the parts of the description."""
        self._objective, self._given = objective, given
        self._baselines: list[Config] = []

    def _description(self) -> "Description":
        """The description that the configuration gives."""
        from twotower_jax.study.description import described

        return described(self._given)

    def on_run_start(self, config: DictConfig, **_: Any) -> None:
        """End a run whose folder would lie outside of ``output``, before it is made."""
        _check_name(config)

    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:
        """End a sweep that could not end with a report."""
        _check_name(config)
        try:
            self._baselines = check_arms(config, self._description())
        except InputError as error:
            SWEEP.fail(error)
            # Hydra makes a warning of an exception here.
            raise SystemExit(2) from None

    def on_multirun_end(self, config: DictConfig, **_: Any) -> None:
        """Run the baselines, and report every folder with runs of the sweep."""
        from twotower_jax.study.selection import FOLDER as TUNING

        SWEEP.end_workers()
        run_later(SWEEP.later)
        run_baselines(self._baselines)
        for line in SWEEP.repeated():
            print_line(line)
        folders = SWEEP.folders or {Path(config.output) / config.name}
        tuning = {folder / TUNING for folder in folders}
        for folder in sorted(folders - tuning):
            none = not any(folder.glob("*/result.json"))
            if none and SWEEP.failures:
                continue  # their errors say why there is nothing to report
            try:
                if folder.is_dir():
                    self._report(folder)
            except Exception as error:  # Hydra would make a warning of it
                SWEEP.fail(error)

    def _report(self, folder: Path) -> None:
        """Write study.json and the report; a description that fails is not kept."""
        from twotower_jax.run.folder import held
        from twotower_jax.study.description import (
            read_description,
            write_description,
        )
        from twotower_jax.sweeps.reports import REPORT, write_reports

        with held(folder / REPORT, True, print_line):
            before = read_description(folder)
            # A sweep may be a part of a study, and describe less than all of it.
            description = self._description().or_else(before)
            write_description(description, folder)
            try:
                write_reports([folder], objective=self._objective)
            except InputError:
                write_description(before, folder)
                raise
