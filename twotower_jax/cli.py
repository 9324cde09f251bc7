"""The commands. The only module (with study/launcher.py) that imports Hydra.

Exit status: 0 done, 1 failed run, 2 wrong input, 128 + signal when told to stop.
"""

import argparse
import os
import shlex
import sys
import tempfile
import traceback
from pathlib import Path
from typing import Any

import hydra
from hydra import compose, initialize_config_module
from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException, MissingConfigException
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from twotower_jax.config import Config, known_keys
from twotower_jax.data.sources import SOURCES
from twotower_jax.data.summary import describe
from twotower_jax.errors import InputError, closest
from twotower_jax.prepare import check_names, load_data
from twotower_jax.records import RunFolder, stored_config
from twotower_jax.run import differences, evaluate_run, run
from twotower_jax.study.console import (
    print_data,
    print_line,
    print_metrics,
    print_result,
    print_study,
)
from twotower_jax.study.description import (
    Description,
    read_description,
    write_description,
)
from twotower_jax.training.loop import NonFiniteLossError

CONF = "twotower_jax.conf"
ConfigStore.instance().store(name="schema", node=Config)
# Dictionaries with names from the user's data; Hydra adds to them by ++ only.
OPEN_KEYS = ("data.query_features", "data.candidate_features")

# Of the sweep that this process runs: folders with runs, and jobs that failed.
_folders: set[Path] = set()
_failures: list[Exception] = []


def main(arguments: list[str] | None = None) -> None:
    """Run a command line and exit with its status."""
    arguments = sys.argv[1:] if arguments is None else arguments
    try:
        status = _command(arguments)
    except (HydraException, OmegaConfBaseException) as error:
        status = _report_error(InputError(_explain(error)))
    except (InputError, NonFiniteLossError) as error:
        status = _report_error(error)
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


def _report_error(error: Exception) -> int:
    """Print one message; its last line says what to do. Return the exit status."""
    print(f"error: {error}", file=sys.stderr)
    return 2 if isinstance(error, InputError) else 1


def _explain(error: Exception) -> str:
    """Return the message of a configuration error, with the nearest known key."""
    key = getattr(error, "full_key", None)
    if isinstance(error, MissingConfigException):
        found = str(error).split("Config search path")[0]
        return " ".join(found.replace("In 'config': ", "").split())
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
    _folders.clear()
    _failures.clear()
    before, sys.argv = sys.argv, ["twotower", *_open(overrides)]
    try:
        _hydra_train()
    finally:
        sys.argv = before
    if not _failures:
        return 0
    return 2 if all(isinstance(error, InputError) for error in _failures) else 1


@hydra.main(version_base="1.3", config_path=f"pkg://{CONF}", config_name="config")
def _hydra_train(composed: DictConfig) -> float:
    """Run one job; one that fails is reported, and the others of a sweep go on."""
    command = shlex.join([*sys.argv[:1], "train", *sys.argv[1:]])
    console = Console()
    try:
        config = to_config(composed)
        _folders.add(Path(config.output) / config.name)
        result = run(config, console=console, command=command)
    except Exception as error:
        _fail(error)
        return float("nan")
    if HydraConfig.get().mode == RunMode.RUN:
        print_result(console, config, result)
    else:
        # A swept word, key=a,b, reaches the job as key=a; the others as they are.
        words = HydraConfig.get().overrides.task
        swept = [word for word in words if word not in sys.argv]
        print_line(console, config, result, swept)
    return _objective(config, result)


def _fail(error: Exception) -> None:
    """Report an error now, and let it decide the exit status at the end."""
    if not isinstance(error, (InputError, NonFiniteLossError)):
        traceback.print_exc()
    _report_error(error)
    _failures.append(error)


def _objective(config: Config, result: dict[str, Any]) -> float:
    """Return the metric that a sweeper optimises: on valid, or test without one."""
    metrics = result["metrics"]
    chosen = metrics.get("valid", metrics["test"])
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


def to_config(composed: DictConfig) -> Config:
    """Return the validated configuration of a composed one.

    Raises:
      InputError: for a value out of range, or one that is missing.
    """
    missing = sorted(OmegaConf.missing_keys(composed))
    if missing:
        raise InputError(f"{missing[0]} has no value; set it: {missing[0]}=...")
    config = OmegaConf.to_object(composed)
    assert isinstance(config, Config)
    return config


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

    def on_multirun_end(self, config: DictConfig, **_: Any) -> None:
        """Make the report of every folder that the sweep has put runs into."""
        _folders.add(Path(config.output) / config.name)
        for folder in sorted(_folders):
            try:
                if folder.is_dir():
                    self._describe(folder)
                    _write_report([folder])
            except Exception as error:  # Hydra would make a warning of it
                _fail(error)

    def _describe(self, folder: Path) -> None:
        """Write study.json: a sweep may be a part of one, and say less than it."""
        asked = self.asked.or_else(read_description(folder))
        write_description(asked, folder)


def _write_report(
    folders: list[Path], given: Description | None = None, out: Path | None = None
) -> None:
    # Matplotlib takes a fifth of the start, and a single run draws nothing.
    from twotower_jax.study.load import load_study
    from twotower_jax.study.report import write_report

    out = out or folders[0]
    study = load_study(folders, given, out)
    path = write_report(study, out)
    print_study(study, Console(), path)


def _report(options: argparse.Namespace) -> int:
    given = Description(options.question, options.source, options.metric, options.base)
    _write_report(options.folder, given, options.out)
    return 0


def _evaluate(options: argparse.Namespace) -> int:
    config = stored_config(options.folder)
    metrics = evaluate_run(config, options.folder)
    print_metrics(Console(), metrics, list(metrics["test"]))
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
    console = Console()
    data = load_data(config).fingerprint
    if data != manifest["data_fingerprint"]:
        raise InputError(
            f"the run used data {manifest['data_fingerprint']}, the same configuration "
            f"now reads {data}; restore the files of data.path"
        )
    with tempfile.TemporaryDirectory() as place:
        after = run(config, folder=Path(place) / "run", console=console)
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
    print_data(Console(), describe(data.log, data.split), data.fingerprint)
    return 0
