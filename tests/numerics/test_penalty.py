"""The L2 penalty of a batch against autodiff of its definition on whole tables."""

from dataclasses import replace

import jax
import numpy as np
import pytest
from helpers.problems import as_loaded, small_problem
from helpers.quick import quick
from helpers.source_steps import (
    BATCH,
    CHEAP,
    HARD,
    ITEM,
    ITEMS,
    RATE,
    USER,
    USERS,
    batches_of,
    problem_of,
)

from twotower_jax.data.log import Feature
from twotower_jax.training.step import train_step

L2 = 0.7
STEP = jax.jit(train_step, **CHEAP)
UNIFORM = {"negatives__in_batch": False, "negatives__easy__sampler": "uniform"}
NEGATIVES = {
    "in-batch, merged": {"training__merge_columns": True},
    "16 uniform": UNIFORM | {"negatives__easy__num": 16},
    "1024 uniform": UNIFORM | {"negatives__easy__num": 1024},
    "slots of a row": UNIFORM
    | {"negatives__layout": "per_row", "negatives__easy__num": 8},
    "hard slots": HARD,
    "the catalogue": {"loss__name": "full_softmax"},
}


def penalty(tables, users, items, weight):
    """Return l2 / 2 times the weighted sum of the norms, by a loop over the rows."""
    total = 0.0
    for user, item, w in zip(users, items, weight, strict=True):
        query, positive = tables["query.id"][user], tables["candidate.id"][item]
        total += w * L2 / 2 * ((query**2).sum() + (positive**2).sum())
    return total


def moved_by_l2(keys):
    """Return the batch, and the gradient of the penalty in a step of plain SGD."""
    problem = problem_of(**keys)
    rows = batches_of(problem, 1)[0]
    start = problem.start()
    ends = []
    for l2 in (0.0, L2):
        program = problem_of(**keys, optimizer__l2=l2).program
        ends.append(STEP(program, problem.data, start, rows)[0].params["tables"])
    gap = jax.tree.map(lambda without, with_l2: (without - with_l2) / RATE, *ends)
    return rows, start.params["tables"], gap


@pytest.mark.parametrize("name", quick(NEGATIVES, ["hard slots"]))
def test_only_queries_and_positives_are_penalised_whatever_the_negatives(name):
    rows, tables, got = moved_by_l2(NEGATIVES[name])
    weight = np.full(BATCH, 1 / BATCH)
    want = jax.grad(penalty)(tables, USER[rows], ITEM[rows], weight)
    for table, gradient in want.items():
        assert np.abs(gradient).max() > 0.01
        np.testing.assert_allclose(got[table], gradient, atol=1e-5)
    other = np.setdiff1d(np.arange(ITEMS), ITEM[rows])
    np.testing.assert_array_equal(got["candidate.id"][other], 0)


def test_an_example_has_the_weight_of_its_loss():
    strategy = {"positives__strategy": "power", "positives__exponent": 0.5}
    reweight = strategy | {"positives__reweight": True}
    rows, tables, got = moved_by_l2(reweight)
    weight = problem_of(**reweight).program.positive_weight[0][ITEM[rows]]
    assert weight.max() > 1.2 * weight.min()
    want = jax.grad(penalty)(tables, USER[rows], ITEM[rows], weight / weight.sum())
    for table, gradient in want.items():
        np.testing.assert_allclose(got[table], gradient, atol=1e-5)


def log_of_tags():
    """Return the data of the other tests, where users and items have tags."""
    rng = np.random.default_rng(3)
    data = as_loaded(USER, ITEM, USERS, ITEMS)
    user_tags = rng.integers(-1, 5, (USERS, 3)).astype(np.int32)
    item_tags = rng.integers(-1, 6, (ITEMS, 2)).astype(np.int32)
    log = replace(
        data.log,
        user_features={"likes": Feature("multi", user_tags, 5)},
        item_features={"tags": Feature("multi", item_tags, 6)},
    )
    return data._replace(log=log), user_tags, item_tags


def test_a_feature_of_several_values_counts_their_mean():
    """Against autodiff of the mean squared norm of the values that are present."""
    data, user_tags, item_tags = log_of_tags()
    keys = {
        "towers__hidden": (),
        "towers__query": ("likes",),
        "towers__candidate": ("tags",),
        "optimizer__name": "sgd",
        "optimizer__learning_rate": RATE,
        "training__batch_size": BATCH,
    }
    ends = []
    for l2 in (0.0, L2):
        problem = small_problem(data, **keys, optimizer__l2=l2)
        start, rows = problem.start(), problem.order.batches(0, 1)[0]
        after = STEP(problem.program, problem.data, start, rows)[0]
        ends.append(after.params["tables"])

    def mean_norm(table, codes):
        values = codes[codes >= 0]
        return (table[values] ** 2).sum() / max(1, len(values))

    def penalised(tables):
        norms = [
            mean_norm(tables["query.likes"], user_tags[USER[row]])
            + mean_norm(tables["candidate.tags"], item_tags[ITEM[row]])
            for row in rows
        ]
        return L2 / 2 * sum(norms) / BATCH

    want = jax.grad(penalised)(start.params["tables"])
    got = jax.tree.map(lambda without, with_l2: (without - with_l2) / RATE, *ends)
    for table, gradient in want.items():
        assert np.abs(gradient).max() > 0.01
        np.testing.assert_allclose(got[table], gradient, atol=1e-5)
