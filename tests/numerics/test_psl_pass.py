"""PSL of a batch, in the pass that the softmax has, against loops in float64."""

import math

import jax
import numpy as np
import pytest
from helpers.loss_cases import FEATURES, make_case, negatives, on_device

from twotower_jax.losses import Psl
from twotower_jax.losses.blockwise import batch_loss
from twotower_jax.losses.cosine import ACTIVATIONS

TEMPERATURE = 0.25
SIGMA = {
    "tanh": lambda d: 1 + math.tanh(d),
    "atan": lambda d: 1 + math.atan(d),
    "relu": lambda d: max(0.0, 1 + d),
}


def slow_psl(case, activation, decoupled):
    """Return sum_i w_i log sum_j m_j / N_j sigma(d_j)^(1/T), d_j = T (s_j - p) / 2."""
    loss = 0.0
    for i, positive in enumerate(case.scores.positive):
        total = 0.0 if decoupled else 1.0  # sigma(0) = 1
        for score, log_count, draws in negatives(i, case):
            half = TEMPERATURE * (score - positive) / 2
            sigma = SIGMA[activation](half)
            total += draws * math.exp(-log_count) * sigma ** (1 / TEMPERATURE)
        loss += case.rows.weight[i] * math.log(total) if total else 0.0
    return loss


def fast_psl(case, scores, activation, decoupled):
    """Return the loss of the package."""
    loss = Psl(temperature=TEMPERATURE, activation=activation, decoupled=decoupled)
    return batch_loss(loss, *on_device(case._replace(scores=scores)))


@pytest.mark.parametrize("decoupled", [False, True])
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("feature", FEATURES)
def test_the_pass_is_the_formula_of_psl(feature, activation, decoupled):
    case = make_case(feature)
    with jax.enable_x64(True):
        got = float(fast_psl(case, case.scores, activation, decoupled))
    assert got == pytest.approx(slow_psl(case, activation, decoupled), rel=1e-11)


@pytest.mark.parametrize("decoupled", [False, True])
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("feature", ["plain", "all"])
def test_gradients_of_the_pass_are_differences_of_the_formula(
    feature, activation, decoupled
):
    """Central differences of the loops, by every positive, slot, query and column."""
    case = make_case(feature, seed=3)
    with jax.enable_x64(True):
        gradient = jax.grad(lambda s: fast_psl(case, s, activation, decoupled))(
            on_device(case.scores)
        )
    step = 1e-6
    for name in ("query", "columns", "positive", "slots"):
        array = getattr(case.scores, name)
        for place in np.ndindex(array.shape):
            ends = []
            for sign in (1, -1):
                moved = array.copy()
                moved[place] += sign * step
                there = case._replace(scores=case.scores._replace(**{name: moved}))
                ends.append(slow_psl(there, activation, decoupled))
            want = (ends[0] - ends[1]) / (2 * step)
            got = float(getattr(gradient, name)[place])
            assert got == pytest.approx(want, rel=1e-4, abs=1e-7)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_rows_without_negatives_have_no_loss_and_no_force(activation):
    case = make_case("plain")
    seen = np.zeros((len(case.rows.weight), case.rows.key.max() + 9), bool)
    seen[2] = True
    case = case._replace(rows=case.rows._replace(seen=(seen,)))
    with jax.enable_x64(True):
        gradient = jax.grad(lambda s: fast_psl(case, s, activation, True))(
            on_device(case.scores)
        )
    assert not np.any(gradient.query[2]) and float(gradient.positive[2]) == 0
    assert np.all(np.isfinite(gradient.columns)) and np.any(gradient.query[3])
