"""``twotower train``: Hydra composes the configuration and runs one job or a sweep."""

import os
import re
import shlex
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hydra
from hydra._internal.utils import get_args_parser
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from rich.console import Console

# Imported for their registration: hydra/launcher=fused and hydra/sweeper=select.
import twotower_jax.sweeps.plugins  # noqa: F401
from twotower_jax.commands.join import joined, without_join
from twotower_jax.config import Config
from twotower_jax.errors import BusyError, DataError, InputError
from twotower_jax.progress import make_console
from twotower_jax.run.folder import run_folder
from twotower_jax.signals import Stopped
from twotower_jax.sweeps.baseline_arms import as_job
from twotower_jax.sweeps.callback import check_mode
from twotower_jax.sweeps.compose import (
    CONF,
    check_groups,
    command_line,
    keep_command,
    open_words,
    store_choices,
    to_config,
)
from twotower_jax.sweeps.jobs import SWEEP, JobOutcome, Objective, failed, finished
from twotower_jax.sweeps.overrides import check_config_dir
from twotower_jax.sweeps.wrong_words import explained

if TYPE_CHECKING:
    from twotower_jax.sweeps.runner import Outcome

STOPPED = (
    "stopped: the same command resumes; it returns finished runs, and the others go on "
    "from their checkpoints"
)


def train(overrides: list[str]) -> int:
    """Hand the command line to Hydra and return the exit status."""
    # Hydra raises its errors instead of printing them.
    os.environ["HYDRA_FULL_ERROR"] = "1"
    overrides, join = without_join(overrides)
    SWEEP.begin()
    store_choices()
    before, sys.argv = sys.argv, ["twotower", *open_words(overrides)]
    keep_command()
    sys.argv[1:] = _options_first(sys.argv[1:])
    try:
        with joined(join), explained(overrides):
            _hydra_train()
    except (KeyboardInterrupt, Stopped):
        print(STOPPED, flush=True)
        raise
    finally:
        sys.argv = before
    return SWEEP.exit_status()


def _options_first(words: list[str]) -> list[str]:
    """A command line in the order that Hydra reads: options, then overrides."""
    read = get_args_parser().parse_intermixed_args(words)
    check_config_dir(read.config_dir and Path(read.config_dir), read.config_name)
    if read.experimental_rerun:
        raise InputError(
            f"--experimental-rerun {read.experimental_rerun} would run what a pickle "
            "names; twotower reproduce FOLDER runs the configuration of a run again"
        )
    options, overrides = [], list(read.overrides)
    for word in words:
        if overrides[:1] == [word]:
            del overrides[0]
        else:
            options.append(word)
    return [*options, *read.overrides]


@hydra.main(version_base="1.3", config_path=f"pkg://{CONF}", config_name="config")
def _hydra_train(
    composed: DictConfig,
    outcome: "Outcome | None" = None,
    console: Console | None = None,
) -> Objective | JobOutcome:
    """Run one job; a failure is reported, and the other jobs of a sweep go on.

    A launcher that has made the run gives its outcome, and the console of the sweep.
    """
    try:
        with explained(_typed()):
            return _run_job(composed, outcome, console)
    except Exception as error:
        _remove_empty(Path(HydraConfig.get().runtime.output_dir))
        return failed(error)


def _typed() -> list[str]:
    """The overrides of the job with references such as ${seed} as typed."""
    task: Any = HydraConfig.get().overrides.task
    words: Any = OmegaConf.to_container(task, resolve=False)
    return list(words)


def _remove_empty(folder: Path) -> None:
    """Remove the folder that Hydra made for a job that was refused before any file."""
    with suppress(OSError):  # it holds files, or is not there
        folder.rmdir()


def _run_job(
    composed: DictConfig, outcome: "Outcome | None", console: Console | None
) -> Objective:
    """Train and evaluate one job, and print its result."""
    check_mode()
    check_groups(_typed())
    config = to_config(composed)
    single = HydraConfig.get().mode == RunMode.RUN
    # A sweep without a report has no such section.
    asked = (HydraConfig.get().callbacks.get("study") or {}).get("metric")
    if single and asked:
        from twotower_jax.sweeps.planned import check_metric

        check_metric(asked, [config])
    if not single:
        config = as_job(config, HydraConfig.get())
    SWEEP.check_data(config)
    SWEEP.claim(config)
    # Imported after the checks, for they import JAX.
    from twotower_jax.arrays.processes import leads
    from twotower_jax.compiler import set_up
    from twotower_jax.report.console import print_line, print_result
    from twotower_jax.run.execute import Sharing, run

    set_up()
    # Process 0 alone shows the progress of a training of several.
    console = console or (make_console() if leads() else Console(quiet=True))
    # A sweeper that reads no values gets those of busy runs at its end.
    later = not single and SWEEP.is_here() and not _optimises()
    try:
        if outcome is None:
            shared = Sharing(wait=not (single or later))
            result = run(config, console=console, command=command_line(), shared=shared)
        else:
            outcome.show(console)
            result = outcome.get()
    except BusyError as error:
        if not later:
            raise
        SWEEP.later.append(config)
        holder = str(error).partition(";")[0]
        console.print(f"{holder}; it is run last", highlight=False, soft_wrap=True)
        return finished(float("nan"), str(run_folder(config).parent))
    except DataError as error:
        SWEEP.broken[repr(config.data)] = str(error)
        raise
    finally:
        progress = SWEEP.count_down(config)
    if single:
        print_result(console, config, result, asked)
    else:
        swept = _varied(_typed(), command_line(), HydraConfig.get().sweeper)
        print_line(console, config, result, swept, progress, asked)
    return finished(_objective(config, result), str(run_folder(config).parent))


def _optimises() -> bool:
    """Whether the sweeper chooses jobs by the values of those before."""
    return HydraConfig.get().runtime.choices["hydra/sweeper"] != "basic"


def _varied(
    words: Sequence[str], command: str, sweeper: Mapping[str, Any]
) -> list[str]:
    """The overrides of a job that its sweep varies.

    A word key=a,b of the command, or of the sweeper's `params`, reaches the job as
    key=a; one with a single value is unchanged.

    Examples:
      >>> words = ["arms=a", "loss.temperature=0.08", "seed=1", "optimizer.decay=True"]
      >>> params = {"loss.temperature": 0.08, "seed": "0,1", "optimizer.decay": True}
      >>> _varied(words, "train -m arms=a", {"params": params})
      ['seed=1']
    """
    fixed = (f"{key}={value}" for key, value in (sweeper.get("params") or {}).items())
    given = {_plain(word) for word in (*shlex.split(command), *fixed)}
    return [word for word in words if _plain(word) not in given]


def _plain(word: str) -> str:
    """An override as it was typed or as Hydra writes it: spaces, quotes, case."""
    return re.sub(r"[\s'\"]", "", word).lower()


def _objective(config: Config, result: dict[str, Any]) -> float:
    """The metric that a sweeper optimises: on valid, or test without one."""
    metrics = result["metrics"]
    values = metrics["valid" if "valid" in metrics else "test"]
    value = values.get(config.training.metric)
    return float("nan") if value is None else value
