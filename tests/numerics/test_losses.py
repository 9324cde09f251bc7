"""Losses against slow oracles and identities, never against their own code."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.losses import loss_of
from helpers.oracles import full_softmax
from scipy import optimize, special, stats

from twotower_jax import losses
from twotower_jax.losses import LOSSES


def test_every_negative_masked_gives_loss_zero():
    loss = losses.sampled_softmax(jnp.array([3.0, -2.0]), jnp.full((2, 4), -jnp.inf))
    assert (np.asarray(loss) == 0).all()


def test_sampled_softmax_of_all_other_items_is_the_full_softmax():
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(6, 11)).astype(np.float32)
    labels = rng.integers(0, 11, 6).astype(np.int32)
    positive = logits[np.arange(6), labels]
    others = np.where(np.arange(11) == labels[:, None], -np.inf, logits)
    np.testing.assert_allclose(
        losses.sampled_softmax(positive, others.astype(np.float32)),
        full_softmax(logits, labels),
        rtol=1e-6,
    )


def test_softmax_is_invariant_to_a_shift_of_the_row():
    rng = np.random.default_rng(0)
    positive, negatives = rng.normal(size=4), rng.normal(size=(4, 7))
    with jax.enable_x64(True):
        np.testing.assert_allclose(
            losses.sampled_softmax(jnp.array(positive + 50), jnp.array(negatives + 50)),
            losses.sampled_softmax(jnp.array(positive), jnp.array(negatives)),
            rtol=1e-12,
        )


def test_wrong_shapes_are_refused_with_both_shapes():
    with pytest.raises(ValueError, match=r"\(3,\) and \(4, 2\)"):
        losses.sampled_softmax(jnp.zeros(3), jnp.zeros((4, 2)))


def test_khrylchenko_gradient_equals_negatives_only_with_expected_counts():
    """The weighted loss without the positive in the denominator has this gradient."""
    rng = np.random.default_rng(3)
    k, log_q = 8, np.log(rng.dirichlet(np.ones(8)))
    with jax.enable_x64(True):

        def weighted(positive, negatives):
            corrected = negatives - log_q
            estimate = jnp.exp(corrected).sum() / k
            miss = 1 - jnp.exp(positive) / (jnp.exp(positive) + estimate)
            loss = jax.nn.logsumexp(corrected) - positive
            return jax.lax.stop_gradient(miss) * loss

        def ours(positive, negatives):
            logits = (negatives - log_q - jnp.log(k))[None]
            return losses.sampled_softmax(positive[None], logits)[0]

        at = (jnp.float64(1.3), jnp.asarray(rng.normal(size=8)))
        for one, other in zip(
            jax.grad(ours, (0, 1))(*at), jax.grad(weighted, (0, 1))(*at), strict=True
        ):
            np.testing.assert_allclose(one, other, rtol=1e-12, atol=1e-15)


def rows(seed=0):
    """Return positives [5], negatives [5, 7] and weights [5, 7], some of them 0."""
    rng = np.random.default_rng(seed)
    weight = rng.integers(0, 3, (5, 7)).astype(float)
    return rng.normal(size=5), 2 * rng.normal(size=(5, 7)), weight


def log_sigmoid(x):
    return -math.log1p(math.exp(-x))


@pytest.mark.parametrize("ratio", [0.0, 1.0, 3.0])
def test_bce_is_a_sum_over_pairs_with_the_ratio_of_negatives(ratio):
    positive, negatives, weight = rows()
    got = losses.bce(jnp.array(positive), jnp.array(negatives), weight, ratio=ratio)
    for i in range(5):
        draws = [
            n
            for n, w in zip(negatives[i], weight[i], strict=True)
            for _ in range(int(w))
        ]
        part = sum(log_sigmoid(-n) for n in draws)
        scale = ratio / len(draws) if ratio else 1
        assert float(got[i]) == pytest.approx(
            -log_sigmoid(positive[i]) - scale * part, rel=1e-5
        )


def test_gbce_is_bce_at_calibration_0_and_calibrated_at_1():
    """At t = 1 the positive's power is the sampling rate: beta = a."""
    positive, negatives, weight = rows()
    at = (jnp.array(positive), jnp.array(negatives), weight)
    plain = losses.bce(*at)
    np.testing.assert_allclose(
        losses.gbce(*at, num_items=101, calibration=0), plain, rtol=1e-6
    )
    calibrated = np.asarray(losses.gbce(*at, num_items=101, calibration=1))
    for i in range(5):
        beta = weight[i].sum() / 100
        want = float(plain[i]) + (1 - beta) * log_sigmoid(positive[i])
        assert calibrated[i] == pytest.approx(want, rel=1e-5)


@jax.jit
def expected_gbce(score, p, chance, draws, numbers):
    """Return the expected gbce of rows by one item's free score.

    The item is the row's positive with chance p. In the other rows it is drawn c times
    with chance[c], among the row's uniform draws. The other scores are fixed.
    """
    times = jnp.arange(len(chance), dtype=score.dtype)
    others = jnp.full(len(chance), -1.0)
    weight = jnp.stack([times, draws - times], axis=1)
    clicked = losses.gbce(score[None], others[:1, None], draws[None, None], **numbers)
    pair = jnp.stack([jnp.full(len(chance), score), others], axis=1)
    drawn = chance * losses.gbce(others, pair, weight, **numbers)
    return p * clicked[0] + (1 - p) * drawn.sum()


