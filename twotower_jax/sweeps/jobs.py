"""What the jobs of Hydra share: composed configurations, failures, the report."""

import contextlib
import os
import sys
import traceback
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra import compose
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from rich.console import Console

from twotower_jax.config import Config
from twotower_jax.errors import InputError
from twotower_jax.report.console import print_study
from twotower_jax.run.records import run_folder
from twotower_jax.study.description import (
    Description,
    read_description,
    write_description,
)
from twotower_jax.study.selection import FOLDER as SELECT
from twotower_jax.sweeps.launcher import to_config
from twotower_jax.sweeps.planned import Planned, check_label, check_planned
from twotower_jax.training.loop import NonFiniteLossError

# Of the sweep that this process runs: folders with runs, the label of each run by its
# place, jobs that failed, and the process itself.
FOLDERS: set[Path] = set()
LABELS: dict[Path, str | None] = {}
FAILURES: list[Exception] = []
HOME: set[int] = set()
# Failures whose message says all.
EXPECTED = (InputError, NonFiniteLossError)


def clear() -> None:
    """Forget the sweep that this process ran before, and begin one."""
    for kept in (FOLDERS, LABELS, FAILURES, HOME):
        kept.clear()
    HOME.add(os.getpid())


# A launcher may run jobs in other processes, or on other machines, and what a job notes
# there the process of the sweep never sees. So what a job returns brings it along, and
# it is noted where the launcher unpacks it.


class Finished(float):
    """What a finished job returns to a sweeper: its objective."""

    folder = ""

    def __reduce__(self) -> tuple[Any, ...]:
        """Return how launchers make it again."""
        return finished, (float(self), self.folder)


def finished(value: float, folder: str) -> Finished:
    """Return what a job returns that has put a run into a folder of runs."""
    if os.getpid() in HOME:
        FOLDERS.add(Path(folder))
    outcome = Finished(value)
    outcome.folder = folder
    return outcome


class Failed:
    """What a failed job returns: no number, so that no sweeper takes it for one."""

    def __init__(self, error: str, wrong_input: bool):
        self._parts = (error, wrong_input)

    def __repr__(self) -> str:
        return self._parts[0]

    def __reduce__(self) -> tuple[Any, ...]:
        """Return how launchers make it again."""
        return failed_elsewhere, self._parts


def failed(error: Exception) -> Failed:
    """Report a failure, here or where the sweep is; return what the job returns."""
    if os.getpid() in HOME:
        fail(error)
    elif not isinstance(error, EXPECTED):
        traceback.print_exception(error)
    text = str(error) or type(error).__name__
    return Failed(text, isinstance(error, InputError))


class FailedJobError(Exception):
    """A job failed in another process, which has printed what it was doing."""


def failed_elsewhere(error: str, wrong_input: bool) -> Failed:
    """Report the failure of a job that ran in another process."""
    if os.getpid() in HOME:
        fail(InputError(error) if wrong_input else FailedJobError(error))
    return Failed(error, wrong_input)


def claim(config: Config) -> None:
    """Note a job of the sweep, whose run nobody may claim under another label.

    Raises:
      InputError: when a job before was the same run under another label.
    """
    check_label(LABELS.setdefault(run_folder(config), config.arm), config.arm)
    FOLDERS.add(Path(config.output) / config.name)


def check_mode() -> None:
    """Refuse to select by a single run, which would neither tune nor test winners.

    Raises:
      InputError: for `hydra/sweeper=select` without a sweep.
    """
    job = HydraConfig.get()
    if job.mode == RunMode.RUN and job.runtime.choices["hydra/sweeper"] == "select":
        raise InputError(
            "hydra/sweeper=select tunes and tests by a sweep, and this is a single run;"
            " add -m (and no hydra.mode=RUN), or leave the sweeper out"
        )


