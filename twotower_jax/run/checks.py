"""Refusals before a training: unknown names, and what no step would use."""

from collections.abc import Collection
from operator import attrgetter
from typing import Any, cast

from rich.console import Console

from twotower_jax.config import Config
from twotower_jax.data import sources
from twotower_jax.data.log import Split
from twotower_jax.errors import InputError, unknown
from twotower_jax.evaluation.metrics import of_scope
from twotower_jax.negatives import Mined
from twotower_jax.run.problem import (
    estimates_at_k,
    make_schedule,
    minings,
    static_negatives,
)
from twotower_jax.training.schedule import Notes, Renewals


def registered_names() -> dict[str, Collection[str]]:
    """Return {dotted key: names} of the keys that choose from a registry.

    Examples:
      >>> "simulator" in registered_names()["data.source"]
      True
    """
    return {"data.source": sources.SOURCES}


def check_names(config: Config) -> None:
    """Refuse unknown names and metrics, and towers that do not fit the loss."""
    for key, choices in registered_names().items():
        if (name := attrgetter(key)(config)) not in choices:
            raise unknown(key, name, choices)
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

# What counts as a use of each, and how many a training needs.
COUNTED = {
    "bank": ("steps", 1),
    "filter": ("steps", 1),
    "mining": ("minings", 2),
    "loss at k": ("estimates", 1),
}


def uses(config: Config, split: Split) -> dict[str, Renewals]:
    """Return the steps that use bank and filter, or renew mined items and k-th scores.

    The names are those of `COUNTED`, without what the training does not have.
    """
    negatives, schedule = static_negatives(config), make_schedule(config, split)
    used: dict[str, Renewals] = {}
    if negatives.bank:
        # The first step of all finds an empty bank.
        first = max(1, schedule.steps_of(config.negatives.bank.warmup))
        used["bank"] = Renewals(first, 1)
    if config.negatives.filter.gamma is not None:
        first = schedule.steps_of(config.negatives.filter.warmup)
        used["filter"] = Renewals(first, 1)
    if negatives.hard.num and isinstance(negatives.hard, Mined):
        used["mining"] = minings(config, schedule)
    if config.loss.weighs_rows:
        used["loss at k"] = estimates_at_k(config, schedule)
    return used


def check_use(config: Config, split: Split) -> None:
    """Refuse a memory that no step uses or renews, an idle filter or patience.

    A training of 0 steps passes: it uses no negatives at all.
    """
    schedule = make_schedule(config, split)
    steps = schedule.shortest
    if config.training.patience and schedule.min_steps >= schedule.steps > 0:
        raise InputError(
            f"training.patience={schedule.patience} cannot end a training of "
            f"{schedule.steps} steps before training.min_steps={schedule.min_steps}; "
            "lower that, or set training.patience=0"
        )
    longer = "train longer (training.epochs, training.steps, training.patience)"
    negatives, of = config.negatives, f"the {steps} steps of the training"
    bank, kept = negatives.bank, negatives.filter
    for name, when in uses(config, split).items() if steps else ():
        if when.number(steps) >= COUNTED[name][1]:
            continue
        if name == "bank":
            raise InputError(
                f"negatives.bank.warmup={bank.warmup} leaves none of {of} for "
                f"negatives.bank.size={bank.size}; lower the warm-up, {longer}, or set "
                "negatives.bank.size=0"
            )
        if name == "filter":
            raise InputError(
                f"negatives.filter.warmup={kept.warmup} leaves none of {of} for "
                f"negatives.filter.gamma={kept.gamma}; lower the warm-up, {longer}, or "
                "set negatives.filter.gamma=null"
            )
        if name == "loss at k":
            raise InputError(
                f"loss.at_k.every={config.loss.at_k.every} leaves no estimate of the "
                f"k-th best scores in {of}; lower it, or {longer}"
            )
        mined = cast(Mined, negatives.hard).mined
        raise InputError(
            f"negatives.hard.mined.every={mined.every} after negatives.hard.mined."
            f"warmup={mined.warmup} leaves no second mining in {of}; lower them, or "
            f"{longer}"
        )


def report_use(
    config: Config, split: Split, notes: Notes, console: Console
) -> dict[str, Any]:
    """Return the use of bank, filter and mined pools by a finished training.

    Prints a warning where the parameters that are evaluated are from before the first
    use.
    """
    report: dict[str, Any] = {}
    for name, when in uses(config, split).items():
        key, _ = COUNTED[name]
        best = when.number(notes.evaluated_step)
        period = {} if key == "steps" else {"period": when.every}
        report[name] = {"first step": when.first, **period}
        report[name] |= {key: when.number(notes.last_step)}
        report[name] |= {f"{key} to the best step": best}
        if not best and notes.last_step:
            console.print(
                f"warning: the {name} had no effect on the parameters that are "
                f"evaluated. They are those of step {notes.evaluated_step}; its first "
                f"step is {when.first}.",
                highlight=False,
                soft_wrap=True,
            )
    return report
