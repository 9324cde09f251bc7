"""From a configuration and its data to the training problem."""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import jax
import numpy as np

from twotower_jax.config import Config
from twotower_jax.config.training import MOST_STEPS, PATIENCE
from twotower_jax.data.feed import Queries, host_queries
from twotower_jax.data.funnel_rows import FunnelRows, funnel_rows
from twotower_jax.data.hard_pools import CUT, HardPools, PoolRule, make_pools
from twotower_jax.data.known_items import (
    KnownItems,
    first_events,
    known_items,
    known_share,
)
from twotower_jax.data.log import Split
from twotower_jax.data.prepared.funnel import load_funnel
from twotower_jax.data.prepared.known import load_known
from twotower_jax.data.prepared.load import checked_folder
from twotower_jax.data.prepared.made import Room, load_made, make_at, place_of
from twotower_jax.data.split import MOVED
from twotower_jax.errors import InputError
from twotower_jax.evaluation.ragged import from_pairs
from twotower_jax.losses.terms import Term, TermData
from twotower_jax.model.tower import Model, make_model
from twotower_jax.negatives import Funnel, HardRatio, Mined
from twotower_jax.negatives.columns import merged_size_of_arms
from twotower_jax.negatives.easy import host_mass_tree, host_proposal
from twotower_jax.negatives.frequency import Streamed, log_effective, log_frequency
from twotower_jax.negatives.funnel import parse_stage
from twotower_jax.negatives.masks import ScoreFilter, user_positives
from twotower_jax.registry import as_tree, join
from twotower_jax.run import loader, positives
from twotower_jax.run.loader import Loaded, as_arrays, number
from twotower_jax.training import types
from twotower_jax.training.memories import KthScores, Memory, Mining
from twotower_jax.training.mesh import MeshShape
from twotower_jax.training.problem import Problem
from twotower_jax.training.schedule import Renewals, Schedule


def make_problem(config: Config, data: Loaded) -> Problem:
    """Return the training problem of a run: program, data, order and schedule."""
    config = loader.choose_features(config, data)
    data = positives.trained_part(config, data)
    train, log, known_pairs = data.split.train, data.log, data.split.known
    model = make_model(config.towers, log)
    weights = positives.positive_weights(config, data.counts)
    on_host = config.training.feed == "host"
    history = positives.train_history(config, data)
    pools, pool_report = None, {}
    prepared: Any = ()
    negatives = layout_of_negatives(config)
    if negatives.hard_num and config.negatives.hard.of_log:
        pools, pool_report = hard_pools(config, data)
    elif negatives.hard_num:
        prepared = config.negatives.hard.prepare(log, data.split)
    of_log, weight_report = log_weights(config, data, weights)
    sequences = history if positives.end_to_end(config) else None
    order = positives.make_order(config, data, weights, sequences)
    schedule = make_schedule(config, data.split)
    known, of_users = known_at(config, data), None
    if negatives.mask == "user_positives":
        sizes = log.num_users, log.num_items
        of_users = user_positives(known_pairs.user, known_pairs.item, *sizes)
    if on_host:
        queries, item = host_queries(train.user, history), cast(jax.Array, train.item)
    else:
        item = as_arrays(config, np.asarray(train.item, np.int32))
        queries = loader.queries_of(config, train.user, history)
    return Problem(
        program=make_program(config, model, data, weights, schedule, known),
        data=types.TrainData(
            queries,
            item,
            loader.make_entities(config, data, history),
            pools if on_host else as_arrays(config, pools),
            of_users,
            known,
            None if of_log is None else as_arrays(config, of_log.astype("f4")),
            as_arrays(config, prepared),
        ),
        order=order,
        schedule=schedule,
        weights=weights,
        init_scale=config.towers.init_scale,
        memories=tuple(_memories(config, data, negatives, schedule)),
        mesh=MeshShape(*config.training.mesh_shape),
        on_host=on_host,
        report={
            "positives": positives.resampling_report(data.counts, weights),
            "weights": weight_report,
            "hard negatives": pool_report,
            "available": {} if known is None else known_share(known),
        },
    )


# --- the schedule ---------------------------------------------------------------------


