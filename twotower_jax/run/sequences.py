"""The positives that a sequence tower trains on, and the histories of all towers."""

from dataclasses import replace

import numpy as np

from twotower_jax.config import Config
from twotower_jax.data.history import History, make_sequences, places_in_sequence
from twotower_jax.data.log import Pairs, Split
from twotower_jax.data.prepared.histories import load_histories
from twotower_jax.data.prepared.load import checked_folder
from twotower_jax.errors import InputError
from twotower_jax.run.inputs import Loaded, query_history, trains

FIRST = "first positives of users, which a sequence tower does not predict"
OLDER = "positives older than towers.history_length, which a sequence tower leaves out"


def reads_sequences(config: Config) -> bool:
    """Return whether the query tower is trained and reads sequences."""
    return config.towers.history_pooling == "transformer" and trains(config)


def as_prepared(config: Config) -> bool:
    """Return whether the training positives are those of a prepared folder.

    Those of a sequence tower are a part of them.
    """
    return config.data.source == "prepared" and not reads_sequences(config)


def end_to_end(config: Config) -> bool:
    """Return whether the rows of a batch are whole sequences, end to end.

    Resampled positives, those in the order of time and those after ``data.since`` are
    not; each of their rows has a sequence of its own.
    """
    one_by_one = (
        config.positives.strategy != "none"
        or config.training.order != "shuffled"
        or config.data.since is not None
    )
    return reads_sequences(config) and not one_by_one


def check_order(config: Config, data: Loaded) -> None:
    """Refuse sequences of a log that has no order.

    Args:
      config: the run.
      data: its data.

    Raises:
      InputError: naming the key and the remedy.
    """
    ordered = data.log.time is not None or config.data.split == "leave_last_out"
    if reads_sequences(config) and not ordered:
        raise InputError(
            "towers.history_pooling=transformer reads items in their order, but the "
            f"log has no times, and data.split={config.data.split} does not take the "
            "order of its rows for that of time; set data.columns.time, data.split="
            "leave_last_out, which does, or another towers.history_pooling"
        )


def trained_part(config: Config, data: Loaded) -> Loaded:
    """Data whose training positives are those that a sequence tower predicts.

    They are the newest ``towers.history_length`` positives of each user but its first
    one. The others stay in histories and masks. Of its own result it returns the same.

    Args:
      config: the run.
      data: its data.

    Returns:
      The data; the same for other towers.

    Raises:
      InputError: where the log has no order, or no user two positives.
    """
    if not reads_sequences(config):
        return data
    check_order(config, data)
    parts, known = data.split, data.split.known
    place = places_in_sequence(known)
    number = np.bincount(known.user, minlength=data.log.num_users)
    from_end = np.cumsum(number)[known.user] - 1 - place
    first = from_end == number[known.user] - 1
    older = ~first & (from_end >= config.towers.history_length)
    in_train = np.arange(len(known)) >= len(known) - len(parts.train)
    kept = in_train & ~first & ~older
    if not kept.any():
        raise InputError(
            "towers.history_pooling=transformer predicts the second and later positives"
            " of a user, and no user has two to train on; use towers=default"
        )
    report = {FIRST: int(first.sum()), OLDER: int(older.sum())}
    split = replace(
        parts,
        train=_take(known, kept),
        before=_take(known, ~kept),
        report=report | parts.report,
    )
    counts = np.bincount(split.train.item, minlength=data.log.num_items)
    return data._replace(split=split, counts=counts)


def _take(pairs: Pairs, rows: np.ndarray) -> Pairs:
    """Return some rows of pairs."""
    time, request, weight = (
        None if column is None else column[rows]
        for column in (pairs.time, pairs.request, pairs.weight)
    )
    return Pairs(pairs.user[rows], pairs.item[rows], time, request, weight)


def train_history(config: Config, split: Split) -> History | None:
    """Return what each training positive sees, None where no tower reads histories.

    Args:
      config: the run.
      split: of `trained_part`.
    """
    train = split.train
    if reads_sequences(config):
        return make_sequences(split.known, len(train), config.towers.history_length)
    if as_prepared(config) and "history" in config.towers.query:
        stored = load_histories(checked_folder(config.data))
        if stored is not None:
            return stored
    return query_history(config, split.known, train.user, train.time)
