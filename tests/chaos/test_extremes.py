"""Losses and sums in float32 at extremes, against the same quantities in float64."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.chaos import campaign, trials
from helpers.losses import loss_of

from twotower_jax.losses import LOSSES, blockwise
from twotower_jax.losses.blockwise import batch_loss
from twotower_jax.losses.logits import (
    ColumnTerms,
    PairTerms,
    RowTerms,
    Scores,
    column_terms,
)
from twotower_jax.registry import join, split

EPS = 2.0**-24  # relative error of one rounding to float32
DIM = 8
# A float32 result is right where it is as near as float64 is after the inputs were
# rounded once, times the roundings of a sum of DIM products, of the corrections and of
# the sum over a row; found here: at most 1.2 such distances in 60 trials a loss.
ROUNDINGS = 8
# (rows, columns, slots, form): one user, one item, and several of both.
SHAPES = (
    (1, 1, 0, {"decoupled": False}),
    (1, 17, 3, {"decoupled": True}),
    (17, 1, 3, {"decoupled": False, "activation": "atan"}),
    (17, 17, 0, {"decoupled": True, "activation": "relu"}),
)


def unit(rng, rows):
    values = rng.normal(size=(rows, DIM))
    return values / np.linalg.norm(values, axis=1, keepdims=True)


def random_case(rng, rows, columns, slots):
    """Return the scores and terms of a batch in float32, and its temperature.

    Temperatures are from .005 to 10, q from 1e-12 to 1; all, some or no columns are
    masked.
    """
    temperature = float(10 ** rng.uniform(np.log10(0.005), 1))
    query, matrix = unit(rng, rows), unit(rng, columns)
    masked = rng.choice([0.0, 0.5, 1.0])
    log_q = np.log(10) * rng.uniform(-12, 0, columns)

    def mult(shape) -> Any:
        return np.where(rng.random(shape) < masked, -np.inf, 0.0)

    own = rng.integers(0, columns, rows)
    scores = Scores(
        query / temperature,
        matrix,
        (query * matrix[own]).sum(1) / temperature,
        rng.uniform(-1, 1, (rows, slots)) / temperature,
    )
    key: Any = np.arange(columns, dtype=np.int32)
    ones: Any = np.ones(rows)
    terms = ColumnTerms(mult(columns), log_q[None] + np.log(columns), key, key)
    slot_terms = PairTerms(
        mult((rows, slots)), np.log(10) * rng.uniform(-12, 0, (rows, slots))
    )
    of_rows = RowTerms(
        ones,
        own.astype(np.int32),
        mult(rows),
        np.log(10) * rng.uniform(-12, 0, rows),
        slot_terms,
    )
    case = jax.tree.map(
        lambda x: x if x.dtype == np.int32 else x.astype(np.float32),
        (scores, terms, of_rows),
    )
    return case, temperature


@partial(jax.jit, static_argnums=0)
def stored(static, case, numbers):
    """Return the sum of the losses of stored logits; those of a whole batch at once."""
    scores, columns, rows = case
    pairs = column_terms(columns, rows)
    values = jnp.concatenate([scores.query @ scores.columns.T, scores.slots], 1)
    log_mult = jnp.concatenate([pairs.log_mult, rows.slots.log_mult], 1)
    log_count = jnp.concatenate([pairs.log_count, rows.slots.log_count], 1)
    loss = join(static, numbers)
    if loss.importance:
        log_mult, log_count = log_mult - log_count, jnp.zeros_like(log_count)
    weight = jnp.exp(log_mult)
    logits = jnp.where(weight > 0, values - log_count, 0)
    losses = loss.of_rows(scores.positive, logits, weight)
    return (rows.weight * losses).sum()


def in_float64(loss, case, rng):
    """Return the loss in float64, and how far one rounding of the inputs moves it."""

    def value(moved):
        exact = jax.tree.map(
            lambda x: x.astype(float) if x.dtype.kind == "f" else x, case
        )
        if moved:
            exact = jax.tree.map(
                lambda x: (
                    x * (1 + EPS * rng.choice([-1, 1], x.shape))
                    if x.dtype.kind == "f"
                    else x
                ),
                exact,
            )
        with jax.enable_x64(True):
            device = jax.tree.map(jnp.asarray, exact)
            return float(stored(static, device, numbers))

    static, numbers = split(loss)
    want = value(False)
    return want, max(abs(value(True) - want) for _ in range(8))


def check_gradient(gradient, case):
    """Assert finite gradients, and 0 for what no row has as a negative."""
    _, columns, rows = case
    assert all(np.isfinite(one).all() for one in jax.tree.leaves(gradient))
    own = np.isin(columns.key, rows.key[rows.own_log_mult > -np.inf])
    off = np.isneginf(columns.log_mult) & ~own
    np.testing.assert_array_equal(gradient.columns[off], 0)
    masked = np.isneginf(rows.slots.log_mult)
    np.testing.assert_array_equal(np.asarray(gradient.slots)[masked], 0)


@partial(jax.jit, static_argnums=0)
def in_blocks(static, case, numbers):
    """Return the loss in blocks of rows, and its gradient by the scores."""

    def value(scores):
        return batch_loss(join(static, numbers), scores, case[1], case[2])

    return jax.value_and_grad(value)(case[0])


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(LOSSES))
def test_losses_in_float32_are_those_in_float64(name, monkeypatch):
    rng, worst, done = np.random.default_rng(0), 0.0, 0
    monkeypatch.setattr(blockwise, "MAX_BLOCK_ROWS", 4)
    with campaign(f"extremes of {name}") as counts:
        for number in range(trials(300)):
            *shape, form = SHAPES[number % len(SHAPES)]
            case, temperature = random_case(rng, *shape)
            ratio = float(rng.choice([0, 3]))
            more = form | {"ratio": ratio, "tau_plus": 0.1, "beta": 1.0}
            loss = loss_of(name, temperature, **more)
            static, numbers = split(loss)
            got, gradient = in_blocks(static, case, numbers)
            want, moved = in_float64(loss, case, rng)
            # A softmax subtracts the positive from a log sum of about its size.
            size = max(1.0, abs(want), np.abs(case[0].positive).sum())
            bound = moved + EPS * size
            assert abs(float(got) - want) <= ROUNDINGS * bound, (got, want, bound)
            worst = max(worst, abs(float(got) - want) / bound)
            check_gradient(gradient, case)
            done += 1
        counts |= {"trials": done, "roundings": round(float(worst), 1)}
    assert done
