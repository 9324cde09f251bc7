"""From a configuration to arrays: data, split, queries and the training problem."""

import functools
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from twotower_jax.config import Config
from twotower_jax.config.data import DataConfig
from twotower_jax.data import sources
from twotower_jax.data.feed import (
    Entities,
    device_features,
)
from twotower_jax.data.history import History, make_history
from twotower_jax.data.log import FunnelLog, Pairs, Split
from twotower_jax.data.split import split
from twotower_jax.data.summary import data_fingerprint
from twotower_jax.errors import InputError, unknown
from twotower_jax.evaluation.metrics import of_scope
from twotower_jax.losses.rowwise import LOSSES
from twotower_jax.model.baselines import BASELINES
from twotower_jax.model.tower import TOWERS
from twotower_jax.sampling.positives import POSITIVES
from twotower_jax.sampling.proposals import PROPOSALS
from twotower_jax.training.optimizers import OPTIMIZERS


class Loaded(NamedTuple):
    """The data of a run.

    Attributes:
      counts: [num_items] int64 training positives of each item.
      fingerprint: names the log and its split.
    """

    log: FunnelLog
    split: Split
    counts: np.ndarray
    fingerprint: str


def load_data(config: Config) -> Loaded:
    """Read the log and split it.

    A world is simulated once for all runs of a sweep; each run reads files anew.

    Raises:
      InputError: for anything wrong in the data or its description.
    """
    if sources.SOURCES[config.data.source].reads_files:
        return _load(config.data)
    return _load_once(config.data)


def _load(config: DataConfig) -> Loaded:
    log = sources.load(config)
    parts = split(log, config)
    counts = np.bincount(parts.train.item, minlength=log.num_items)
    return Loaded(log, parts, counts, data_fingerprint(log, parts))


_load_once = functools.lru_cache(maxsize=1)(_load)


def check_names(config: Config) -> None:
    """Refuse names that no registry knows and metrics that no evaluation gives.

    Raises:
      InputError: naming the key, the value and the known names.
    """
    for key, name, known in (
        ("data.source", config.data.source, sources.SOURCES),
        ("positives.strategy", config.positives.strategy, POSITIVES),
        ("negatives.easy.sampler", config.negatives.easy.sampler, PROPOSALS),
        ("loss.name", config.loss.name, LOSSES),
        ("towers.kind", config.towers.kind, [*TOWERS, *BASELINES]),
        ("optimizer.name", config.optimizer.name, OPTIMIZERS),
    ):
        if name not in known:
            raise unknown(key, name, known)
    check_watched("training.metric", config.training.metric, config)


def check_watched(key: str, metric: str, config: Config) -> None:
    """Refuse a metric that validation does not give: no ranking metric at a cutoff."""
    watched = [n for n, m in of_scope("query").items() if m.larger_is_better]
    metrics = [f"{name}@{k}" for name in watched for k in config.evaluation.k]
    if metric not in metrics:
        raise unknown(key, metric, metrics)


def check_sizes(config: Config, data: Loaded) -> None:
    """Refuse cutoffs and batches that the data is too small for.

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
    mined, hard = config.negatives.hard.mined, config.negatives.hard
    if hard.num and hard.source == "mined" and mined.range_max > data.log.num_items:
        raise InputError(
            f"negatives.hard.mined.range_max={mined.range_max} is beyond the catalogue "
            f"of {data.log.num_items} items; lower it"
        )
    if config.training.patience and not len(data.split.valid):
        raise InputError(
            f"training.patience={config.training.patience} needs a validation set, "
            f"but data.split={config.data.split} with data.valid_share="
            f"{config.data.valid_share} leaves none; set training.patience=0"
        )


def trains(config: Config) -> bool:
    """Return whether the arm has anything to train."""
    return config.towers.kind not in BASELINES


def make_entities(config: Config, data: Loaded, history: History | None) -> Entities:
    """Put the features that the towers read on the device."""
    return Entities(
        device_features(data.log.user_features, config.towers.query),
        device_features(data.log.item_features, config.towers.candidate),
        None if history is None else jnp.asarray(history.items),
    )


def query_history(
    config: Config, events: Pairs, users: np.ndarray, times: np.ndarray | None
) -> History | None:
    """Return what queries may see of the events, None where no tower reads it."""
    if "history" not in config.towers.query:
        return None
    return make_history(events, users, times)
