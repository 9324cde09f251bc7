"""Condition of a log: times, repeats, thin users, features, what splits drop."""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import NamedTuple

import numpy as np
import polars as pl

from twotower_jax.data.config import SPLITS, DataConfig
from twotower_jax.data.log import FunnelLog, Pairs, Stage
from twotower_jax.data.parse import UNITS, unit
from twotower_jax.data.sources import SOURCES
from twotower_jax.data.split import split
from twotower_jax.errors import InputError

REJECTED = (Stage.RETRIEVED, Stage.PRE_RANKED)  # by pre-ranking, by ranking
# Stages of items that were discarded before anything was shown.
DISCARDED = tuple(stage for stage in Stage if stage < Stage.EXPOSED)


def studies(log: FunnelLog, source: str) -> dict[str, str]:
    """Studies that a log supports."""
    given = log.part is not None
    return _hard_studies(log) | {
        "temporal split": _answer(
            log.time is not None, "data.split=temporal", "no times"
        ),
        "given split": _answer(given, "data.split=given", "it comes in one part"),
        "against the truth": _answer(
            source in SOURCES and SOURCES[source].has_truth,
            "evaluation.truth=true",
            "only the simulator has it",
        ),
    }


def _hard_studies(log: FunnelLog) -> dict[str, str]:
    """Return the studies of positives and negatives that a log supports."""
    counts = np.bincount(log.stage, minlength=len(Stage))
    stages = [stage.name.lower() for stage in REJECTED if counts[stage]]
    hard = "negatives=hard negatives.hard.stages="
    pool = "" if log.request is not None else " negatives.hard.pool=user (no requests)"
    exposed = f"{hard}[exposed] negatives.allow_exposed=true{pool}"
    ranks = log.rank is not None and bool((log.rank >= 0).any())
    return {
        "easy negatives, logQ": "yes",
        "positives resampling": "yes",
        "hard negatives by stage": _answer(
            bool(stages),
            f"{hard}[{','.join(stages)}]{pool}",
            "no item that pre-ranking or ranking rejected",
        ),
        "windows of ranks": _answer(
            bool(stages) and ranks, "such as pre_ranked:50-100", "no ranks in a stage"
        ),
        "exposed, not clicked": _answer(
            bool(counts[Stage.EXPOSED]),
            exposed,
            "no item that was shown and not clicked",
        ),
    }


def _answer(can: bool, how: str, why_not: str) -> str:
    return f"yes: {how}" if can else f"no: {why_not}"


COVERED = 0.95  # least share of ids in a table of features without a warning


# Users with fewer positives have too short a history for shares of it.
SHORT = 10


class SplitHealth(NamedTuple):
    """What one method of splitting makes of a log.

    Attributes:
      sizes: {part: number of positives}; {} where the method does not fit the log.
      reason: why it does not fit.
      users: number of users in the test part.
      duplicates: repeats within valid and within test, which are left out.
      repeats: share of the test positives that the user clicked before.
      cold_users: share of the test positives whose user has none in training.
      cold_items: share of the test positives whose item has none in training.
    """

    sizes: dict[str, int]
    reason: str = ""
    users: int = 0
    duplicates: int = 0
    repeats: float = 0.0
    cold_users: float = 0.0
    cold_items: float = 0.0


def split_health(
    log: FunnelLog, config: DataConfig, methods: Iterable[str] = SPLITS
) -> dict[str, SplitHealth]:
    """What each method of splitting makes of a log."""
    return {name: _health(log, replace(config, split=name)) for name in methods}


def _health(log: FunnelLog, config: DataConfig) -> SplitHealth:
    try:
        parts = split(log, config)
    except InputError as error:
        return SplitHealth({}, str(error))
    earlier = np.concatenate([_keys(log, parts.train), _keys(log, parts.valid)])
    test = _keys(log, parts.test)
    repeated = pl.Series(test).is_in(pl.Series(earlier).implode())
    names = ("train", "valid", "test")
    return SplitHealth(
        {name: len(getattr(parts, name)) for name in names},
        users=len(np.unique(parts.test.user)),
        duplicates=sum(parts.report[f"duplicate {p} positives"] for p in names[1:]),
        repeats=float(repeated.to_numpy().mean()),
        cold_users=_unseen(parts.test.user, parts.train.user),
        cold_items=_unseen(parts.test.item, parts.train.item),
    )


def _keys(log: FunnelLog, pairs: Pairs) -> np.ndarray:
    return pairs.user.astype(np.int64) * log.num_items + pairs.item


def _unseen(test: np.ndarray, train: np.ndarray) -> float:
    """Return the share of codes of test that training lacks."""
    known = np.zeros(1 + max(test.max(), train.max()), bool)
    known[train] = True
    return float(1 - known[test].mean())


