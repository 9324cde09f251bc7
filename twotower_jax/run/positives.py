"""The positives that a run trains on, the histories that they see, and their order."""

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from twotower_jax.arrays.mapped import release
from twotower_jax.config import Config
from twotower_jax.data.block_order import BlockOrder
from twotower_jax.data.concentration import gini
from twotower_jax.data.encode import codes_of
from twotower_jax.data.feed import Order
from twotower_jax.data.history import History, make_sequences, places_of_users
from twotower_jax.data.log import Pairs, Split
from twotower_jax.data.parse import text_to_ids, to_ids, to_rank
from twotower_jax.data.prepared.arrays import PAIRS
from twotower_jax.data.prepared.histories import load_histories
from twotower_jax.data.prepared.load import checked_folder
from twotower_jax.data.sources.files import need_file, read_table
from twotower_jax.errors import InputError
from twotower_jax.positives import draw_epoch, item_weights
from twotower_jax.run.loader import Loaded, choose_features, query_history, trains

FIRST = "first positives of users, which a sequence tower does not predict"
OLDER = "positives older than towers.history_length, which a sequence tower leaves out"
KEY = "positives.lists.path"
LISTED = f"positives from {KEY}"
UNKNOWN = f"items or users of {KEY} that the log does not have"
CLICKED = f"items of {KEY} that their users clicked in training"


def trained_part(config: Config, data: Loaded) -> Loaded:
    """Return data whose training positives are those trained on, with those of lists.

    A sequence tower takes the newest ``towers.history_length`` of each user but its
    first one; the others stay in histories and masks.
    """
    data = with_lists(config, data)
    if not reads_sequences(config):
        return data
    if data.log.time is None and config.data.split != "leave_last_out":
        raise InputError(
            "towers.history_pooling=transformer reads items in their order, but the "
            f"log has no times, and data.split={config.data.split} does not take the "
            "order of its rows for that of time; set data.columns.time, data.split="
            "leave_last_out, which does, or another towers.history_pooling"
        )
    parts = data.split
    known = _known_parts(parts)
    rows = np.empty(sum(map(len, known)), bool)
    firsts = older = 0
    for users in places_of_users(known, data.log.num_users):
        first = users.place == users.begin
        old = ~first & (users.end - 1 - users.place >= config.towers.history_length)
        firsts, older = firsts + int(first.sum()), older + int(old.sum())
        rows[users.rows] = ~(first | old)
    kept = rows[len(rows) - len(parts.train) :]
    if not kept.any():
        raise InputError(
            "towers.history_pooling=transformer predicts the second and later positives"
            " of a user, and no user has two to train on; use towers=default"
        )
    left = _take(parts.train, ~kept)
    before = left if parts.before is None else parts.before.join(left)
    report = {FIRST: firsts, OLDER: older} | parts.report
    train = _take(parts.train, kept)
    return _with_split(data, replace(parts, train=train, before=before, report=report))


def _with_split(data: Loaded, split: Split) -> Loaded:
    counts = np.bincount(split.train.item, minlength=data.log.num_items)
    return data._replace(split=split, counts=counts)


# --- rows of sequence towers ----------------------------------------------------------


def reads_sequences(config: Config) -> bool:
    """Return whether the query tower is trained and reads sequences."""
    return config.towers.history_pooling == "transformer" and trains(config)


def as_prepared(config: Config) -> bool:
    """Return whether the training positives are all those of a prepared folder."""
    return config.data.source == "prepared" and not reads_sequences(config)


def end_to_end(config: Config) -> bool:
    """Whether the rows of a batch are whole sequences, end to end."""
    return (
        reads_sequences(config)
        and config.positives.strategy == "none"
        and config.training.order == "shuffled"
        and config.data.since is None
    )


def check_lengths(config: Config, data: Loaded, part: Loaded) -> None:
    """Refuse sequences longer than the tower takes, unless they are to be cut."""
    older = part.split.report.get(OLDER, 0)
    if not older or config.towers.sequence.longer == "newest":
        return
    length = config.towers.history_length
    clicks = np.zeros(data.log.num_users, int)
    for pairs in _known_parts(data.split):
        clicks += np.bincount(pairs.user, minlength=len(clicks))
    raise InputError(
        f"towers.history_length={length} is too short for the training sequences of "
        f"{(clicks > length + 1).sum():,} users, the longest of which has "
        f"{clicks.max():,} positives; towers.sequence.longer=newest leaves "
        f"{older:,} positives out, all but the newest {length + 1} of each user, and "
        f"towers.history_length={clicks.max() - 1} takes all"
    )


def train_history(config: Config, data: Loaded) -> History | None:
    """Return what each positive of a `trained_part` sees, None without histories."""
    split, train = data.split, data.split.train
    if reads_sequences(config):
        length, num_users = config.towers.history_length, data.log.num_users
        return make_sequences(_known_parts(split), length, num_users)
    if as_prepared(config) and "history" in config.towers.query:
        stored = load_histories(checked_folder(config.data))
        if stored is not None:
            return stored
    return query_history(config, split.known, train.user, train.time)


def _known_parts(split: Split) -> tuple[Pairs, ...]:
    return (split.train,) if split.before is None else (split.before, split.train)


def _take(pairs: Pairs, rows: np.ndarray) -> Pairs:
    columns = {}
    for name in PAIRS:
        if (column := getattr(pairs, name)) is not None:
            columns[name] = column[rows]
            release(column)
    return Pairs(**columns)


