"""Refusals before a training, and what is said about its data and its samples."""

import math
from collections.abc import Collection, Mapping
from functools import partial
from typing import Any, NamedTuple, cast

from rich.console import Console

from twotower_jax.config import Config
from twotower_jax.data import sources
from twotower_jax.data.log import Split
from twotower_jax.errors import InputError, unknown
from twotower_jax.evaluation.metrics import of_scope
from twotower_jax.negatives import Mined
from twotower_jax.negatives.funnel import REJECTED, THROUGH, Funnel, parse_stage
from twotower_jax.run.loader import Loaded
from twotower_jax.run.problem import (
    estimates_at_k,
    layout_of_negatives,
    make_schedule,
    minings,
)
from twotower_jax.training.problem import Problem
from twotower_jax.training.schedule import Notes, Renewals


def registered_names() -> dict[str, Collection[str]]:
    """Return {dotted key: names} of the keys that choose from a registry."""
    return {"data.source": sources.SOURCES}


def check_names(config: Config) -> None:
    """Refuse unknown names and metrics, and towers that do not fit the loss."""
    sources.SOURCES[config.data.source]  # an unknown name
    config.loss.check_towers(config.towers)
    check_watched("training.metric", config.training.metric, config)


def check_watched(key: str, metric: str, config: Config) -> None:
    """Refuse a metric that is not a ranking metric at a cutoff of the evaluation."""
    watched = [n for n, m in of_scope("query").items() if m.larger_is_better]
    metrics = [f"{name}@{k}" for name in watched for k in config.evaluation.k]
    if metric not in metrics:
        raise unknown(key, metric, metrics)


# --- a bank, mining, filter, loss at k or patience that no step uses ------------------
# Warm-ups and periods are shares of the shortest training that the schedule allows, so
# that early stopping cannot end before them.


class Use(NamedTuple):
    """The steps that use a memory, or before which it is renewed."""

    when: Renewals
    refusal: str  # why a training with too few of them is refused
    unit: str = "steps"
    least: int = 1  # that a training needs


def uses(config: Config, split: Split) -> dict[str, Use]:
    """Return the use of bank, filter, mined items and k-th scores, where there are."""
    static, schedule = layout_of_negatives(config), make_schedule(config, split)
    bank, kept = config.negatives.bank, config.negatives.filter
    longer = "train longer (training.epochs, training.steps, training.patience)"
    of = f"the {schedule.shortest} steps of the training"
    used: dict[str, Use] = {}
    if static.bank:
        # The first step of all finds an empty bank.
        used["bank"] = Use(
            Renewals(max(1, schedule.steps_of(bank.warmup)), 1),
            f"negatives.bank.warmup={bank.warmup} leaves none of {of} for "
            f"negatives.bank.size={bank.size}; lower the warm-up, {longer}, or set "
            "negatives.bank.size=0",
        )
    if kept.gamma is not None:
        used["filter"] = Use(
            Renewals(schedule.steps_of(kept.warmup), 1),
            f"negatives.filter.warmup={kept.warmup} leaves none of {of} for "
            f"negatives.filter.gamma={kept.gamma}; lower the warm-up, {longer}, or "
            "set negatives.filter.gamma=null",
        )
    if static.hard_num and isinstance(config.negatives.hard, Mined):
        mined = cast(Mined, config.negatives.hard).mined
        used["mining"] = Use(
            minings(config, schedule),
            f"negatives.hard.mined.every={mined.every} after negatives.hard.mined."
            f"warmup={mined.warmup} leaves no second mining in {of}; lower them, or "
            f"{longer}",
            unit="minings",
            least=2,
        )
    if config.loss.weighs_rows:
        used["loss at k"] = Use(
            estimates_at_k(config, schedule),
            f"loss.at_k.every={config.loss.at_k.every} leaves no estimate of the "
            f"k-th best scores in {of}; lower it, or {longer}",
            unit="estimates",
        )
    return used


def check_use(config: Config, split: Split) -> None:
    """Refuse a memory that no step uses or renews, an idle filter or patience."""
    schedule = make_schedule(config, split)
    if config.training.patience and schedule.min_steps >= schedule.steps > 0:
        raise InputError(
            f"training.patience={schedule.patience} cannot end a training of "
            f"{schedule.steps} steps before training.min_steps={schedule.min_steps}; "
            "lower that, or set training.patience=0"
        )
    steps = schedule.shortest
    for use in uses(config, split).values() if steps else ():
        if use.when.number(steps) < use.least:
            raise InputError(use.refusal)


