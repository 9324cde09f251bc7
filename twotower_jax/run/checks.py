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
from twotower_jax.run.negatives import static_negatives
from twotower_jax.run.plan import estimates_at_k, make_schedule, minings
from twotower_jax.training.schedule import Notes


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


# --- Refusal of a bank, mining, filter, loss at k or patience that no step uses -------
# Warm-ups and periods are shares of the shortest training that the schedule allows, so
# that early stopping cannot end before them.


# What counts as a use of each.
COUNTED = {
    "bank": "steps",
    "filter": "steps",
    "mining": "minings",
    "loss at k": "estimates",
}


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
    used = uses(config, split, steps) if steps else {}
    if "bank" in used and not used["bank"]["steps"]:
        bank = config.negatives.bank
        raise InputError(
            f"negatives.bank.warmup={bank.warmup} leaves none of the {steps} steps of "
            f"the training for negatives.bank.size={bank.size}; lower the warm-up, "
            f"{longer}, or set negatives.bank.size=0"
        )
    if "loss at k" in used and not used["loss at k"]["estimates"]:
        raise InputError(
            f"loss.at_k.every={config.loss.at_k.every} leaves no estimate of the k-th "
            f"best scores in the {steps} steps of the training; lower it, or {longer}"
        )
    if "filter" in used and not used["filter"]["steps"]:
        kept = config.negatives.filter
        raise InputError(
            f"negatives.filter.warmup={kept.warmup} leaves none of the {steps} steps "
            f"of the training for negatives.filter.gamma={kept.gamma}; lower the "
            f"warm-up, {longer}, or set negatives.filter.gamma=null"
        )
    if "mining" in used and used["mining"]["minings"] < 2:
        mined = cast(Mined, config.negatives.hard).mined
        raise InputError(
            f"negatives.hard.mined.every={mined.every} after negatives.hard.mined."
            f"warmup={mined.warmup} leaves no second mining in the {steps} steps of "
            f"the training; lower them, or {longer}"
        )


def uses(config: Config, split: Split, steps: int) -> dict[str, dict[str, int]]:
    """The use of bank, filter and mined pools in the first steps of a training.

    Returns:
      "bank" and "filter", where there is one: "first step" that uses it, and number of
      "steps" that do. "mining", where there is one: "first step", "period" and number
      of "minings". "loss at k", for such a loss: "first step", "period" and number of
      "estimates".
    """
    negatives, schedule = static_negatives(config), make_schedule(config, split)
    found: dict[str, dict[str, int]] = {}
    if negatives.bank:
        # The first step of all finds an empty bank.
        first = max(1, schedule.steps_of(config.negatives.bank.warmup))
        found["bank"] = {"first step": first, "steps": max(0, steps - first)}
    if config.negatives.filter.gamma is not None:
        first = schedule.steps_of(config.negatives.filter.warmup)
        found["filter"] = {"first step": first, "steps": max(0, steps - first)}
    if negatives.hard.num and isinstance(negatives.hard, Mined):
        when = minings(config, schedule)
        found["mining"] = {
            "first step": when.first,
            "period": when.every,
            "minings": when.number(steps),
        }
    if config.loss.weighs_rows:
        when = estimates_at_k(config, schedule)
        found["loss at k"] = {
            "first step": when.first,
            "period": when.every,
            "estimates": when.number(steps),
        }
    return found


def report_use(
    config: Config, split: Split, notes: Notes, console: Console
) -> dict[str, Any]:
    """Return the use of bank, filter and mined pools by a finished training.

    Prints a warning where the parameters that are evaluated are from before the first
    use.
    """
    found, best = uses(config, split, notes.last_step), notes.evaluated_step
    for name, counts in uses(config, split, best).items():
        key = COUNTED[name]
        found[name][f"{key} to the best step"] = counts[key]
        if not counts[key] and notes.last_step:
            console.print(
                f"warning: the {name} had no effect on the parameters that are "
                f"evaluated. They are those of step {best}; its first step is "
                f"{counts['first step']}.",
                highlight=False,
                soft_wrap=True,
            )
    return found
