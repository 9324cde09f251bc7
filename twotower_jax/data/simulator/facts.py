"""Truth of a world: click probabilities, unbiased exposures, best items.

The truth changes with the tastes of the users. By default these functions compute it
at the end of the log (``moment=1``), after all drift and with every item present.
Users and items are the ids of the log.
"""

from typing import NamedTuple

import numpy as np

from twotower_jax.data.simulator.arrays import best, stream
from twotower_jax.data.simulator.clicks import sigmoid
from twotower_jax.data.simulator.config import SimulatorConfig
from twotower_jax.data.simulator.record import prepare
from twotower_jax.data.simulator.world import World, affinity, taste_scale, tastes_at
from twotower_jax.errors import InputError

_BLOCK = 1 << 22


class UniformExposures(NamedTuple):
    """Pairs that were shown without any bias.

    Attributes:
      user, item: [n] int32 ids of the log.
      probability: [n] float64 probability of a click.
      clicked: [n] bool, drawn with that probability.
    """

    user: np.ndarray
    item: np.ndarray
    probability: np.ndarray
    clicked: np.ndarray


def _ids(name: str, ids: np.ndarray, number: int) -> np.ndarray:
    """Return ids as an int64 array, all of them 0..number-1."""
    ids = np.asarray(ids)
    if len(ids) == 0:
        return ids.astype(np.int64)
    valid = np.zeros(len(ids), bool)
    if ids.dtype.kind in "iu":
        valid = (ids >= 0) & (ids < number)
    if not valid.all():
        raise InputError(
            f"{name} has {ids[~valid][0]!r}, which is not an id of the world; give "
            f"whole numbers from 0 to {number - 1} (data.simulator.{name}={number})"
        )
    return ids.astype(np.int64)


def _probability(
    world: World,
    intercept: float,
    users: np.ndarray,
    items: np.ndarray,
    moments: np.ndarray,
) -> np.ndarray:
    """Return the probabilities [n] of pairs [n] at moments [n], in blocks."""
    out = np.empty(len(users))
    rows = max(1, _BLOCK // world.config.latent_dim)
    for i in range(0, len(users), rows):
        block = slice(i, i + rows)
        tastes = tastes_at(world, users[block], moments[block])
        affinities = affinity(world, tastes, items[block, None])[:, 0]
        out[block] = sigmoid(affinities + intercept)
    return out


def truth(
    config: SimulatorConfig,
    users: np.ndarray,
    items: np.ndarray,
    moment: float | np.ndarray = 1.0,
) -> np.ndarray:
    """Probability of a click on an item that is examined.

    sigmoid(affinity + intercept), without the position bias.
    """
    world, _, intercept = prepare(config)
    users = _ids("users", users, config.users)
    items = _ids("items", items, config.items)
    if len(users) != len(items):
        raise InputError(
            f"{len(users)} users and {len(items)} items are not pairs; give as many "
            "of both"
        )
    moments = np.broadcast_to(np.asarray(moment, np.float64), users.shape)
    return _probability(world, intercept, users, items, moments)


def _check_size(
    config: SimulatorConfig, number: int | None, per_user: int | None
) -> None:
    """Raise InputError unless there is one size, in its range."""
    if (number is None) == (per_user is None):
        raise InputError(
            f"number={number}, per_user={per_user}: exactly one of the two is the size "
            "of the set of uniform exposures; give one"
        )
    if per_user is not None and not 1 <= per_user <= config.items:
        raise InputError(
            f"per_user={per_user} is out of range; give a value between 1 and "
            f"data.simulator.items={config.items}"
        )
    if number is not None and number < 1:
        raise InputError(f"number={number} is out of range; give a value at least 1")


def uniform_exposures(
    config: SimulatorConfig,
    *,
    number: int | None = None,
    per_user: int | None = None,
    seed: int = 0,
    moment: float = 1.0,
) -> UniformExposures:
    """Test set of exposures without a bias of popularity, funnel or position."""
    _check_size(config, number, per_user)
    rng = stream(config.seed, f"uniform {seed}")
    if number is not None:
        users = rng.integers(0, config.users, number)
        items = rng.integers(0, config.items, number)
    else:
        users = np.repeat(np.arange(config.users), per_user or 0)
        draws = (
            rng.choice(config.items, per_user, replace=False, shuffle=False)
            for _ in range(config.users)
        )
        items = np.concatenate(list(draws))
    probability = truth(config, users, items, moment)
    return UniformExposures(
        user=users.astype(np.int32),
        item=items.astype(np.int32),
        probability=probability,
        clicked=rng.random(len(users)) < probability,
    )


def true_vectors(
    config: SimulatorConfig,
    users: np.ndarray,
    items: np.ndarray,
    moment: float = 1.0,
) -> tuple[np.ndarray, np.ndarray]:
    """Vectors of users and items whose dot products are the affinities."""
    world = prepare(config).world
    users = _ids("users", users, config.users)
    items = _ids("items", items, config.items)
    tastes = tastes_at(world, users, np.full(len(users), moment))
    ones = np.ones((len(users), 1), np.float32)
    merit = np.float32(config.quality_weight) * world.quality[items]
    return (
        np.concatenate([taste_scale(config) * tastes, ones], axis=1),
        np.concatenate([world.items[items], merit[:, None]], axis=1),
    )


def true_top_k(
    config: SimulatorConfig, users: np.ndarray, k: int, moment: float = 1.0
) -> np.ndarray:
    """Items of the whole catalogue that users click most probably, best first.

    Of equally good items the one with the lower id comes first.
    """
    if not 1 <= k <= config.items:
        raise InputError(
            f"k={k} is out of range; give a value between 1 and "
            f"data.simulator.items={config.items}"
        )
    users = _ids("users", users, config.users)
    world = prepare(config).world
    merit = np.float32(config.quality_weight) * world.quality
    out = np.empty((len(users), k), np.int32)
    rows = max(1, _BLOCK // config.items)
    for i in range(0, len(users), rows):
        block = users[i : i + rows]
        tastes = tastes_at(world, block, np.full(len(block), moment))
        affinities = taste_scale(config) * (tastes @ world.items.T) + merit
        out[i : i + rows] = best(affinities, k)
    return out
