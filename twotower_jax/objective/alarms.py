"""Alarms of the audit of a loss: where its optimum moved, and likely reasons."""

from typing import NamedTuple

import numpy as np

# A drift of a group in nats, and a deviation of the slope from 1, that raise an alarm.
DRIFT, SLOPE = 0.15, 0.05
# A response to log q nearer to 0 is none; one farther from -1 is another factor.
NONE, FACTOR = 0.1, 0.2
# Spread of declared minus drawn log q, in nats, that is a reason.
SPREAD = 0.2
# Push over pull below which negatives have no gradient.
MISSING = 0.05


class Findings(NamedTuple):
    """Measurements of a loss at its optimum; items that are seldom drawn are left out.

    Attributes:
      slope: Slope of the optimum on log P.
      drift: {group: mean drift in nats}.
      log_q: [n] log q of items as the loss receives it, ascending.
      response: [n] responses of the loss to it; -1 where it is subtracted, nan where
        the loss does not depend on the negative at all.
      error: [n] declared minus drawn log q.
      temperature: Temperature of the scores.
    """

    slope: float
    drift: dict[str, float]
    log_q: np.ndarray
    response: np.ndarray
    error: np.ndarray
    temperature: float


def find_alarms(found: Findings) -> list[str]:
    """Sentences on a moved optimum; none where it is log P.

    Args:
      found: The measurements.

    Returns:
      The drift first, then the reasons that the responses show.
    """
    far = {name: value for name, value in found.drift.items() if abs(value) > DRIFT}
    if not far and abs(found.slope - 1) <= SLOPE:
        return []
    moves = ", ".join(f"{name} {value:+.2f}" for name, value in far.items())
    first = f"the optimum is not log P: slope {found.slope:.2f}"
    return [first + (f", drift in nats {moves}" if far else ""), *_reasons(found)]


def force_alarms(pull: float, push: float) -> list[str]:
    """Sentences on forces that have no equilibrium at a minimum of the loss.

    Args:
      pull: Sum of the forces on positives, above 0 where the loss lifts them.
      push: Sum of the forces on negatives, above 0 where the loss lowers them.

    Returns:
      A sentence where both have the wrong sign, or where negatives have no gradient.
      At a minimum of a softmax the two are equal, for a shift of all scores leaves it
      as it is.

    Examples:
      >>> force_alarms(1.0, 0.99)
      []
      >>> [force_alarms(*one)[0].split(":")[0] for one in ((1.0, 0.0), (-1.0, -1.0))]
      ['negatives have no gradient', 'the loss is maximised at its optimum']
    """
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
