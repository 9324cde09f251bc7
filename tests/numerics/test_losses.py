"""Losses against slow oracles and identities, never against their own code."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from twotower_jax import losses

ROWS, COLUMNS, DIM = 13, 9, 5


def arrays(seed=0, rows=ROWS, columns=COLUMNS, scale=1.0):
    rng = np.random.default_rng(seed)
    query = scale * rng.normal(size=(rows, DIM))
    candidates = rng.normal(size=(columns, DIM))
    row_key = rng.integers(0, columns, rows).astype(np.int32)
    return {
        "query": query.astype(np.float32),
        "columns": candidates.astype(np.float32),
        "positive": (query * candidates[row_key]).sum(1).astype(np.float32),
        "bias": rng.normal(size=columns).astype(np.float32),
        "column_key": np.arange(columns, dtype=np.int32),
        "row_key": row_key,
        "own_bias": np.full(rows, -np.inf, np.float32),
        "weight": rng.uniform(0.5, 2, rows).astype(np.float32),
    }


def slow_loss(a):
    """Python loops over the definition: sum_i w_i -log e^p / (e^p + sum_j e^l_ij)."""
    total = 0.0
    for i in range(len(a["query"])):
        denominator = np.exp(np.float64(a["positive"][i]))
        for j in range(len(a["columns"])):
            score = np.dot(
                a["query"][i].astype(np.float64), a["columns"][j].astype(np.float64)
            )
            own = a["column_key"][j] == a["row_key"][i]
            denominator += np.exp(score + (a["own_bias"][i] if own else a["bias"][j]))
        total += a["weight"][i] * (np.log(denominator) - a["positive"][i])
    return total


def plain(query, columns, positive, a):
    logits = losses.column_logits(
        query, columns, a["bias"], a["column_key"], a["row_key"], a["own_bias"]
    )
    return (a["weight"] * losses.sampled_softmax(positive, logits)).sum()


def sweep(query, columns, positive, a):
    rest = ("bias", "column_key", "row_key", "own_bias", "weight")
    return losses.softmax_sweep(query, columns, positive, *(a[name] for name in rest))


@pytest.mark.parametrize("masked", [True, False])
def test_sweep_equals_python_loops(masked):
    a = arrays()
    if not masked:
        a["own_bias"] = np.linspace(-1, 1, ROWS, dtype=np.float32)
    got = sweep(a["query"], a["columns"], a["positive"], a)
    assert float(got) == pytest.approx(slow_loss(a), rel=2e-6)


@pytest.mark.parametrize("block", [4, 512])
def test_sweep_gradients_equal_autodiff_of_the_plain_loss(monkeypatch, block):
    monkeypatch.setattr(losses, "MAX_BLOCK_ROWS", block)
    a = arrays(seed=1)
    with jax.enable_x64(True):
        a = {
            k: jnp.asarray(v, jnp.float64) if v.dtype == np.float32 else jnp.asarray(v)
            for k, v in a.items()
        }
        at = (a["query"], a["columns"], a["positive"])
        want_value, want = jax.value_and_grad(plain, (0, 1, 2))(*at, a)
        value, got = jax.value_and_grad(sweep, (0, 1, 2))(*at, a)
        np.testing.assert_allclose(value, want_value, rtol=1e-13)
        for one, other in zip(got, want, strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-11, atol=1e-13)


def test_sweep_scales_gradients_by_the_cotangent():
    a = arrays(seed=2)
    at = (a["query"], a["columns"], a["positive"])
    once = jax.grad(sweep)(*at, a)
    thrice = jax.grad(lambda *x: 3 * sweep(*x))(*at, a)
    np.testing.assert_allclose(thrice, 3 * once, rtol=1e-6)


def test_sweep_is_finite_at_temperature_of_five_thousandths():
    rng = np.random.default_rng(0)
    unit = rng.normal(size=(64, DIM))
    unit = (unit / np.linalg.norm(unit, axis=1, keepdims=True)).astype(np.float32)
    a = arrays(rows=64, columns=64)
    a["query"], a["columns"] = -unit / 0.005, unit
    a["bias"] = np.full(64, 20, np.float32)
    a["row_key"] = np.arange(64, dtype=np.int32)
    a["positive"] = (a["query"] * a["columns"]).sum(1)
    assert a["positive"].max() < -199  # the shift 1/T would underflow every term
    value, gradients = jax.value_and_grad(sweep, (0, 1, 2))(
        a["query"], a["columns"], a["positive"], a
    )
    assert np.isfinite(value)
    assert all(np.isfinite(g).all() for g in gradients)
    assert float(value) == pytest.approx(slow_loss(a), rel=1e-5)


def test_masked_column_has_probability_and_gradient_zero_exactly():
    a = arrays()
    a["bias"][3] = -np.inf
    at = (a["query"], a["columns"], a["positive"])
    gradient = jax.grad(sweep, 1)(*at, a)
    assert (np.asarray(gradient[3]) == 0).all()
    moved = a | {"columns": a["columns"] + 100 * np.eye(COLUMNS, DIM, -3, dtype="f4")}
    assert (moved["columns"][3] != a["columns"][3]).any()
    same = [i for i in range(COLUMNS) if i != 3]
    moved["columns"][same] = a["columns"][same]
    assert float(sweep(*at[:1], moved["columns"], at[2], a)) == float(sweep(*at, a))


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
        losses.full_softmax(logits, labels),
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
    """PAPERS' identity: the weighted loss without the positive in the denominator."""
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
