"""A batch with more slots than items encodes each item once, with the same step."""

import dataclasses

import jax
import numpy as np
import pytest
from helpers.problems import as_loaded, small_problem
from helpers.source_steps import (
    BATCH,
    CHEAP,
    HARD,
    ITEM,
    ITEMS,
    POOLED,
    SGD,
    USER,
    USERS,
    loaded,
)

from twotower_jax.data.log import Feature
from twotower_jax.training.step import train_step

STEP = jax.jit(train_step, **CHEAP)
# Clicks with a pool, for slots of the others are drawn from the whole catalogue.
ROWS = np.flatnonzero(POOLED)[: 2 * BATCH].reshape(2, BATCH).astype(np.int32)
MORE = 400  # items, of which no one is drawn but the first 40
CASES = {
    "sgd": {},
    "penalty": {"optimizer__l2": 0.3},
    "lazy adam": {"optimizer__name": "adam"},
    "log q": {"loss__logq__correct": "all"},
    "layers": {"towers__hidden": (8,)},
    "authors": {"towers__candidate": ("id", "author", "tags")},
    "merged": {"training__merge_columns": True},
    "pairwise": {"loss__name": "logistic", "loss__logq__correct": "none"},
}


def data_of(items):
    """Return the data of the other tests with a catalogue of any size."""
    data = loaded()
    author = (np.arange(items) % 7).astype(np.int32)
    author[3] = -1
    tags = np.random.default_rng(5).integers(-1, 6, (MORE, 2))[:items]
    log = dataclasses.replace(
        data.log,
        item_ids=as_loaded(USER, ITEM, USERS, items).log.item_ids,
        item_features={
            "author": Feature("categorical", author, 7),
            "tags": Feature("multi", tags.astype(np.int32), 6),
        },
    )
    return data._replace(log=log, counts=np.bincount(ITEM, minlength=items))


def steps(items, keys, first):
    """Return the tables before and after two steps from given rows of tables."""
    problem = small_problem(data_of(items), **(SGD | HARD | keys))
    state = problem.start()
    params = dict(state.params)
    tables = dict(params["tables"])
    if first is not None:
        table = np.array(tables["candidate.id"])
        table[:ITEMS] = first
        tables["candidate.id"] = jax.numpy.asarray(table)
        state = state._replace(params=params | {"tables": tables})
    states, losses = [state], []
    for rows in ROWS:
        state, loss = STEP(problem.program, problem.data, states[-1], rows)
        states.append(state)
        losses.append(float(loss))
    return [one.params for one in states], losses


@pytest.mark.parametrize("name", CASES)
def test_a_step_is_the_same_whether_items_are_encoded_once_or_slot_by_slot(name):
    assert BATCH * 3 > ITEMS and BATCH * 4 < MORE
    once, losses = steps(ITEMS, CASES[name], None)
    alone, others = steps(MORE, CASES[name], once[0]["tables"]["candidate.id"])
    np.testing.assert_allclose(losses, others, rtol=1e-5)
    moved = 0
    for before, got, want in zip(once, once[1:], alone[1:], strict=False):
        for table in got["tables"]:
            size = len(got["tables"][table])
            np.testing.assert_allclose(
                got["tables"][table], want["tables"][table][:size], atol=2e-6
            )
            moved += np.abs(got["tables"][table] - before["tables"][table]).max() > 1e-4
        jax.tree.map(
            lambda x, y: np.testing.assert_allclose(x, y, atol=2e-6),
            got["dense"],
            want["dense"],
        )
    assert moved >= 4  # both tables, in both steps
