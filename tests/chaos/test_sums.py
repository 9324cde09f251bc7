"""Means of 1e8 queries and items with 1e9 clicks, against sums of whole numbers."""

import math
from fractions import Fraction

import numpy as np
import pytest
from helpers.chaos import campaign, trials

from twotower_jax.evaluation.metrics import mean, popularity_buckets
from twotower_jax.training.schedule import Notes

ROWS = 100_000_000
# A pairwise sum of n float64 has a relative error of at most log2(n) 2^-53, and a sum
# one by one of at most n 2^-53.
PAIRWISE, ONE_BY_ONE = math.log2(ROWS) * 2.0**-53, 1_000_000 * 2.0**-53


@pytest.mark.slow
def test_a_mean_over_1e8_queries_is_that_of_whole_numbers():
    """Recalls are twentieths; one query in 21 has no value."""
    twentieths = np.random.default_rng(0).integers(-1, 21, ROWS, np.int8)
    values = np.where(twentieths < 0, np.nan, twentieths / np.float64(20))
    kept = int(np.count_nonzero(twentieths >= 0))
    total = int(twentieths.sum(dtype=np.int64)) + (ROWS - kept)
    want = float(Fraction(total, 20 * kept))
    with campaign("mean of 1e8 values") as counts:
        got = mean(values)
        counts |= {"trials": 1}
    assert got == pytest.approx(want, rel=PAIRWISE)
    # One by one in float32 it would be wrong from 2^24 on: the bound sees it.
    assert np.float32(2**24) + np.float32(0.05) == np.float32(2**24)


@pytest.mark.slow
def test_the_mean_loss_of_a_million_steps_is_that_of_an_exact_sum():
    losses = np.random.default_rng(0).uniform(0, 20, 1_000_000).astype(np.float32)
    notes = Notes()
    for part in np.split(losses, 1_000):
        notes.add_losses(part.tolist())
    want = math.fsum(losses.tolist()) / len(losses)
    assert notes.take_mean_loss() == pytest.approx(want, rel=ONE_BY_ONE)


def slow_buckets(counts):
    """Return the thirds of the clicks in which items begin, in whole numbers."""
    total, before, found = sum(counts), 0, [2] * len(counts)
    for item in sorted(range(len(counts)), key=lambda one: -counts[one]):
        if counts[item]:
            found[item] = 3 * before // total
        before += counts[item]
    return found


@pytest.mark.slow
def test_thirds_of_large_counts_are_those_of_whole_numbers():
    rng, done = np.random.default_rng(0), 0
    with campaign("thirds of counts up to 1e9") as counts:
        for _ in range(trials(300)):
            high = int(rng.choice([1, 3, 10**9, 2**31, 2**40]))
            given = rng.integers(0, high + 1, int(rng.integers(1, 2_000)))
            found = popularity_buckets(given)
            assert found.tolist() == slow_buckets(given.tolist())
            done += 1
        counts |= {"trials": done}
    assert done
