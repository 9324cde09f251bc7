"""The positives that a sequence tower trains on, and the histories of all towers."""

from dataclasses import replace

import numpy as np

from twotower_jax.config import Config
from twotower_jax.data.history import History
from twotower_jax.data.log import Pairs, Split
from twotower_jax.data.mapped import release
from twotower_jax.data.prepared.arrays import PAIRS
from twotower_jax.data.prepared.histories import load_histories
from twotower_jax.data.prepared.load import checked_folder
from twotower_jax.data.user_sequences import make_sequences, places_of_users
from twotower_jax.errors import InputError
from twotower_jax.run.inputs import Loaded, query_history, trains
from twotower_jax.run.listed import with_lists

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


def check_lengths(config: Config, data: Loaded, part: Loaded) -> None:
    """Refuse sequences longer than the tower takes, unless they are to be cut.

    Args:
      config: the run.
      data: its data.
      part: of `trained_part`.

    Raises:
      InputError: naming the keys, the longest sequence and what a cut leaves out.
    """
    older = part.split.report.get(OLDER, 0)
    if not older or config.towers.sequence.longer == "newest":
        return
    length = config.towers.history_length
    clicks = np.zeros(data.log.num_users, int)
    for some in _known_parts(data.split):
        clicks += np.bincount(some.user, minlength=len(clicks))
    raise InputError(
        f"towers.history_length={length} is too short for the training sequences of "
        f"{(clicks > length + 1).sum():,} users, the longest of which has "
        f"{clicks.max():,} positives; towers.sequence.longer=newest leaves "
        f"{older:,} positives out, all but the newest {length + 1} of each user, and "
        f"towers.history_length={clicks.max() - 1} takes all"
    )


def trained_part(config: Config, data: Loaded) -> Loaded:
    """Data whose training positives are those of the rows that are trained on.

    For a sequence tower they are the newest ``towers.history_length`` positives of each
    user but its first one; the others stay in histories and masks. For other towers
    they are all, and those of lists (`with_lists`). Of its own result it returns the
    same.

    Args:
      config: the run.
      data: its data.

    Returns:
      The data; the same for other towers without lists.

    Raises:
      InputError: where the log has no order, or no user two positives, or the lists
        do not suit it.
    """
    data = with_lists(config, data)
    if not reads_sequences(config):
        return data
    check_order(config, data)
    kept, report = _predicted(config, data)
    if not kept.any():
        raise InputError(
            "towers.history_pooling=transformer predicts the second and later positives"
            " of a user, and no user has two to train on; use towers=default"
        )
    parts = data.split
    left = _take(parts.train, ~kept)
    split = replace(
        parts,
        train=_take(parts.train, kept),
        before=left if parts.before is None else parts.before.join(left),
        report=report | parts.report,
    )
    counts = np.bincount(split.train.item, minlength=data.log.num_items)
    return data._replace(split=split, counts=counts)


def _predicted(config: Config, data: Loaded) -> tuple[np.ndarray, dict[str, int]]:
    """Return which training positives are predicted, and the number of the others."""
    parts = _known_parts(data.split)
    kept = np.empty(sum(map(len, parts)), bool)
    firsts = older = 0
    for some in places_of_users(parts, data.log.num_users):
        first = some.place == some.begin
        old = ~first & (some.end - 1 - some.place >= config.towers.history_length)
        firsts, older = firsts + int(first.sum()), older + int(old.sum())
        kept[some.rows] = ~(first | old)
    train = kept[len(kept) - len(data.split.train) :]
    return train, {FIRST: firsts, OLDER: older}


def _known_parts(split: Split) -> tuple[Pairs, ...]:
    """Return the positives up to the end of training, the last part to train on."""
    return (split.train,) if split.before is None else (split.before, split.train)


def _take(pairs: Pairs, rows: np.ndarray) -> Pairs:
    """Return some rows of pairs."""
    found = {}
    for name in PAIRS:
        if (column := getattr(pairs, name)) is not None:
            found[name] = column[rows]
            release(column)
    return Pairs(**found)


def train_history(config: Config, data: Loaded) -> History | None:
    """Return what each training positive sees, None where no tower reads histories.

    Args:
      config: the run.
      data: its data, of `trained_part`.
    """
    split, train = data.split, data.split.train
    if reads_sequences(config):
        length, number = config.towers.history_length, data.log.num_users
        return make_sequences(_known_parts(split), length, number)
    if as_prepared(config) and "history" in config.towers.query:
        stored = load_histories(checked_folder(config.data))
        if stored is not None:
            return stored
    return query_history(config, split.known, train.user, train.time)
