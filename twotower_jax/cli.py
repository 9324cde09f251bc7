"""The commands. With jobs.py and study/launcher.py the only modules that import Hydra.

Exit status: 0 done, 1 failed run, 2 wrong input, 128 + signal when told to stop.
"""

import argparse
import os
import shlex
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import hydra
from hydra import compose, initialize_config_module
from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException, MissingConfigException
from hydra.types import RunMode
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException
from rich.console import Console
from rich.markup import escape
from rich.table import Table

import twotower_jax.sweeps.sweeper  # noqa: F401  (registers hydra/sweeper=select)
from twotower_jax.compile_cache import keep_programs
from twotower_jax.config import Config, known_keys
from twotower_jax.data.public.fetch import fetch_command
from twotower_jax.data.sources import SOURCES
from twotower_jax.data.suitability import studies
from twotower_jax.data.summary import describe
from twotower_jax.errors import InputError, closest
from twotower_jax.report.console import (
    print_data,
    print_line,
    print_metrics,
    print_result,
)
from twotower_jax.run import run
from twotower_jax.run.inputs import check_names, load_data
from twotower_jax.run.records import RunFolder, run_folder, stored_config
from twotower_jax.run.reproduce import differences, evaluate_run
from twotower_jax.study.description import Description
from twotower_jax.sweeps.fused import shared_console, train
from twotower_jax.sweeps.jobs import (
    FAILURES,
    Failed,
    Finished,
    check_mode,
    claim,
    clear,
    failed,
    finished,
    report_error,
    to_config,
    write_reports,
)
from twotower_jax.sweeps.launcher import command_line, keep_command
from twotower_jax.training.loop import NonFiniteLossError

CONF = "twotower_jax.conf"
ConfigStore.instance().store(name="schema", node=Config)
# Dictionaries whose names the user chooses; Hydra adds to them by ++ only.
OPEN_KEYS = ("data.query_features", "data.candidate_features", "hydra.sweeper.tune=")


def main(arguments: list[str] | None = None) -> None:
    """Run a command line and exit with its status."""
    arguments = sys.argv[1:] if arguments is None else arguments
    try:
        status = _command(arguments)
    except (HydraException, OmegaConfBaseException) as error:
        status = report_error(InputError(_explain(error)))
    except (InputError, NonFiniteLossError) as error:
        status = report_error(error)
    except OSError as error:
        where, why = error.filename or "a file", error.strerror or error
        remedy = "see that it may be read and written, or give another place"
        error = InputError(f"{where}: {why}; {remedy} (data.path=, output=, --out)")
        status = report_error(error)
    except KeyboardInterrupt:
        status = 130
    sys.exit(status)


def _command(arguments: list[str]) -> int:
    if arguments[:1] == ["train"]:
        return _train(arguments[1:])
    options = _parser().parse_args(arguments)
    return options.function(options)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="twotower",
        description="Which samples should a two-tower model learn from?",
    )
    commands = parser.add_subparsers(required=True, metavar="command")
    commands.add_parser(
        "train",
        help="train and evaluate; overrides as key=value, -m sweeps, --help lists keys",
    )
    for name, function, text in (
        ("report", _report, "compare the runs of a folder: report.html and tables"),
        ("evaluate", _evaluate, "compute a finished run's metrics from its checkpoint"),
        ("reproduce", _reproduce, "run the same configuration again and compare"),
    ):
        command = commands.add_parser(name, help=text)
        command.set_defaults(function=function)
        if name == "report":
            _add_report_options(command)
        else:
            command.add_argument("folder", type=Path)
    data = commands.add_parser("data", help="list sources, or check a data set")
    actions = data.add_subparsers(required=True, metavar="action")
    actions.add_parser("list", help="the sources").set_defaults(function=_data_list)
    check = actions.add_parser("check", help="read, validate, split and count")
    check.add_argument("overrides", nargs="*", metavar="key=value")
    check.set_defaults(function=_data_check)
    fetch = actions.add_parser("fetch", help="public data sets: list, show, fetch")
    fetch.add_argument("name", nargs="?", help="none: list them")
    fetch.add_argument("--out", type=Path, default=Path("data"), metavar="DIR")
    fetch.add_argument("--yes", action="store_true", help="fetch; else only show")
    fetch.add_argument("--address", action="append", default=[], metavar="URL")
    fetch.add_argument("--sha256", action="append", default=[], metavar="SUM")
    fetch.set_defaults(function=_data_fetch)
    return parser


def _add_report_options(command: argparse.ArgumentParser) -> None:
    folders = "sweeps to report together"
    command.add_argument("folder", type=Path, nargs="+", help=folders)
    out = "where to write; the first folder by default"
    command.add_argument("--out", type=Path, metavar="DIR", help=out)
    for name, metavar, text in (
        ("question", "TEXT", "what the study is to answer"),
        ("source", "TEXT", "where the question comes from"),
        ("metric", "NAME", "order by this metric and compare it first"),
        ("base", "ARM", "compare to this arm"),
    ):
        command.add_argument(f"--{name}", metavar=metavar, help=text)


