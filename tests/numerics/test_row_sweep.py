"""The sweep against loops over the definition and autodiff of stored logits."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from twotower_jax.losses import blockwise as sweep
from twotower_jax.losses import rowwise as losses

ROWS, COLUMNS, DIM, SLOTS, POOL = 13, 9, 5, 3, 4
ITEM = np.array([0, 1, 2, 3, 4, 5, 6, 7, 3])  # Items of the columns; 3 twice.
FEATURES = ("plain", "groups", "pools", "seen", "slots", "all")
NUMBERS = losses.LossNumbers(0.5, 3.0, 0.2, 0.75, 50.0)


def problem(feature, seed=0, own_counts=False):
    """Return the arguments of ``softmax_loss``: query, columns, positive, slots, ..."""
    rng = np.random.default_rng(seed)
    query, columns = rng.normal(size=(ROWS, DIM)), rng.normal(size=(COLUMNS, DIM))
    key = rng.integers(0, 8, ROWS)
    everything = feature == "all"
    groups = 2 if everything or feature in ("groups", "pools") else 1
    shared = sweep.Shared(
        np.log(rng.integers(1, 4, COLUMNS)),
        rng.normal(size=(groups, COLUMNS)),
        ITEM.astype(np.int32),
    )
    distinct, place = np.unique(ITEM, return_inverse=True)
    rows = sweep.Rows(
        rng.uniform(0.5, 2, ROWS),
        key.astype(np.int32),
        np.linspace(-1, 1, ROWS) if own_counts else np.full(ROWS, -np.inf),
        rng.normal(size=ROWS),
        rng.integers(0, 2, ROWS) if groups == 2 else None,
    )
    if everything or feature in ("pools", "seen"):
        shared = shared._replace(place=place.astype(np.int32))
    if everything or feature == "pools":
        pool = np.stack([rng.permutation(12)[:POOL] for _ in range(ROWS)])
        pool_place = np.where(pool < len(distinct), pool, COLUMNS)
        rows = rows._replace(
            pool_place=pool_place.astype(np.int32),
            pool_log_count=rng.normal(size=(ROWS, POOL)),
        )
    if everything or feature == "seen":
        rows = rows._replace(seen=rng.random((ROWS, COLUMNS)) < 0.2)
    slots = None
    if everything or feature == "slots":
        slots = rng.normal(size=(ROWS, SLOTS))
        off = rng.random((ROWS, SLOTS)) < 0.3
        rows = rows._replace(
            slot_log_mult=np.where(off, -np.inf, 0.0),
            slot_log_count=rng.normal(size=(ROWS, SLOTS)),
        )
    positive = (query * columns[key]).sum(1)
    return query, columns, positive, slots, shared, rows


def negatives(i, query, columns, slots, shared, rows):
    """Return (score, log count, draws) of row i's negatives, by loops."""
    found = []
    group = 0 if rows.group is None else rows.group[i]
    for c in range(COLUMNS):
        mult, count = math.exp(shared.log_mult[c]), math.exp(shared.log_count[group, c])
        if rows.pool_place is not None:
            for place, more in zip(
                rows.pool_place[i], rows.pool_log_count[i], strict=True
            ):
                count += math.exp(more) if place == shared.place[c] else 0
        if shared.key[c] == rows.key[i]:
            mult, count = (
                math.exp(rows.own_log_mult[i]),
                math.exp(rows.own_log_count[i]),
            )
        if rows.seen is not None and rows.seen[i, shared.place[c]]:
            mult = 0
        found.append((query[i] @ columns[c], math.log(count), mult))
    for s in range(0 if slots is None else SLOTS):
        mult = math.exp(rows.slot_log_mult[i, s])
        found.append((slots[i, s], rows.slot_log_count[i, s], mult))
    return [one for one in found if one[2] > 0]


