"""The schedule of a training, from its configuration and data."""

import math
from typing import cast

from twotower_jax.config import Config
from twotower_jax.config.training import MOST_STEPS, PATIENCE
from twotower_jax.data.log import Split
from twotower_jax.data.split import MOVED
from twotower_jax.errors import InputError
from twotower_jax.negatives import Mined
from twotower_jax.run.loader import trains
from twotower_jax.training.schedule import Renewals, Schedule


def make_schedule(config: Config, split: Split) -> Schedule:
    """Return the schedule in steps.

    An epoch counts the positives before resampling, so that arms that resample them
    differently train and validate at the same steps.
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
    eval_every = training.eval_every or math.ceil(positives / batch)
    return Schedule(
        steps=steps,
        steps_per_dispatch=training.steps_per_dispatch,
        eval_every=eval_every,
        checkpoint_every=training.checkpoint_every or 0,
        patience=patience,
        metric=training.metric,
        min_steps=training.min_steps,
        pause=config.pause,
    )


def finds_length(config: Config, split: Split) -> bool:
    """Return whether a run without the valid part finds the length of a training.

    It does where the valid part is trained on and the configuration leaves the length
    to validation.
    """
    training = config.training
    if not trains(config) or not split.report.get(MOVED) or training.update is not None:
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
