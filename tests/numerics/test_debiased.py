"""DCL and HCL against the lines of their published code, by loops in float64."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from twotower_jax.losses import debiased, sampled_softmax

ROWS, DRAWS = 5, 12


def logits(temperature, seed=0):
    rng = np.random.default_rng(seed)
    positive = rng.uniform(-0.2, 1, ROWS) / temperature
    return positive, rng.uniform(-1, 1, (ROWS, DRAWS)) / temperature


def slow(positive, others, tau_plus, beta, temperature):
    """Return -log(pos / (pos + Ng)) of one row, as in the criterion of HCL."""
    number, pos = len(others), math.exp(positive)
    neg = [math.exp(one) for one in others]
    imp = [math.exp(beta * math.log(one)) for one in neg]
    mean = sum(imp) / number
    total = sum(i * n for i, n in zip(imp, neg, strict=True)) / mean
    count = (-tau_plus * number * pos + total) / (1 - tau_plus)
    count = max(count, number * math.exp(-1 / temperature))
    return -math.log(pos / (pos + count))


@pytest.mark.parametrize("temperature", [0.1, 0.5])
@pytest.mark.parametrize("beta", [0.0, 0.5, 2.0])
@pytest.mark.parametrize("tau_plus", [0.0, 0.05, 0.6])
def test_it_is_the_criterion_of_the_papers(tau_plus, beta, temperature):
    """Values, and gradients that flow through the weights of hard negatives."""
    positive, others = logits(temperature)
    numbers = {"tau_plus": tau_plus, "beta": beta, "temperature": temperature}
    with jax.enable_x64(True):

        def total(p, n):
            return debiased(p, n, **numbers).sum()

        at = jnp.asarray(positive), jnp.asarray(others)
        got, (by_p, by_n) = jax.value_and_grad(total, (0, 1))(*at)
    values = tuple(numbers.values())
    want = sum(slow(positive[i], others[i], *values) for i in range(ROWS))
    assert float(got) == pytest.approx(want, rel=1e-9)
    step = 1e-6
    for i in range(ROWS):
        ends = [slow(positive[i] + s * step, others[i], *values) for s in (1, -1)]
        want = (ends[0] - ends[1]) / (2 * step)
        assert float(by_p[i]) == pytest.approx(want, rel=1e-5, abs=1e-8)
        for j in range(DRAWS):
            shift = step * np.eye(DRAWS)[j]
            ends = [slow(positive[i], others[i] + s * shift, *values) for s in (1, -1)]
            want = (ends[0] - ends[1]) / (2 * step)
            assert float(by_n[i, j]) == pytest.approx(want, rel=1e-5, abs=1e-8)


def test_no_false_negatives_and_no_concentration_are_the_softmax():
    positive, others = logits(0.1, seed=1)
    weight = np.random.default_rng(1).integers(0, 3, others.shape).astype(float)
    weight[3] = 0
    got = debiased(positive, others, weight, tau_plus=0.0, temperature=0.1)
    np.testing.assert_allclose(
        got, sampled_softmax(positive, others, weight), rtol=2e-5
    )
    assert float(got[3]) == 0


def test_concentration_raises_the_loss_and_lifts_easy_negatives():
    """A lower easy negative shifts weight to the hard one: no stopped gradient."""
    positive, others = jnp.array([5.0]), jnp.array([[4.0, 3.5, -4.0]])
    keys = {"tau_plus": 0.0, "temperature": 0.1}

    def loss(n, beta):
        return debiased(positive, n, beta=beta, **keys).sum()

    values = [float(loss(others, beta)) for beta in (0.0, 0.2, 1.0)]
    assert values == sorted(values) and values[2] > values[0] + 0.1
    assert (jax.grad(loss)(others, 0.0) > 0).all()
    hardest, _, easy = jax.grad(loss)(others, 0.2)[0]
    assert easy < 0 < hardest


def test_weights_of_draws_repeat_them_and_float32_is_finite_at_low_temperature():
    positive, others = logits(0.005, seed=2)
    keys = {"tau_plus": 0.05, "beta": 1.0, "temperature": 0.005}
    twice = np.repeat(others, 2, axis=1)
    with jax.enable_x64(True):
        weighted = debiased(positive, others, np.full(others.shape, 2.0), **keys)
        np.testing.assert_allclose(weighted, debiased(positive, twice, **keys), 1e-12)

    def total(p, n):
        return debiased(p, n, **keys).sum()

    at = jnp.float32(positive), jnp.float32(others)
    value, gradients = jax.value_and_grad(total, (0, 1))(*at)
    assert np.isfinite(value) and all(np.isfinite(one).all() for one in gradients)
