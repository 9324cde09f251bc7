"""The scores that minimise the expected sampled softmax of one user.

A catalogue of N items has free scores s. A row's positive is i with probability P_i;
its K draws are independent, from q. Over a fixed sample of draws the expected loss is
minimised by iterative scaling: an item's score grows by the log of (its share of
positives / the probability that the loss gives it), until both are equal.
"""

import functools
from typing import NamedTuple

import jax
import numpy as np

from twotower_jax.negatives.easy import (
    Proposal,
    from_weights,
    make_proposal,
    sample,
)

ITEMS, SETS, ROUNDS, MOST_DRAWS = 200, 2_000, 25, 128


class Case(NamedTuple):
    """A way to draw and to correct.

    Attributes:
      proposal: q of the draws.
      draws: K per row.
      correct: "all" or "negatives".
      mask: whether draws equal to the positive are dropped.
    """

    proposal: Proposal
    draws: int
    correct: str
    mask: bool


def target() -> np.ndarray:
    """Return P(j | u) in proportion to 1 / rank: [N] float64."""
    share = 1 / np.arange(1, ITEMS + 1)
    return share / share.sum()


def uniform() -> Proposal:
    """Return the uniform proposal over the items."""
    return make_proposal("uniform", np.ones(ITEMS))


@functools.cache
def sample_of(log_q: tuple[float, ...]) -> np.ndarray:
    """Return draws [sets, MOST_DRAWS] from a proposal; fewer draws are the first."""
    proposal = from_weights(np.exp(log_q))
    return np.asarray(sample(jax.random.key(0), proposal, (SETS, MOST_DRAWS)))


def multiplicities(case: Case, sets: int = SETS) -> np.ndarray:
    """Return how often each item is in each set of draws: [sets, N] float64."""
    log_q = tuple(np.asarray(case.proposal.log_q, np.float64).tolist())
    ids = sample_of(log_q)[:sets, : case.draws]
    counts = np.zeros((sets, ITEMS))
    np.add.at(counts, (np.arange(sets)[:, None], ids), 1)
    return counts


def given_share(case: Case, scores: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Return the probability that the loss gives each item, over rows and sets: [N]."""
    chance = target()
    expected = case.draws * np.exp(np.asarray(case.proposal.log_q, np.float64))
    weight = np.exp(scores) / expected
    own = weight if case.correct == "all" else np.exp(scores)
    drawn = counts * weight
    dropped = drawn if case.mask else 0
    total = own + drawn.sum(axis=1, keepdims=True) - dropped
    per_row = chance / total
    others = per_row.sum(axis=1, keepdims=True) - (per_row if case.mask else 0)
    return (per_row * own + drawn * others).mean(axis=0)


def optimum(case: Case) -> np.ndarray:
    """Return the scores that minimise the expected loss, started at log P: [N]."""
    chance, counts = target(), multiplicities(case)
    scores = np.log(chance)
    for _ in range(ROUNDS):
        scores = scores + np.log(chance / given_share(case, scores, counts))
        scores -= scores.mean() - np.log(chance).mean()
    return scores


def slope(scores: np.ndarray) -> float:
    """Return the slope of the scores on log P, by least squares."""
    return float(np.polyfit(np.log(target()), scores, 1)[0])
