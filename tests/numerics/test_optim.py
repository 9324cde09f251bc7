"""Row-sparse updates against optax on the whole table."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from twotower_jax.errors import InputError
from twotower_jax.optimizers import OPTIMIZERS
from twotower_jax.training.updates import (
    BagGradient,
    TouchedRows,
    as_bags,
    update_dense,
    update_rows,
    update_table,
)

SIZE, DIM = 50, 4


def make_optimizer(name):
    own = {"eps": 1e-7} if name != "sgd" else {}
    return OPTIMIZERS[name](learning_rate=0.05, **own)


def batches(steps):
    rng = np.random.default_rng(0)
    for _ in range(steps):
        yield (
            jnp.asarray(rng.integers(0, SIZE, 16)),
            jnp.asarray(rng.normal(size=(16, DIM))),
        )


def loss(rows_of_batch, target):
    return ((rows_of_batch - target) ** 2).sum() + (rows_of_batch.sum(1) ** 4).sum()


def run_sparse(name, table, steps):
    optimizer = make_optimizer(name)
    state = optimizer.transformation().init(table)
    for ids, target in batches(steps):
        distinct, place = jnp.unique(ids, size=16, fill_value=SIZE, return_inverse=True)
        rows = table.at[distinct].get(mode="fill", fill_value=0)
        grads = jax.grad(lambda r, p=place, t=target: loss(r[p], t))(rows)
        touched = TouchedRows(distinct, rows, grads)
        table, state = update_rows(optimizer, table, state, touched)
    return table


def run_dense(optimizer, table, steps):
    state = optimizer.init(table)
    for ids, target in batches(steps):
        grads = jax.grad(lambda t, i=ids, to=target: loss(t[i], to))(table)
        updates, state = optimizer.update(grads, state)
        table = optax.apply_updates(table, updates)
    return table


def start():
    return jnp.asarray(np.random.default_rng(1).normal(size=(SIZE, DIM)))


def test_row_sparse_adagrad_equals_dense_adagrad_after_20_steps_in_float64():
    with jax.enable_x64(True):
        got = run_sparse("adagrad", start(), 20)
        want = run_dense(optax.adagrad(0.05, 0.1, 1e-7), start(), 20)
        np.testing.assert_allclose(got, want, rtol=0, atol=1e-14)
        assert float(jnp.abs(got - start()).max()) > 0.1


def test_adam_equals_dense_adam_where_every_row_is_touched_each_step():
    with jax.enable_x64(True):
        table = start()[:3]
        lazy = make_optimizer("adam")
        state = lazy.transformation().init(table)
        sparse, dense = table, table
        optimizer = optax.adam(0.05, 0.9, 0.999, 1e-7)
        dense_state = optimizer.init(table)
        for step in range(10):
            target = jnp.asarray(np.random.default_rng(step).normal(size=(3, DIM)))
            grads = jax.grad(loss)(sparse, target)
            touched = TouchedRows(jnp.arange(3), sparse, grads)
            sparse, state = update_rows(lazy, sparse, state, touched)
            updates, dense_state = optimizer.update(
                jax.grad(loss)(dense, target), dense_state
            )
            dense = optax.apply_updates(dense, updates)
        np.testing.assert_allclose(sparse, dense, rtol=0, atol=1e-14)


@pytest.mark.parametrize("name", ["adagrad", "adam", "sgd"])
def test_rows_outside_the_batch_keep_their_bits(name):
    table = jnp.asarray(start(), jnp.float32)
    optimizer = make_optimizer(name)
    state = optimizer.transformation().init(table)
    ids = jnp.array([3, 7, SIZE, SIZE])
    rows = table.at[ids].get(mode="fill", fill_value=0)
    touched = TouchedRows(ids, rows, jnp.ones_like(rows))
    new, _ = update_rows(optimizer, table, state, touched)
    changed = np.flatnonzero((np.asarray(new) != np.asarray(table)).any(1))
    assert changed.tolist() == [3, 7]


@pytest.mark.parametrize("as_bag", [False, True])
def test_adam_of_every_row_is_optax_on_the_whole_table(as_bag):
    with jax.enable_x64(True):
        optimizer = make_optimizer("adam_dense")
        table = start()
        state = optimizer.transformation().init(table)
        for ids, target in batches(20):
            distinct = jnp.unique(ids, size=16, fill_value=SIZE)
            whole = jax.grad(lambda t, i=ids, to=target: loss(t[i], to))(table)
            some = whole.at[distinct].get(mode="fill", fill_value=0)
            touched = TouchedRows(distinct, jnp.zeros_like(some), some)
            given = [as_bags(touched)] if as_bag else [touched]
            table, state = update_table(optimizer, table, state, given)
        want = run_dense(optax.adam(0.05, 0.9, 0.999, 1e-7), start(), 20)
        np.testing.assert_allclose(table, want, rtol=0, atol=1e-13)
        lazy = run_sparse("adam", start(), 20)
        assert float(jnp.abs(lazy - want).max()) > 0.1


@pytest.mark.parametrize("number", [640, 641, 1500])
@pytest.mark.parametrize("name", ["adagrad", "adam", "sgd"])
def test_many_rows_are_updated_once_each_as_few_are(name, number):
    """Three steps of `update_table` beside optax on arrays of the rows alone."""
    rng = np.random.default_rng(2)
    size = 2000
    optimizer = make_optimizer(name)
    table = jnp.asarray(rng.normal(size=(size, DIM)), jnp.float32)
    ids = np.sort(rng.choice(size, number - 7, replace=False))
    rows, others = table[ids], np.setdiff1d(np.arange(size), ids)
    state, row_state = (optimizer.transformation().init(x) for x in (table, rows))
    before = np.asarray(table)
    padded = jnp.asarray(np.append(ids, np.full(7, size)))
    for _ in range(3):
        gradient = jnp.asarray(rng.normal(size=(number, DIM)), jnp.float32)
        values = table.at[padded].get(mode="fill", fill_value=0)
        touched = TouchedRows(padded, values, gradient)
        table, state = update_table(optimizer, table, state, [touched])
        rows, row_state = update_dense(optimizer, rows, gradient[:-7], row_state)
    np.testing.assert_allclose(table[ids], rows, rtol=1e-6)
    np.testing.assert_array_equal(table[others], before[others])
    shared = [x for x in jax.tree.leaves(state) if x.shape != table.shape]
    wanted = [x for x in jax.tree.leaves(row_state) if x.shape != rows.shape]
    assert [int(x) for x in shared] == [int(x) for x in wanted]


def test_the_penalty_is_in_the_gradient_of_every_row():
    optimizer = make_optimizer("adam_dense")
    table = jnp.asarray(start(), jnp.float32)
    bag = BagGradient(
        jnp.array([[3, 5], [3, SIZE]]),
        jnp.array([[1.0, 0.5], [2.0, 0.0]]),
        jnp.ones((2, DIM)),
        jnp.array([[0.1, 0.2], [0.3, 0.0]]),
    )
    state = optimizer.transformation().init(table)
    got, _ = update_table(optimizer, table, state, [bag])
    gradient = jnp.zeros_like(table).at[3].set(3 + 0.4 * table[3])
    gradient = gradient.at[5].set(0.5 + 0.2 * table[5])
    dense = optax.adam(0.05, 0.9, 0.999, 1e-7)
    updates, _ = dense.update(gradient, dense.init(table))
    np.testing.assert_allclose(got, optax.apply_updates(table, updates), rtol=1e-6)


def test_dense_part_is_optax():
    params = {"a": jnp.ones(3), "b": jnp.zeros(2)}
    grads = {"a": jnp.arange(3.0), "b": jnp.ones(2)}
    want_updates, _ = optax.adagrad(0.05, 0.1, 1e-7).update(
        grads, optax.adagrad(0.05, 0.1, 1e-7).init(params)
    )
    optimizer = make_optimizer("adagrad")
    state = optimizer.transformation().init(params)
    got, _ = update_dense(optimizer, params, grads, state)
    want = optax.apply_updates(params, want_updates)
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-6), got, want)


def test_unknown_optimizer_lists_the_known_ones():
    with pytest.raises(InputError, match="adagrad, adam, adam_dense, sgd"):
        OPTIMIZERS["rmsprop"]
