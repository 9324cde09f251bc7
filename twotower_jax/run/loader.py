"""The data of a run, checks that they suit it, and inputs of the towers."""

import math
import threading
from collections.abc import Callable, Hashable
from dataclasses import replace
from typing import Any, Generic, NamedTuple, TypeVar, cast

import jax
import jax.numpy as jnp
import numpy as np

from twotower_jax.config import Config
from twotower_jax.data import sources, summary
from twotower_jax.data.config import DataConfig
from twotower_jax.data.feed import Entities, Queries, feature_arrays, host_queries
from twotower_jax.data.history import History, make_history
from twotower_jax.data.log import FunnelLog, Pairs, Split
from twotower_jax.data.prepared.load import stored_split
from twotower_jax.data.split import MOVED, split
from twotower_jax.errors import InputError
from twotower_jax.model.towers import BASELINES, Baseline, baselines_for
from twotower_jax.model.towers.choice import Clicks, click_matrix
from twotower_jax.negatives import Mined
from twotower_jax.run.folder import RunFolder

Made = TypeVar("Made")


class Loaded(NamedTuple):
    """The data of a run."""

    log: FunnelLog  # all rows, with users and items as codes
    split: Split  # the positives of training, validation and test
    counts: np.ndarray  # [num_items] int64, training positives of each item
    fingerprint: str  # hex digits that identify the log and its split

    @property
    def popularity(self) -> np.ndarray:
        """Positives of each item up to the end of training: with data.since, more."""
        if self.split.before is None:
            return self.counts
        return np.bincount(self.split.known.item, minlength=self.log.num_items)


class Latest(Generic[Made]):
    """The last used results of a computation, or its errors; threads make one each."""

    def __init__(self, size: int):
        self._size, self._lock = size, threading.RLock()
        self._made: dict[Hashable, Made | InputError] = {}

    def get(self, key: Hashable, make: Callable[[], Made]) -> Made:
        """Return the result of a key, made now unless it is kept."""
        with self._lock:
            if key in self._made:
                made = self._made.pop(key)
            else:
                while len(self._made) >= self._size:
                    del self._made[next(iter(self._made))]
                try:
                    made = make()
                except InputError as error:  # the same input has the same error
                    made = error
            self._made[key] = made
        if isinstance(made, InputError):
            raise made
        return made


# --- loading --------------------------------------------------------------------------


def load_data(config: Config) -> Loaded:
    """Read the log and split it; a world is simulated once in a process."""

    def load() -> Loaded:
        return split_log(sources.load(config.data), config.data)

    if not sources.SOURCES[config.data.source].reads_files:
        return _worlds.get(config.data, load)
    data = load()
    prepared = config.data.source == "prepared"
    if prepared and config.evaluation.test and not len(data.split.test):
        raise InputError(
            f"{config.data.path} was prepared without a test part; set evaluation.test="
            "false, or prepare the data with data.test_share above 0"
        )
    return data


_worlds: Latest[Loaded] = Latest(1)


def cached_loader(
    load: Callable[[Config], Loaded] = load_data,
) -> Callable[[Config], Loaded]:
    """Return a function that loads data, and keeps the last for runs that follow."""
    kept: Latest[Loaded] = Latest(1)
    return lambda config: kept.get(repr(config.data), lambda: load(config))


def split_log(log: FunnelLog, config: DataConfig) -> Loaded:
    """Split a log that was read."""
    for key in ("test_path", "valid_path"):
        path = getattr(config, key)
        if path is not None and config.split != "given" and config.has_test:
            raise InputError(
                f"data.split={config.split} divides the rows of data.{key}={path} "
                "like all others; set data.split=given to keep them apart, or leave "
                f"data.{key} out"
            )
    if config.source == "prepared":
        parts, fingerprint = stored_split(config)
    else:
        parts = split(log, config)
        fingerprint = summary.data_fingerprint(log, parts)
    counts = np.bincount(parts.train.item, minlength=log.num_items)
    return Loaded(log, parts, counts, fingerprint)


def trains(config: Config) -> bool:
    """Return whether the towers have parameters to train, unlike a baseline."""
    return config.towers.kind not in BASELINES


def train_clicks(data: Loaded) -> Clicks:
    """Return the training positives as a matrix [users, items] of numbers of clicks."""
    return clicks_of(data, data.split.train)


def clicks_of(data: Loaded, pairs: Pairs) -> Clicks:
    """Return pairs as a matrix [users, items] of numbers of clicks."""
    shape = data.log.num_users, data.log.num_items
    return click_matrix(pairs.user, pairs.item, shape)


# --- checks ---------------------------------------------------------------------------


def check_sizes(config: Config, data: Loaded) -> None:
    """Refuse cutoffs, batches and baselines that are too large for the data."""
    num_items, largest = data.log.num_items, max(config.evaluation.k)
    if largest > num_items:
        raise InputError(
            f"evaluation.k={list(config.evaluation.k)} asks for {largest} items, but "
            f"the catalogue has {num_items}; lower evaluation.k"
        )
    positives, batch = len(data.split.train), config.training.batch_size
    if trains(config) and batch > positives:
        raise InputError(
            f"training.batch_size={batch} is more than the {positives} training "
            f"positives; set it to {positives} or less"
        )
    if (reason := oversized(config, data)) is not None:
        kind = config.towers.kind
        raise InputError(f"towers.kind={kind}: {reason}, or leave this arm out")
    hard = config.negatives.hard
    if hard.num and isinstance(hard, Mined) and hard.mined.range_max > num_items:
        raise InputError(
            f"negatives.hard.mined.range_max={hard.mined.range_max} is beyond the "
            f"catalogue of {num_items} items; lower it"
        )
    validates = len(data.split.valid) or data.split.report.get(MOVED)
    if config.training.patience and not validates:
        raise InputError(
            f"training.patience={config.training.patience} needs a validation set, "
            f"but data.split={config.data.split} with data.valid_share="
            f"{config.data.valid_share} leaves none; set training.patience=0"
        )


