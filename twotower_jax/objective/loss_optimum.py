"""The optimum of a loss from elsewhere, over batches in which one item is marked."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from twotower_jax.errors import InputError
from twotower_jax.objective.batches import Forces, Layout, forces
from twotower_jax.objective.black_box import BlackBox
from twotower_jax.objective.catalogue import Catalogue

# Passes over all items that move the scores, at most; all of them at full length until
# AVERAGED. The scores have arrived where the mean move, in nats, is below ARRIVED.
MOVES, AVERAGED, ARRIVED, LONGEST = 20, 12, 0.01, 2.0
# Sets of draws that measure the error.
MEASURES = 2

# Scores [N] and the number of a set of draws -> batches.
Make = Callable[[np.ndarray, int], Layout]


class FreeOptimum(NamedTuple):
    """The optimum of a loss.

    Attributes:
      scores: [N] float64 logits.
      moves: [MEASURES, N] moves that other sets of draws ask for; their mean is in the
        scores, their spread is the error.
      pull: Sum over the items of the forces on positives there.
      push: The same on negatives.
    """

    scores: np.ndarray
    moves: np.ndarray
    pull: float
    push: float


def find_free_optimum(box: BlackBox, catalogue: Catalogue, make: Make) -> FreeOptimum:
    """The scores at which pull and push are equal, started at log P.

    Args:
      box: The loss.
      catalogue: The catalogue.
      make: Function that makes the batches.

    Returns:
      The optimum.

    Raises:
      InputError: The loss fails, is not one finite number, or does not depend on the
        scores.
    """
    scores = np.log(catalogue.probability)
    for number in range(MOVES):
        found = forces(box, make(scores, 0), catalogue, scores)
        if not found.pull.any() and not found.push.any():
            raise InputError(
                "the audited loss does not depend on the scores; give a function of "
                "scores, candidate ids and log q"
            )
        move = _move(found)
        scores = scores + move / max(1, number - AVERAGED + 2)
        if np.abs(move).mean() < ARRIVED:
            break
    measured = [
        forces(box, make(scores, number), catalogue, scores)
        for number in range(1, 1 + MEASURES)
    ]
    others = [_move(one) for one in measured]
    return FreeOptimum(
        scores + np.mean(others, axis=0),
        np.array(others),
        float(np.mean([one.pull.sum() for one in measured])),
        float(np.mean([one.push.sum() for one in measured])),
    )


def _move(found: Forces) -> np.ndarray:
    """Return the Newton steps of the scores, the mean force being the curvature."""
    middle = np.maximum((np.abs(found.pull) + np.abs(found.push)) / 2, 1e-30)
    return np.clip((found.pull - found.push) / middle, -LONGEST, LONGEST)