def make_schedule(config: Config, split: Split) -> Schedule:
    """Return the schedule in steps.

    An epoch counts the positives before resampling: such arms validate alike.
    """
    training = config.training
    batch, positives = training.batch_size, len(split.train)
    steps, patience = training.steps, training.patience
    if steps is None:
        steps = -(-training.epochs * positives // batch)
        if steps > MOST_STEPS:
            raise InputError(
                f"training.epochs={training.epochs} of {positives:,} positives are "
                f"{steps:,} steps, and a training has at most {MOST_STEPS:,}; lower it"
            )
    if patience is None:
        patience = PATIENCE if len(split.valid) else 0
    return Schedule(
        steps=steps,
        steps_per_dispatch=training.steps_per_dispatch,
        eval_every=training.eval_every or math.ceil(positives / batch),
        checkpoint_every=training.checkpoint_every or 0,
        patience=patience,
        metric=training.metric,
        min_steps=training.min_steps,
        pause=config.pause,
    )


def finds_length(config: Config, split: Split) -> bool:
    """Return whether a run without the valid part finds the length of a training."""
    training = config.training
    moved = loader.trains(config) and split.report.get(MOVED)
    if not moved or training.update is not None:
        return False
    schedule = make_schedule(config, split)
    finds = training.steps is None and schedule.eval_every < schedule.steps
    if training.patience is not None:
        finds = training.patience > 0
    if finds and not config.data.fit_valid:
        raise InputError(
            f"{config.data.path} was prepared with data.fit_valid=true, which leaves "
            "no part to find the number of steps on; set training.patience=0 to train "
            "for training.steps or training.epochs, or prepare the data without it"
        )
    return finds


def minings(config: Config, schedule: Schedule) -> Renewals:
    """Return the steps before which hard negatives are mined."""
    mined = cast(Mined, config.negatives.hard).mined
    return Renewals(schedule.steps_of(mined.warmup), schedule.steps_of(mined.every))


def estimates_at_k(config: Config, schedule: Schedule) -> Renewals:
    """Return the steps before which the k-th best scores of users are estimated."""
    period = schedule.steps_of(config.loss.at_k.every)
    return Renewals(period, period)


# --- the program ----------------------------------------------------------------------


def make_program(
    config: Config,
    model: Model,
    data: Loaded,
    weights: np.ndarray,
    schedule: Schedule,
    known: KnownItems | None,
) -> types.Program:
    """Return the program of a run: its choices, the numbers and the static part."""
    loss, optimizer, towers = config.loss, config.optimizer, config.towers
    negatives, num_items = layout_of_negatives(config), data.log.num_items
    hard = config.negatives.hard if negatives.hard_num else Funnel()
    proposal = host_proposal(config.negatives.easy.weights(data.counts))
    importance: tuple[Any, ...] = ()
    if config.positives.reweight:  # 1 / w_i restores the optimum of the log
        importance = ((1 / np.where(weights > 0, weights, 1)).astype(np.float32),)
    masses: tuple[Any, ...] = ()
    if known is not None and config.negatives.layout != "shared":
        masses = (host_mass_tree(proposal, np.asarray(known.place)),)
    log_q_batch, easy_draws, importance, masses = as_arrays(
        config, (log_effective(data.counts, weights), proposal, importance, masses)
    )
    streamed: tuple[Streamed, ...] = ()
    if loss.logq.frequency == "streaming":
        given = loss.logq.streaming
        # With four buckets per item at most 22 % of them hold another item, and of two
        # hashes both do for 5 % of the items.
        shape = given.buckets or 4 * num_items, given.hashes, given.initial_gap
        streamed = (Streamed(number(given.alpha), *shape),)
    kept, filters = config.negatives.filter, ()
    if kept.gamma is not None:
        warmup = number(schedule.steps_of(kept.warmup), np.int32)
        filters = (ScoreFilter(number(kept.gamma), warmup),)
    of_layers = towers.sequence.dropout if positives.reads_sequences(config) else 0
    dropout = {"query": towers.query_dropout, "sequence": of_layers}
    strength = loss.logq.strength
    return types.Program(
        loss=as_tree(loss, number),
        terms=make_terms(config, model, data, weights),
        optimizer=as_tree(optimizer, number),
        hard=as_tree(hard, number),
        seed=number(config.seed, np.uint32),
        log_temperature=number(math.log(loss.temperature)),
        temperature=types.TemperatureNumbers(
            number(loss.temperature_rate),
            number(math.log(loss.lowest_temperature)),
            number(math.log(loss.temperature_max)),
        ),
        log_q_batch=log_q_batch,
        easy=easy_draws,
        decay_steps=number(schedule.steps * optimizer.decay),
        hard_ratio=make_ratio(config, schedule),
        bank_warmup=number(schedule.steps_of(config.negatives.bank.warmup), np.int32),
        streamed=streamed,
        positive_weight=importance,
        known_mass=masses,
        logq_strength=() if strength == 1 else (number(strength),),
        weight_temperature=(
            (number(loss.at_k.temperature),) if loss.weighs_rows else ()
        ),
        filters=filters,
        dropout={name: number(share) for name, share in dropout.items() if share},
        model=model,
        negatives=negatives,
        num_items=num_items,
        correct=loss.logq.correct,
        learn_temperature=loss.learn_temperature,
        merged_size=merged_size(config, data, negatives, weights),
        ids_alone=config.training.update == "incremental",
        end_to_end=positives.end_to_end(config),
    )


def layout_of_negatives(config: Config) -> types.Negatives:
    """Return the numbers of negatives of a row.

    A hard ratio that is always 0 is the program of easy negatives, with the same bits.
    """
    negatives = config.negatives
    if config.loss.whole_catalogue:
        return types.Negatives(mask=negatives.mask)
    per_row, mixes = negatives.layout == "per_row", negatives.hard_ratio is not None
    easy_num, hard_num = negatives.easy.num, negatives.hard.num
    if negatives.hard_ratio == 0 and not negatives.hard_start:
        easy_num += hard_num if per_row else 0
        hard_num, mixes = 0, False
    return types.Negatives(
        in_batch=negatives.in_batch,
        easy_num=easy_num,
        per_row=per_row,
        hard_num=hard_num,
        mixes=mixes,
        bank=negatives.bank.size,
        mask=negatives.mask,
        top_k=negatives.num_hard_negatives,
    )


def merged_size(
    config: Config, data: Loaded, negatives: types.Negatives, weights: np.ndarray
) -> int:
    """Return the number of merged columns of a batch, 0 for one column per draw."""
    # The best k are counted in draws, but merged columns are items.
    mergeable = config.negatives.in_batch and not config.loss.whole_catalogue
    if not (config.training.merge_columns and mergeable) or negatives.top_k:
        return 0
    drawn = config.training.batch_size, negatives.shared_easy
    return merged_size_of_arms(data.counts, weights, *drawn)


def make_ratio(config: Config, schedule: Schedule) -> HardRatio:
    """Return the schedule of the share of hard slots."""
    negatives = config.negatives
    end = negatives.hard_ratio or 0.0
    start = end if negatives.hard_start is None else negatives.hard_start
    ramp = negatives.hard_ramp * schedule.shortest
    return HardRatio(number(start), number(end), number(ramp))


def make_terms(
    config: Config, model: Model, data: Loaded, copies: np.ndarray
) -> tuple[Term, ...]:
    """Return the further terms of the loss, with what they read of data.

    The ``copies`` [num_items] are those of a positive per epoch; a user's share is that
    of the rows of an epoch.
    """
    terms, train = config.loss.terms(), data.split.train
    if not terms:
        return ()
    rows = np.bincount(train.user, copies[train.item], data.log.num_users)
    features = tuple(feature.name for feature in model.candidate.features)
    of_data = TermData(features, log_frequency(rows))
    return tuple(
        join(as_tree(term, number), as_arrays(config, term.prepare(of_data)))
        for term in terms
    )


# --- the memories that the loop renews ------------------------------------------------


def _memories(
    config: Config, data: Loaded, negatives: types.Negatives, schedule: Schedule
) -> Iterator[Memory]:
    """Yield mined items and k-th scores, where they are in use."""
    hard = config.negatives.hard
    if negatives.hard_num and isinstance(hard, Mined):
        limits = hard.mined.range_min, hard.mined.range_max
        yield Mining(minings(config, schedule), *limits, *_all_users(config, data))
    if config.loss.weighs_rows:
        at_k, num_items = config.loss.at_k, data.log.num_items
        if at_k.k > num_items:
            raise InputError(
                f"loss.at_k.k={at_k.k} is larger than the catalogue, which has "
                f"{num_items} items; lower loss.at_k.k"
            )
        when, sampled = estimates_at_k(config, schedule), min(at_k.sampled, num_items)
        users = _all_users(config, data)
        yield KthScores(when, at_k.k, sampled, config.seed, *users)


def _all_users(config: Config, data: Loaded) -> tuple[Queries, Any]:
    """Return the queries of all users at the end of training, and their positives."""
    known, users = data.split.known, np.arange(data.log.num_users, dtype=np.int32)
    history = loader.query_history(config, known, users, None)
    own = from_pairs(known.user, known.item, len(users))
    return loader.queries_of(config, users, history), own


# --- weights of the training positives from a column of the log -----------------------


def log_weights(
    config: Config, data: Loaded, copies: np.ndarray
) -> tuple[np.ndarray | None, dict[str, float]]:
    """Weights of the training positives [n] float64, and statistics of them.

    A positive of item i with the value r in the column has the weight r / m, or with
    ``positives.reweight`` r / (w_i m), where w_i are its ``copies`` per epoch and m is
    the mean over the rows of an epoch (Yi et al., RecSys 2019, eq. 4). "effective
    samples" is the number of equally weighted rows that are worth as much (Kish 1965).
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
    return weight, {
        "without weight": float((weight == 0).mean()),
        "largest weight": float(weight.max()),
        "effective samples": float((epoch @ weight) ** 2 / (epoch @ weight**2)),
    }


# --- what the sources of negatives read -----------------------------------------------


def known_at(config: Config, data: Loaded) -> KnownItems | None:
    """Return the items known at each positive, None where all may be negatives."""
    log, moments = data.log, data.split.train.time
    if not config.negatives.available or log.time is None or moments is None:
        return None
    stored = None
    if positives.as_prepared(config):
        stored = load_known(checked_folder(config.data))
    return known_items(first_events(log), moments) if stored is None else stored


def hard_pools(config: Config, data: Loaded) -> tuple[HardPools, dict[str, int]]:
    """Return the pools of hard negatives, and the number left out per reason."""
    hard = cast(Funnel, config.negatives.hard)
    rule = PoolRule(
        stages=tuple(parse_stage(name) for name in hard.stages),
        weights=hard.weights or (1.0,) * len(hard.stages),
        pool=hard.pool,
        pool_size=hard.pool_size,
    )
    if positives.as_prepared(config):
        folder = checked_folder(config.data)
        if (rows := load_funnel(folder)) is not None:
            return stored_pools(folder, rows, rule, data, config.seed)
    rows = funnel_rows(data.log, data.split)
    return make_pools(rows, rule, data.log.num_items, config.seed)


def stored_pools(
    folder: Path, rows: FunnelRows, rule: PoolRule, data: Loaded, seed: int
) -> tuple[HardPools, dict[str, int]]:
    """Return pools from the files of a prepared folder, made there where it has none.

    Pools that ``pool_size`` does not cut are those of every seed. Where the folder
    cannot be written, they are made in memory.
    """
    num_items = data.log.num_items
    keys = {"fingerprint": data.fingerprint, **rule._asdict()}

    def place_for(counts: dict[str, int]) -> Path:
        own = {"seed": seed} if counts.get(CUT, 1) else {}
        return place_of(folder, "pools", keys | own)

    def build(room: Room) -> dict[str, int]:
        return make_pools(rows, rule, num_items, seed, room)[1]

    names = HardPools._fields
    made = load_made(place_for({CUT: 0}), names) or load_made(place_for({}), names)
    made = made or make_at(build, place_for, names)
    if made is None:
        return make_pools(rows, rule, num_items, seed)
    return HardPools(**made.arrays), made.counts
