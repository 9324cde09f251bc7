"""The L2 penalty of a batch against autodiff of its definition on whole tables."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.source_steps import (
    BATCH,
    CHEAP,
    HARD,
    ITEM,
    ITEMS,
    RATE,
    USER,
    batches_of,
    problem_of,
)

from twotower_jax.model.embeddings import find_rows
from twotower_jax.training.penalty import look_ups
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


@pytest.mark.parametrize("name", NEGATIVES)
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
    weight = problem_of(**reweight).program.hyper.positive_weight[ITEM[rows]]
    assert weight.max() > 1.2 * weight.min()
    want = jax.grad(penalty)(tables, USER[rows], ITEM[rows], weight / weight.sum())
    for table, gradient in want.items():
        np.testing.assert_allclose(got[table], gradient, atol=1e-5)


def test_a_feature_of_several_values_counts_their_mean():
    """Against autodiff of the mean squared norm of the values that are present."""
    ids, weight = np.array([[4, 2, -1], [2, 2, 5], [-1, -1, -1]]), [0.5, 0.2, 0.3]

    def penalised(table):
        values = [[v for v in line if v >= 0] for line in ids]
        means = [(table[np.array(v)] ** 2).sum() / len(v) if v else 0.0 for v in values]
        return sum(w / 2 * mean for w, mean in zip(weight, means, strict=True))

    table = jax.random.normal(jax.random.key(0), (6, 3))
    rows = find_rows(jnp.asarray(ids), 6)
    got = jnp.zeros((7, 1)).at[rows.ids, 0].add(look_ups(rows, jnp.array(weight)))
    np.testing.assert_allclose(got[:6] * table, jax.grad(penalised)(table), rtol=1e-5)
