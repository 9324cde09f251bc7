"""The negatives of a run: their static part, pools, masks, filter and schedules."""

from pathlib import Path
from typing import cast

import numpy as np

from twotower_jax.config import Config
from twotower_jax.data.funnel_rows import FunnelRows, funnel_rows
from twotower_jax.data.hard_pools import CUT, HardPools, PoolRule, make_pools
from twotower_jax.data.known_items import KnownItems, first_events, known_items
from twotower_jax.data.prepared.funnel import load_funnel
from twotower_jax.data.prepared.known import load_known
from twotower_jax.data.prepared.load import checked_folder
from twotower_jax.data.prepared.made import Room, load_made, make_at, place_of
from twotower_jax.evaluation.ragged import from_pairs
from twotower_jax.negatives import Funnel, Mined
from twotower_jax.negatives.availability import MassTree, host_mass_tree
from twotower_jax.negatives.funnel import parse_stage
from twotower_jax.negatives.masks import (
    MASKS,
    ScoreFilter,
    UserPositives,
    user_positives,
)
from twotower_jax.negatives.proposals import Proposal
from twotower_jax.negatives.slots import HardRatio
from twotower_jax.registry import split
from twotower_jax.run.loader import (
    Loaded,
    as_arrays,
    number,
    queries_of,
    query_history,
)
from twotower_jax.run.plan import minings
from twotower_jax.run.positives import as_prepared
from twotower_jax.training.hard_mining import Mining
from twotower_jax.training.schedule import Schedule
from twotower_jax.training.types import Negatives


def static_negatives(config: Config) -> Negatives:
    """Return the static part of the negatives.

    A hard ratio that is always 0 means easy negatives only: the same program, so the
    same bits.
    """
    negatives, hard = config.negatives, config.negatives.hard
    if config.loss.whole_catalogue:
        return Negatives(mask=negatives.mask)
    per_row, mixes = negatives.layout == "per_row", negatives.hard_ratio is not None
    easy_num = negatives.easy.num
    if negatives.hard_ratio == 0 and not negatives.hard_start:
        easy_num += hard.num if per_row else 0
        hard, mixes = Funnel(), False
    return Negatives(
        in_batch=negatives.in_batch,
        easy_num=easy_num,
        per_row=per_row,
        hard=split(hard if hard.num else Funnel())[0],
        mixes=mixes,
        bank=negatives.bank.size,
        mask=negatives.mask,
        top_k=negatives.num_hard_negatives,
        distinct=negatives.distinct,
    )


def hard_pools(config: Config, data: Loaded) -> tuple[HardPools, dict[str, int]]:
    """Return the pools of hard negatives, and the number left out per reason."""
    hard = cast(Funnel, config.negatives.hard)
    rule = PoolRule(
        stages=tuple(parse_stage(name) for name in hard.stages),
        weights=hard.weights or (1.0,) * len(hard.stages),
        pool=hard.pool,
        pool_size=hard.pool_size,
    )
    if as_prepared(config):
        folder = checked_folder(config.data)
        if (rows := load_funnel(folder)) is not None:
            return stored_pools(folder, rows, rule, data, config.seed)
    rows = funnel_rows(data.log, data.split)
    return make_pools(rows, rule, data.log.num_items, config.seed)


def masked_positives(negatives: Negatives, data: Loaded) -> UserPositives | None:
    """Return the items of each user, None where the mask does not read them."""
    if not MASKS[negatives.mask].user_positives:
        return None
    known, log = data.split.known, data.log
    return user_positives(known.user, known.item, log.num_users, log.num_items)


def known_at(config: Config, data: Loaded) -> KnownItems | None:
    """Return the items known at each positive, None where all may be negatives."""
    log, moments = data.log, data.split.train.time
    if not config.negatives.available or log.time is None or moments is None:
        return None
    known = load_known(checked_folder(config.data)) if as_prepared(config) else None
    return known_items(first_events(log), moments) if known is None else known


def mining_of(
    config: Config, data: Loaded, negatives: Negatives, schedule: Schedule
) -> tuple[Mining, ...]:
    """Return (the mining of hard negatives,), () where none are mined."""
    hard = config.negatives.hard
    if not negatives.hard_num or not isinstance(hard, Mined):
        return ()
    known, mined = data.split.known, hard.mined
    users = np.arange(data.log.num_users, dtype=np.int32)
    mining = Mining(
        minings(config, schedule),
        mined.range_min,
        mined.range_max,
        queries_of(config, users, query_history(config, known, users, None)),
        from_pairs(known.user, known.item, data.log.num_users),
    )
    return (mining,)


def known_masses(
    config: Config, proposal: Proposal, known: KnownItems | None
) -> tuple[MassTree, ...]:
    """Return (sums of the easy proposal,), () where rows do not restrict it."""
    if known is None or config.negatives.layout == "shared":
        return ()
    tree = host_mass_tree(proposal, np.asarray(known.place))
    return (as_arrays(config, tree),)


def score_filters(config: Config, schedule: Schedule) -> tuple[ScoreFilter, ...]:
    """Return (the filter of negatives by score,), () where all are kept."""
    gamma, warmup = config.negatives.filter.gamma, config.negatives.filter.warmup
    if gamma is None:
        return ()
    steps = number(schedule.steps_of(warmup), np.int32)
    return (ScoreFilter(number(gamma), steps),)


def ratio_schedule(config: Config, steps: int) -> HardRatio:
    """Return the schedule of the share of hard slots in a training of these steps."""
    negatives = config.negatives
    end = negatives.hard_ratio or 0.0
    start = end if negatives.hard_start is None else negatives.hard_start
    return HardRatio(number(start), number(end), number(negatives.hard_ramp * steps))


# --- Pools of hard negatives of a prepared log, made once and then read by memory  ----


def stored_pools(
    folder: Path, rows: FunnelRows, rule: PoolRule, data: Loaded, seed: int
) -> tuple[HardPools, dict[str, int]]:
    """Return pools from the files of a prepared folder, made there where it has none.

    Pools that ``pool_size`` does not cut are those of every seed. Where the folder
    cannot be written, or its disk is full, they are made in memory.
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
