"""The embedded world: users and items with tastes, exposures, and biased clicks.

User u and item i have latent tastes z_u, x_i ~ N(0, I). Their affinity is
a(u, i) = taste_weight * <z_u, x_i> / sqrt(dim), with standard deviation taste_weight.
Item popularity is Zipf over a random order of the items. A request shows items
drawn by popularity times exp(affinity), best first; the item at position k = 1, 2, ...
is looked at with probability k ** -position_bias, and an item that is looked at is
clicked with probability sigmoid(a + b), with b such that the mean click rate of an
exposure is click_rate.
"""

from typing import NamedTuple

import numpy as np
import polars as pl

from twotower_jax.data.build import build_log
from twotower_jax.data.log import FunnelLog, Stage
from twotower_jax.errors import InputError
from twotower_jax.schema.data import SimulatorConfig

SHORTLIST = 200
BLOCK = 2_000
TAIL = 1e-4
MAX_GAP_SECONDS = 120
START_SECONDS = 1_600_000_000
# Deviations of what the features show of the tastes, and of how active users are.
FEATURE_NOISE = 0.5
ACTIVITY_SPREAD = 0.5


class World(NamedTuple):
    """Tastes [users, dim] and [items, dim], popularity [items], activity [users].

    The affinity of a pair is ``scale`` times the dot product of its tastes.
    """

    users: np.ndarray
    items: np.ndarray
    popularity: np.ndarray
    activity: np.ndarray
    scale: np.float32


def make_world(config: SimulatorConfig, rng: np.random.Generator) -> World:
    """Draw the tastes, the popularity (sums to 1) and the activity (sums to 1)."""
    users = rng.standard_normal((config.users, config.latent_dim), np.float32)
    items = rng.standard_normal((config.items, config.latent_dim), np.float32)
    weight = np.arange(1, config.items + 1, dtype=np.float64) ** -config.zipf_exponent
    popularity = np.empty(config.items)
    popularity[rng.permutation(config.items)] = weight / weight.sum()
    activity = np.exp(ACTIVITY_SPREAD * rng.standard_normal(config.users))
    return World(
        users,
        items,
        popularity,
        activity / activity.sum(),
        np.float32(config.taste_weight / np.sqrt(config.latent_dim)),
    )


def affinity(world: World, users: np.ndarray, items: np.ndarray) -> np.ndarray:
    """Return the affinity [requests, k] of users [requests] to items [requests, k]."""
    dots = np.einsum("rd,rkd->rk", world.users[users], world.items[items])
    return world.scale * dots


