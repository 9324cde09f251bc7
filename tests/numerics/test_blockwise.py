"""Blockwise losses against loops over the definition and autodiff of stored logits."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.loss_cases import (
    COLUMNS,
    DIM,
    FEATURES,
    ITEM,
    SLOTS,
    Case,
    make_case,
    negatives,
    on_device,
)
from helpers.losses import loss_of
from helpers.quick import quick

from twotower_jax.losses import LOSSES, blockwise
from twotower_jax.losses.logits import (
    ColumnTerms,
    PairTerms,
    RowTerms,
    Scores,
    column_terms,
)

# Of the passes that all losses share: every loss is compared with autodiff.
FEW = ("sampled_softmax", "bce", "hinge")


def slow_softmax(case):
    total = 0.0
    for i, positive in enumerate(case.scores.positive):
        others = sum(m * math.exp(s - n) for s, n, m in negatives(i, case))
        loss = math.log(math.exp(positive) + others) - positive
        total += case.rows.weight[i] * loss
    return total


def stored(loss, case, top_k=0):
    """Return the loss of stored logits, for autodiff."""
    scores, columns, rows = case
    pairs = column_terms(columns, rows)
    values = jnp.concatenate([scores.query @ scores.columns.T, scores.slots], 1)
    log_mult = jnp.concatenate([pairs.log_mult, rows.slots.log_mult], 1)
    log_count = jnp.concatenate([pairs.log_count, rows.slots.log_count], 1)
    if loss_of(loss).importance:
        log_mult, log_count = log_mult - log_count, jnp.zeros_like(log_count)
    weight = jnp.exp(log_mult)
    if top_k:
        valid = jnp.where(weight > 0, values, -jnp.inf)
        limit = -jnp.sort(-valid, axis=1)[:, top_k - 1 : top_k]
        weight = jnp.where(valid >= limit, weight, 0)
    logits = jnp.where(weight > 0, values - log_count, 0)
    losses = loss_of(loss).of_rows(scores.positive, logits, weight)
    return (rows.weight * losses).sum()


def blocks(loss, case, top_k=0):
    """Return the loss of blocks of rows."""
    return blockwise.batch_loss(loss_of(loss), *case, top_k=top_k)


def with_gradient(loss, case, function, top_k=0):
    """Return the value and its gradient by the scores."""

    def value(scores):
        return function(loss, case._replace(scores=scores), top_k)

    return jax.jit(jax.value_and_grad(value))(case.scores)


def assert_close(one, other):
    jax.tree.map(
        lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-10, atol=1e-12),
        one,
        other,
    )


@pytest.mark.parametrize("own_counts", [False, True])
@pytest.mark.parametrize("feature", FEATURES)
def test_softmax_equals_loops_over_the_definition(feature, own_counts):
    case = make_case(feature, own_counts=own_counts)
    with jax.enable_x64(True):
        got = float(blockwise.softmax_loss(*on_device(case)))
    assert got == pytest.approx(slow_softmax(case), rel=1e-12)


@pytest.mark.parametrize("feature", ["pools", "all"])
def test_counts_of_pools_are_added_at_one_column_of_each_item(feature):
    case = make_case(feature)
    first = np.unique(ITEM, return_index=True)[1].astype(np.int32)
    of_items = case.columns.log_count[:, first]
    columns = case.columns._replace(
        log_count=of_items[:, case.columns.place[0]], first=(np.resize(first, COLUMNS),)
    )
    case = case._replace(columns=columns)
    with jax.enable_x64(True):
        got = float(blockwise.softmax_loss(*on_device(case)))
    assert got == pytest.approx(slow_softmax(case), rel=1e-12)


CASES = [("sampled_softmax", f, b) for f in FEATURES for b in (4, 512)]
CASES += [(loss, "all", 4) for loss in sorted(LOSSES)]
CASES += [("logistic", "plain", 512)]


@pytest.mark.parametrize(("loss", "feature", "block"), CASES)
def test_every_loss_equals_autodiff_of_stored_logits(monkeypatch, loss, feature, block):
    monkeypatch.setattr(blockwise, "MAX_BLOCK_ROWS", block)
    with jax.enable_x64(True):
        case = on_device(make_case(feature, seed=1))
        want, want_gradient = with_gradient(loss, case, stored)
        got, gradient = with_gradient(loss, case, blocks)
        np.testing.assert_allclose(got, want, rtol=1e-12)
        assert_close(gradient, want_gradient)


@pytest.mark.parametrize("loss", quick(sorted(LOSSES), FEW))
def test_the_best_scored_negatives_are_kept(loss):
    with jax.enable_x64(True):
        case = on_device(make_case("all", seed=2))
        want, want_gradient = with_gradient(loss, case, stored, 3)
        got, gradient = with_gradient(loss, case, blocks, 3)
        np.testing.assert_allclose(got, want, rtol=1e-12)
        assert_close(gradient, want_gradient)
        assert float(got) != pytest.approx(float(blocks(loss, case)), rel=1e-3)


def test_keeping_as_many_as_there_are_changes_nothing():
    with jax.enable_x64(True):
        case = on_device(make_case("all", seed=2))
        kept = blocks("sampled_softmax", case, COLUMNS + SLOTS)
        assert float(kept) == pytest.approx(float(blocks("sampled_softmax", case)))


@pytest.mark.parametrize("loss", quick(sorted(LOSSES), FEW))
def test_gradients_scale_with_the_cotangent(loss):
    case = on_device(make_case("slots", seed=2))
    _, once = with_gradient(loss, case, blocks)
    _, thrice = with_gradient(loss, case, lambda *a: 3 * blocks(*a))
    for one, other in zip(once, thrice, strict=True):
        np.testing.assert_allclose(3 * one, other, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("loss", quick(sorted(LOSSES), FEW))
def test_repeated_columns_are_one_column_with_their_number(loss):
    scores, columns, rows = make_case("plain", seed=3)
    again = np.repeat(np.arange(COLUMNS), 2)
    twice = ColumnTerms(
        log_mult=columns.log_mult[again],
        log_count=columns.log_count[:, again],
        key=columns.key[again],
        place=(columns.place[0][again],),
    )
    repeated = scores._replace(columns=scores.columns[again])
    once = columns._replace(log_mult=columns.log_mult + math.log(2))
    with jax.enable_x64(True):
        one = blocks(loss, on_device(Case(repeated, twice, rows)))
        other = blocks(loss, on_device(Case(scores, once, rows)))
        assert float(one) == pytest.approx(float(other), rel=1e-12)


@pytest.mark.parametrize("loss", quick(sorted(LOSSES), FEW))
def test_a_masked_item_has_probability_and_gradient_zero_exactly(loss):
    case = make_case("all", seed=4)
    case.columns.log_mult[5] = -np.inf
    case.rows.slots.log_mult[:, 1] = -np.inf
    case.rows.seen[0][2, :] = True
    value, gradient = with_gradient(loss, on_device(case), blocks)
    np.testing.assert_array_equal(gradient.columns[5], 0)
    np.testing.assert_array_equal(gradient.slots[:, 1], 0)
    moved = jax.tree.map(np.copy, case)
    moved.scores.columns[5], moved.scores.slots[:, 1] = 100, -100
    moved_value, _ = with_gradient(loss, on_device(moved), blocks)
    assert float(value) == float(moved_value)
    # A row whose every column is seen has its slots left.
    case.rows.slots.log_mult[2] = -np.inf
    _, gradient = with_gradient(loss, on_device(case), blocks)
    np.testing.assert_array_equal(gradient.query[2], 0)


def test_softmax_is_finite_at_temperature_of_five_thousandths():
    rng = np.random.default_rng(0)
    unit = rng.normal(size=(64, DIM))
    unit = (unit / np.linalg.norm(unit, axis=1, keepdims=True)).astype(np.float32)
    query, key = -unit / np.float32(0.005), np.arange(64, dtype=np.int32)
    positive = (query * unit).sum(1)
    columns = ColumnTerms(np.zeros(64, "f4"), np.full((1, 64), -20, "f4"), key, key)
    none, masked = np.zeros((64, 0), "f4"), np.full(64, -np.inf, "f4")
    rows = RowTerms(
        np.ones(64, "f4"), key, masked, np.zeros(64, "f4"), PairTerms(none, none)
    )
    assert positive.max() < -199  # The shift 1/T would underflow every term.
    case = on_device(Case(Scores(query, unit, positive, none), columns, rows))
    value, gradient = with_gradient("sampled_softmax", case, blocks)
    assert all(np.isfinite(one).all() for one in gradient)
    scores = query.astype(float) @ unit.T.astype(float) + 20
    want = 0.0
    for i in range(64):
        logits = np.append(np.delete(scores[i], i), positive[i])
        top = logits.max()
        want += top + np.log(np.exp(logits - top).sum()) - positive[i]
    assert float(value) == pytest.approx(want, rel=1e-5)
