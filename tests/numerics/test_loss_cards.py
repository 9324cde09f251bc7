"""The optimum of losses, as `twotower audit` finds it, against what it has to be."""

import numpy as np
import pytest
from helpers.problems import configure
from helpers.quick import quick

from twotower_jax.cards.arm import small_arm
from twotower_jax.cards.card import audit_arm
from twotower_jax.cards.optimum import find_optimum

FULL = {"loss__name": "full_softmax", "training__batch_size": 256}
DRAWS = {
    "negatives__in_batch": False,
    "negatives__easy__num": 128,
    "training__batch_size": 256,
}


@pytest.mark.parametrize("factor", quick([1.22, 1.05], [1.22]))
def test_a_weight_of_the_negative_term_flattens_the_optimum(factor):
    """With the mean held, softmax(s) = (P + (c - 1) / N) / c."""
    arm = small_arm(configure(**FULL, loss__negative_weight=factor))
    p = arm.world.probability
    scores = find_optimum(arm.problem, arm.world).scores
    got = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(got, (p + (factor - 1) / p.shape[1]) / factor, rtol=0.04)


def test_without_the_positive_in_the_sum_the_optimum_stays_with_many_negatives():
    keys = {"loss__decoupled": True, "loss__logq__correct": "negatives"}
    card = audit_arm(configure(**DRAWS, **keys))
    assert not card.moved and card.slope == pytest.approx(1, abs=0.03)


@pytest.mark.slow
def test_dcl_without_false_negatives_is_the_softmax_and_hcl_is_flatter():
    found = {
        name: audit_arm(configure(**DRAWS, loss__name=name, loss__tau_plus=0.0))
        for name in ("dcl", "hcl")
    }
    assert not found["dcl"].moved
    # e^{(1 + b) s} in place of e^s, while hard negatives are few.
    assert found["hcl"].moved and 0.4 < found["hcl"].slope < 0.75


@pytest.mark.parametrize("activation", quick(["tanh", "atan", "relu"], ["tanh"]))
def test_psl_has_twice_the_scale_of_a_softmax(activation):
    keys = {"loss__name": "psl", "loss__activation": activation}
    card = audit_arm(configure(**DRAWS, **keys))
    assert 1.9 < card.slope < 2.4 and abs(card.on_popularity) < 0.12
    assert card.constant is None


def test_ccl_leaves_scores_around_the_margin():
    """150 / 400 > P: no item is pulled more often than it is pushed above .8.

    The loss has a kink there, over which free scores jump: the card is rough.
    """
    card = audit_arm(configure(**DRAWS, loss__name="ccl"))
    world = small_arm(configure(**DRAWS, loss__name="ccl")).world
    assert abs(card.slope) < 0.35
    margin = 0.8 / 0.14 - np.log(world.probability).mean()
    assert card.constant == pytest.approx(margin, abs=1.5)


@pytest.mark.parametrize("temperature", quick([1.0, 3.0], [1.0]))
def test_weights_at_k_flatten_the_optimum_the_more_the_lower_their_temperature(
    temperature,
):
    keys = {"loss__name": "softmax_at_k", "loss__at_k__temperature": temperature}
    card = audit_arm(configure(**DRAWS, **keys))
    low, high = (0.65, 0.85) if temperature == 1 else (0.85, 1.0)
    assert low < card.slope < high and card.error < 0.1