# --- lists of another model -----------------------------------------------------------


def with_lists(config: Config, data: Loaded) -> Loaded:
    """Return data with the listed items of users as positives (Tang & Wang, KDD 2018).

    Rankings do not leave them out, and baselines are not fitted on them.
    """
    lists, parts = config.positives.lists, data.split
    if lists.path is None or parts.listed or not trains(config):
        return data
    _check_lists(config, data)
    user, item, report = _listed_pairs(config, data)
    clicks = np.ones(len(parts.train))
    if config.positives.weight is not None and parts.train.weight is not None:
        clicks = parts.train.weight
    weight = np.full(len(user), lists.weight * clicks.mean())
    train = Pairs(
        np.concatenate([parts.train.user, user]),
        np.concatenate([parts.train.item, item]),
        weight=np.concatenate([clicks, weight]),
    )
    report |= parts.report
    return _with_split(
        data, replace(parts, train=train, listed=len(user), report=report)
    )


def _check_lists(config: Config, data: Loaded) -> None:
    """Refuse choices that read the moment, request or row of each click."""
    negatives, training = config.negatives, config.training
    hard = negatives.hard
    of_log = hard.num and hard.of_log
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
        (f"negatives/hard={hard.source}", "set negatives.hard.num=0", of_log),
    ]
    for word, remedy, is_so in refused:
        if is_so:
            raise InputError(
                f"{KEY}={config.positives.lists.path} adds positives without a moment "
                f"and a request, which {word} does not take; {remedy}, or leave the "
                "lists out"
            )


def _listed_pairs(
    config: Config, data: Loaded
) -> tuple[np.ndarray, np.ndarray, dict[str, int]]:
    """Return the users [n] and items [n] of new pairs, int32, and counts of rows."""
    path, num_items = need_file(config.positives.lists.path, KEY), data.log.num_items
    table = _first_ranks(path, config.positives.lists.length)

    def codes(name: str, vocabulary: pl.Series) -> np.ndarray:
        ids = text_to_ids(to_ids(table[name], str(path), name))
        if not (ids.dtype.is_integer() and vocabulary.dtype.is_integer()):
            ids, vocabulary = ids.cast(pl.String), vocabulary.cast(pl.String)
        return codes_of(ids, vocabulary)

    user, item = codes("user", data.log.user_ids), codes("item", data.log.item_ids)
    known = (user >= 0) & (item >= 0)
    pair = user[known].astype(np.int64) * num_items + item[known]
    train = data.split.train
    clicks = train.user.astype(np.int64) * num_items + train.item
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
    user, item = np.divmod(new, num_items)
    return user.astype(np.int32), item.astype(np.int32), report


def _first_ranks(path: Path, length: int) -> pl.DataFrame:
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
        return table.filter(to_rank(table["rank"], str(path), "rank") <= length)
    return table.filter(pl.int_range(pl.len()).over("user") < length)


# --- resampling and order -------------------------------------------------------------


def positive_weights(config: Config, counts: np.ndarray) -> np.ndarray:
    """Return the copies w_i [num_items] per epoch of each of ``counts`` positives."""
    positives = config.positives
    weights = item_weights(positives, counts)
    expected, batch = (counts * weights).sum(), config.training.batch_size
    if expected < batch:
        raise InputError(
            f"positives.strategy={positives.strategy} leaves {expected:.0f} of "
            f"{counts.sum()} positives per epoch, fewer than training.batch_size="
            f"{batch}; lower the batch size, or resample less"
        )
    return weights


def make_order(
    config: Config, data: Loaded, weights: np.ndarray, sequences: History | None = None
) -> Order:
    """Return the order in which positives are read, resampled each epoch."""
    train, draw, strategy = data.split.train, None, config.positives.strategy
    batch = config.training.batch_size
    if config.training.order == "blocks":
        if strategy != "none":
            raise InputError(
                "training.order=blocks reads every positive once, and positives."
                f"strategy={strategy} draws them anew each epoch; set positives=none, "
                "or training.order=shuffled"
            )
        return BlockOrder(config.seed, len(train), batch)
    if strategy != "none":
        draw = partial(draw_epoch, config.positives, train.item, data.counts, weights)
    time = train.time if config.training.order == "time" else None
    return Order(config.seed, len(train), batch, draw, time, sequences)


def resampling_report(counts: np.ndarray, weights: np.ndarray) -> dict[str, float]:
    """Concentration by item of the counts c_i of positives, and of c_i w_i resampled.

    "effective items" are 1 / sum q_i^2 of the shares q_i, "effective samples" are
    (sum c w)^2 / sum c w^2 (Kish, Survey Sampling, 1965).
    """
    counts, weights = np.asarray(counts, np.float64), np.asarray(weights, np.float64)
    report: dict[str, Any] = {}
    for when, number in (("before", counts), ("after", counts * weights)):
        number = np.sort(number)
        items, total = len(number), number.sum()
        report[f"samples {when}"] = total
        top = number[items - (items + 99) // 100 :].sum()
        report[f"top 1% share {when}"] = top / total
        report[f"gini {when}"] = gini(number)
        report[f"effective items {when}"] = total**2 / (number @ number)
    report["effective samples"] = (counts @ weights) ** 2 / (counts @ weights**2)
    return {key: float(value) for key, value in report.items()}