def optimal_sigmoid(p, draws, ratio, t, items=1000):
    """Return sigmoid(s) at the least expected gbce, found by numerical search."""
    chance = stats.binom.pmf(np.arange(41), draws, 1 / (items - 1))  # nearly all
    numbers = {"num_items": items, "calibration": t, "ratio": ratio}

    def expected(score):
        return float(
            expected_gbce(*map(jnp.float64, (score, p, chance, draws)), numbers)
        )

    with jax.enable_x64(True):
        numbers = jax.tree.map(jnp.float64, numbers)
        best = optimize.minimize_scalar(
            expected, bounds=(-12, 12), method="bounded", options={"xatol": 1e-7}
        )
    return special.expit(best.x)


@pytest.mark.parametrize("ratio", [0.0, 3.0, 0.5])
@pytest.mark.parametrize("draws", [16.0, 256.0, 1500.0])
@pytest.mark.parametrize("p", [0.05, 0.3])
def test_gbce_at_t_1_is_optimal_at_the_true_probability(p, draws, ratio):
    assert optimal_sigmoid(p, draws, ratio, 1.0) == pytest.approx(p, rel=1e-4)


@pytest.mark.parametrize(("draws", "ratio"), [(256.0, 0.0), (256.0, 3.0)])
@pytest.mark.parametrize("t", [0.0, 0.5, 0.75])
def test_gbce_optimum_has_the_odds_of_the_paper(t, draws, ratio):
    """beta = a (t (1 - 1/a) + 1/a), where a is the rate that the loss really uses."""
    p, rate = 0.05, (ratio or draws) / 999
    beta = rate * (t * (1 - 1 / rate) + 1 / rate)
    odds = beta * p / (rate * (1 - p))
    best = optimal_sigmoid(p, draws, ratio, t)
    assert best / (1 - best) == pytest.approx(odds, rel=1e-3)


def test_hinge_and_logistic_compare_cosines_whatever_their_sign():
    cosine, negatives = np.array([-0.4]), np.array([[-0.5, -0.9, 0.1, -0.35]])
    weight, temperature = np.array([[1.0, 2.0, 1.0, 0.0]]), 0.05
    at = (jnp.array(cosine / temperature), jnp.array(negatives / temperature), weight)
    ahead = [0.1, 0.5, 0.5, -0.5]  # The second draw counts twice, the last not.
    want = np.mean([max(0, 0.2 - a) for a in ahead])
    got = losses.hinge(*at, margin=0.2, temperature=temperature)
    assert float(got[0]) == pytest.approx(want, rel=1e-5)
    want = np.mean([math.log1p(math.exp(-a / temperature)) for a in ahead])
    assert float(losses.logistic(*at)[0]) == pytest.approx(want, rel=1e-5)


@pytest.mark.parametrize("name", sorted(LOSSES))
def test_a_row_without_negatives_has_a_finite_loss_and_gradient(name):

    def total(positive, negatives):
        weight = jnp.zeros((2, 3))
        return loss_of(name, 0.1).of_rows(positive, negatives, weight).sum()

    value, grads = jax.value_and_grad(total, (0, 1))(jnp.ones(2), jnp.ones((2, 3)))
    assert np.isfinite(value)
    assert np.isfinite(grads[0]).all()
    np.testing.assert_array_equal(grads[1], 0)


@pytest.mark.parametrize("draws", [1, 4, 256])
def test_an_offset_of_the_share_leaves_a_common_shift_without_gradient(draws):
    """bce, all scores 0: p = 1 / (1 + n) is the best constant."""
    negatives = jnp.zeros((1, draws))

    def loss(shift, offset):
        bce = losses.Bce(ratio=None, offset=offset)
        weight = jnp.ones_like(negatives)
        return bce.of_rows(jnp.full(1, shift), negatives + shift, weight)[0]

    at_share = jax.grad(loss)(0.0, float(-np.log(draws)))
    assert abs(at_share) < 1e-5
    without = jax.grad(loss)(0.0, 0.0)
    np.testing.assert_allclose(without, (draws - 1) / 2, rtol=1e-6)
    # The best constant of a row of n negatives.
    best = np.log1p(draws) + draws * np.log1p(1 / draws)
    np.testing.assert_allclose(loss(0.0, float(-np.log(draws))), best, rtol=1e-5)


@pytest.mark.parametrize("name", ["bce", "gbce"])
def test_an_offset_is_added_to_all_logits(name):
    rng = np.random.default_rng(0)
    positive, negatives = rng.normal(size=3), rng.normal(size=(3, 5))
    weight = jnp.ones((3, 5))

    def loss(positive, negatives, offset):
        of_pairs = loss_of(name, offset=offset)
        return of_pairs.of_rows(jnp.asarray(positive), jnp.asarray(negatives), weight)

    shifted = loss(positive - 2.0, negatives - 2.0, 0.0)
    np.testing.assert_allclose(loss(positive, negatives, -2.0), shifted, rtol=1e-6)
