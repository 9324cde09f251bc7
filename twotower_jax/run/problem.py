"""From a configuration and its data to the training problem."""

import math
from functools import partial
from typing import TypeVar, cast

import jax
import numpy as np

from twotower_jax.config import Config
from twotower_jax.data.feed import Queries, host_queries
from twotower_jax.data.history import History
from twotower_jax.data.known_items import KnownItems, known_share
from twotower_jax.data.log import Pairs
from twotower_jax.model.specs import make_model
from twotower_jax.registry import split
from twotower_jax.run.loader import (
    Loaded,
    as_arrays,
    make_entities,
    number,
    queries_of,
)
from twotower_jax.run.loss_parts import (
    kth_scores,
    self_supervised_numbers,
)
from twotower_jax.run.negatives import (
    filter_numbers,
    hard_pools,
    known_at,
    known_masses,
    masked_positives,
    mining_of,
    ratio_schedule,
)
from twotower_jax.run.plan import (
    make_order,
    make_schedule,
    positive_weights,
)
from twotower_jax.run.positives import (
    end_to_end,
    reads_sequences,
    train_history,
    trained_part,
)
from twotower_jax.run.structure import make_structure, streaming_of
from twotower_jax.run.tower_features import choose_features
from twotower_jax.run.two_way import two_way_numbers
from twotower_jax.run.weights import log_weights
from twotower_jax.sampling.merged_size import merged_size_of_arms
from twotower_jax.sampling.pool_arrays import HardPools
from twotower_jax.sampling.positives import log_effective, resampling_report
from twotower_jax.sampling.proposals import PROPOSALS, host_proposal
from twotower_jax.training.hard_sources import HARD_SOURCES
from twotower_jax.training.mesh import MeshShape
from twotower_jax.training.problem import Problem
from twotower_jax.training.schedule import Schedule
from twotower_jax.training.temperature import TemperatureNumbers
from twotower_jax.training.types import (
    Hyper,
    Program,
    TrainData,
)

T = TypeVar("T")


def make_problem(config: Config, data: Loaded) -> Problem:
    """Return the training problem of a run: program, data, order and schedule.

    Args:
      config: the run.
      data: its data.

    Raises:
      InputError: when a tower names a feature, or the negatives a stage, that the
        data does not have, or when an epoch would not fill a batch.
    """
    config, data = choose_features(config, data), trained_part(config, data)
    train, joined = data.split.train, end_to_end(config)
    model = make_model(config.towers, data.log)
    weights = positive_weights(config, data.counts)
    merged = partial(merged_size_of_arms, data.counts, weights)
    structure = make_structure(config, model, data.log.num_items, merged)
    negatives = structure.negatives
    history = train_history(config, data)
    pools, pool_report = None, {}
    if negatives.hard_num and HARD_SOURCES[negatives.hard_source].of_log:
        pools, pool_report = hard_pools(config, data)
    of_log, weight_report = log_weights(config, data, weights)
    order = make_order(config, data, weights, history if joined else None)
    schedule = make_schedule(config, data.split)
    known = known_at(config, data)
    return Problem(
        program=Program(structure, _hyper(config, data, weights, schedule, known)),
        data=TrainData(
            *_positives(config, train, history),
            make_entities(config, data, history),
            _pools(config, pools),
            masked_positives(negatives, data),
            known,
            None if of_log is None else as_arrays(config, of_log.astype("f4")),
        ),
        order=order,
        schedule=schedule,
        weights=weights,
        init_scale=config.towers.init_scale,
        streaming=streaming_of(config, data.log.num_items),
        mining=mining_of(config, data, negatives, schedule),
        kth_scores=kth_scores(config, data, schedule),
        mesh=MeshShape(*config.training.mesh_shape),
        on_host=config.training.feed == "host",
        report={
            "positives": resampling_report(data.counts, weights),
            "weights": weight_report,
            "hard negatives": pool_report,
            "available": {} if known is None else known_share(known),
        },
    )


def _positives(
    config: Config, train: Pairs, history: History | None
) -> tuple[Queries, jax.Array]:
    """Return the queries and items of the positives, where training.feed wants them."""
    if config.training.feed == "host":
        return host_queries(train.user, history), cast(jax.Array, train.item)
    item = as_arrays(config, np.asarray(train.item, np.int32))
    return queries_of(config, train.user, history), item


def _pools(config: Config, pools: HardPools | None) -> HardPools | None:
    """Return the pools of hard negatives, where training.feed wants them."""
    if pools is None or config.training.feed == "host":
        return pools
    return as_arrays(config, pools)


# --- program --------------------------------------------------------------------------


def _hyper(
    config: Config,
    data: Loaded,
    weights: np.ndarray,
    schedule: Schedule,
    known: KnownItems | None,
) -> Hyper:
    easy, optimizer, loss = config.negatives.easy, config.optimizer, config.loss
    dropout = config.towers.query_dropout
    temperature = TemperatureNumbers(
        loss.temperature_rate,
        math.log(loss.lowest_temperature),
        math.log(loss.temperature_max),
    )
    strength, at_k = loss.logq.strength, loss.weighs_rows
    proposal = host_proposal(
        PROPOSALS[easy.sampler](data.counts, alpha=easy.alpha, smoothing=easy.smoothing)
    )
    importance = _importance(weights) if config.positives.reweight else None
    log_q_batch, easy_draws, importance = as_arrays(
        config, (log_effective(data.counts, weights), proposal, importance)
    )
    return Hyper(
        seed=number(config.seed, np.uint32),
        log_temperature=number(math.log(loss.temperature)),
        temperature=_arrays(temperature),
        log_q_batch=log_q_batch,
        easy=easy_draws,
        optimizer=_arrays(split(optimizer)[1]),
        l2=number(optimizer.l2),
        decay_steps=number(schedule.steps * optimizer.decay),
        loss=_arrays(split(loss)[1]),
        hard_ratio=ratio_schedule(config, schedule.shortest),
        bank_warmup=number(schedule.steps_of(config.negatives.bank.warmup), np.int32),
        streaming_alpha=number(loss.logq.streaming.alpha),
        positive_weight=importance,
        known_mass=known_masses(config, proposal, known),
        logq_strength=None if strength == 1 else number(strength),
        weight_temperature=number(loss.at_k.temperature) if at_k else None,
        filter=filter_numbers(config, schedule),
        stage_pairs=number(loss.stage_pairs) if loss.stage_pairs else None,
        two_way=two_way_numbers(config, data, weights),
        self_supervised=self_supervised_numbers(config),
        query_dropout=number(dropout) if dropout else None,
        sequence_dropout=_sequence_dropout(config),
    )


def _sequence_dropout(config: Config) -> jax.Array | None:
    """Return the share of numbers that a transformer drops, None where none are."""
    share = config.towers.sequence.dropout
    return number(share) if reads_sequences(config) and share else None


def _arrays(numbers: T) -> T:
    """Return a tree of numbers as arrays [] float32."""
    return jax.tree.map(number, numbers)


def _importance(weights: np.ndarray) -> np.ndarray:
    """Return 1 / w_i [num_items] float32, which restores the optimum of the log."""
    return (1 / np.where(weights > 0, weights, 1)).astype(np.float32)
