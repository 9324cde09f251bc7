"""PSL and CCL against their papers' formulas, by loops in float64 over cosines."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from twotower_jax.losses import ccl, psl, sampled_softmax
from twotower_jax.losses.cosine import ACTIVATIONS

ROWS, DRAWS = 6, 9


def cosines(seed=0):
    """Return cosines of positives [6] and negatives [6, 9], and numbers of draws."""
    rng = np.random.default_rng(seed)
    weight = rng.integers(0, 3, (ROWS, DRAWS)).astype(float)
    weight[:, 0] = 1
    return rng.uniform(-1, 1, ROWS), rng.uniform(-1, 1, (ROWS, DRAWS)), weight


SIGMA = {
    "tanh": lambda d: math.tanh(d) + 1,
    "atan": lambda d: math.atan(d) + 1,
    "relu": lambda d: max(0.0, d + 1),
}


def slow_psl(positive, others, weight, activation, temperature, decoupled=True):
    """Return log sum_j sigma(d_j)^(1/T), d_j = (cos_j - cos_p) / 2, of one row."""
    total = 0.0 if decoupled else 1.0  # sigma(0) = 1
    for cosine, times in zip(others, weight, strict=True):
        value = SIGMA[activation]((cosine - positive) / 2)
        total += times * value ** (1 / temperature)
    return math.log(total)


def slow_ccl(positive, others, weight, margin, factor):
    """Return max(0, 1 - cos_p) + c mean_j max(0, cos_j - m) of one row."""
    draws = [c for c, n in zip(others, weight, strict=True) for _ in range(int(n))]
    pushed = [max(0.0, cosine - margin) for cosine in draws]
    return max(0.0, 1 - positive) + factor * sum(pushed) / len(pushed)


def check(fast, slow, rtol=1e-9):
    """Compare values, and gradients with central differences of the loops."""
    positive, others, weight = cosines()
    with jax.enable_x64(True):

        def total(p, n):
            return fast(p, n, jnp.asarray(weight)).sum()

        at = jnp.asarray(positive), jnp.asarray(others)
        got, (by_p, by_n) = jax.value_and_grad(total, (0, 1))(*at)
    rows = range(ROWS)
    want = sum(slow(positive[i], others[i], weight[i]) for i in rows)
    assert float(got) == pytest.approx(want, rel=rtol)
    step = 1e-6
    for i in rows:
        ends = [slow(positive[i] + s * step, others[i], weight[i]) for s in (1, -1)]
        want = (ends[0] - ends[1]) / (2 * step)
        assert float(by_p[i]) == pytest.approx(want, rel=1e-4, abs=1e-7)
        for j in range(DRAWS):
            shift = step * np.eye(DRAWS)[j]
            ends = [
                slow(positive[i], others[i] + s * shift, weight[i]) for s in (1, -1)
            ]
            want = (ends[0] - ends[1]) / (2 * step)
            assert float(by_n[i, j]) == pytest.approx(want, rel=1e-4, abs=1e-7)


@pytest.mark.parametrize("decoupled", [False, True])
@pytest.mark.parametrize("temperature", [0.05, 0.25])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_psl_is_the_formula_of_the_paper(activation, temperature, decoupled):
    def fast(p, n, w):
        keys = {"activation": activation, "decoupled": decoupled}
        at = p / temperature, n / temperature, w
        return psl(*at, temperature=temperature, **keys)

    check(fast, lambda *row: slow_psl(*row, activation, temperature, decoupled))


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_psl_near_a_tie_is_a_softmax_at_twice_the_temperature(activation):
    positive = np.array([0.31])
    others = np.array([[0.31, 0.311, 0.309]])
    got = psl(positive / 0.05, others / 0.05, temperature=0.05, activation=activation)
    want = sampled_softmax(positive / 0.1, others / 0.1, decoupled=True)
    np.testing.assert_allclose(got, want, atol=1e-4)
    far = psl(positive / 0.05, others / 0.05 - 8, temperature=0.05)
    assert float(far[0]) != pytest.approx(
        float(sampled_softmax(positive / 0.1, others / 0.1 - 4, decoupled=True)[0]),
        abs=0.1,
    )


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("temperature", [0.005, 0.05])
def test_psl_is_finite_at_the_ends_of_the_cosine(activation, temperature):
    """relu(d + 1) is 0 where the negative is at -1 and the positive at 1."""
    positive = jnp.array([1.0, -1.0]) / temperature
    others = jnp.array([[-1.0, -1.0], [1.0, 1.0]]) / temperature

    def total(p, n):
        return psl(p, n, temperature=temperature, activation=activation).sum()

    value, gradients = jax.value_and_grad(total, (0, 1))(positive, others)
    assert np.isfinite(value)
    assert all(np.isfinite(one).all() for one in gradients)


@pytest.mark.parametrize(("margin", "factor"), [(0.9, 250.0), (0.2, 1.0), (-0.5, 3.0)])
def test_ccl_is_the_formula_of_the_paper(margin, factor):
    def fast(p, n, w):
        at, keys = (p / 0.1, n / 0.1, w), {"margin": margin, "negative_weight": factor}
        return ccl(*at, **keys, temperature=0.1)

    check(fast, lambda *row: slow_ccl(*row, margin, factor))


def test_ccl_stops_pulling_at_cosine_one():
    at = jnp.array([1.0, 1.2, 0.8]), jnp.zeros((3, 2))
    by = jax.grad(lambda p: ccl(p, at[1], margin=0.5).sum())(at[0])
    assert by[1:].tolist() == [0, -1]
