"""From a configuration and its data to the training problem."""

import math
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar, cast

import jax
import numpy as np

from twotower_jax.config import Config
from twotower_jax.data.feed import Queries, host_queries
from twotower_jax.data.hard_pools import HardPools
from twotower_jax.data.history import History
from twotower_jax.data.known_items import KnownItems, known_share
from twotower_jax.data.log import Pairs
from twotower_jax.errors import InputError
from twotower_jax.evaluation.ragged import from_pairs
from twotower_jax.losses.term import TermData
from twotower_jax.model.specs import Model, make_model
from twotower_jax.negatives.columns import merged_size_of_arms
from twotower_jax.negatives.expected_count import log_effective, log_frequency
from twotower_jax.negatives.proposals import host_proposal
from twotower_jax.registry import split
from twotower_jax.run.loader import (
    Loaded,
    as_arrays,
    make_entities,
    number,
    queries_of,
    query_history,
)
from twotower_jax.run.negatives import (
    hard_pools,
    known_at,
    known_masses,
    masked_positives,
    mining_of,
    ratio_schedule,
    score_filters,
    static_negatives,
)
from twotower_jax.run.plan import (
    estimates_at_k,
    make_order,
    make_schedule,
    positive_weights,
)
from twotower_jax.run.positives import (
    end_to_end,
    reads_sequences,
    resampling_report,
    train_history,
    trained_part,
)
from twotower_jax.run.tower_features import choose_features
from twotower_jax.training.kth_scores import KthScores
from twotower_jax.training.mesh import MeshShape
from twotower_jax.training.problem import Problem, Streaming
from twotower_jax.training.schedule import Schedule
from twotower_jax.training.temperature import TemperatureNumbers
from twotower_jax.training.types import Hyper, Program, Structure, TrainData

T = TypeVar("T")


def make_problem(config: Config, data: Loaded) -> Problem:
    """Return the training problem of a run: program, data, order and schedule."""
    config, data = choose_features(config, data), trained_part(config, data)
    train, joined = data.split.train, end_to_end(config)
    model = make_model(config.towers, data.log)
    weights = positive_weights(config, data.counts)
    merged = partial(merged_size_of_arms, data.counts, weights)
    structure = make_structure(config, model, data.log.num_items, merged)
    negatives = structure.negatives
    history = train_history(config, data)
    pools, pool_report = None, {}
    prepared: Any = ()
    if negatives.hard_num and negatives.hard.of_log:
        pools, pool_report = hard_pools(config, data)
    elif negatives.hard_num:
        prepared = config.negatives.hard.prepare(data.log, data.split)
    of_log, weight_report = log_weights(config, data, weights)
    order = make_order(config, data, weights, history if joined else None)
    schedule = make_schedule(config, data.split)
    known = known_at(config, data)
    return Problem(
        program=Program(
            structure, _hyper(config, model, data, weights, schedule, known)
        ),
        data=TrainData(
            *_positives(config, train, history),
            make_entities(config, data, history),
            _pools(config, pools),
            masked_positives(negatives, data),
            known,
            None if of_log is None else as_arrays(config, of_log.astype("f4")),
            as_arrays(config, prepared),
        ),
        order=order,
        schedule=schedule,
        weights=weights,
        init_scale=config.towers.init_scale,
        memories=(
            *streaming_of(config),
            *mining_of(config, data, negatives, schedule),
            *kth_scores(config, data, schedule),
        ),
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
    model: Model,
    data: Loaded,
    weights: np.ndarray,
    schedule: Schedule,
    known: KnownItems | None,
) -> Hyper:
    easy, optimizer, loss = config.negatives.easy, config.optimizer, config.loss
    temperature = TemperatureNumbers(
        loss.temperature_rate,
        math.log(loss.lowest_temperature),
        math.log(loss.temperature_max),
    )
    strength, at_k = loss.logq.strength, loss.weighs_rows
    proposal = host_proposal(easy.weights(data.counts))
    importance = (_importance(weights),) if config.positives.reweight else ()
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
        hard=_hard_numbers(config),
        hard_ratio=ratio_schedule(config, schedule.shortest),
        bank_warmup=number(schedule.steps_of(config.negatives.bank.warmup), np.int32),
        streaming_alpha=number(loss.logq.streaming.alpha),
        positive_weight=importance,
        known_mass=known_masses(config, proposal, known),
        logq_strength=() if strength == 1 else (number(strength),),
        weight_temperature=(number(loss.at_k.temperature),) if at_k else (),
        filters=score_filters(config, schedule),
        terms=term_numbers(config, model, data, weights),
        dropout=_dropout(config),
    )


def _dropout(config: Config) -> dict[str, jax.Array]:
    """Return the shares of numbers that are dropped, by place."""
    towers = config.towers
    shares = {
        "query": towers.query_dropout,
        "sequence": towers.sequence.dropout if reads_sequences(config) else 0,
    }
    return {place: number(share) for place, share in shares.items() if share}


def _hard_numbers(config: Config) -> dict[str, jax.Array]:
    """Return the numbers of the choice of hard draws, {} where none is drawn."""
    drawn = static_negatives(config).hard_num
    return _arrays(split(config.negatives.hard)[1]) if drawn else {}


def _arrays(numbers: T) -> T:
    """Return a tree of numbers as arrays [] float32."""
    return jax.tree.map(number, numbers)


