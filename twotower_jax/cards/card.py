"""The card of an objective: where its optimum lies, and how noisy its gradient is."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from twotower_jax.cards.arm import SmallArm, small_arm
from twotower_jax.cards.optimum import Optimum, find_optimum
from twotower_jax.cards.world import World
from twotower_jax.config import Config
from twotower_jax.evaluation.metrics import BUCKETS, popularity_buckets
from twotower_jax.losses.terms import TwoWay
from twotower_jax.training.problem import Problem

# A drift of a group in nats, and a deviation of the slope from 1, that are a move.
DRIFT, SLOPE = 0.1, 0.03
# Names of the groups beside head, mid and tail.
POOL, OWN = "retrieved", "own positives"
# Points of a curve.
BINS = 10

Curve = tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Card:
    """The optimum of an objective in a small world.

    The target is log P(i | u), plus log w_i where positives are resampled and not
    weighted back. The drift of an item is its optimal score minus its target, less the
    mean over the items of the user, in nats.
    """

    slope: float  # slope of the optimum on log P(i | u)
    slope_target: float  # slope of the optimum on the target
    # coefficient of log P(i | u) in the best fit of the optimum by it and by the log
    # share of the item among all clicks
    on_probability: float
    on_popularity: float  # coefficient of the log share
    # mean of the optimum minus the target, where the loss fixes it: that of single
    # pairs; None for a softmax and for pairs of items
    constant: float | None
    # {group: mean drift} of head, mid and tail items, of those that the funnel
    # retrieves for the user, and of the user's positives
    drift: dict[str, float]
    error: float  # largest standard error of the drifts
    # variance of the gradient, in units of that of the full softmax over the same rows
    variance: float
    pairs: int  # scored pairs per row
    items: int  # items of the small world
    # {name: ((log P, drift), ...)} means over bins of the items
    curves: dict[str, Curve]
    resampled: bool = False  # whether the target is not log P
    scaled: tuple[str, ...] = ()  # keys with another value than that of the arm
    # share of the push on items that entries of a bank have. They pass no gradient, so
    # it does not reach the items
    banked: float = 0.0

    @property
    def moved(self) -> bool:
        """Whether the optimum is not the target."""
        far = max(abs(value) for value in self.drift.values())
        return far > DRIFT or abs(self.slope_target - 1) > SLOPE

    @property
    def break_even(self) -> float:
        """Catalogue above which the full softmax has more variance at equal cost.

        The full softmax scores every item, so that with the same number of scored pairs
        it has fewer rows. The variance per row is taken from the small world.
        """
        return self.variance * self.pairs


def audit_arm(config: Config) -> Card:
    """The card of an arm's objective."""
    arm = small_arm(config)
    optimum = find_optimum(arm.problem, arm.world)
    return card_of(arm, optimum)


def card_of(arm: SmallArm, optimum: Optimum) -> Card:
    """The card of an optimum in a small world."""
    world, problem = arm.world, arm.problem
    log_p = np.log(world.probability)
    log_w = _log_weight(problem)
    target = log_p if log_w is None else log_p + log_w
    drift = _centred(optimum.scores - target)
    groups = item_groups(world)
    moves = optimum.moves - optimum.moves.mean(axis=2, keepdims=True)
    errors = [_means(groups, move) for move in moves]
    spread = [np.std([e[name] for e in errors], ddof=1) for name in groups]
    popularity = np.log(world.loaded.counts / world.loaded.counts.sum())
    fit = _fit(optimum.scores, log_p, np.broadcast_to(popularity, log_p.shape))
    fixed = problem.program.loss.pointwise
    return Card(
        slope=_slope(optimum.scores, log_p),
        slope_target=_slope(optimum.scores, target),
        on_probability=fit[0],
        on_popularity=fit[1],
        constant=float((optimum.scores - target).mean()) if fixed else None,
        drift=_means(groups, drift),
        error=float(max(spread) / np.sqrt(len(moves))),
        variance=_relative_variance(optimum, world, problem),
        pairs=_pairs(problem),
        items=log_p.shape[1],
        curves=_curves(log_p, drift, world.retrieved),
        resampled=log_w is not None,
        scaled=arm.scaled,
        banked=optimum.banked,
    )