def _gumbel(rng: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    return -np.log(rng.standard_exponential(shape, dtype=np.float32) + 1e-30)


def _top(scores: np.ndarray, k: int) -> np.ndarray:
    """Return the columns [rows, k] of the k highest scores, best first."""
    part = np.argpartition(-scores, k - 1, axis=1)[:, :k]
    order = np.argsort(-np.take_along_axis(scores, part, axis=1), axis=1, kind="stable")
    return np.take_along_axis(part, order, axis=1)


def _show_from(
    world: World,
    items: np.ndarray,
    users: np.ndarray,
    k: int,
    rng: np.random.Generator,
) -> np.ndarray:
    """Draw k distinct of some items [requests, k] by popularity x exp(affinity)."""
    scores = world.scale * (world.users[users] @ world.items[items].T)
    scores += np.log(world.popularity[items]).astype(np.float32)
    return items[_top(scores + _gumbel(rng, scores.shape), k)]


def _head(order: np.ndarray, cumulative: np.ndarray, k: int) -> np.ndarray:
    """Return the most popular items, as many as can matter once the first k are out.

    All but a TAIL share of the popularity behind the first k; with a Zipf exponent
    near 1 that is nearly every item.
    """
    behind = cumulative[-1] - cumulative
    return order[: max(k, int((behind > TAIL * behind[k - 1]).sum()) + 1)]


def _show(
    world: World,
    by_popularity: tuple[np.ndarray, np.ndarray],
    users: np.ndarray,
    k: int,
    rng: np.random.Generator,
) -> np.ndarray:
    """Draw k distinct items [requests, k] from a shortlist drawn by popularity.

    The highest affinity + Gumbel noise are k draws without replacement in proportion
    to exp(affinity). Where a shortlist has fewer than k distinct items, the items
    are drawn from the whole catalogue (but for its far tail).
    """
    order, cumulative = by_popularity
    if len(order) <= SHORTLIST or k > SHORTLIST:
        return _show_from(world, order, users, k, rng)
    place = np.searchsorted(cumulative, rng.random((len(users), SHORTLIST)), "right")
    place = np.sort(np.minimum(place, len(order) - 1), axis=1)
    shortlist = order[place]
    scores = affinity(world, users, shortlist)
    scores += _gumbel(rng, scores.shape)
    scores[:, 1:][place[:, 1:] == place[:, :-1]] = -np.inf
    shown = np.take_along_axis(shortlist, _top(scores, k), axis=1)
    short = np.flatnonzero(np.isfinite(scores).sum(axis=1) < k)
    if len(short):
        head = _head(order, cumulative, k)
        shown[short] = _show_from(world, head, users[short], k, rng)
    return shown


def _expose(
    config: SimulatorConfig, world: World, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Return the user [requests] and the shown items [requests, exposed]."""
    users = rng.choice(config.users, config.requests, p=world.activity)
    order = np.argsort(-world.popularity, kind="stable")
    by_popularity = order, np.cumsum(world.popularity[order])
    block = max(1, min(BLOCK, 20_000_000 // config.items))
    shown = [
        _show(world, by_popularity, users[i : i + block], config.exposed, rng)
        for i in range(0, config.requests, block)
    ]
    return users, np.concatenate(shown)


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return 0.5 * (1 + np.tanh(0.5 * x))


def _click_probability(
    liking: np.ndarray, examined: np.ndarray, rate: float
) -> np.ndarray:
    """Return P(click) [requests, exposed] whose mean is the rate.

    Raises:
      InputError: items are looked at less often than they are to be clicked.
    """
    highest = float(examined.mean())
    if rate > highest + 1e-9:
        raise InputError(
            f"data.simulator.click_rate={rate} cannot be reached: items are looked at "
            f"with probability {highest:.3f} on average; lower click_rate to that at "
            "most, or lower data.simulator.position_bias"
        )
    low, high = -40.0 - liking.max(), 40.0 - liking.min()
    for _ in range(40):
        middle = (low + high) / 2
        mean = (examined * _sigmoid(liking + middle)).mean()
        low, high = (middle, high) if mean < rate else (low, middle)
    return examined * _sigmoid(liking + high)


def _labels(prefix: str, codes: np.ndarray) -> pl.Series:
    return pl.Series([f"{prefix}-{code}" for code in codes], dtype=pl.String)


def _features(
    world: World, rng: np.random.Generator
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return what the log tells of users and items: noisy views of their tastes."""
    users, items = world.users, world.items
    seen = items + FEATURE_NOISE * rng.standard_normal(items.shape)
    tags = [[f"tag-{code}" for code in np.flatnonzero(row)] for row in seen > 1.0]
    user_table = pl.DataFrame(
        {
            "user": np.arange(len(users)),
            "segment": _labels("segment", users.argmax(axis=1)),
            "activity": np.log(world.activity),
        }
    )
    item_table = pl.DataFrame(
        {
            "item": np.arange(len(items)),
            "category": _labels("category", seen.argmax(axis=1)),
            "tags": pl.Series(tags, dtype=pl.List(pl.String)),
            "price": items[:, 0] + FEATURE_NOISE * rng.standard_normal(len(items)),
        }
    )
    return user_table, item_table


def simulate(config: SimulatorConfig) -> FunnelLog:
    """Return the log of a simulated world: a pure function of its config.

    ``requests`` times ``exposed`` rows, in order of time, with stages EXPOSED and
    CLICKED. Ids are integers. The catalogue is every item; users without a request
    are not in the log. Query features: segment (categorical), activity (numeric).
    Item features: category (categorical), tags (multi), price (numeric).

    Raises:
      InputError: a click rate that the position bias makes impossible.
    """
    rng = np.random.default_rng(config.seed)
    world = make_world(config, rng)
    user_table, item_table = _features(world, rng)
    users, shown = _expose(config, world, rng)
    liking = affinity(world, users, shown)
    position = np.arange(1, config.exposed + 1, dtype=np.float64)
    examined = np.broadcast_to(position**-config.position_bias, shown.shape)
    probability = _click_probability(liking, examined, config.click_rate)
    clicked = rng.random(shown.shape) < probability
    # Whole seconds, so that no time depends on rounding.
    gaps = rng.integers(1, MAX_GAP_SECONDS + 1, config.requests)
    time = (START_SECONDS + np.cumsum(gaps)).astype(np.float64)
    stage = np.where(clicked, int(Stage.CLICKED), int(Stage.EXPOSED)).astype(np.int8)
    frame = pl.DataFrame(
        {
            "user": np.repeat(users, config.exposed),
            "item": shown.ravel(),
            "time": np.repeat(time, config.exposed),
            "stage": stage.ravel(),
            "request": np.repeat(np.arange(config.requests), config.exposed),
        }
    )
    return build_log(
        frame,
        where="simulator",
        user_features=user_table,
        item_features=item_table,
        catalogue=pl.Series(np.arange(config.items)),
    )
