"""The scores at which the expected gradient of an arm's objective is zero."""

from dataclasses import replace
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from twotower_jax.cards.passes import (
    free_params,
    run_pass,
    stream_items,
)
from twotower_jax.cards.world import World
from twotower_jax.negatives.hard import HardRatio
from twotower_jax.training.problem import Problem
from twotower_jax.training.types import Program

# Passes that move the scores, at most; all of them at full length until AVERAGED.
MOVES, AVERAGED = 14, 7
# Passes at the found scores: they measure the gradient that is left, and its variance.
MEASURES = 5
# Mean length of a move, in nats, below which the scores have arrived.
ARRIVED = 0.01
# Longest move of a score per pass, in nats.
LONGEST = 2.0
# A drift beyond it, in nats, is that of a score which grows without bound.
UNBOUNDED = 8.0
# Batches that fill a streaming frequency before the first pass.
STREAMED = 2_000


class Optimum(NamedTuple):
    """The optimum of an objective, and its gradient there."""

    scores: np.ndarray  # [T, N] float64
    # [MEASURES, T, N] float64 Newton steps that each pass at the optimum asks for;
    # their mean is 0, their spread is the error of the scores
    moves: np.ndarray
    variance: float  # variance of the gradient of a batch, summed over the scores
    pull: float  # mean force of a batch on its positives, the scale of the gradient
    banked: float  # share of the forces on negatives that entries of a bank have


class _Measured(NamedTuple):
    """Forces of a pass on the host: see `Forces`."""

    pull: np.ndarray
    push: np.ndarray
    banked: float
    squares: float


def find_optimum(problem: Problem, world: World) -> Optimum:
    """The optimum of an objective whose scores are free, started at log P.

    Each score moves by (pull - push) / curvature per pass over all positives, with the
    mean of pull and push as the curvature. Where a loss pushes a user's items by
    another sum than it pulls them, the mean of the user's scores is held fixed. Later
    moves are shorter, which averages the noise of the draws. A last Newton step uses
    the mean of several passes.
    """
    walk = _Walk(problem, world)
    scores = np.log(world.probability)
    curvature = None
    for number in range(MOVES):
        forces = walk.forces(scores)
        now = _curvature(forces.pull, forces.push)
        share = 1 / max(1, number - AVERAGED + 2)
        curvature = now if curvature is None else curvature + share * (now - curvature)
        move = np.clip(walk.excess(forces) / curvature, -LONGEST, LONGEST)
        scores = scores + share * move
        if np.abs(move).mean() < ARRIVED:
            break
    passes = [walk.forces(scores) for _ in range(MEASURES)]
    pull = np.mean([forces.pull for forces in passes], axis=0)
    push = np.mean([forces.push for forces in passes], axis=0)
    middle = _curvature(pull, push)
    moves = np.array([walk.excess(f) / middle for f in passes])
    left, batches = moves.mean(axis=0), walk.batches
    gradient = (push - pull) / batches
    squares = float(np.mean([f.squares for f in passes])) / batches
    return Optimum(
        scores + np.clip(left, -LONGEST, LONGEST),
        moves - left,
        squares - float((gradient**2).sum()),
        float(pull.sum()) / batches,
        float(np.mean([f.banked for f in passes]) / push.sum()),
    )


def holds_mean(program: Program) -> bool:
    """Whether the gradients of a loss of cosines do not sum to 0 over the items.

    Its free scores would rise or fall without bound, all by the same amount. Cosines
    are bounded, so the mean of a user's scores stays as it is.
    """
    loss = program.loss
    weighed = not isinstance(loss.negative_weight, float)  # 1: no weight
    return loss.softmax_pass and (loss.weighs_rows or weighed)


def _curvature(pull: np.ndarray, push: np.ndarray) -> np.ndarray:
    """The mean size of pull and push, above 0."""
    return np.maximum((np.abs(pull) + np.abs(push)) / 2, 1e-12)


class _Walk:
    """Passes over the positives at changing scores; the samplers move on."""

    def __init__(self, problem: Problem, world: World):
        program = problem.program
        # As at the end of a training: a bank is in use, a schedule at its end.
        end = program.hard_ratio.end
        self._program = replace(
            program,
            bank_warmup=jnp.zeros_like(program.bank_warmup),
            hard_ratio=HardRatio(end, end, jnp.zeros_like(end)),
        )
        self._held = holds_mean(self._program)
        self._problem, self._world, self._done = problem, world, 0
        size = problem.order.batches(0, 1).shape[1]
        self.batches = len(world.loaded.split.train) // size
        self._state = problem.start()
        if "frequency" in self._state.samplers:
            rows = jnp.asarray(problem.order.batches(0, STREAMED))
            self._state = stream_items(self._program, problem.data, self._state, rows)

    def excess(self, forces: _Measured) -> np.ndarray:
        """Return pull minus push [T, N], less its mean where the mean is held."""
        excess = forces.pull - forces.push
        if self._held:
            excess = excess - excess.mean(axis=1, keepdims=True)
        return excess

    def forces(self, scores: np.ndarray) -> _Measured:
        """The forces at scores [T, N] over one pass."""
        params = free_params(
            self._program,
            jnp.asarray(scores, jnp.float32),
            jnp.asarray(self._world.type_of_user),
        )
        problem, state = self._problem, self._state._replace(params=params)
        state = problem.renew(state, problem.memories)
        rows = problem.order.batches(self._done, self.batches)
        self._done += self.batches
        self._state, forces = run_pass(
            self._program, problem.data, state, jnp.asarray(rows)
        )
        return _Measured(
            np.asarray(forces.pull, np.float64),
            np.asarray(forces.push, np.float64),
            float(forces.banked),
            float(forces.squares),
        )