def _explain(error: Exception) -> str:
    """Return the message of a configuration error, with the nearest known key."""
    key = getattr(error, "full_key", None)
    if isinstance(error, MissingConfigException):
        found = str(error).split("Config search path")[0]
        found = " ".join(found.replace("In 'config': ", "").split())
        plugin = "hydra/launcher/" in found or "hydra/sweeper/" in found
        extra = "; others: pip install -c constraints.txt -e '.[sweep]'"
        return found + (extra if plugin else "")
    text = str(error).splitlines()[0]
    cause = error.__cause__
    while cause is not None:
        key = key or getattr(cause, "full_key", None)
        text = f"{text}: {str(cause).splitlines()[0]}"
        cause = cause.__cause__
    key = key and key.split("[")[0]
    if key and key not in known_keys():
        near = closest(key, known_keys())
        return f"unknown key {key}; {near or 'twotower train --help lists all keys'}"
    if key:
        text = f"{key}: {text}"
    return f"{text} (twotower train --help lists keys and groups)"


# --- train ---------------------------------------------------------------------------


def _train(overrides: list[str]) -> int:
    """Hand the command line to Hydra; its own errors reach us as exceptions."""
    os.environ["HYDRA_FULL_ERROR"] = "1"
    clear()
    before, sys.argv = sys.argv, ["twotower", *_open(overrides)]
    keep_command()
    try:
        _hydra_train()
    except ValueError as error:
        if "Config group override" not in str(error):
            raise
        words = " ".join(word for word in overrides if "null" in word)
        raise InputError(
            f"{words}: a group of the configuration takes the name of a file, not "
            "null; leave the word out, or name one (twotower train --help lists them)"
        ) from None
    finally:
        sys.argv = before
    if not FAILURES:
        return 0
    return 2 if all(isinstance(error, InputError) for error in FAILURES) else 1


@hydra.main(version_base="1.3", config_path=f"pkg://{CONF}", config_name="config")
def _hydra_train(composed: DictConfig) -> Finished | Failed:
    """Run one job; one that fails is reported, and the others of a sweep go on."""
    keep_programs()
    console = shared_console()
    try:
        check_mode()
        config = to_config(composed)
        claim(config)
        result = train(config, console=console, command=command_line())
    except Exception as error:
        return failed(error)
    if HydraConfig.get().mode == RunMode.RUN:
        print_result(console, config, result)
    else:
        # A swept word, key=a,b, reaches the job as key=a; the others as they are.
        words = HydraConfig.get().overrides.task
        given = shlex.split(command_line())
        swept = [word for word in words if word not in given]
        print_line(console, config, result, swept)
    return finished(_objective(config, result), str(run_folder(config).parent))


def _objective(config: Config, result: dict[str, Any]) -> float:
    """Return the metric that a sweeper optimises: on valid, or test without one."""
    metrics = result["metrics"]
    chosen = metrics["valid" if "valid" in metrics else "test"]
    value = chosen.get(config.training.metric)
    return float("nan") if value is None else value


def _open(overrides: list[str]) -> list[str]:
    return [f"++{word}" if word.startswith(OPEN_KEYS) else word for word in overrides]


def compose_config(overrides: list[str]) -> Config:
    """Return the configuration that ``twotower train`` makes of overrides.

    Raises:
      InputError: for a value out of range, or one that is missing.
    """
    with initialize_config_module(CONF, version_base="1.3"):
        return to_config(compose("config", overrides=_open(overrides)))


def _report(options: argparse.Namespace) -> int:
    given = Description(options.question, options.source, options.metric, options.base)
    write_reports(options.folder, given, options.out)
    return 0


def _evaluate(options: argparse.Namespace) -> int:
    config = stored_config(options.folder)
    keep_programs()
    metrics = evaluate_run(config, options.folder)
    print_metrics(Console(), metrics, list(list(metrics.values())[-1]))
    return 0


def _reproduce(options: argparse.Namespace) -> int:
    """Run the configuration in a temporary folder and compare every metric."""
    config, record = stored_config(options.folder), RunFolder(options.folder)
    if not record.is_done():
        raise InputError(
            f"{options.folder} holds no finished run; run its command again first"
        )
    before, manifest = record.read("result"), record.read("manifest")
    assert before is not None and manifest is not None
    keep_programs()
    console = Console()
    data = load_data(config).fingerprint
    if data != manifest["data_fingerprint"]:
        raise InputError(
            f"the run used data {manifest['data_fingerprint']}, the same configuration "
            f"now reads {data}; restore the files of data.path"
        )
    with tempfile.TemporaryDirectory() as place:
        again = replace(config, trackers=())
        after = run(again, folder=Path(place) / "run", console=console)
    found = differences(before, after)
    for name, old, new in found:
        console.print(f"{name}: {old} before, {new} now", highlight=False)
    if not found:
        console.print("equal: every metric has the same bits", highlight=False)
    return 1 if found else 0


def _data_list(options: argparse.Namespace) -> int:
    del options
    table = Table("data=", "what", box=None)
    for name, source in SOURCES.items():
        table.add_row(name, escape(source.description))
    Console().print(table)
    return 0


def _data_check(options: argparse.Namespace) -> int:
    config = compose_config(options.overrides)
    check_names(config)
    data = load_data(config)
    values = describe(data.log, data.split)
    values["study"] = studies(data.log, config.data.source)
    print_data(Console(), values, data.fingerprint)
    return 0


def _data_fetch(options: argparse.Namespace) -> int:
    fetch_command(
        options.name,
        options.out,
        Console(),
        yes=options.yes,
        addresses=options.address,
        sums=options.sha256,
    )
    return 0