def slow_softmax(query, columns, positive, slots, shared, rows):
    total = 0.0
    for i in range(ROWS):
        parts = negatives(i, query, columns, slots, shared, rows)
        others = sum(m * math.exp(s - n) for s, n, m in parts)
        total += rows.weight[i] * (
            math.log(math.exp(positive[i]) + others) - positive[i]
        )
    return total


def stored(loss, arguments, top_k=0):
    """Return the loss of stored logits, for autodiff."""
    query, columns, positive, slots, shared, rows = arguments
    log_mult, log_count = sweep.column_terms(shared, rows)
    scores = query @ columns.T
    if slots is not None:
        scores = jnp.concatenate([scores, slots], 1)
        log_mult = jnp.concatenate([log_mult, rows.slot_log_mult], 1)
        log_count = jnp.concatenate([log_count, rows.slot_log_count], 1)
    weight = jnp.exp(log_mult)
    if top_k:
        valid = jnp.where(weight > 0, scores, -jnp.inf)
        limit = -jnp.sort(-valid, axis=1)[:, top_k - 1 : top_k]
        weight = jnp.where(valid >= limit, weight, 0)
    logits = jnp.where(weight > 0, scores - log_count, 0)
    return (rows.weight * losses.LOSSES[loss](positive, logits, weight, NUMBERS)).sum()


def swept(loss, arguments, top_k=0):
    if loss in losses.SOFTMAX and not top_k:
        return sweep.softmax_loss(*arguments)
    return sweep.row_loss(losses.LOSSES[loss], top_k, *arguments, NUMBERS)


def differentiable(arguments):
    return arguments[:3] if arguments[3] is None else arguments[:4]


def with_gradients(loss, arguments, function, top_k=0):
    """Return the value and its gradients by query, columns, positive and slots."""
    some = differentiable(arguments)

    def value(some):
        return function(loss, (*some, *arguments[len(some) :]), top_k)

    return jax.jit(jax.value_and_grad(value))(some)


def double(arguments):
    return jax.tree.map(jnp.asarray, arguments)


@pytest.mark.parametrize("own_counts", [False, True])
@pytest.mark.parametrize("feature", FEATURES)
def test_softmax_equals_loops_over_the_definition(feature, own_counts):
    arguments = problem(feature, own_counts=own_counts)
    with jax.enable_x64(True):
        got = float(sweep.softmax_loss(*double(arguments)))
    assert got == pytest.approx(slow_softmax(*arguments), rel=1e-12)


CASES = [("sampled_softmax", f, b) for f in FEATURES for b in (4, 512)]
CASES += [(loss, "all", 4) for loss in sorted(losses.LOSSES)]
CASES += [("logistic", "plain", 512)]


