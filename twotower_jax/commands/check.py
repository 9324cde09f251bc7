"""``twotower data check``: of a file of unknown layout, or of a configuration."""

import argparse
import re
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.text import Text

from twotower_jax.commands.config_dir import add_config_dir, search_words
from twotower_jax.errors import InputError

if TYPE_CHECKING:
    from twotower_jax.config import Config
    from twotower_jax.data.guess.log import Guess
    from twotower_jax.data.log import FunnelLog
    from twotower_jax.model.click_matrix import Clicks
    from twotower_jax.report.log_check import Checked

OVERRIDE = re.compile(r"[+~]{0,2}[A-Za-z_][\w./@]*=.*", re.DOTALL)
SWEPT = ("arms=", "seed=", "baselines=")
# Keys that have a meaning beside a column only.
FOLLOWS = {"rating": "min_rating", "clicked": "clicked_values"}
ARMS = ("arms=uniform,in_batch,in_batch_logq", "baselines=true", "seed=0,1,2")


def add_check(parser: argparse.ArgumentParser) -> None:
    """Add the file, its tables of features and the overrides of ``check``."""
    text = (
        "a log of any layout, whose columns are guessed, and overrides such as "
        "data.columns.user=NAME; or overrides alone, such as data=movielens"
    )
    parser.add_argument("words", nargs="*", metavar="FILE key=value", help=text)
    for side in ("items", "users"):
        help_text = f"table with the features of the {side} of FILE"
        parser.add_argument(f"--{side}", type=Path, metavar="FILE", help=help_text)
    add_config_dir(parser)


def check(options: argparse.Namespace) -> int:
    """Read, validate and split a data set, and print its condition."""
    overrides = [word for word in options.words if OVERRIDE.fullmatch(word)]
    files = [word for word in options.words if not OVERRIDE.fullmatch(word)]
    sides = {"item": options.items, "user": options.users}
    sides = {side: path for side, path in sides.items() if path is not None}
    if len(files) > 1:
        raise InputError(
            f"data check reads one log, and {len(files)} files are given: "
            f"{', '.join(files)}; give tables of features by --items and --users"
        )
    if files:
        return _check_file(Path(files[0]), sides, overrides, options.config_dir)
    if sides:
        raise InputError(
            "--items and --users need the FILE of the log before them; give it, or "
            "set data.items_path and data.users_path"
        )
    return _check_overrides([*search_words(options.config_dir), *overrides])


def _composed(words: list[str]) -> "Config":
    """Return the configuration of overrides, its names checked."""
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    from twotower_jax.sweeps.compose import compose_config, explain

    try:
        config = compose_config(words)
    except (HydraException, OmegaConfBaseException) as error:
        raise explain(error) from None
    from twotower_jax.run.inputs import check_names

    check_names(config)
    return config


def _check_overrides(overrides: list[str]) -> int:
    """Print the counts of the data of a configuration."""
    config = _composed(overrides)
    from twotower_jax.data.suitability import studies
    from twotower_jax.data.summary import describe
    from twotower_jax.report.console import print_data
    from twotower_jax.run.inputs import load_data, train_clicks

    data = load_data(config)
    values = describe(data.log, data.split)
    values["study"] = studies(data.log, config.data.source)
    for kind, fits in _baselines(train_clicks(data), config).items():
        values[f"baseline: {kind}"] = fits
    print_data(Console(), values, data.fingerprint)
    return 0


def _baselines(clicks: "Clicks", config: "Config") -> dict[str, str]:
    """Return by baseline its override, or the limit that training clicks exceed."""
    from twotower_jax.model.baselines import BASELINES, baselines_for

    reasons = {
        kind: BASELINES[kind].excess(clicks, config.baseline)
        for kind in baselines_for(config.data.mask_seen)
    }
    return {
        kind: f"yes: arms=baseline/{kind}" if reason is None else f"no: {reason}"
        for kind, reason in reasons.items()
    }


def _train_clicks(log: "FunnelLog", config: "Config") -> "Clicks":
    """Return the training positives of a log as a matrix [users, items]."""
    from twotower_jax.data.split import split
    from twotower_jax.model.click_matrix import click_matrix

    train = split(log, config.data).train
    return click_matrix(train.user, train.item, (log.num_users, log.num_items))