def oversized(config: Config, data: Loaded) -> str | None:
    """Return why a baseline does not suit the data, None for other runs."""
    kind = config.towers.kind
    if kind not in BASELINES:
        return None
    if kind not in baselines_for(config.data.mask_seen):
        return (
            f"towers.kind={kind} recommends items that the user clicked before, which "
            "data.mask_seen=true leaves out; set data.repeats=all to count them"
        )
    return excess_of(config, kind, train_clicks(data))


def baseline_of(config: Config, kind: str) -> tuple[Baseline, Any]:
    """Return a baseline, the run's own or one beside it, and its numbers or None."""
    own, numbers = config.towers, getattr(config.baseline, kind, None)
    if isinstance(own, Baseline) and own.kind == kind:
        return own, numbers
    return BASELINES[kind](), numbers


def excess_of(config: Config, kind: str, clicks: Clicks) -> str | None:
    """Return the limit that the fit of a baseline would exceed, None within it."""
    baseline, numbers = baseline_of(config, kind)
    return baseline.excess(clicks, numbers)


def check_times(config: Config, data: Loaded) -> None:
    """Refuse choices that read the times of the log where it has none."""
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


def check_same_data(
    record: RunFolder, data: Loaded, part: Loaded | None = None
) -> None:
    """Refuse a run of other data or weights, or of other lists in the ``part``."""
    if not (before := record.read("manifest")):
        return
    lists = None if part is None else summary.lists_fingerprint(part.split)
    if before.get("weights_fingerprint") != summary.weights_fingerprint(data.split):
        change = "with other values in the column of positives.weight: the files have"
    elif before["data_fingerprint"] != data.fingerprint:
        change = (
            f"on data {before['data_fingerprint']}, but the same configuration now "
            f"reads data {data.fingerprint}: the files have"
        )
    elif part is not None and before.get("lists_fingerprint") != lists:
        change = "with other positives from positives.lists.path: the file has"
    else:
        return
    raise InputError(
        f"{record.path} holds a run {change} changed; set name= to keep both, or move "
        "that folder away"
    )


# --- inputs of the towers -------------------------------------------------------------


def as_arrays(config: Config, tree: Any) -> Any:
    """Return arrays on the device of the run, or on the host for a mesh."""

    def of_jax_type(values: Any) -> np.ndarray:
        values = np.asarray(values)
        return values.astype(jax.dtypes.canonicalize_dtype(values.dtype), copy=False)

    # No device of a mesh holds a whole array beside its part.
    single = math.prod(config.training.mesh_shape) == 1
    return jax.tree.map(jnp.asarray if single else of_jax_type, tree)


def number(value: float, kind: type = np.float32) -> jax.Array:
    """Return a number as an array [], which needs no program of its own."""
    return jnp.asarray(np.asarray(value, kind))


def queries_of(config: Config, user: np.ndarray, history: History | None) -> Queries:
    """Return queries of users [n] and of the past items that each may see."""
    return as_arrays(config, host_queries(np.asarray(user, np.int32), history))


def make_entities(config: Config, data: Loaded, history: History | None) -> Entities:
    """Return the features and histories that the towers read."""
    towers, of_items, items = config.towers, config.towers.candidate, None
    if history is not None:
        of_items, items = (*of_items, *towers.history_features), history.items
    query = feature_arrays(data.log.user_features, towers.query)
    candidate = feature_arrays(data.log.item_features, of_items)
    return as_arrays(config, Entities(query, candidate, cast(Any, items)))


def query_history(
    config: Config, events: Pairs, users: np.ndarray, times: np.ndarray | None
) -> History | None:
    """Return past items of users, before moments if given; None if no tower reads."""
    reads = "history" in config.towers.query
    return make_history(events, users, times) if reads else None


# --- features of the towers that the configuration leaves to the data -----------------

# With fewer training positives per user, a history is mostly empty.
MIN_HISTORY = 2.0
# With fewer, an id is seen too rarely to add to the history, and is learned by heart.
MIN_ID = 10.0


def choose_features(config: Config, data: Loaded) -> Config:
    """The configuration with the features of both towers named."""
    towers = config.towers
    query = towers.query or query_features(data, towers.history_length)
    if towers.history_pooling == "transformer" and "history" not in query:
        query = (*query, "history")
    candidate = towers.candidate or ("id", *sorted(data.log.item_features))
    if (query, candidate) == (towers.query, towers.candidate):
        return config
    return replace(config, towers=replace(towers, query=query, candidate=candidate))


def query_features(data: Loaded, history_length: int) -> tuple[str, ...]:
    """Names of the features of queries: of users, the history, and the id."""
    train, described = data.split.train, tuple(sorted(data.log.user_features))
    mean = len(train) / max(1, len(np.unique(train.user)))
    if described and mean < MIN_HISTORY:
        return described
    # A row with a time is trained on earlier positives, another one on all the others.
    enough = MIN_ID if train.time is not None else history_length
    return (*(["id"] if mean >= enough else []), "history", *described)