def item_groups(world: World) -> dict[str, np.ndarray]:
    """Weights of the items of each type in the groups of a card."""
    shape = world.probability.shape
    buckets = popularity_buckets(world.loaded.counts)
    groups = {
        name: np.broadcast_to(buckets == code, shape).astype(float)
        for code, name in enumerate(BUCKETS)
    }
    train, own = world.loaded.split.train, np.zeros(shape)
    pairs = np.unique(np.stack([train.user, train.item]), axis=1)
    np.add.at(own, (world.type_of_user[pairs[0]], pairs[1]), 1)
    return groups | {POOL: world.retrieved.astype(float), OWN: own}


def to_json(card: Card) -> dict[str, Any]:
    """A card as plain values."""
    return dataclasses.asdict(card)


def from_json(values: Mapping[str, Any]) -> Card:
    """A card from the values of ``to_json``, also after they were a JSON text."""
    curves = {
        name: tuple((float(x), float(y)) for x, y in points)
        for name, points in values["curves"].items()
    }
    scaled = tuple(values["scaled"])
    return Card(**{**values, "curves": curves, "scaled": scaled})


def _log_weight(problem: Problem) -> np.ndarray | None:
    """Return log w_i [N] of resampled positives; None where the target is log P."""
    if problem.program.positive_weight:
        return None
    if np.ptp(problem.weights) == 0:
        return None
    return np.log(problem.weights)


def _centred(values: np.ndarray) -> np.ndarray:
    return values - values.mean(axis=1, keepdims=True)


def _slope(scores: np.ndarray, on: np.ndarray) -> float:
    """The slope of scores [T, N] within the types, by least squares."""
    x, y = _centred(on), _centred(scores)
    return float((x * y).sum() / (x * x).sum())


def _fit(scores: np.ndarray, *on: np.ndarray) -> list[float]:
    """The coefficients of several variables [T, N] within the types."""
    columns = np.stack([_centred(x).ravel() for x in on], axis=1)
    found = np.linalg.lstsq(columns, _centred(scores).ravel(), rcond=None)[0]
    return [float(value) for value in found]


def _means(groups: Mapping[str, np.ndarray], values: np.ndarray) -> dict[str, float]:
    return {
        name: float((weight * values).sum() / weight.sum())
        for name, weight in groups.items()
    }


def _relative_variance(optimum: Optimum, world: World, problem: Problem) -> float:
    """The variance of the gradient in units of the full softmax's.

    Gradients are compared in units of their pull on the positives, so that a factor of
    the loss does not count. A row of the full softmax has the gradient P - e_i, whose
    variance and whose pull both are 1 - sum P^2. A pass reads every row once, so that
    its batches are draws without replacement, with less variance.
    """
    rows, number = problem.order.batches(0, 1).shape[1], len(problem.data.item)
    full = 1 - float((world.probability**2).sum(axis=1).mean())
    of_batch = (number - rows) / (number - 1) / rows / full
    return optimum.variance / optimum.pull**2 / of_batch


def _pairs(problem: Problem) -> int:
    """The pairs of a row and a candidate that are scored per row."""
    program, negatives = problem.program, problem.program.negatives
    if program.loss.whole_catalogue:
        return program.num_items
    batch = problem.order.batches(0, 1).shape[1] if negatives.in_batch else 1
    slots, scored = negatives.slots, program.hard.candidate_num
    slots = slots * scored if scored and program.hard.per_slot else slots + scored
    of_users = [t for t in program.terms if isinstance(t, TwoWay)]
    users = batch if of_users else 0
    return batch + negatives.shared_easy + negatives.bank + slots + users


class _Items(NamedTuple):
    """Items of a curve, with their log P and their drift."""

    log_p: np.ndarray
    drift: np.ndarray


def _curves(
    log_p: np.ndarray, drift: np.ndarray, retrieved: np.ndarray
) -> dict[str, Curve]:
    """The mean drift by log P of retrieved and of other items."""
    parts = {
        name: _Items(log_p[kept], drift[kept])
        for name, kept in (("other items", ~retrieved), (POOL, retrieved))
    }
    return {name: _curve(items) for name, items in parts.items() if len(items.log_p)}


def _curve(items: _Items) -> Curve:
    bins = np.array_split(np.argsort(items.log_p, kind="stable"), BINS)
    return tuple(
        (float(items.log_p[one].mean()), float(items.drift[one].mean()))
        for one in bins
        if len(one)
    )
