"""The forms of the softmax, in its pass and row by row, against loops in float64."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.loss_cases import FEATURES, make_case, negatives, on_device
from helpers.losses import loss_of

from twotower_jax.losses import SampledSoftmax, blockwise
from twotower_jax.losses.blockwise import softmax_loss


def slow_bsl(case, factor, decoupled, row_losses=False):
    """Return -s_p + c log sum e^s of every row, weighted and summed, by loops."""
    found = []
    for i, positive in enumerate(case.scores.positive):
        total = sum(m * math.exp(s - n) for s, n, m in negatives(i, case))
        total += 0 if decoupled else math.exp(positive)
        loss = factor * math.log(total) - positive if total else 0.0
        found.append(loss)
    if row_losses:
        return np.array(found)
    return float((case.rows.weight * np.array(found)).sum())


@pytest.mark.parametrize("decoupled", [False, True])
@pytest.mark.parametrize("factor", [1.0, 1.22])
@pytest.mark.parametrize("feature", FEATURES)
def test_the_pass_is_the_formula_of_bsl(feature, factor, decoupled):
    case = make_case(feature)
    with jax.enable_x64(True):
        form = {"decoupled": decoupled, "negative_weight": factor}
        got = float(softmax_loss(*on_device(case), **form))
    assert got == pytest.approx(slow_bsl(case, factor, decoupled), rel=1e-12)


@pytest.mark.parametrize("decoupled", [False, True])
@pytest.mark.parametrize("feature", ["plain", "slots", "all"])
def test_gradients_of_the_pass_are_differences_of_the_formula(feature, decoupled):
    """Central differences of the loops, by every positive, slot and query entry."""
    case = make_case(feature, seed=3)
    with jax.enable_x64(True):

        def loss(scores):
            at = on_device(case._replace(scores=scores))
            return softmax_loss(*at, decoupled=decoupled, negative_weight=1.22)

        gradient = jax.grad(loss)(on_device(case.scores))
    step = 1e-6
    for name in ("query", "columns", "positive", "slots"):
        array = getattr(case.scores, name)
        for place in np.ndindex(array.shape):
            values = []
            for sign in (1, -1):
                moved = array.copy()
                moved[place] += sign * step
                one = case._replace(scores=case.scores._replace(**{name: moved}))
                values.append(slow_bsl(one, 1.22, decoupled))
            want = (values[0] - values[1]) / (2 * step)
            got = float(getattr(gradient, name)[place])
            assert got == pytest.approx(want, rel=1e-5, abs=1e-8), (name, place)


def test_the_weights_of_rows_have_the_rows_losses_as_gradient():
    case = make_case("all", seed=5)
    case.rows.seen[0][4, :] = True
    case.rows.slots.log_mult[4] = -np.inf  # a row without negatives
    with jax.enable_x64(True):

        def loss(weight, decoupled):
            terms = on_device(case)
            rows = terms.rows._replace(weight=weight)
            at = terms._replace(rows=rows)
            return softmax_loss(*at, decoupled=decoupled, negative_weight=1.22)

        for decoupled in (False, True):
            got = jax.grad(loss)(jnp.asarray(case.rows.weight), decoupled)
            want = slow_bsl(case, 1.22, decoupled, row_losses=True)
            np.testing.assert_allclose(got, want, rtol=1e-12)
            assert bool(want[4] == 0) is decoupled


@pytest.mark.parametrize("feature", ["plain", "all"])
def test_a_decoupled_row_without_negatives_has_loss_and_gradient_zero(feature):
    case = make_case(feature, seed=6)
    seen = np.zeros((len(case.scores.positive), 9), bool)
    seen[2] = True
    case = case._replace(rows=case.rows._replace(seen=(seen,)))
    case.rows.slots.log_mult[2] = -np.inf
    at = on_device(case)

    def loss(scores):
        return softmax_loss(scores, at.columns, at.rows, decoupled=True)

    value, gradient = jax.value_and_grad(loss)(at.scores)
    assert np.isfinite(value) and all(np.isfinite(one).all() for one in gradient)
    for one in (gradient.query, gradient.positive, gradient.slots):
        np.testing.assert_array_equal(one[2], 0)
    assert (np.abs(gradient.positive) > 0).sum() == len(seen) - 1


@pytest.mark.parametrize("loss", ["sampled_softmax", "full_softmax", "softmax_at_k"])
@pytest.mark.parametrize("decoupled", [False, True])
def test_rows_and_pass_have_the_same_loss(loss, decoupled):
    """All negatives kept as "the best k" take the way of row losses."""
    case = make_case("all", seed=7)
    of_rows = loss_of(loss, negative_weight=1.1, decoupled=decoupled)
    with jax.enable_x64(True):
        values = [
            jax.value_and_grad(
                lambda scores, top_k=top_k: blockwise.batch_loss(
                    of_rows, scores, *on_device(case)[1:], top_k=top_k
                )
            )(on_device(case.scores))
            for top_k in (0, 100)
        ]
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-9), *values)


def test_a_decoupled_softmax_pulls_a_learned_positive_as_hard_as_at_the_start():
    """Its gradient by the positive is -1; with the positive in the sum it fades."""
    positive, others = jnp.array([9.0]), jnp.zeros((1, 4))

    def loss(p, decoupled):
        softmax = SampledSoftmax(decoupled=decoupled)
        return softmax.of_rows(p, others, jnp.ones((1, 4))).sum()

    assert float(jax.grad(loss)(positive, True)[0]) == -1
    assert abs(float(jax.grad(loss)(positive, False)[0])) < 1e-3
