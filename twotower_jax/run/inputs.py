"""The data of a run, checks of its sizes, and inputs of the towers."""

import functools
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from twotower_jax.config import Config
from twotower_jax.config.data import DataConfig
from twotower_jax.data import sources
from twotower_jax.data.feed import Entities, Queries, feature_arrays, host_queries
from twotower_jax.data.history import History, make_history
from twotower_jax.data.log import FunnelLog, Pairs, Split
from twotower_jax.data.prepared.load import stored_split
from twotower_jax.data.split import MOVED, split
from twotower_jax.data.summary import data_fingerprint, weights_fingerprint
from twotower_jax.errors import InputError
from twotower_jax.model.baselines import BASELINES, baselines_for
from twotower_jax.model.click_matrix import Clicks, click_matrix
from twotower_jax.run.records import RunFolder
from twotower_jax.training.hard_sources import HARD_SOURCES


class Loaded(NamedTuple):
    """The data of a run.

    Attributes:
      log: all rows, with users and items as codes.
      split: the positives of training, validation and test.
      counts: [num_items] int64, the number of training positives of each item.
      fingerprint: hex digits that identify the log and its split.
    """

    log: FunnelLog
    split: Split
    counts: np.ndarray
    fingerprint: str

    @property
    def popularity(self) -> np.ndarray:
        """Positives of each item up to the end of training, [num_items] int64.

        They are more than ``counts`` with ``data.since``.
        """
        if self.split.before is None:
            return self.counts
        return np.bincount(self.split.known.item, minlength=self.log.num_items)


def load_data(config: Config) -> Loaded:
    """Read the log and split it.

    A world is simulated once for all runs of a sweep; each run reads files anew.

    Raises:
      InputError: for anything wrong in the data or its description.
    """
    if not sources.SOURCES[config.data.source].reads_files:
        return _load_once(config.data)
    data = _load(config.data)
    prepared = config.data.source == "prepared"
    if prepared and config.evaluation.test and not len(data.split.test):
        raise InputError(
            f"{config.data.path} was prepared without a test part; set evaluation.test="
            "false, or prepare the data with data.test_share above 0"
        )
    return data


def _load(config: DataConfig) -> Loaded:
    return split_log(sources.load(config), config)


def split_log(log: FunnelLog, config: DataConfig) -> Loaded:
    """Split a log that was read.

    Args:
      log: the log.
      config: the section ``data``.

    Raises:
      InputError: where the log cannot be split so.
    """
    _check_test_file(config)
    if config.source == "prepared":
        parts, fingerprint = stored_split(config)
    else:
        parts = split(log, config)
        fingerprint = data_fingerprint(log, parts)
    counts = np.bincount(parts.train.item, minlength=log.num_items)
    return Loaded(log, parts, counts, fingerprint)


def _check_test_file(config: DataConfig) -> None:
    """Refuse a split that would take rows of a test file into training."""
    for key in ("test_path", "valid_path"):
        path = getattr(config, key)
        if path is not None and config.split != "given" and config.has_test:
            raise InputError(
                f"data.split={config.split} divides the rows of data.{key}={path} "
                "like all others; set data.split=given to keep them apart, or leave "
                f"data.{key} out"
            )


_load_once = functools.lru_cache(maxsize=1)(_load)


def check_sizes(config: Config, data: Loaded) -> None:
    """Refuse cutoffs and batches that are too large for the data.

    Args:
      config: the run.
      data: its data.

    Raises:
      InputError: naming the key, both numbers and the remedy.
    """
    largest = max(config.evaluation.k)
    if largest > data.log.num_items:
        raise InputError(
            f"evaluation.k={list(config.evaluation.k)} asks for {largest} items, but "
            f"the catalogue has {data.log.num_items}; lower evaluation.k"
        )
    number, batch = len(data.split.train), config.training.batch_size
    if trains(config) and batch > number:
        raise InputError(
            f"training.batch_size={batch} is more than the {number} training "
            f"positives; set it to {number} or less"
        )
    if (reason := oversized(config, data)) is not None:
        kind = config.towers.kind
        raise InputError(f"towers.kind={kind}: {reason}, or leave this arm out")
    mined, hard = config.negatives.hard.mined, config.negatives.hard
    mines = hard.num and HARD_SOURCES[hard.source].mined
    if mines and mined.range_max > data.log.num_items:
        raise InputError(
            f"negatives.hard.mined.range_max={mined.range_max} is beyond the catalogue "
            f"of {data.log.num_items} items; lower it"
        )
    validates = len(data.split.valid) or data.split.report.get(MOVED)
    if config.training.patience and not validates:
        raise InputError(
            f"training.patience={config.training.patience} needs a validation set, "
            f"but data.split={config.data.split} with data.valid_share="
            f"{config.data.valid_share} leaves none; set training.patience=0"
        )