@pytest.mark.parametrize(("loss", "feature", "block"), CASES)
def test_every_loss_equals_autodiff_of_stored_logits(monkeypatch, loss, feature, block):
    monkeypatch.setattr(sweep, "MAX_BLOCK_ROWS", block)
    with jax.enable_x64(True):
        arguments = double(problem(feature, seed=1))
        want, want_grads = with_gradients(loss, arguments, stored)
        got, grads = with_gradients(loss, arguments, swept)
        np.testing.assert_allclose(got, want, rtol=1e-12)
        for one, other in zip(grads, want_grads, strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("loss", sorted(losses.LOSSES))
def test_the_best_scored_negatives_are_kept(loss):
    with jax.enable_x64(True):
        arguments = double(problem("all", seed=2))
        want, want_grads = with_gradients(loss, arguments, stored, 3)
        got, grads = with_gradients(loss, arguments, swept, 3)
        np.testing.assert_allclose(got, want, rtol=1e-12)
        for one, other in zip(grads, want_grads, strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-10, atol=1e-12)
        assert float(got) != pytest.approx(float(swept(loss, arguments)), rel=1e-3)


def test_keeping_as_many_as_there_are_changes_nothing():
    with jax.enable_x64(True):
        arguments = double(problem("all", seed=2))
        kept = swept("sampled_softmax", arguments, COLUMNS + SLOTS)
        assert float(kept) == pytest.approx(float(swept("sampled_softmax", arguments)))


@pytest.mark.parametrize("loss", sorted(losses.LOSSES))
def test_gradients_scale_with_the_cotangent(loss):
    arguments = jax.tree.map(jnp.asarray, problem("slots", seed=2))
    _, once = with_gradients(loss, arguments, swept)
    _, thrice = with_gradients(loss, arguments, lambda *a: 3 * swept(*a))
    for one, other in zip(once, thrice, strict=True):
        np.testing.assert_allclose(3 * one, other, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("loss", sorted(losses.LOSSES))
def test_repeated_columns_are_one_column_with_their_number(loss):
    query, columns, positive, slots, shared, rows = problem("plain", seed=3)
    again = np.repeat(np.arange(COLUMNS), 2)
    twice = shared._replace(
        log_mult=shared.log_mult[again],
        log_count=shared.log_count[:, again],
        key=shared.key[again],
    )
    once = shared._replace(log_mult=shared.log_mult + math.log(2))
    with jax.enable_x64(True):
        one = swept(loss, double((query, columns[again], positive, slots, twice, rows)))
        other = swept(loss, double((query, columns, positive, slots, once, rows)))
        assert float(one) == pytest.approx(float(other), rel=1e-12)


@pytest.mark.parametrize("loss", sorted(losses.LOSSES))
def test_a_masked_item_has_probability_and_gradient_zero_exactly(loss):
    query, columns, positive, slots, shared, rows = problem("all", seed=4)
    shared.log_mult[5] = -np.inf
    rows.slot_log_mult[:, 1] = -np.inf
    rows.seen[2, :] = True
    arguments = jax.tree.map(
        jnp.asarray, (query, columns, positive, slots, shared, rows)
    )
    value, grads = with_gradients(loss, arguments, swept)
    np.testing.assert_array_equal(grads[1][5], 0)
    np.testing.assert_array_equal(grads[3][:, 1], 0)
    moved = (query, columns.copy(), positive, slots.copy(), shared, rows)
    moved[1][5], moved[3][:, 1] = 100, -100
    moved_value, _ = with_gradients(loss, jax.tree.map(jnp.asarray, moved), swept)
    assert float(value) == float(moved_value)
    # A row whose every column is seen has its slots left.
    rows.slot_log_mult[2] = -np.inf
    _, grads = with_gradients(
        loss,
        jax.tree.map(jnp.asarray, (query, columns, positive, slots, shared, rows)),
        swept,
    )
    np.testing.assert_array_equal(grads[0][2], 0)


def test_softmax_is_finite_at_temperature_of_five_thousandths():
    rng = np.random.default_rng(0)
    unit = rng.normal(size=(64, DIM))
    unit = (unit / np.linalg.norm(unit, axis=1, keepdims=True)).astype(np.float32)
    query, key = -unit / np.float32(0.005), np.arange(64, dtype=np.int32)
    positive = (query * unit).sum(1)
    shared = sweep.Shared(np.zeros(64, "f4"), np.full((1, 64), -20, "f4"), key)
    none = np.full(64, -np.inf, "f4")
    rows = sweep.Rows(np.ones(64, "f4"), key, none, np.zeros(64, "f4"))
    assert positive.max() < -199  # The shift 1/T would underflow every term.
    arguments = jax.tree.map(jnp.asarray, (query, unit, positive, None, shared, rows))
    value, grads = with_gradients("sampled_softmax", arguments, swept)
    assert all(np.isfinite(one).all() for one in grads)
    scores = query.astype(float) @ unit.T.astype(float) + 20
    want = 0.0
    for i in range(64):
        logits = np.append(np.delete(scores[i], i), positive[i])
        top = logits.max()
        want += top + np.log(np.exp(logits - top).sum()) - positive[i]
    assert float(value) == pytest.approx(want, rel=1e-5)
