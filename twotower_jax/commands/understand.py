"""A log of unknown layout as it is understood: guessed, read, and split."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from twotower_jax.errors import InputError

if TYPE_CHECKING:
    from twotower_jax.config import Config
    from twotower_jax.data.guess.log import Guess
    from twotower_jax.data.log import FunnelLog
    from twotower_jax.model.towers.choice import Clicks
    from twotower_jax.report.log_check import Checked

# Keys that have a meaning beside a column only.
FOLLOWS = {
    "rating": "min_rating",
    "clicked": "clicked_values",
    "time": "time_format",
}


def composed(words: Sequence[str]) -> "Config":
    """Return the configuration of overrides, its names checked."""
    from twotower_jax.sweeps.compose import compose_config
    from twotower_jax.sweeps.wrong_words import explained

    with explained(words):
        config = compose_config(words)
    from twotower_jax.run.checks import check_names

    check_names(config)
    return config


def understand(
    path: Path, sides: dict[str, Path], overrides: list[str], search: list[str]
) -> tuple["Checked", list[str]]:
    """Return a log of unknown layout as it is understood, and the overrides for it."""
    from twotower_jax.data import sources
    from twotower_jax.report.log_check import Checked, train_overrides

    given = _given(overrides)
    guess = _guess(path, sides, given)
    words = _words(guess, given)
    config = composed([*search, *words, *overrides])
    log = sources.load(config.data)
    splits, method, why = _splits(log, config, given)
    if method != config.data.split:
        words.append(f"data.split={method}")
    words += overrides
    config = composed([*search, *words])
    coverage = {side: _coverage(side, config, log) for side in sides}
    fits = baselines(_train_clicks(log, config), config)
    checked = Checked(guess, config, log, splits, why, coverage, fits, time.time())
    return checked, [*words, *_own_words(train_overrides(checked), given)]


def baselines(clicks: "Clicks", config: "Config") -> dict[str, str]:
    """Return by baseline its override, or the limit that training clicks exceed."""
    from twotower_jax.model.towers import baselines_for
    from twotower_jax.run.loader import excess_of

    reasons = {
        kind: excess_of(config, kind, clicks)
        for kind in baselines_for(config.data.mask_seen)
    }
    return {
        kind: f"yes: arms=baseline/{kind}" if reason is None else f"no: {reason}"
        for kind, reason in reasons.items()
    }


def _train_clicks(log: "FunnelLog", config: "Config") -> "Clicks":
    """Return the training positives of a log as a matrix [users, items]."""
    from twotower_jax.data.split import split
    from twotower_jax.model.towers.choice import click_matrix

    train = split(log, config.data).train
    return click_matrix(train.user, train.item, (log.num_users, log.num_items))


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
