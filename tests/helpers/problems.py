"""Small training problems from the real configuration, for tests of the step."""

from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl

from twotower_jax.config import Config, from_dict
from twotower_jax.data.log import Feature, FunnelLog, Pairs, Split, Stage
from twotower_jax.run.loader import Loaded
from twotower_jax.run.problem import make_problem
from twotower_jax.training.problem import Problem


def configure(**keys: Any) -> Config:
    """Return a configuration; a key is dotted, with two underscores for the dot."""
    values: dict[str, Any] = {}
    for key, value in keys.items():
        *sections, last = key.split("__")
        place = values
        for section in sections:
            place = place.setdefault(section, {})
        place[last] = value
    return from_dict(values)


def as_loaded(
    user: np.ndarray,
    item: np.ndarray,
    users: int,
    items: int,
    rows: dict[str, np.ndarray] | None = None,
    request: np.ndarray | None = None,
) -> Loaded:
    """Return data of training positives, with further rows of the log.

    Args:
      user, item: [n] codes of the positives.
      users, items: sizes.
      rows: user, item, stage, request (and rank) of rows that are no positives.
      request: [n] of the positives.
    """
    user, item = user.astype(np.int32), item.astype(np.int32)
    rows = rows or {"user": user[:0], "item": item[:0], "stage": user[:0]}
    clicked = np.full(len(user), Stage.CLICKED)
    log = FunnelLog(
        user=np.concatenate([user, rows["user"]]).astype(np.int32),
        item=np.concatenate([item, rows["item"]]).astype(np.int32),
        stage=np.concatenate([clicked, rows["stage"]]).astype(np.int8),
        user_ids=pl.Series("user", np.arange(users)),
        item_ids=pl.Series("item", np.arange(items)),
        request=None
        if request is None
        else np.concatenate([request, rows["request"]]).astype(np.int64),
    )
    none = Pairs(user[:0], item[:0])
    split = Split(Pairs(user, item, None, request), none, none)
    return Loaded(log, split, np.bincount(item, minlength=items), "test")


def with_times(data: Loaded, time: np.ndarray, rows: np.ndarray) -> Loaded:
    """Return data of `as_loaded` with times.

    Args:
      data: the data.
      time: [n] moments of the positives.
      rows: moments of the other rows of the log.
    """
    log = replace(data.log, time=np.concatenate([time, rows]).astype(float))
    train = replace(data.split.train, time=time.astype(float))
    return data._replace(log=log, split=replace(data.split, train=train))


def with_features(data: Loaded) -> Loaded:
    """Return data of `as_loaded` with features of every kind of users and items.

    Args:
      data: the data.
    """
    rng = np.random.default_rng(5)

    def features(number: int) -> dict[str, Feature]:
        normal = rng.normal(size=(number, 3)).astype(np.float32)
        return {
            "group": Feature("categorical", _codes(rng, (number,), 5), 5),
            "tags": Feature("multi", _codes(rng, (number, 2), 7), 7),
            "size": Feature("numeric", normal[:, 0]),
            "text": Feature("vector", normal),
        }

    log = data.log
    changed = replace(
        log,
        user_features=features(log.num_users),
        item_features=features(log.num_items),
    )
    return data._replace(log=changed)


def _codes(rng: np.random.Generator, shape: tuple[int, ...], size: int) -> np.ndarray:
    """Return codes of a feature, -1 for a missing value."""
    return rng.integers(-1, size, shape).astype(np.int32)


def zipf_clicks(users: int, items: int, number: int, seed: int = 0):
    """Return users (uniform) and items (Zipf) of clicks [number]."""
    rng = np.random.default_rng(seed)
    weights = 1 / np.arange(1, items + 1)
    user = rng.integers(0, users, number)
    return user, rng.choice(items, number, p=weights / weights.sum())


def with_program(problem: Problem, **changes: Any) -> Problem:
    """Return the problem with changes of its program."""
    return problem._replace(program=replace(problem.program, **changes))


def small_problem(data: Loaded, **keys: Any) -> Problem:
    """Return the problem of a configuration, with small towers by default."""
    defaults = {
        "towers__dim": 6,
        "towers__hidden": (8,),
        "towers__query": ("id",),
        "towers__candidate": ("id",),
        "towers__init_scale": 0.3,
        "training__batch_size": 16,
        "training__epochs": 10,
        "optimizer__name": "adagrad",
        "optimizer__learning_rate": 0.05,
        "optimizer__eps": 1e-7,
    }
    if keys.get("loss__name") != "ccl":  # of cosines, which need no temperature
        defaults["loss__temperature"] = 0.1
    chosen = defaults | keys
    if chosen["optimizer__name"] == "sgd":
        del chosen["optimizer__eps"]
    return make_problem(configure(**chosen), data)
