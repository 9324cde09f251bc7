"""Dropout on query embeddings: shares, means, keys, and none of it in serving."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.problems import configure
from helpers.source_steps import (
    ITEM,
    TEMPERATURE,
    USER,
    batches_of,
    go,
    problem_of,
    start,
)

from twotower_jax.errors import InputError
from twotower_jax.model import two_tower as net
from twotower_jax.training.queries import drop_numbers

SHARE = 0.3
DROPOUT = {"towers__query_dropout": SHARE}


def at_step(problem, step):
    return start(problem)._replace(step=jnp.int32(step))


def dropped(problem, step, rows=4000, dim=6):
    return np.asarray(
        drop_numbers(problem.program, at_step(problem, step), jnp.ones((rows, dim)))
    )


def test_a_share_of_the_numbers_is_dropped_and_the_mean_stays():
    plain = problem_of(**DROPOUT, towers__normalize=False)
    found = dropped(plain, 3)
    np.testing.assert_allclose(np.unique(found), [0, 1 / (1 - SHARE)], rtol=1e-6)
    error = 4 * np.sqrt(SHARE * (1 - SHARE) / found.size)
    assert (found == 0).mean() == pytest.approx(SHARE, abs=error)
    assert found.mean() == pytest.approx(1, abs=error / (1 - SHARE))
    lengths = np.linalg.norm(dropped(problem_of(**DROPOUT), 3), axis=1)
    np.testing.assert_allclose(lengths[lengths > 0], 1, rtol=1e-6)


def test_masks_are_a_function_of_seed_and_step():
    one, other = problem_of(**DROPOUT), problem_of(**DROPOUT, seed=1)
    same = dropped(one, 3)
    np.testing.assert_array_equal(same, dropped(one, 3))
    for another in (dropped(one, 4), dropped(other, 3)):
        agree = ((same == 0) == (another == 0)).mean()
        assert agree == pytest.approx(SHARE**2 + (1 - SHARE) ** 2, abs=0.02)


def test_the_loss_of_a_step_is_that_of_the_dropped_embeddings():
    """Uncorrected softmax in float64, with the mask that ones show."""
    keys = {"loss__logq__correct": "none"}
    problem = problem_of(**DROPOUT, **keys)
    state, (rows,) = start(problem), batches_of(problem, 1)
    kept = dropped(problem, 0, rows=len(rows)) > 0
    tables = state.params["tables"]
    query = np.where(kept, np.asarray(tables["query.id"], float)[USER[rows]], 0)
    item = np.asarray(tables["candidate.id"], float)[ITEM[rows]]
    query, item = (
        x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-9)
        for x in (query, item)
    )
    scores = query @ item.T / TEMPERATURE
    other = ITEM[rows][:, None] != ITEM[rows][None, :]
    keep = other | np.eye(len(rows), dtype=bool)
    total = np.log(np.where(keep, np.exp(scores), 0).sum(axis=1))
    want = (total - np.diag(scores)).mean()
    assert float(go(problem, state, rows)[1][0]) == pytest.approx(want, rel=1e-5)
    plain = problem_of(**keys)
    assert abs(float(go(plain, state, rows)[1][0]) - want) > 0.01


def test_serving_drops_nothing():
    problem, plain = problem_of(**DROPOUT), problem_of()
    state = start(problem)
    found = [
        net.embed_queries(
            one.program.model,
            state.params,
            one.data.entities,
            one.data.batch(jnp.arange(8)).queries,
        )
        for one in (problem, plain)
    ]
    np.testing.assert_array_equal(*found)


def test_a_query_that_is_dropped_whole_stays_finite():
    problem = problem_of(towers__query_dropout=0.9, towers__dim=2)
    rows = batches_of(problem, 5)
    state, losses = go(problem, start(problem), rows)
    assert (dropped(problem, 0, rows=16, dim=2) == 0).all(axis=1).any()
    assert np.isfinite(losses).all()
    jax.tree.map(lambda x: np.testing.assert_(np.isfinite(x).all()), state.params)


def test_a_share_of_everything_is_refused():
    with pytest.raises(InputError, match="towers.query_dropout=1.0 is out of range"):
        configure(towers__query_dropout=1.0)
