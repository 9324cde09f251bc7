"""The cross-batch bank against a list: order, contents, gradient, drift."""

from collections import deque

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from twotower_jax.negatives import bank as banks

ITEMS, DIM = 50, 3
push, drift = jax.jit(banks.push), jax.jit(banks.drift)


def batch_of(step: int, batch: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return embeddings, items and log q of a step, all different."""
    rng = np.random.default_rng(step)
    embeddings = rng.normal(size=(batch, DIM)).astype(np.float32)
    items = rng.integers(0, ITEMS, batch).astype(np.int32)
    return embeddings, items, rng.normal(size=batch).astype(np.float32)


def entries(bank: banks.Bank) -> list[tuple]:
    """Return the filled entries as sorted tuples (step, item, log q, embedding)."""
    entries = zip(bank.step, bank.item, bank.log_q, bank.embedding, strict=True)
    plain = [
        (int(step), int(item), float(log_q), *map(float, row))
        for step, item, log_q, row in entries
    ]
    return sorted(entry for entry in plain if entry[0] >= 0)


@pytest.mark.parametrize("jitted", [True, False])
@pytest.mark.parametrize(
    ("size", "batch", "first"),
    [(10, 4, 0), (10, 4, 7), (7, 7, 0), (12, 4, 3), (5, 1, 0)],
)
def test_the_bank_holds_the_last_entries_that_went_in(size, batch, first, jitted):
    """Against a queue, for 20 pushes, from any first step, with B not dividing M."""
    call = push if jitted else banks.push
    bank = banks.init_bank(size, DIM, ITEMS)
    queue = deque(maxlen=size)
    for step in range(first, first + 20 if jitted else first + 4):
        embeddings, items, log_q = batch_of(step, batch)
        bank = call(bank, embeddings, items, log_q, step)
        for row, item, chance in zip(embeddings, items, log_q, strict=True):
            queue.append((step, int(item), float(chance), *map(float, row)))
        assert entries(bank) == sorted(queue)
        assert int(banks.filled(bank)) == len(queue)
        ages = [step - entry[0] for entry in queue]
        assert float(banks.mean_age(bank, step)) == pytest.approx(np.mean(ages))


def test_places_are_a_function_of_the_step_alone():
    """A push into an empty bank and into a full one write the same places."""
    full = banks.init_bank(10, DIM, ITEMS)
    for step in range(6):
        full = push(full, *batch_of(step, 4), step)
    alone = push(banks.init_bank(10, DIM, ITEMS), *batch_of(5, 4), 5)
    here = np.asarray(alone.step) == 5
    assert here.sum() == 4 and (np.flatnonzero(here) == [0, 1, 2, 3]).all()
    np.testing.assert_array_equal(np.asarray(full.step) == 5, here)
    np.testing.assert_array_equal(full.embedding[here], alone.embedding[here])


@pytest.mark.parametrize("step", [2**20, 2**31 - 1])
@pytest.mark.parametrize(("size", "batch"), [(50_000, 8_192), (999_983, 99_991)])
def test_places_are_right_where_the_product_leaves_32_bits(step, size, batch):
    bank = push(
        banks.init_bank(size, 1, ITEMS),
        jnp.zeros((batch, 1)),
        jnp.arange(batch, dtype=jnp.int32),
        jnp.zeros(batch),
        step,
    )
    assert step * batch > 2**31
    place = (step * batch + np.arange(batch)) % size
    np.testing.assert_array_equal(bank.item[place], np.arange(batch))
    np.testing.assert_array_equal(bank.step[place], step)
    assert int(banks.filled(bank)) == batch


def test_an_entry_keeps_the_log_q_of_its_time():
    items = jnp.array([5, 6], jnp.int32)
    bank = banks.init_bank(4, DIM, ITEMS)
    bank = push(bank, jnp.ones((2, DIM)), items, jnp.array([-1.0, -2.0]), 0)
    bank = push(bank, jnp.ones((2, DIM)), items, jnp.array([-3.0, -4.0]), 1)
    np.testing.assert_array_equal(bank.item, [5, 6, 5, 6])
    np.testing.assert_array_equal(bank.log_q, [-1, -2, -3, -4])


def test_no_gradient_passes_the_bank():
    """The loss reads old and new entries; only the query gets a gradient."""
    embeddings, items, log_q = map(jnp.asarray, batch_of(1, 4))
    stored = push(banks.init_bank(6, DIM, ITEMS), *batch_of(0, 4), 0)

    def loss(query, new, chance, old):
        bank = banks.push(stored._replace(embedding=old), new, items, chance, 1)
        return jax.nn.logsumexp(bank.embedding @ query - bank.log_q)

    query, rest = jnp.ones(DIM), (embeddings, log_q, stored.embedding)
    gradients = jax.jit(jax.grad(loss, argnums=(0, 1, 2, 3)))(query, *rest)
    assert np.abs(gradients[0]).max() > 0.1
    for gradient in gradients[1:]:
        np.testing.assert_array_equal(gradient, 0)


def test_donated_arrays_are_changed_in_place():
    scratch = []
    for size in (100, 100_000):
        bank = banks.init_bank(size, 8, ITEMS)
        batch = (jnp.ones((16, 8)), jnp.arange(16), jnp.zeros(16), 3)
        program = jax.jit(banks.push, donate_argnums=0).lower(bank, *batch).compile()
        memory = program.memory_analysis()
        assert memory.alias_size_in_bytes == size * (8 + 3) * 4
        scratch.append(memory.temp_size_in_bytes)
    assert scratch[0] == scratch[1]


def test_drift_is_the_mean_over_filled_entries():
    bank = banks.init_bank(4, 2, ITEMS)
    bank = push(
        bank, jnp.array([[1.0, 0], [0, 2.0]]), jnp.array([3, 4]), jnp.zeros(2), 0
    )
    turned = jnp.array([[0, 1.0], [0, 5.0], [np.nan, 1], [7, np.inf]])
    got = drift(bank, turned)
    assert float(got[0]) == pytest.approx((np.sqrt(2) + 3) / 2)
    assert float(got[1]) == pytest.approx((0 + 1) / 2)


@pytest.mark.parametrize("pushes", [3, 30])
def test_drift_fits_numpy_and_is_none_where_nothing_moved(pushes):
    bank = banks.init_bank(40, DIM, ITEMS)
    for step in range(pushes):
        bank = push(bank, *batch_of(step, 8), step)
    same = drift(bank, bank.embedding)
    assert float(same[0]) == 0
    assert float(same[1]) == pytest.approx(1, abs=1e-6)
    current = np.random.default_rng(99).normal(size=(40, DIM)).astype(np.float32)
    there = np.asarray(bank.step) >= 0
    old, new = np.asarray(bank.embedding)[there], current[there]
    cosine = (old * new).sum(1) / np.linalg.norm(old, axis=1)
    cosine = (cosine / np.linalg.norm(new, axis=1)).mean()
    got = drift(bank, jnp.asarray(current))
    distance = np.linalg.norm(old - new, axis=1).mean()
    assert float(got[0]) == pytest.approx(distance, rel=1e-5)
    assert float(got[1]) == pytest.approx(cosine, abs=1e-6)


def test_an_empty_bank_has_defined_values():
    bank = banks.init_bank(5, DIM, ITEMS)
    assert int(banks.filled(bank)) == 0
    assert float(banks.mean_age(bank, 17)) == 0
    assert drift(bank, jnp.ones((5, DIM))) == (0, 1)
    np.testing.assert_array_equal(bank.item, ITEMS)
    np.testing.assert_array_equal(bank.step, -1)


def test_a_batch_that_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="batch of 4 does not fit into a bank of 3"):
        banks.push(banks.init_bank(3, DIM, ITEMS), *batch_of(0, 4), 0)
    with pytest.raises(ValueError, match=r"float32\[4,3\].*float32\[4,2\]"):
        banks.push(banks.init_bank(4, 2, ITEMS), *batch_of(0, 4), 0)
    with pytest.raises(ValueError, match="at least 1, got 0"):
        banks.init_bank(0, DIM, ITEMS)
