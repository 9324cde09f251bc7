"""Sequence towers: against loops in numpy, rows end to end against rows one by one."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.problems import as_loaded, configure, with_program
from helpers.quick import quick
from helpers.sequences import (
    ITEM,
    ITEMS,
    LENGTH,
    NUMBERS,
    ROWS,
    USER,
    items_of,
    problem_of,
    query_vectors,
    seen_by,
    slow_vector,
    some_params,
)
from helpers.source_steps import CHEAP

from twotower_jax.errors import InputError
from twotower_jax.model.sequence import (
    Dropout,
    SequenceSpec,
    init_sequence,
    sequence_vectors,
    whole_sequences,
)
from twotower_jax.model.two_tower import all_queries
from twotower_jax.run.positives import trained_part
from twotower_jax.training.step import run_steps, train_step

WAYS = {
    "plain": {},
    "own table, two heads": {
        "towers__history_table": "own",
        "towers__sequence__heads": 2,
    },
    "beside the id": {"towers__query": ("id", "history"), "towers__hidden": (8,)},
}


def test_every_positive_but_the_first_and_older_ones_is_a_row():
    problem = problem_of()
    assert problem.data.item.shape[0] == ROWS
    epoch = problem.order.batches(0, ROWS).ravel()[:ROWS]
    assert sorted(epoch) == list(range(ROWS))
    history, queries = np.asarray(problem.data.entities.history), problem.data.queries
    spans = zip(np.asarray(queries.begin), np.asarray(queries.end), strict=True)
    assert [history[b:e].tolist() for b, e in spans] == seen_by(problem)


@pytest.mark.parametrize("way", quick(["plain", "own table, two heads"], ["plain"]))
def test_vectors_equal_loops(way):
    problem = problem_of(**WAYS[way])
    params = some_params(problem)
    heads = WAYS[way].get("towers__sequence__heads", 1)
    host, seen = jax.tree.map(np.asarray, params), seen_by(problem)
    for batch in problem.order.batches(0, 6):
        found = query_vectors(problem, params, batch)
        expected = [slow_vector(seen[row], host, heads) for row in batch]
        np.testing.assert_allclose(found, expected, rtol=2e-4, atol=2e-5)


@pytest.mark.parametrize("way", quick(WAYS, ["plain"]))
def test_rows_end_to_end_train_like_rows_one_by_one(way):
    """A step reads each item of a sequence once, or anew for each row: alike."""
    easy = {"negatives__in_batch": False, "negatives__easy__num": 8}
    sgd = {"optimizer__name": "sgd", "optimizer__learning_rate": 0.02}
    joined = problem_of(**WAYS[way], **easy, **sgd, optimizer__l2=0.01)
    assert joined.program.end_to_end
    single = with_program(joined, end_to_end=False)
    step, states = jax.jit(train_step, **CHEAP), [joined.start(), single.start()]
    start = joined.start().params
    for rows in jnp.asarray(joined.order.batches(0, 5)):
        for place, one in enumerate((joined, single)):
            states[place], loss = step(one.program, one.data, states[place], rows)
            assert np.isfinite(loss)
    names = [jax.tree_util.keystr(p) for p, _ in jax.tree.leaves_with_path(start)]
    first, second, start = map(jax.tree.leaves, (*(s.params for s in states), start))
    for name, one, other, before in zip(names, first, second, start, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-5, err_msg=name)
        # A constant added to all keys, or to all candidates, changes no softmax.
        if not (name.endswith("['bias']") and ("'key'" in name or "candid" in name)):
            assert jnp.abs(one - before).max() > 1e-6, name


def test_a_batch_of_one_sequence_alone_has_a_finite_loss():
    """Its positives are expected 0 times as negatives of the rows beside them."""
    problem = problem_of(training__batch_size=2, loss__logq__correct="all")
    users = np.asarray(problem.data.queries.user)
    batches = problem.order.batches(0, 10)
    assert (users[batches] == users[batches[:, :1]]).all(axis=1).any()
    step, state = jax.jit(train_step, **CHEAP), problem.start()
    for rows in jnp.asarray(batches):
        state, loss = step(problem.program, problem.data, state, rows)
        assert np.isfinite(loss)


def test_a_later_item_changes_no_earlier_row_and_no_other_sequence():
    problem = problem_of()
    params, data = some_params(problem), problem.data
    rows = problem.order.batches(0, 1)[0]
    history, queries = data.entities.history, data.queries
    assert history is not None and queries.begin is not None
    begin, end = np.asarray(queries.begin)[rows], np.asarray(queries.end)[rows]
    before = np.asarray(query_vectors(problem, params, rows))
    place = int(begin[5])
    changed = history.at[place].set((history[place] + 1) % ITEMS)
    entities = data.entities._replace(history=changed)
    other = problem._replace(data=data._replace(entities=entities))
    after = np.asarray(query_vectors(other, params, rows))
    reads = (begin <= place) & (place < end)
    assert 0 < reads.sum() < len(rows)
    assert (before[~reads] == after[~reads]).all()
    assert (before[reads] != after[reads]).any(axis=1).all()


def test_a_row_has_one_vector_wherever_batches_are_cut():
    """Behind earlier rows of its sequence, and at the start of a batch."""
    whole = problem_of(training__batch_size=ROWS)
    params = some_params(whole)
    (rows,) = whole.order.batches(0, 1)
    expected = np.asarray(query_vectors(whole, params, rows))
    for size in (1, 2, 7):
        parts = [
            query_vectors(whole, params, rows[first : first + size])
            for first in range(ROWS - size)
        ]
        for first, found in enumerate(parts):
            there = expected[first : first + size]
            np.testing.assert_allclose(found, there, rtol=1e-4, atol=1e-5)


def test_a_query_reads_the_newest_items_of_its_user():
    problem = problem_of()
    params, model = some_params(problem), problem.program.model
    queries, data = problem.data.queries, problem.data
    user = np.arange(len(NUMBERS), dtype=np.int32)
    ends = np.cumsum(np.asarray(NUMBERS), dtype=np.int32)
    queries = queries._replace(
        user=jnp.asarray(user),
        begin=jnp.asarray(ends - np.asarray(NUMBERS, np.int32)),
        end=jnp.asarray(ends),
    )
    found = all_queries(model, params, data.entities, queries)
    host = jax.tree.map(np.asarray, params)
    expected = [slow_vector(items_of(u)[-LENGTH:], host, 1) for u in user]
    np.testing.assert_allclose(found, expected, rtol=2e-4, atol=2e-5)
    none = queries._replace(end=queries.begin)
    assert not np.asarray(all_queries(model, params, data.entities, none)).any()


@pytest.mark.slow
@pytest.mark.parametrize("layers", quick([1, 2], [2]))
def test_the_last_layer_at_the_newest_tokens_alone_changes_no_vector(layers):
    spec = SequenceSpec(dim=8, length=4, layers=layers, heads=2)
    params = init_sequence(spec, jax.random.key(0))
    present = np.arange(4) >= np.array([[3], [0], [2], [4]])  # the last one: no item
    tokens = whole_sequences(jnp.asarray(present))
    vectors = jax.random.normal(jax.random.key(1), (16, 8))
    share = Dropout(jax.random.key(2), jnp.float32(0))  # drops nothing, at every token
    found, expected = (
        sequence_vectors(spec, params, vectors, tokens, one, stream=False)
        for one in (None, share)
    )
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert np.abs(found[:3]).max(axis=1).min() > 0.1 and not found[3].any()


def test_dropout_is_a_function_of_seed_and_step_and_of_training_alone():
    problem = problem_of(towers__sequence__dropout=0.5)
    params = some_params(problem)
    rows = jnp.asarray(problem.order.batches(0, 1)[0])
    state = problem.start()._replace(params=params)
    step = jax.jit(train_step, **CHEAP)

    def loss(at, seed=0):
        program = with_program(problem, seed=jnp.uint32(seed)).program
        return float(step(program, problem.data, state._replace(step=at), rows)[1])

    first = loss(jnp.int32(0))
    assert first == loss(jnp.int32(0))
    assert len({first, loss(jnp.int32(1)), loss(jnp.int32(0), 1)}) == 3
    plain, kept = problem_of(), np.asarray(query_vectors(problem, params, rows))
    without = np.asarray(query_vectors(plain, params, rows))
    assert np.abs(kept - without).max() > 1e-3


@pytest.mark.slow
def test_arms_that_differ_in_numbers_share_one_program():
    before = run_steps._cache_size()
    arms = ({}, {"seed": 1}, {"towers__sequence__dropout": 0.4})
    ends = []
    for arm in arms:
        keys = {"towers__sequence__dropout": 0.2, "training__batch_size": 13} | arm
        problem = problem_of(**keys)
        rows = problem.order.batches(0, 2)
        _, losses = run_steps(
            problem.program, problem.data, problem.start(), rows, np.int32(2)
        )
        ends.append(float(losses[1]))
    assert run_steps._cache_size() == before + 1 and len(set(ends)) == len(arms)


def test_rows_of_a_user_stay_together_and_sequences_change_places():
    problem = problem_of()
    queries = problem.data.queries
    orders = []
    for epoch in range(3):
        rows = problem.order.batches(0, 3 * ROWS).ravel()
        rows = rows[epoch * ROWS : (epoch + 1) * ROWS]
        users, ends = np.asarray(queries.user)[rows], np.asarray(queries.end)[rows]
        starts = np.flatnonzero(np.diff(users, prepend=-1))
        assert len(starts) == len(set(users.tolist())) == len(NUMBERS) - 1
        assert (np.diff(ends)[np.diff(users) == 0] == 1).all()
        orders.append(users[starts].tolist())
    assert orders[0] != orders[1] != orders[2]


def test_resampled_positives_and_the_order_of_time_have_rows_one_by_one():
    for keys in (
        {"positives__strategy": "power", "positives__exponent": 0.5},
        {"training__order": "time"},
    ):
        problem = problem_of(**keys)
        assert not problem.program.end_to_end
        assert problem.data.item.shape[0] == ROWS


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        (
            {"towers__sequence__heads": 4},
            "towers.sequence.heads=4 does not divide towers.dim=6",
        ),
        ({"towers__sequence__layers": 0}, "towers.sequence.layers=0"),
        ({"towers__sequence__dropout": 1.0}, "towers.sequence.dropout=1.0"),
        ({"towers__history_length": 0}, "towers.history_length=0"),
        (
            {"towers__query": ("id",)},
            "transformer reads the history, which towers.query=.'id'",
        ),
        (
            {"towers__history_pooling": "mean", "towers__sequence__layers": 3},
            "towers.sequence.* has no use with towers.history_pooling=mean",
        ),
    ],
)
def test_wrong_choices_are_refused(keys, message):
    with pytest.raises(InputError, match=message):
        problem_of(**keys)


def test_a_log_without_an_order_is_refused():
    data = as_loaded(USER, ITEM, len(NUMBERS), ITEMS)
    config = configure(
        towers__query=("history",), towers__history_pooling="transformer"
    )
    with pytest.raises(InputError, match="data.split=temporal does not take the order"):
        trained_part(config, data)
    config = replace(config, data=replace(config.data, split="leave_last_out"))
    assert len(trained_part(config, data).split.train) == sum(
        min(number - 1, 20) for number in NUMBERS
    )
    alone = as_loaded(np.arange(4), np.arange(4), 4, 4)
    with pytest.raises(InputError, match="no user has two to train on"):
        trained_part(config, alone)