def _check_file(
    path: Path, sides: dict[str, Path], overrides: list[str], folder: Path | None
) -> int:
    """Guess the layout of a log, read it, and print its condition."""
    from twotower_jax.data import sources
    from twotower_jax.data.guess.clock import check_unit
    from twotower_jax.report.log_check import Checked, train_overrides

    console = Console()
    given = _given(overrides)
    search = search_words(folder)
    with console.status(f"reading {path}"):
        guess = _guess(path, sides, given)
        words = _words(guess, given)
        config = _composed([*search, *words, *overrides])
        log = sources.load(config.data)
        if log.time is not None and "time" in guess.columns:
            check_unit(log.time, str(path), guess.columns["time"].name)
        splits, method, why = _splits(log, config, given)
    if method != config.data.split:
        words.append(f"data.split={method}")
    words += overrides
    config = _composed([*search, *words])
    coverage = {side: _coverage(side, config, log) for side in sides}
    baselines = _baselines(_train_clicks(log, config), config)
    checked = Checked(guess, config, log, splits, why, coverage, baselines, time.time())
    words += _own_words(train_overrides(checked), given)
    start = ["--config-dir", str(folder)] if folder is not None else []
    _print(console, path, checked, [*start, *words])
    return 0


def _guess(path: Path, sides: dict[str, Path], given: dict[str, str]) -> "Guess":
    """Return the guess about a log beside the keys that the user sets."""
    from twotower_jax.data.guess.log import Guess, guess_log

    if "data" in given:
        return Guess(given["data"], {"path": str(path)}, {}, [])
    prefix = "data.columns."
    columns = {
        key.removeprefix(prefix): value
        for key, value in given.items()
        if key.startswith(prefix)
    }
    absent = [role for role, name in columns.items() if name == "null"]
    for role in absent:
        del columns[role]
    guess = guess_log(path, sides, columns, _layout(given))
    for role in absent:
        guess.columns.pop(role, None)
        if role in FOLLOWS:
            guess.keys.pop(FOLLOWS[role], None)
    return guess


def _given(overrides: list[str]) -> dict[str, str]:
    """Return the keys that the user sets, with plain values."""
    pairs = (word.lstrip("+~").split("=", 1) for word in overrides)
    return {key: value.strip("'\"") for key, value in pairs}


def _layout(given: dict[str, str]) -> Any:
    """Return the layout of a text file if the user sets a part of it, else None."""
    from twotower_jax.data.sources.layout import Layout

    names = {f"data.{name}" for name in Layout._fields}
    if not names & set(given):
        return None
    return Layout(
        given.get("data.separator"),
        given.get("data.header", "true").lower() != "false",
        given.get("data.list_separator"),
    )


def _own_words(keys: dict[str, Any], given: dict[str, str]) -> list[str]:
    """Return overrides for the keys that the user does not set."""
    from twotower_jax.sweeps.overrides import override

    return [override(key, value) for key, value in keys.items() if key not in given]


def _words(guess: "Guess", given: dict[str, str]) -> list[str]:
    """Return the overrides that read a log as it is understood."""
    keys = {f"data.{key}": value for key, value in guess.keys.items()}
    return _own_words({"data": guess.source} | keys, given)


def _splits(
    log: "FunnelLog", config: "Config", given: dict[str, str]
) -> tuple[dict, str, str]:
    """Return what each split makes of a log, the chosen one and the reason."""
    from twotower_jax.data.health import best_split, split_health

    splits = split_health(log, config.data)
    fits = bool(splits[config.data.split].sizes)
    if "data.split" not in given and config.data.source != "table" and fits:
        return splits, config.data.split, f"the default of data={config.data.source}"
    if "data.split" not in given:
        return splits, *best_split(log, splits)
    if not fits:
        raise InputError(splits[config.data.split].reason)
    return splits, config.data.split, "as given"


def _coverage(side: str, config: "Config", log: "FunnelLog") -> float:
    """Return the share of the ids of a log that its table of features has."""
    from twotower_jax.data.health import coverage
    from twotower_jax.data.sources.table import read_side

    frame, key = read_side(side, config.data)
    return coverage(getattr(log, f"{side}_ids"), frame[key])


def _print(console: Console, path: Path, checked: "Checked", words: list[str]) -> None:
    """Print the sections and the commands."""
    from twotower_jax.report.log_check import check_lines, studies_of
    from twotower_jax.sweeps.overrides import command_text

    def line(text: str, style: str = "") -> None:
        console.print(Text(text, style=style), soft_wrap=True)

    line(f"{path}, read by data={checked.config.data.source}")
    for title, rows in check_lines(checked):
        line(f"\n{title}", "bold")
        width = max(len(name) for name, _ in rows)
        for name, value in rows:
            line(f"  {name:<{width}}  {value}" if name else f"  * {value}")
    line("\nCommands", "bold")
    fixed = [word for word in words if not word.startswith(SWEPT)]
    line(command_text(["twotower", "advise", *fixed]))
    train = ["twotower", "train"]
    line(command_text([*train, *words]))
    line(command_text([*train, "-m", *fixed, *ARMS, "hydra/launcher=fused"]))
    for study in studies_of(checked.log):
        line(command_text([*train, *words, *study]))