def check_arms(config: DictConfig, asked: Description) -> None:
    """Refuse a sweep of which no report could be made, before any job.

    Only the jobs of Hydra's basic sweeper are known before; the labels of others are
    looked at one by one, by `claim`. What does not compose is left to Hydra or its job.

    Args:
      config: of the sweep, with `hydra`.
      asked: what the study asks.
    Raises:
      InputError: a job that comes twice, and what `check_planned` refuses.
    """
    sweeper = config.hydra.sweeper
    if not sweeper["_target_"].endswith(".BasicSweeper"):
        return
    params = [f"{key}={value}" for key, value in (sweeper.params or {}).items()]
    try:
        # As they were typed: a word such as name=x${seed} is for each job to fill in.
        typed: Any = OmegaConf.to_container(config.hydra.overrides.task, resolve=False)
        swept = OverridesParser.create().parse_overrides(typed)
        named = OverridesParser.create().parse_overrides(params)
        (jobs,) = BasicSweeper.split_arguments([*named, *swept], None)
    except (HydraException, AssertionError):
        return
    for one in (*named, *swept):
        _check_once(one)
    seedless = (tuple(word for word in job if word[:5] != "seed=") for job in jobs)
    arms = list(dict.fromkeys(seedless))
    planned = _composed(arms)
    # A part of a study may be without the base arm that its file names.
    part = {one.key_or_group for one in swept} & set(sweeper.params or {}) - {"seed"}
    by_hand = any("callbacks.study.base" in one for one in config.hydra.overrides.hydra)
    strict = len(planned) == len(arms) and (by_hand or not part)
    check_planned(planned, asked.metric, asked.base if strict else None)


def _composed(arms: Sequence[tuple[str, ...]]) -> list[Planned]:
    """Return the arms that compose."""
    planned = []
    for words in arms:
        with contextlib.suppress(HydraException, OmegaConfBaseException, ValueError):
            config = to_config(compose("config", overrides=list(words)))
            planned.append(Planned(words, config))
    return planned


def _check_once(swept: Override) -> None:
    """Refuse a value that a key of the sweep has twice: two jobs in one folder."""
    if not swept.is_sweep_override():
        return
    value, times = Counter(map(str, swept.sweep_string_iterator())).most_common(1)[0]
    if times > 1:
        word = f"{swept.get_key_element()}={value}"
        raise InputError(f"{word} is in the sweep twice; name each value once")


def report_error(error: Exception) -> int:
    """Print one message; its last line says what to do. Return the exit status."""
    print(f"error: {error}", file=sys.stderr)
    return 2 if isinstance(error, InputError) else 1


def fail(error: Exception) -> None:
    """Report an error now, and let it decide the exit status at the end."""
    if not isinstance(error, (*EXPECTED, FailedJobError)):
        traceback.print_exception(error)
    report_error(error)
    FAILURES.append(error)


class StudyCallback(Callback):
    """Ends a sweep with study.csv, comparison.csv, report.html and the tables of arms.

    An experiment says what it asks by `hydra.callbacks.study`; study.json keeps it.
    """

    def __init__(
        self,
        question: str | None = None,
        source: str | None = None,
        metric: str | None = None,
        base: str | None = None,
    ):
        said = (question, source, metric, base)
        self.asked = Description(*(None if one is None else str(one) for one in said))

    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:
        """End a sweep of which no report could be made."""
        try:
            check_arms(config, self.asked)
        except InputError as error:
            fail(error)
            # Hydra makes a warning of an exception here.
            raise SystemExit(2) from None

    def on_multirun_end(self, config: DictConfig, **_: Any) -> None:
        """Make the report of every folder that the sweep has put runs into."""
        if not FOLDERS:  # also where another name is swept, this one has a folder
            FOLDERS.add(Path(config.output) / config.name)
        tuning = {folder / SELECT for folder in FOLDERS}
        for folder in sorted(FOLDERS - tuning):
            try:
                if folder.is_dir():
                    self._report(folder)
            except Exception as error:  # Hydra would make a warning of it
                fail(error)

    def _report(self, folder: Path) -> None:
        """Write study.json and the report; what cannot be asked is not kept."""
        before = read_description(folder)
        # A sweep may be a part of a study, and say less than it.
        write_description(self.asked.or_else(before), folder)
        try:
            write_reports([folder])
        except InputError:
            write_description(before, folder)
            raise


def write_reports(
    folders: list[Path], given: Description | None = None, out: Path | None = None
) -> None:
    """Write the report of the runs of folders into one folder, and print its tables."""
    # Matplotlib takes a fifth of the start, and a single run draws nothing.
    from twotower_jax.report.html import write_report
    from twotower_jax.study.load import load_study

    out = out or folders[0]
    study = load_study(folders, given, out)
    path = write_report(study, out)
    print_study(study, Console(), path)
