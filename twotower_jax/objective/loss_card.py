"""The card of a loss from elsewhere: its optimum, its use of log q, and alarms."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from twotower_jax.errors import InputError
from twotower_jax.evaluation.metrics import BUCKETS, popularity_buckets
from twotower_jax.objective.batches import Catalogue, Forces, Layout, forces, mean_slope
from twotower_jax.objective.black_box import BlackBox, Candidates

# Passes over all items that move the scores, at most; all of them at full length until
# AVERAGED. The scores have arrived where the mean move, in nats, is below ARRIVED.
MOVES, AVERAGED, ARRIVED, LONGEST = 20, 12, 0.01, 2.0
# Sets of draws that measure the error.
MEASURES = 2

# Scores [N] and the number of a set of draws -> batches.
Make = Callable[[np.ndarray, int], Layout]


class FreeOptimum(NamedTuple):
    """The optimum of a loss."""

    scores: np.ndarray  # [N] float64 logits
    # [MEASURES, N] moves of other sets of draws: their mean is in the scores, their
    # spread is the error
    moves: np.ndarray
    pull: float  # sum over the items of the forces on positives there
    push: float  # the same on negatives


def find_free_optimum(box: BlackBox, catalogue: Catalogue, make: Make) -> FreeOptimum:
    """The scores at which pull and push are equal, started at log P."""
    scores = np.log(catalogue.probability)
    for number in range(MOVES):
        force = forces(box, make(scores, 0), catalogue, scores)
        if not force.pull.any() and not force.push.any():
            raise InputError(
                "the audited loss does not depend on the scores; give a function of "
                "scores, candidate ids and log q"
            )
        move = _move(force)
        scores = scores + move / max(1, number - AVERAGED + 2)
        if np.abs(move).mean() < ARRIVED:
            break
    measured = [
        forces(box, make(scores, number), catalogue, scores)
        for number in range(1, 1 + MEASURES)
    ]
    moves = np.array([_move(force) for force in measured])
    pull = float(np.mean([force.pull.sum() for force in measured]))
    push = float(np.mean([force.push.sum() for force in measured]))
    return FreeOptimum(scores + moves.mean(axis=0), moves, pull, push)


def _move(force: Forces) -> np.ndarray:
    """Return the Newton steps of the scores, the mean force being the curvature."""
    middle = np.maximum((np.abs(force.pull) + np.abs(force.push)) / 2, 1e-30)
    return np.clip((force.pull - force.push) / middle, -LONGEST, LONGEST)


# --- where the optimum moved, and likely reasons --------------------------------------

# A drift of a group in nats, and a deviation of the slope from 1, that raise an alarm.
DRIFT, SLOPE = 0.15, 0.05
# A response to log q nearer to 0 is none; one farther from -1 is another factor.
NONE, FACTOR = 0.1, 0.2
SPREAD = 0.2  # of declared minus drawn log q, in nats, that is a reason
MISSING = 0.05  # push over pull below which negatives have no gradient
HIT = 0.02  # push on a draw of the own item, as a share of that in other rows


class Findings(NamedTuple):
    """Measurements of a loss at its optimum, without items that are seldom drawn."""

    slope: float  # of the optimum on log P
    drift: dict[str, float]  # {group: mean drift in nats}
    log_q: np.ndarray  # [n] log q of items as the loss receives it, ascending
    response: np.ndarray  # [n] of the loss to it; nan where negatives have no gradient
    error: np.ndarray  # [n] declared minus drawn log q
    temperature: float  # of the scores


def find_alarms(found: Findings) -> list[str]:
    """Sentences on a moved optimum; none where it is log P."""
    far = {name: value for name, value in found.drift.items() if abs(value) > DRIFT}
    if not far and abs(found.slope - 1) <= SLOPE:
        return []
    moves = ", ".join(f"{name} {value:+.2f}" for name, value in far.items())
    first = f"the optimum is not log P: slope {found.slope:.2f}"
    return [first + (f", drift in nats {moves}" if far else ""), *_reasons(found)]


def force_alarms(pull: float, push: float) -> list[str]:
    """Sentences on forces that have no equilibrium at a minimum of the loss."""
    if pull < 0 and push < 0:
        return [
            "the loss is maximised at its optimum: it falls as the scores of positives "
            "fall; return the negative log likelihood"
        ]
    if abs(push) < MISSING * pull:
        return [
            "negatives have no gradient: all scores grow without bound; look for a "
            "stopped gradient, or a mask of all negatives"
        ]
    return []


def _reasons(found: Findings) -> list[str]:
    """Return the reasons of a moved optimum that the responses to log q show."""
    reasons = []
    spread = np.ptp(found.error)
    if spread > SPREAD:
        reasons.append(
            f"the declared log q is not that of the draws: off by {spread:.1f} nats "
            "between items"
        )
    if np.isnan(found.response).all():
        return reasons
    usual = float(np.nanmedian(found.response))
    if abs(usual) < NONE:
        return [*reasons, "log q has no effect on the negatives"]
    if usual > 0:
        return [*reasons, "log q is added to the logits of negatives, not subtracted"]
    if abs(usual + 1) > FACTOR:
        text = f"log q is subtracted {-usual:.2g} times"
        if abs(usual * found.temperature + 1) < FACTOR:
            text += ": the temperature divides the corrected logits; subtract after it"
        return [*reasons, text]
    return [*reasons, *_limits(found)]


def _limits(found: Findings) -> list[str]:
    """Return the limits of log q below and above which the loss does not respond."""
    inert = np.abs(found.response) < NONE
    if not inert.any():
        return []
    responding = np.flatnonzero(np.abs(found.response) >= NONE)
    low, high = responding[0], responding[-1]
    limits = []
    if inert[:low].any():
        limits.append(
            f"log q below about {found.log_q[low - 1]:.1f} has no effect: q has a floor"
        )
    if inert[high + 1 :].any():
        limits.append(
            f"log q above about {found.log_q[high + 1]:.1f} has no effect: q or the "
            "expected count has a ceiling"
        )
    return limits


# --- the card -------------------------------------------------------------------------


@dataclass(frozen=True)
class LossCard:
    """The optimum of a loss, for one user of a small catalogue."""

    slope: float  # of the optimum on log P(i | u), over common items
    drift: dict[str, float]  # {group: mean of the optimum minus log P, relative}
    error: float  # largest standard deviation of a drift over sets of draws
    # derivative by a negative's log q over that by its logit; -1 where it is subtracted
    response: float
    positive_response: float  # the same of the positive; 0 where it is not corrected
    hits: bool  # whether a draw that equals the positive is a negative of its row
    alarms: tuple[str, ...]  # on faults; none for a loss whose optimum is log P

    def __str__(self) -> str:
        drift = "   ".join(f"{name} {value:+.2f}" for name, value in self.drift.items())
        corrected = "corrected" if self.positive_response < -0.5 else "not corrected"
        hits = "negatives of their row" if self.hits else "masked"
        lines = [
            f"slope on log P  {self.slope:.2f}",
            f"drift           {drift}   (nats, error {self.error:.2f})",
            f"log q           response {self.response:+.2f}, right is -1; positives "
            f"are {corrected}",
            f"hits            draws equal to the positive are {hits}",
            *(f"ALARM: {alarm}" for alarm in self.alarms),
        ]
        if not self.alarms:
            lines.append("no alarm: the optimum is log P")
        return "\n".join(lines)


def loss_card(
    box: BlackBox,
    catalogue: Catalogue,
    layout: Layout,
    optimum: FreeOptimum,
    masks_hits: bool | None,
) -> LossCard:
    """The card of an optimum."""
    found = _findings(box, catalogue, layout, optimum.scores)
    used = found.response[np.isfinite(found.response)]
    start = np.log(catalogue.probability)
    groups = _groups(catalogue, layout).values()
    means = [[move[group].mean() for group in groups] for move in optimum.moves]
    items = np.flatnonzero(_common(catalogue, layout)).tolist()
    batches = (layout.batches(start, negative=item) for item in items)
    pushes = [mean_slope(box, batch, "scores") for batch in batches]
    strong = items[int(np.argmax(pushes))]
    own = mean_slope(box, layout.batches(start, strong, strong), "scores")
    hits = abs(own) > HIT * max(pushes)
    # Finite differences over the jumps of a moved loss have signs without a meaning.
    alarms = find_alarms(found) or force_alarms(optimum.pull, optimum.push)
    if masks_hits and hits:
        alarms.append(
            "draws that equal the positive are negatives of their row: the mask has no "
            "effect"
        )
    return LossCard(
        slope=found.slope,
        drift=found.drift,
        error=float(np.std(means, axis=0).max()),
        response=float(np.nanmedian(used)) if len(used) else np.nan,
        positive_response=_response(box, layout.batches(start, positive=strong)),
        hits=hits,
        alarms=tuple(alarms),
    )


def _findings(
    box: BlackBox, catalogue: Catalogue, layout: Layout, scores: np.ndarray
) -> Findings:
    """Return the measurements of a loss at its optimum [N]."""
    log_p, common = np.log(catalogue.probability), _common(catalogue, layout)
    drift = scores - log_p - (scores - log_p)[common].mean()
    x = log_p[common] - log_p[common].mean()
    groups = _groups(catalogue, layout)
    items = np.flatnonzero(np.isfinite(layout.expected))
    items = items[np.argsort(layout.log_q[items], kind="stable")].tolist()
    responses = [_response(box, layout.batches(log_p, negative=i)) for i in items]
    return Findings(
        slope=1 + float((x * drift[common]).sum() / (x * x).sum()),
        drift={name: float(drift[group].mean()) for name, group in groups.items()},
        log_q=layout.log_q[items],
        response=np.array(responses),
        error=layout.error[items],
        temperature=box.temperature,
    )


def _common(catalogue: Catalogue, layout: Layout) -> np.ndarray:
    """Return the items that are not rare and whose draws are known, [N] bool."""
    return ~catalogue.rare & np.isfinite(layout.expected)


def _groups(catalogue: Catalogue, layout: Layout) -> dict[str, np.ndarray]:
    """Return the items [N] bool of each group that has some."""
    common = _common(catalogue, layout)
    buckets = popularity_buckets(np.where(catalogue.rare, 0, catalogue.counts))
    groups = {name: common & (buckets == code) for code, name in enumerate(BUCKETS)}
    groups["rare"] = catalogue.rare & np.isfinite(layout.expected)
    return {name: group for name, group in groups.items() if group.any()}


def _response(box: BlackBox, batches: list[Candidates]) -> float:
    """Return the derivative by log q of the marked cells over that by their logits."""
    by_score = mean_slope(box, batches, "scores")
    return mean_slope(box, batches, "log_q") / by_score if by_score else np.nan