def _importance(weights: np.ndarray) -> np.ndarray:
    """Return 1 / w_i [num_items] float32, which restores the optimum of the log."""
    return (1 / np.where(weights > 0, weights, 1)).astype(np.float32)


# --- The static part of a training: what decides its compiled program -----------------


def make_structure(
    config: Config,
    model: Model,
    num_items: int,
    merged: Callable[[int, int], int],
) -> Structure:
    """Return the static part of the program of a run."""
    full = config.loss.whole_catalogue
    negatives = static_negatives(config)
    # The best k are counted in draws, but merged columns are items.
    mergeable = config.negatives.in_batch and not full and not negatives.top_k
    merges = config.training.merge_columns and mergeable
    batch, shared = config.training.batch_size, negatives.shared_easy
    streaming = config.loss.logq.streaming
    # With four buckets per item at most 22 % of them hold another item, and of two
    # hashes both do for 5 % of the items.
    buckets = streaming.buckets or 4 * num_items
    return Structure(
        model=model,
        loss=split(config.loss)[0],
        negatives=negatives,
        correct=config.loss.logq.correct,
        optimizer=split(config.optimizer)[0],
        learn_temperature=config.loss.learn_temperature,
        merged_size=merged(batch, shared) if merges else 0,
        num_items=num_items,
        ids_alone=config.training.update == "incremental",
        end_to_end=end_to_end(config),
        terms=tuple(split(term)[0] for term in config.loss.terms()),
        buckets=buckets if streaming_of(config) else 0,
    )


def streaming_of(config: Config) -> tuple[Streaming, ...]:
    """Return (the streaming frequency,), () where counts are used."""
    if config.loss.logq.frequency != "streaming":
        return ()
    streaming = config.loss.logq.streaming
    return (Streaming(streaming.hashes, streaming.initial_gap),)


# --- The parts of a training problem that the section ``loss`` decides ----------------


def kth_scores(
    config: Config, data: Loaded, schedule: Schedule
) -> tuple[KthScores, ...]:
    """Return (the estimate of each user's k-th best score,), () without use."""
    if not config.loss.weighs_rows:
        return ()
    at_k, log, known = config.loss.at_k, data.log, data.split.known
    if at_k.k > log.num_items:
        raise InputError(
            f"loss.at_k.k={at_k.k} is larger than the catalogue, which has "
            f"{log.num_items} items; lower loss.at_k.k"
        )
    users = np.arange(log.num_users, dtype=np.int32)
    scores = KthScores(
        when=estimates_at_k(config, schedule),
        k=at_k.k,
        sampled=min(at_k.sampled, log.num_items),
        seed=config.seed,
        queries=queries_of(config, users, query_history(config, known, users, None)),
        positives=from_pairs(known.user, known.item, log.num_users),
    )
    return (scores,)


def term_numbers(
    config: Config, model: Model, data: Loaded, copies: np.ndarray
) -> tuple[dict[str, Any], ...]:
    """Return the numbers of the further terms of the loss, with what they read of data.

    Args:
      copies: [num_items] float64, copies of a positive of each item per epoch; a user's
        share is that of the rows of an epoch.
    """
    terms, train = config.loss.terms(), data.split.train
    if not terms:
        return ()
    rows = np.bincount(train.user, copies[train.item], data.log.num_users)
    features = tuple(one.name for one in model.candidate.features)
    of_data = TermData(features, log_frequency(rows))
    return tuple(
        _arrays(split(term)[1]) | as_arrays(config, term.prepare(of_data))
        for term in terms
    )


# --- Weights of the training positives from a column of the log -----------------------


def log_weights(
    config: Config, data: Loaded, copies: np.ndarray
) -> tuple[np.ndarray | None, dict[str, float]]:
    """Weights of the training positives, with the mean 1 over the rows of an epoch.

    A positive of item i with the value r in the column has the weight r / m, or with
    ``positives.reweight`` r / (w_i m), where w_i are its copies per epoch. The mean m
    makes the loss independent of the unit of the column. Positives from lists have
    weights without a column.

    Args:
      copies: [num_items] float64, copies w_i of a positive of each item per epoch.

    Returns:
      [n] float64, None without weights; and statistics of them.

    References:
      Yi et al., Sampling-bias-corrected neural modeling, RecSys 2019, eq. 4: the reward
      r_i of a click, 0 to 1 by the time that was watched.
    """
    name, train = config.positives.weight, data.split.train
    if name is None and not data.split.listed:
        return None, {}
    if train.weight is None:
        raise InputError(
            f"positives.weight={name} names a column of the log, and the log was read "
            "without it; read it by this configuration, or leave positives.weight out"
        )
    if not train.weight.any():
        raise InputError(
            f"positives.weight={name} is 0 for each of the {len(train):,} training "
            "positives, which leaves nothing to learn from; name another column, or "
            "leave positives.weight out"
        )
    epoch = copies[train.item]
    weight = train.weight.astype(np.float64)
    if config.positives.reweight:
        weight = weight / np.where(epoch > 0, epoch, 1)
    weight = weight / (float(epoch @ weight) / epoch.sum() or 1)
    return weight, _report(weight, epoch)


def _report(weight: np.ndarray, copies: np.ndarray) -> dict[str, float]:
    """Return statistics of the weights.

    "effective samples" is the number of equally weighted rows of an epoch that are
    worth as much (Kish 1965).
    """
    return {
        "without weight": float((weight == 0).mean()),
        "largest weight": float(weight.max()),
        "effective samples": float((copies @ weight) ** 2 / (copies @ weight**2)),
    }