def best_split(log: FunnelLog, health: dict[str, SplitHealth]) -> tuple[str, str]:
    """Method of splitting for a log, and the reason.

    Returns:
      The value of data.split and the reason: the parts of the data, if it comes in
      parts; with times, temporal, or leave_last_out where half of the users have fewer
      than SHORT positives or most test positives of a temporal split are of users
      without training positives; else ratio.
    """
    fits = {name for name, one in health.items() if one.sizes}
    if "given" in fits:
        return "given", "the data comes in parts"
    if log.time is not None and "leave_last_out" in fits:
        counts = np.bincount(log.user[log.stage == Stage.CLICKED])
        median = float(np.median(counts[counts > 0]))
        cold = health["temporal"].cold_users if "temporal" in fits else 0.0
        if median < SHORT:
            most = "one positive" if median == 1 else f"{median:.0f} positives or fewer"
            reason = f"half of the users have {most}"
            return "leave_last_out", reason
        if cold > 0.5:
            reason = f"{cold:.0%} of the positives of a temporal test part are of users"
            return "leave_last_out", f"{reason} without training positives"
    if "temporal" in fits:
        return "temporal", "the log has times"
    if "ratio" in fits:
        return "ratio", "the log has no times that order it"
    if fits:
        return sorted(fits)[0], "the others leave no test part"
    rows = np.unique(log.user[log.stage == Stage.CLICKED], return_counts=True)[1]
    raise InputError(
        f"the log is too small for a test part: it has {rows.sum():,} positives of "
        f"{len(rows):,} users, at most {max(rows, default=0)} of one user, and no "
        "split leaves a positive to test on; give a larger log, with users of 3 "
        "positives or more"
    )


def repeats_text(health: SplitHealth, mask_seen: bool) -> str | None:
    """The share of repeats in the test part, and whether they count.

    Examples:
      >>> repeats_text(SplitHealth({}, repeats=0.33), mask_seen=True)
      '33% of the test positives are repeats and will not count; data.repeats=all \
    counts them'
    """
    if health.repeats < 0.005:
        return None
    share = f"{health.repeats:.0%} of the test positives are repeats"
    if mask_seen:
        return f"{share} and will not count; data.repeats=all counts them"
    return (
        f"{share}, which count, and seen items may be recommended; "
        "data.repeats=first keeps new items only"
    )


def repeated_share(log: FunnelLog) -> float:
    """Share of the positives whose user has an earlier row of the same item."""
    rows = np.flatnonzero(log.stage == Stage.CLICKED)
    keys = log.user[rows].astype(np.int64) * log.num_items + log.item[rows]
    return 1 - pl.Series(keys).n_unique() / max(1, len(rows))


def users_with_one(log: FunnelLog) -> tuple[int, int]:
    """Number of users with one positive, and of users with any."""
    counts = np.bincount(log.user[log.stage == Stage.CLICKED], minlength=log.num_users)
    return int((counts == 1).sum()), int((counts > 0).sum())


def coverage(ids: pl.Series, table: pl.Series) -> float:
    """Share of ids that a table has, compared as texts.

    Examples:
      >>> coverage(pl.Series([1, 2]), pl.Series(["2", "3"]))
      0.5
    """
    known = table.cast(pl.String).implode()
    return float(ids.cast(pl.String).is_in(known).to_numpy().mean())


PER_SECOND = {name: 1e3**place for place, (name, _) in enumerate(UNITS)}
DAY = 86_400.0


def span(times: np.ndarray) -> str:
    """First and last time as dates, or as numbers where they have no unit.

    Examples:
      >>> span(np.array([1.7e9, 1.7e9 + 86_400]))
      '2023-11-14 to 2023-11-15 (1 day), in seconds'
      >>> span(np.array([1.0, 7.0]))
      '1 to 7, numbers without a unit'
    """
    if (name := unit(times)) is None:
        return f"{times.min():g} to {times.max():g}, numbers without a unit"
    seconds = times[times >= UNITS[0][1]] / PER_SECOND[name]
    first, last = seconds.min(), seconds.max()
    days = round((last - first) / DAY)
    plural = "day" if days == 1 else "days"
    return f"{_date(first)} to {_date(last)} ({days:,} {plural}), in {name}"


def _date(seconds: float) -> str:
    """Return the date of a time (UTC), such as 2024-05-31."""
    try:
        return datetime.fromtimestamp(seconds, UTC).date().isoformat()
    except (ValueError, OverflowError):
        return f"{seconds:g} s"


def anomalies(times: np.ndarray, now: float) -> Iterator[str]:
    """Anomalies of the times of a log, one sentence each.

    Examples:
      >>> list(anomalies(np.array([0, 1.7e9]), now=1.75e9))
      ['1 of 2 rows dated 1970 or before, as if the time were missing']
    """
    if (times == times[0]).all():
        yield "every row has the same time, so the times give no order"
        return
    if (name := unit(times)) is None:
        return
    seconds, rows = times / PER_SECOND[name], len(times)
    if early := int((seconds < 366 * DAY).sum()):
        text = f"{early:,} of {rows:,} rows dated 1970 or before"
        yield f"{text}, as if the time were missing"
    if late := int((seconds > now + DAY).sum()):
        last = _date(float(seconds.max()))
        yield f"{late:,} of {rows:,} rows in the future, up to {last}"
    distinct = len(np.unique(times[: 10**6]))
    if distinct <= 0.001 * min(rows, 10**6):
        yield (
            f"only {distinct:,} distinct times: rows of one time have no order, and a "
            "temporal split keeps them together"
        )
