"""Histories: vectors against loops in numpy, steps against autodiff of whole tables."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from helpers.problems import as_loaded, small_problem, with_times, zipf_clicks
from helpers.quick import quick
from helpers.source_steps import CHEAP

from twotower_jax.data.log import Feature
from twotower_jax.errors import InputError
from twotower_jax.model import two_tower as net
from twotower_jax.model.two_tower import query_inputs
from twotower_jax.optimizers import Adam
from twotower_jax.training import batch_loss
from twotower_jax.training import queries as query_chunks
from twotower_jax.training import updates as row_updates
from twotower_jax.training.sources import draw
from twotower_jax.training.step import train_step
from twotower_jax.training.updates import BagGradient, update_table

USERS, ITEMS, CLICKS, LENGTH, HALF_LIFE = 12, 20, 150, 4, 1.5
USER, ITEM = zipf_clicks(USERS, ITEMS, CLICKS)
RNG = np.random.default_rng(5)
SHOP = RNG.integers(-1, 3, ITEMS).astype(np.int32)
TAGS = RNG.integers(-1, 4, (ITEMS, 2)).astype(np.int32)
PRICE = RNG.normal(size=ITEMS).astype(np.float32)
TEXT = RNG.normal(size=(ITEMS, 3)).astype(np.float32)
EVERY = ("id", "shop", "text", "tags", "price")
CASES = {
    "mean": {},
    "recency": {"towers__history_pooling": "recency"},
    "attention": {"towers__history_pooling": "attention"},
    "shared": {"towers__history_table": "shared"},
    "mean, features": {"towers__history_features": EVERY},
    "recency, features, shared": {
        "towers__history_pooling": "recency",
        "towers__history_table": "shared",
        "towers__history_features": EVERY,
        "towers__candidate": EVERY,
    },
    "attention, features, shared": {
        "towers__history_pooling": "attention",
        "towers__history_table": "shared",
        "towers__history_features": EVERY,
        "towers__candidate": EVERY,
    },
    "attention, dns, layers": {
        "towers__history_pooling": "attention",
        "towers__query": ("id", "history"),
        "towers__hidden": (8,),
        "negatives__hard__source": "dns",
        "negatives__hard__log_q": "none",
        "negatives__hard__num": 2,
        "negatives__hard__candidate_num": 4,
    },
}


def problem_of(**keys):
    """Return a problem of histories of four; user 3 has no earlier click at first."""
    data = with_times(
        as_loaded(USER, ITEM, USERS, ITEMS), np.arange(CLICKS), np.zeros(0)
    )
    features = {
        "shop": Feature("categorical", SHOP, 3),
        "tags": Feature("multi", TAGS, 4),
        "price": Feature("numeric", PRICE),
        "text": Feature("vector", TEXT),
    }
    log = replace(data.log, item_features=features)
    defaults = {
        "towers__query": ("history",),
        "towers__hidden": (),
        "towers__normalize": False,
        "towers__history_length": LENGTH,
        "towers__history_half_life": HALF_LIFE,
        "training__batch_size": 30,
        "training__merge_columns": False,
    }
    return small_problem(data._replace(log=log), **(defaults | keys))


def stepper():
    """Return a compiled step that reads the constants of this moment."""
    return jax.jit(lambda *arguments: train_step(*arguments), **CHEAP)


def some_params(problem):
    """Return parameters with random dense ones, so that attention has weights."""
    params = problem.start().params
    dense = jax.tree.map(
        lambda x: jnp.asarray(RNG.normal(size=x.shape), jnp.float32), params["dense"]
    )
    return params | {"dense": dense}


def item_vector(item, spec, tables, numeric):
    """Return the vector of an item from its features, one by one."""
    total = np.zeros(6)
    for feature in spec.features:
        if feature.name == "text":
            total = total + TEXT[item] @ numeric[:3]
            continue
        if feature.name == "price":
            total = total + PRICE[item] * numeric[3]
            continue
        side = "candidate." if spec.shared else "query.history."
        table = tables.get(side + feature.name, tables.get("query.history"))
        codes = {"id": [item], "shop": [SHOP[item]], "tags": TAGS[item]}[feature.name]
        known = [table[code] for code in codes if code >= 0]
        total = total + (np.mean(known, axis=0) if known else 0)
    return total


def history_vector(items, spec, params):
    """Return the vector of a list of items, the latest first; -1 is a hole."""
    dense = params["dense"]["query"].get("history", {})
    there = [(place, item) for place, item in enumerate(items) if item >= 0]
    if not there:
        return np.zeros(6)
    numeric = dense.get("numeric")
    vectors = [item_vector(item, spec, params["tables"], numeric) for _, item in there]
    weights = np.ones(len(there))
    if spec.pooling == "recency":
        weights = np.array([0.5 ** (place / HALF_LIFE) for place, _ in there])
    if spec.pooling == "attention":
        weights = np.exp([vector @ dense["attention"] for vector in vectors])
    return (weights[:, None] * np.array(vectors)).sum(axis=0) / weights.sum()


def earlier(row):
    """Return the last clicks before a click, but on its item, the latest first."""
    past = [i for u, i in zip(USER[:row], ITEM[:row], strict=True) if u == USER[row]]
    last = past[::-1][:LENGTH]
    return [item if item != ITEM[row] else -1 for item in last]


# The loop is over histories alone, without layers above them.
@pytest.mark.parametrize(
    "case",
    quick(
        [case for case in CASES if "layers" not in case],
        ["recency, features, shared", "attention, features, shared"],
    ),
)
def test_vectors_equal_a_loop(case):
    problem = problem_of(**CASES[case])
    model, params = problem.program.model, some_params(problem)
    rows = np.arange(60)
    batch = problem.data.batch(jnp.asarray(rows))
    entities = problem.data.entities
    inputs = query_inputs(model, entities, batch.queries, batch.items)
    values = net.gather_rows(params["tables"], inputs)
    found = net.encode("query", model.query, params["dense"], values, inputs)
    params = jax.tree.map(np.asarray, params)
    expected = [history_vector(earlier(r), model.query.history, params) for r in rows]
    np.testing.assert_allclose(found, expected, rtol=2e-5, atol=1e-6)
    empty = [not any(item >= 0 for item in earlier(row)) for row in rows]
    assert any(empty) and not np.asarray(found)[empty].any()


def first_rows(problem):
    """Return the queries and the items of the first batch."""
    batch = problem.data.batch(jnp.asarray(problem.order.batches(0, 1)[0]))
    return batch.queries, batch.items


def gradient_of(problem, state, rows):
    """Return the gradient of the loss of a batch by all parameters, by autodiff."""
    program, data = problem.program, problem.data
    batch = data.batch(rows)
    inputs = query_inputs(program.model, data.entities, batch.queries, batch.items)
    draws = draw(program, data, state, batch, inputs)
    both = batch_loss.tower_inputs(program, data, state, inputs, draws)
    context = batch_loss.Context(program, data, state, batch, draws, both)

    def loss(params):
        weights = batch_loss.gather_weights(state._replace(params=params), both)
        return batch_loss.loss_of_batch(context, weights)[0]

    return jax.jit(jax.grad(loss), **CHEAP)(state.params)


@pytest.mark.parametrize(
    "case, chunk",
    [
        pytest.param("mean", 0, marks=pytest.mark.slow),
        ("shared", 0),
        pytest.param("recency, features, shared", 0, marks=pytest.mark.slow),
        pytest.param("attention, features, shared", 0, marks=pytest.mark.slow),
        pytest.param("attention", 10, marks=pytest.mark.slow),
        pytest.param("attention, features, shared", 7, marks=pytest.mark.slow),
        pytest.param("attention, dns, layers", 7, marks=pytest.mark.slow),
    ],
)
def test_steps_equal_autodiff_of_whole_tables(case, chunk, monkeypatch):
    """Also where rows take several blocks, and several parts per block.

    And where the 30 queries are computed in chunks, of which the last is shorter.
    """
    if chunk:
        monkeypatch.setattr(query_chunks, "PLACES", LENGTH * chunk)
    monkeypatch.setattr(row_updates, "LEAST_ROWS", 8)
    monkeypatch.setattr(row_updates, "ROWS", 3)
    monkeypatch.setattr(row_updates, "VALUES", 8)
    problem = problem_of(**CASES[case])
    state = problem.start()
    optimizer = optax.adagrad(0.05, 0.1, 1e-7)
    params, memory, step = state.params, optimizer.init(state.params), stepper()
    for rows in problem.order.batches(0, 2):
        gradient = gradient_of(problem, state._replace(params=params), rows)
        updates, memory = optimizer.update(gradient, memory)
        params = optax.apply_updates(params, updates)
        state, _ = step(problem.program, problem.data, state, jnp.asarray(rows))
    tables = state.params["tables"]
    assert ("query.history" in tables) == ("shared" not in case)
    model = problem.program.model
    inputs = query_inputs(model, problem.data.entities, *first_rows(problem))
    assert query_chunks.rows_of_chunk(model.query, inputs) == chunk
    for one, other in zip(
        jax.tree.leaves(state.params), jax.tree.leaves(params), strict=True
    ):
        np.testing.assert_allclose(one, other, atol=2e-5)


def test_a_transformer_in_chunks_drops_the_same_numbers(monkeypatch):
    """Steps of the 30 queries as a whole and in chunks of 7."""
    resampled = {"positives__strategy": "power", "positives__exponent": 0.5}
    problem = problem_of(towers__history_pooling="transformer", **resampled)
    model, batches = problem.program.model, problem.order.batches(0, 2)
    inputs = query_inputs(model, problem.data.entities, *first_rows(problem))
    spec, ends = model.query.history.sequence, []
    for chunk in (0, 7):
        if chunk:
            numbers = chunk * LENGTH * spec.layers * spec.dim
            monkeypatch.setattr(query_chunks, "NUMBERS", numbers)
        assert query_chunks.rows_of_chunk(model.query, inputs) == chunk
        state, step = problem.start(), stepper()
        for rows in batches:
            state, loss = step(problem.program, problem.data, state, jnp.asarray(rows))
        ends.append((state.params, loss))
    assert problem.program.dropout["sequence"] > 0
    for one, other in zip(*map(jax.tree.leaves, ends), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)


def test_adam_counts_a_step_once_whatever_the_blocks(monkeypatch):
    whole = problem_of(optimizer__name="adam")
    rows = jnp.asarray(whole.order.batches(0, 3))
    ends = []
    for least in (2**13, 4):
        monkeypatch.setattr(row_updates, "LEAST_ROWS", least)
        monkeypatch.setattr(row_updates, "ROWS", least)
        state, step = whole.start(), stepper()
        for some in rows:
            state, _ = step(whole.program, whole.data, state, some)
        ends.append(state)
    first, second = (jax.tree.leaves(end) for end in ends)
    assert int(ends[1].opt_state["tables"]["query.history"].count) == 3
    for one, other in zip(first, second, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-6, atol=1e-7)


@pytest.mark.slow
def test_the_penalty_counts_the_mean_norm_of_the_items_of_a_history():
    keys = {"optimizer__name": "sgd", "optimizer__learning_rate": 0.1}
    for pooling in ("mean", "attention"):
        ends = []
        for l2 in (0.0, 0.5):
            problem = problem_of(
                **keys, optimizer__l2=l2, towers__history_pooling=pooling
            )
            rows, start = jnp.asarray(problem.order.batches(0, 1)[0]), problem.start()
            after, _ = stepper()(problem.program, problem.data, start, rows)
            ends.append(np.asarray(after.params["tables"]["query.history"]))
        table = np.asarray(start.params["tables"]["query.history"])
        expected = np.zeros_like(table)
        for row in rows:
            items = [item for item in earlier(int(row)) if item >= 0]
            for item in items:
                expected[item] += 0.5 / len(rows) / len(items) * table[item]
        np.testing.assert_allclose((ends[0] - ends[1]) / 0.1, expected, atol=1e-5)
        assert np.abs(expected).max() > 1e-3


def test_arms_side_by_side_have_blocks_of_their_own(monkeypatch):
    """Two arms with other numbers of rows, under vmap, as each of them alone."""
    monkeypatch.setattr(row_updates, "LEAST_ROWS", 4)
    monkeypatch.setattr(row_updates, "ROWS", 2)
    optimizer = Adam(learning_rate=0.1, eps=1e-7, b2=0.99)
    ids = jnp.asarray([RNG.permutation(30)[:12].reshape(4, 3), np.full((4, 3), 2)])
    vectors = jnp.asarray(RNG.normal(size=(2, 4, 5)), jnp.float32)
    tables = jnp.asarray(RNG.normal(size=(2, 30, 5)), jnp.float32)

    def update(table, ids, vectors):
        one = jnp.ones(ids.shape)
        state = optimizer.transformation().init(table)
        gradient = BagGradient(ids, one, vectors, 0.1 * one)
        return update_table(optimizer, table, state, [gradient])

    together = jax.jit(jax.vmap(update))(tables, ids, vectors)
    for arm in (0, 1):
        alone = jax.jit(update)(tables[arm], ids[arm], vectors[arm])
        for one, other in zip(
            jax.tree.leaves(together), jax.tree.leaves(alone), strict=True
        ):
            np.testing.assert_allclose(one[arm], other, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        (
            {"towers__history_features": ("id", "colour")},
            "history_features names the feature 'colour'.*id, price, shop, tags",
        ),
        (
            {"towers__history_features": EVERY, "towers__history_table": "shared"},
            r"needs 'shop' of towers.history_features in towers.candidate.*\['id'\]",
        ),
        ({"towers__history_features": ()}, "towers.history_features.* at least one"),
        ({"towers__history_pooling": "sum"}, "towers.history_pooling='sum'"),
        ({"towers__history_half_life": 0.0}, "towers.history_half_life=0.0"),
    ],
)
def test_wrong_choices_are_refused(keys, message):
    with pytest.raises(InputError, match=message):
        problem_of(**keys)