def check_same_data(record: RunFolder, data: Loaded) -> None:
    """Refuse to resume, or return, a run of other data.

    Args:
      record: the run's folder.
      data: that its configuration reads now.

    Raises:
      InputError: where the fingerprints of the data, or of the weights, differ.
    """
    before = record.read("manifest")
    weights = weights_fingerprint(data.split)
    if before and before.get("weights_fingerprint") != weights:
        raise InputError(
            f"{record.path} holds a run with other values in the column of positives."
            "weight: the files have changed; set name= to keep both, or move that "
            "folder away"
        )
    if before and before["data_fingerprint"] != data.fingerprint:
        raise InputError(
            f"{record.path} holds a run on data {before['data_fingerprint']}, but the "
            f"same configuration now reads data {data.fingerprint}: the files have "
            "changed; set name= to keep both, or move that folder away"
        )


def oversized(config: Config, data: Loaded) -> str | None:
    """Return why a baseline does not suit the data, None for other runs.

    Args:
      config: the run.
      data: its data.
    """
    kind = config.towers.kind
    if kind not in BASELINES:
        return None
    if kind not in baselines_for(config.data.mask_seen):
        return (
            f"towers.kind={kind} recommends items that the user clicked before, which "
            "data.mask_seen=true leaves out; set data.repeats=all to count them"
        )
    return BASELINES[kind].excess(train_clicks(data), config.baseline)


def train_clicks(data: Loaded) -> Clicks:
    """Return the training positives as a matrix [users, items] of numbers of clicks."""
    train = data.split.train
    shape = data.log.num_users, data.log.num_items
    return click_matrix(train.user, train.item, shape)


def check_times(config: Config, data: Loaded) -> None:
    """Refuse choices that read the times of the log where it has none.

    Args:
      config: the run.
      data: its data.

    Raises:
      InputError: naming the key and the remedy.
    """
    if data.log.time is not None:
        return
    if config.training.order == "time":
        raise InputError(
            "training.order=time reads the positives in the order of time, but the log "
            "has no times; set data.columns.time, or training.order=shuffled"
        )
    if config.negatives.available:
        raise InputError(
            "negatives.available=true leaves out items that came after the positive, "
            "but the log has no times; set data.columns.time, or negatives.available="
            "false"
        )


def trains(config: Config) -> bool:
    """Return whether the towers have parameters to train; a baseline has none."""
    return config.towers.kind not in BASELINES


def as_arrays(config: Config, tree: Any) -> Any:
    """Return arrays of numpy on the device of the run, or on the host for a mesh.

    The devices of a mesh take their parts from the host, so that none holds a whole
    array beside its part.

    Args:
      config: the run.
      tree: arrays of numpy.
    """
    if math.prod(config.training.mesh_shape) == 1:
        return jax.tree.map(jnp.asarray, tree)
    return jax.tree.map(_of_jax_type, tree)


def number(value: float, kind: type = np.float32) -> jax.Array:
    """Return a number as an array [], which needs no program of its own.

    Args:
      value: the number.
      kind: type of numpy.

    Examples:
      >>> number(0.5)
      Array(0.5, dtype=float32)
    """
    return jnp.asarray(np.asarray(value, kind))


def _of_jax_type(values: np.ndarray) -> np.ndarray:
    """Return an array of numpy with the type that jax would give it."""
    values = np.asarray(values)
    return values.astype(jax.dtypes.canonicalize_dtype(values.dtype), copy=False)


def queries_of(config: Config, user: np.ndarray, history: History | None) -> Queries:
    """Return queries, where `as_arrays` puts them.

    Args:
      config: the run.
      user: [n] codes.
      history: spans [n] of the history that each query may see, or None.
    """
    users = np.asarray(user, np.int32)
    return as_arrays(config, host_queries(users, history))


def make_entities(config: Config, data: Loaded, history: History | None) -> Entities:
    """Return the features and histories that the towers read, by `as_arrays`.

    Args:
      config: the run.
      data: its data.
      history: past items of the queries, None where no tower reads it.
    """
    towers, of_items = config.towers, config.towers.candidate
    if history is not None:
        of_items = (*of_items, *towers.history_features)
    sides = (data.log.user_features, towers.query), (data.log.item_features, of_items)
    query, candidate = (feature_arrays(*side) for side in sides)
    items: Any = None if history is None else history.items
    return as_arrays(config, Entities(query, candidate, items))


def query_history(
    config: Config, events: Pairs, users: np.ndarray, times: np.ndarray | None
) -> History | None:
    """Return the past items of queries, None where no tower reads them.

    Args:
      config: the run.
      events: positives, in time.
      users: [queries] codes.
      times: [queries] moments before which events count; None for all events.
    """
    if "history" not in config.towers.query:
        return None
    return make_history(events, users, times)
