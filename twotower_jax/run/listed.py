"""Positives from the lists of another model, beside the clicks."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl

from twotower_jax.config import Config
from twotower_jax.data.encode import codes_of
from twotower_jax.data.log import FunnelLog, Pairs
from twotower_jax.data.parse import text_to_ids, to_ids, to_rank
from twotower_jax.data.sources.files import need_file, read_table
from twotower_jax.data.summary import lists_fingerprint
from twotower_jax.errors import InputError
from twotower_jax.run.inputs import Loaded, trains
from twotower_jax.run.records import RunFolder
from twotower_jax.run.tower_features import choose_features
from twotower_jax.training.hard_sources import HARD_SOURCES

KEY = "positives.lists.path"
LISTED = f"positives from {KEY}"
UNKNOWN = f"items or users of {KEY} that the log does not have"
CLICKED = f"items of {KEY} that their users clicked in training"


def with_lists(config: Config, data: Loaded) -> Loaded:
    """Data whose training positives are joined by the listed items of users.

    A listed item is a positive of its user with the weight ``positives.lists.weight``
    times the mean weight of a click. It is a row of the epoch like a click, and counts
    in the frequencies of items by which positives are resampled, negatives drawn and
    log q taken. Rankings do not leave it out as an item that the user has clicked, and
    baselines are not fitted on it. Data that hold listed positives are returned as they
    are.

    Args:
      config: the run.
      data: its data.

    Returns:
      The data; the same without lists, and for baselines.

    Raises:
      InputError: a table that cannot be read or holds nothing new, or a choice that
        needs the moment or the request of a positive, which a listed item has not.

    References:
      Tang & Wang, Ranking distillation, KDD 2018: the first items of a teacher's lists
      as positives of a smaller model.
    """
    lists, parts = config.positives.lists, data.split
    if lists.path is None or parts.listed or not trains(config):
        return data
    _check(config, data)
    user, item, report = _pairs(config, data)
    clicks = np.ones(len(parts.train))
    if config.positives.weight is not None and parts.train.weight is not None:
        clicks = parts.train.weight
    weight = np.full(len(user), lists.weight * clicks.mean())
    train = Pairs(
        np.concatenate([parts.train.user, user]),
        np.concatenate([parts.train.item, item]),
        weight=np.concatenate([clicks, weight]),
    )
    split = replace(parts, train=train, listed=len(user), report=report | parts.report)
    counts = np.bincount(train.item, minlength=data.log.num_items)
    return data._replace(split=split, counts=counts)


def fingerprint_of_lists(config: Config, data: Loaded) -> str | None:
    """Hash of the positives that lists add to the data of a run; None without any.

    Args:
      config: the run.
      data: its data.
    """
    return lists_fingerprint(with_lists(config, data).split)


def check_same_lists(record: RunFolder, part: Loaded) -> None:
    """Refuse to resume, or return, a run whose positives are of other lists.

    Args:
      record: the run's folder.
      part: the data that its configuration reads now, with the positives of lists.

    Raises:
      InputError: where their fingerprints differ.
    """
    before, now = record.read("manifest"), lists_fingerprint(part.split)
    if before and before.get("lists_fingerprint") != now:
        raise InputError(
            f"{record.path} holds a run with other positives from positives.lists.path:"
            " the file has changed; set name= to keep both, or move that folder away"
        )


def _check(config: Config, data: Loaded) -> None:
    """Refuse choices that read the moment, the request or the row of each click."""
    negatives, training = config.negatives, config.training
    hard = negatives.hard
    of_log = hard.num and HARD_SOURCES[hard.source].of_log
    query = choose_features(config, data).towers.query
    refused = [
        ("data.source=prepared", "read its files", config.data.source == "prepared"),
        (f"towers.query=[{','.join(query)}]", "set it to [id]", "history" in query),
        (
            f"training.order={training.order}",
            "set it to shuffled",
            training.order != "shuffled",
        ),
        ("negatives.available=true", "set it to false", negatives.available),
        (f"negatives.hard.source={hard.source}", "set negatives.hard.num=0", of_log),
    ]
    for word, remedy, is_so in refused:
        if is_so:
            raise InputError(
                f"{KEY}={config.positives.lists.path} adds positives without a moment "
                f"and a request, which {word} does not take; {remedy}, or leave the "
                "lists out"
            )


def _pairs(
    config: Config, data: Loaded
) -> tuple[np.ndarray, np.ndarray, dict[str, int]]:
    """Return the users [n] and items [n] of new pairs, int32, and counts of rows."""
    path = need_file(config.positives.lists.path, KEY)
    table = _first_ranks(path, config.positives.lists.length)
    user, item = (_codes(table, name, data.log, path) for name in ("user", "item"))
    known = (user >= 0) & (item >= 0)
    pair = user[known].astype(np.int64) * data.log.num_items + item[known]
    train = data.split.train
    clicks = train.user.astype(np.int64) * data.log.num_items + train.item
    new = np.setdiff1d(pair, clicks)  # sorted, each once
    if not len(new):
        raise InputError(
            f"{KEY}={str(path)!r} has no pair of a user and an item of the log that is "
            f"not clicked in training, among {len(table):,} rows; give lists of this "
            f"log, or leave {KEY} out"
        )
    report = {
        LISTED: len(new),
        UNKNOWN: int((~known).sum()),
        CLICKED: len(np.unique(pair)) - len(new),
    }
    user, item = np.divmod(new, data.log.num_items)
    return user.astype(np.int32), item.astype(np.int32), report


def _first_ranks(path: Path, length: int) -> pl.DataFrame:
    """Return the rows of the first ranks of each user, or its first rows."""
    table = read_table(path)
    if missing := {"user", "item"} - set(table.columns):
        raise InputError(
            f"{KEY}={str(path)!r} has no column {min(missing)!r}; its columns are: "
            f"{', '.join(table.columns)}; rename them to user, item and, if there are "
            "ranks, rank"
        )
    # An exported list without a user is that of users outside the log.
    table = table.filter(pl.col("user").is_not_null())
    if "rank" in table.columns:
        rank = to_rank(table["rank"], str(path), "rank")
        return table.filter(rank <= length)
    place = pl.int_range(pl.len()).over("user")
    return table.filter(place < length)


def _codes(table: pl.DataFrame, name: str, log: FunnelLog, path: Path) -> np.ndarray:
    """Return the codes [n] int32 of a column of ids; -1 for one not in the log."""
    vocabulary = log.user_ids if name == "user" else log.item_ids
    ids = text_to_ids(to_ids(table[name], str(path), name))
    if not (ids.dtype.is_integer() and vocabulary.dtype.is_integer()):
        ids, vocabulary = ids.cast(pl.String), vocabulary.cast(pl.String)
    return codes_of(ids, vocabulary)
