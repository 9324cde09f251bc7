"""Tempered log q, s - lambda log N: every kind of draw, its ends, and its optimum."""

import math

import jax
import numpy as np
import pytest
from helpers.loss_cases import FEATURES, make_case, negatives, on_device
from helpers.problems import configure
from helpers.quick import quick
from helpers.source_steps import HARD, go, problem_of, start

from twotower_jax.cards.card import audit_arm
from twotower_jax.losses import SampledSoftmax
from twotower_jax.losses.blockwise import batch_loss

SOURCES = {
    "in-batch": {},
    "mixed and hard": HARD | {"negatives__easy__num": 8},
    "per row": {"negatives__layout": "per_row", "negatives__easy__num": 6},
    "bank": {"negatives__bank__size": 32},
    "merged": {"training__merge_columns": True, "negatives__easy__num": 8},
}


def slow_tempered(case, strength):
    """Return the softmax of logits s - lambda log N, by loops; slots come corrected."""
    total = 0.0
    slots = case.scores.slots.shape[1]
    for i, positive in enumerate(case.scores.positive):
        listed = negatives(i, case)
        of_slots = int((case.rows.slots.log_mult[i] > -np.inf).sum()) if slots else 0
        others = 0.0
        for place, (score, log_count, mult) in enumerate(listed):
            power = 1.0 if place >= len(listed) - of_slots else strength
            others += mult * math.exp(score - power * log_count)
        loss = math.log(math.exp(positive) + others) - positive
        total += case.rows.weight[i] * loss
    return total


@pytest.mark.parametrize("strength", [0.0, 0.4])
@pytest.mark.parametrize("feature", FEATURES)
def test_columns_are_corrected_by_a_power_of_their_expected_count(feature, strength):
    """Both in the pass of the softmax and in that of other losses."""
    case = make_case(feature, own_counts=True)
    with jax.enable_x64(True):
        at = on_device(
            case._replace(columns=case.columns._replace(strength=(strength,)))
        )
        softmax = SampledSoftmax(temperature=0.5)
        got = [float(batch_loss(softmax, *at, top_k=k)) for k in (0, 99)]
    want = slow_tempered(case, strength)
    assert got == [pytest.approx(want, rel=1e-12)] * 2


def losses_of(strength, **changes):
    """Return the losses of three batches."""
    problem = problem_of(**changes, loss__logq__strength=strength)
    rows = problem.order.batches(0, 3)
    return problem, np.asarray(go(problem, start(problem), rows)[1])


# Each case compiles its own step.
QUICK = ("merged",)


@pytest.mark.parametrize("correct", quick(["all", "negatives"], ["all"]))
@pytest.mark.parametrize("source", quick(SOURCES, QUICK))
def test_strength_goes_from_no_correction_to_the_whole_one(source, correct):
    keys = SOURCES[source] | {"loss__logq__correct": correct}
    whole, full = losses_of(1.0, **keys)
    none = SOURCES[source] | {"loss__logq__correct": "none"}
    np.testing.assert_allclose(
        losses_of(0.0, **keys)[1], losses_of(1.0, **none)[1], rtol=1e-5
    )
    np.testing.assert_allclose(losses_of(1 - 1e-6, **keys)[1], full, rtol=1e-4)
    half = losses_of(0.5, **keys)[1]
    assert (np.abs(half - full) > 1e-2).all()
    # With 1 the program is that without the key.
    assert whole.program.logq_strength == ()
    plain = problem_of(**keys).program
    assert jax.tree.structure(whole.program) == jax.tree.structure(plain)


def test_the_optimum_keeps_the_rest_of_the_popularity():
    """In-batch negatives: log P - (1 - lambda) log popularity."""
    config = configure(
        loss__logq__correct="all",
        loss__logq__strength=0.3,
        training__batch_size=256,
    )
    card = audit_arm(config)
    assert card.on_probability == pytest.approx(1, abs=0.04)
    assert card.on_popularity == pytest.approx(-0.7, abs=0.04)
    assert card.moved
