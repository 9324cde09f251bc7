"""The softmax between two views of an item, against loops over items and features."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.problems import configure
from helpers.source_steps import (
    DATA,
    ITEMS,
    MATRIX,
    RATE,
    SGD,
    batches_of,
    go,
    start,
)

from twotower_jax.data.log import Feature
from twotower_jax.errors import InputError
from twotower_jax.run.problem import make_problem
from twotower_jax.training.batch_loss import term_inputs

WEIGHT, TAU, NUM = 0.7, 0.3, 24
RNG = np.random.default_rng(0)
BRAND = RNG.integers(-1, 4, ITEMS).astype(np.int32)
TAGS = RNG.integers(-1, 6, (ITEMS, 3)).astype(np.int32)
PRICE = RNG.normal(size=ITEMS).astype(np.float32)
FEATURES = {
    "brand": Feature("categorical", BRAND, 4),
    "price": Feature("numeric", PRICE, 0),
    "tags": Feature("multi", TAGS, 6),
}
WITH_FEATURES = DATA._replace(log=replace(DATA.log, item_features=FEATURES))
TERM = {
    "loss__self_supervised__weight": WEIGHT,
    "loss__self_supervised__num": NUM,
    "loss__self_supervised__temperature": TAU,
}
TOWERS = {"towers__query": ["id"], "training__batch_size": 16, "towers__dim": 4}


def problem_of(data=WITH_FEATURES, **keys):
    return make_problem(configure(**(SGD | TOWERS | keys)), data)


def views_at(problem, state):
    """Return the items of a step, and the names of the features of the first view."""
    (term,) = problem.program.terms
    drawn, inputs = term_inputs(term, problem.program, problem.data, state)
    count = len(drawn) // 2
    names = [f.name for f in problem.program.model.candidate.features]
    first = set()
    for name in names:
        if name == "price":
            used = inputs.numbers[:count] != 0
        elif name == "tags":
            used = inputs.bags["candidate.tags"].weight[:count] > 0
        else:
            used = inputs.rows[f"candidate.{name}"].present[:count]
        if np.asarray(used).any():
            first.add(name)
    return np.asarray(drawn[:count]), first, set(names)


def slow_vector(params, item, features):
    """Return the sum of the vectors of some features of an item, of length 1."""
    tables, total = params["tables"], np.zeros(4)
    for name in features:
        if name == "id":
            total = total + tables["candidate.id"][item]
        elif name == "brand" and BRAND[item] >= 0:
            total = total + tables["candidate.brand"][BRAND[item]]
        elif name == "price":
            total = total + PRICE[item] * params["dense"]["candidate"]["numeric"][0]
        elif name == "tags":
            tags = [tables["candidate.tags"][tag] for tag in TAGS[item] if tag >= 0]
            total = total + (np.mean(tags, axis=0) if tags else 0)
    return total / np.sqrt(max(float(total @ total), 1e-12))


def slow_loss(params, items, first, second):
    """Return the mean loss of the first views, by loops."""
    one = [slow_vector(params, item, first) for item in items]
    two = [slow_vector(params, item, second) for item in items]
    losses = []
    for place, item in enumerate(items):
        logits = [one[place] @ two[place] / TAU]
        logits += [
            one[place] @ two[other] / TAU
            for other in range(len(items))
            if items[other] != item
        ]
        losses.append(np.logaddexp.reduce(logits) - logits[0])
    return np.mean(losses)


def as_float64(params):
    return jax.tree.map(lambda x: np.asarray(x, np.float64), params)


BOTH, ONE = problem_of(**TERM), problem_of()


def test_the_loss_is_that_of_the_rows_plus_the_weighted_one_of_the_views():
    state, rows = start(BOTH), batches_of(BOTH, 1)
    items, first, names = views_at(BOTH, state)
    # Some item is drawn twice: the loops leave its second draw out of the sum.
    assert len(set(items)) < NUM
    losses = [float(go(problem, state, rows)[1][0]) for problem in (BOTH, ONE)]
    want = slow_loss(as_float64(state.params), items, first, names - first)
    assert losses[0] - losses[1] == pytest.approx(WEIGHT * want, rel=1e-4)


def test_every_table_gets_the_gradient():
    """Central differences of the loops in a direction of all parameters of items."""
    state, rows = start(BOTH), batches_of(BOTH, 1)
    items, first, names = views_at(BOTH, state)
    moved = [go(problem, state, rows)[0].params for problem in (BOTH, ONE)]
    params, rng = as_float64(state.params), np.random.default_rng(1)
    for name, table in params["tables"].items():
        with_term, without = (np.asarray(m["tables"][name], float) for m in moved)
        gradient = (without - with_term) / RATE
        if name == "query.id":
            assert not gradient.any()
            continue
        direction = rng.normal(size=table.shape)
        ends = []
        for sign in (1, -1):
            tables = params["tables"] | {name: table + sign * 1e-5 * direction}
            there = params | {"tables": tables}
            ends.append(WEIGHT * slow_loss(there, items, first, names - first))
        want = (ends[0] - ends[1]) / 2e-5
        assert abs(want) > 1e-3, name
        assert (gradient * direction).sum() == pytest.approx(want, rel=5e-3), name


def test_features_are_divided_in_halves_anew_in_each_step():
    divisions, counts, state = set(), np.zeros(ITEMS), start(BOTH)
    for step in range(60):
        items, first, names = views_at(BOTH, state._replace(step=jnp.int32(step)))
        assert len(names) == 4
        assert len(first) == 2
        divisions.add(frozenset(first))
        counts += np.bincount(items, minlength=ITEMS)
    assert len(divisions) == 6  # every choice of two of four
    # Uniform, whatever the clicks: 36 draws of each of 40 items are expected.
    assert counts.min() > 15
    assert counts.max() < 60


@pytest.mark.slow
def test_views_of_an_item_come_near_each_other():
    keys = {"optimizer__name": "adam", "optimizer__learning_rate": 0.02}
    items, loss = np.arange(ITEMS), {}
    for name, term in (("with", TERM), ("without", {})):
        problem = problem_of(**keys, **term)
        state, _ = go(problem, start(problem), batches_of(problem, 200))
        params = as_float64(state.params)
        loss[name] = slow_loss(params, items, {"id"}, {"brand", "price", "tags"})
    # One view says nothing of the other: log of the number of items, 3.7.
    assert loss["without"] > 3.5, loss
    assert loss["with"] < 3.2, loss


def test_an_item_tower_of_one_feature_is_refused():
    message = "loss.self_supervised.weight=0.7 .* one alone: id; .*towers.candidate"
    with pytest.raises(InputError, match=message):
        problem_of(DATA, **TERM)


@pytest.mark.slow
@pytest.mark.parametrize("width", [(), (8,)])
def test_hidden_layers_and_merged_columns_train(width):
    keys = MATRIX | {"towers__hidden": width, "training__merge_columns": True}
    problem = problem_of(**keys, **TERM)
    state, losses = go(problem, start(problem), batches_of(problem, 3))
    assert np.isfinite(losses).all()
    assert int(state.step) == 3
