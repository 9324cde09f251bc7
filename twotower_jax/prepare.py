"""From a configuration to arrays: data, split, queries and the training problem."""

import math
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from twotower_jax.config import Config
from twotower_jax.data import sources
from twotower_jax.data.features import History, make_history
from twotower_jax.data.feed import (
    Entities,
    Order,
    Queries,
    TrainData,
    device_features,
    make_queries,
)
from twotower_jax.data.log import FunnelLog, Pairs, Split
from twotower_jax.data.split import split
from twotower_jax.data.summary import fingerprint
from twotower_jax.errors import InputError, unknown
from twotower_jax.evaluation.metrics import METRICS
from twotower_jax.losses import LOSSES, WHOLE_CATALOGUE
from twotower_jax.optim import OPTIMIZERS, OptimizerNumbers
from twotower_jax.sampling.columns import merged_size
from twotower_jax.sampling.mixture import log_frequency
from twotower_jax.sampling.proposals import PROPOSALS, make_proposal
from twotower_jax.training.loop import Problem, Schedule
from twotower_jax.training.model import Model, make_model
from twotower_jax.training.step import Hyper, Structure

TOWERS = ("two_tower", "popularity")
POSITIVES = ("none",)


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

    Raises:
      InputError: for anything wrong in the data or its description.
    """
    log = sources.load(config.data)
    parts = split(log, config.data)
    counts = np.bincount(parts.train.item, minlength=log.num_items)
    return Loaded(log, parts, counts, fingerprint(log, parts))


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
        ("towers.kind", config.towers.kind, TOWERS),
        ("optimizer.name", config.optimizer.name, OPTIMIZERS),
    ):
        if name not in known:
            raise unknown(key, name, known)
    metrics = [f"{name}@{k}" for name in METRICS for k in config.evaluation.k]
    if config.training.metric not in metrics:
        raise unknown("training.metric", config.training.metric, metrics)


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
    if config.training.patience and not len(data.split.valid):
        raise InputError(
            f"training.patience={config.training.patience} needs a validation set, "
            f"but data.split={config.data.split} with data.valid_share="
            f"{config.data.valid_share} leaves none; set training.patience=0"
        )


def trains(config: Config) -> bool:
    """Return whether the arm has anything to train."""
    return config.towers.kind != "popularity"


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


def make_problem(config: Config, data: Loaded) -> Problem:
    """Return what is trained: structure, numbers, data and order.

    Raises:
      InputError: when a tower names a feature that the data does not have.
    """
    train = data.split.train
    model = make_model(config.towers, data.log)
    history = query_history(config, train, train.user, train.time)
    queries: Queries = make_queries(train.user, history)
    entities = make_entities(config, data, history)
    batch = config.training.batch_size
    return Problem(
        structure=_structure(config, data, model),
        hyper=_hyper(config, data),
        data=TrainData(queries, jnp.asarray(train.item, jnp.int32), entities),
        order=Order(config.seed, len(train), batch),
        init_scale=config.towers.init_scale,
    )


def _structure(config: Config, data: Loaded, model: Model) -> Structure:
    negatives, full = config.negatives, config.loss.name in WHOLE_CATALOGUE
    easy = 0 if full else negatives.easy.num
    merges = config.training.merge_columns and negatives.in_batch and not full
    return Structure(
        model=model,
        loss=config.loss.name,
        in_batch=negatives.in_batch,
        easy_num=easy,
        mask=negatives.mask,
        correct=config.loss.logq.correct,
        optimizer=config.optimizer.name,
        learn_temperature=config.loss.learn_temperature,
        merged_size=(
            merged_size(data.counts, config.training.batch_size, easy) if merges else 0
        ),
        num_items=data.log.num_items,
    )


def _hyper(config: Config, data: Loaded) -> Hyper:
    easy, chosen = config.negatives.easy, config.optimizer
    numbers = {
        name: jnp.float32(getattr(chosen, name)) for name in OptimizerNumbers._fields
    }
    return Hyper(
        seed=jnp.uint32(config.seed),
        log_temperature=jnp.float32(math.log(config.loss.temperature)),
        log_q_batch=jnp.asarray(log_frequency(data.counts)),
        easy=make_proposal(
            easy.sampler, data.counts, alpha=easy.alpha, smoothing=easy.smoothing
        ),
        optimizer=OptimizerNumbers(**numbers),
        decay_steps=jnp.float32(make_schedule(config, data).steps * chosen.decay),
    )


def make_schedule(config: Config, data: Loaded) -> Schedule:
    """Return the schedule in steps; an epoch is the number of positives."""
    training = config.training
    epoch = math.ceil(len(data.split.train) / training.batch_size)
    steps = training.steps
    if steps is None:
        positives = training.epochs * len(data.split.train)
        steps = math.ceil(positives / training.batch_size)
    eval_every = training.eval_every or epoch
    return Schedule(
        steps=steps,
        steps_per_dispatch=training.steps_per_dispatch,
        eval_every=eval_every,
        checkpoint_every=training.checkpoint_every or eval_every,
        patience=training.patience,
        metric=training.metric,
    )