def report_use(
    config: Config, split: Split, notes: Notes, console: Console
) -> dict[str, Any]:
    """Return what a finished training used; warn of what came too late."""
    report: dict[str, Any] = {}
    for name, (when, _, unit, _) in uses(config, split).items():
        best = when.number(notes.evaluated_step)
        period = {} if unit == "steps" else {"period": when.every}
        report[name] = {"first step": when.first, **period}
        report[name] |= {unit: when.number(notes.last_step)}
        report[name] |= {f"{unit} to the best step": best}
        if not best and notes.last_step:
            console.print(
                f"warning: the {name} had no effect on the parameters that are "
                f"evaluated. They are those of step {notes.evaluated_step}; its first "
                f"step is {when.first}.",
                highlight=False,
                soft_wrap=True,
            )
    return report


# --- the data and the samples, before training ----------------------------------------

EXPOSED = (
    "warning: items that were shown and not clicked are negatives here. Users often "
    "like such items: as negatives of retrieval they are a well-known mistake, as "
    "negatives of ranking they are not. Compare with an arm that leaves them out."
)

CAME_THROUGH = (
    "note: items of the stages {stages} came through ranking, and users like many of "
    "them; the hard negatives that pre-ranking and ranking rejected are "
    f"negatives.hard.stages=[{','.join(REJECTED)}]."
)

# Negatives per positive from which a pointwise loss needs an offset.
MANY = 50

# Data whose details were printed: a sweep prints them once.
_described: set[str] = set()


def print_data(
    console: Console, data: Loaded, stages: Mapping[str, Mapping[str, float]]
) -> None:
    """Print the size of the data; once per process also dropped rows and the stages."""
    say = partial(console.print, highlight=False, soft_wrap=True)
    parts = data.split
    say(
        f"data {data.fingerprint}: {data.log.num_users:,} users, "
        f"{data.log.num_items:,} items, {len(data.log.user):,} rows; positives: "
        f"{len(parts.train):,} train, {len(parts.valid):,} valid, "
        f"{len(parts.test):,} test"
    )
    if data.fingerprint in _described:
        return
    _described.add(data.fingerprint)
    for reason, number in (data.log.dropped | parts.report).items():
        if number:
            say(f"  {reason}: {number:,}")
    for stage, truth in stages.items():
        say(
            f"  furthest stage {stage}: {truth['rows']:,} rows, true click rate "
            f"{truth['click_rate']:.3f}, AUC of clicks {truth.get('auc', math.nan):.3f}"
        )


def report_samples(config: Config, problem: Problem, console: Console) -> None:
    """Print statistics of resampling and of hard pools."""
    say = partial(console.print, highlight=False, soft_wrap=True)
    report = problem.report or {}
    if config.positives.strategy != "none":
        say(format_report(report["positives"]))
    if weights := report.get("weights"):
        say(
            f"weights of positives: {weights['without weight']:.1%} are 0, the largest "
            f"is {weights['largest weight']:,.3g} times the mean; effective sample "
            f"size {weights['effective samples']:,.0f}"
        )
    for reason, number in report.get("hard negatives", {}).items():
        if number:
            say(f"  {reason}: {number:,}")
    if available := report.get("available"):
        say(
            f"items known at a positive: {available['mean share']:.1%} of the "
            f"catalogue on average, {available['last share']:.1%} at the last one"
        )
    hard = config.negatives.hard
    if hard.num and isinstance(hard, Funnel):
        stages = {parse_stage(name)[0] for name in hard.stages}
        if "exposed" in stages:
            say(EXPOSED)
        if through := ", ".join(name for name in THROUGH if name in stages):
            say(CAME_THROUGH.format(stages=through))
    if warning := offset_warning(config, problem):
        say(warning)


def offset_warning(config: Config, problem: Problem) -> str | None:
    """Return a warning for a pointwise loss of many negatives without an offset."""
    loss, program = config.loss, problem.program
    negatives = program.negatives
    drawn = negatives.shared_easy + negatives.slots + negatives.bank
    drawn += (config.training.batch_size - 1) * negatives.in_batch
    odds = loss.odds(drawn, program.num_items)
    if odds is None or odds.negatives < MANY:
        return None
    number, share = odds
    return (
        f"warning: loss.name={loss.name} with {number:,} negatives per positive first "
        "lowers all scores, and may learn little else for many epochs; compare with "
        f"loss.offset={math.log(share):.1f}, which the ranking does not depend on"
    )


def format_report(report: dict[str, float]) -> str:
    """Return the statistics of `resampling_report` in two lines."""

    def change(key: str, form: str) -> str:
        before, after = (
            format(report[f"{key} {when}"], form) for when in ("before", "after")
        )
        return before if before == after else f"{before} -> {after}"

    return (
        f"positives per epoch: {change('samples', ',.0f')} "
        f"(effective sample size {report['effective samples']:,.0f})\n"
        f"  top 1% of items: {change('top 1% share', '.1%')} of them; "
        f"Gini {change('gini', '.3f')}; "
        f"effective items {change('effective items', ',.1f')}"
    )
