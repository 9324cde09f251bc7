"""Symptoms that users of other two-tower libraries have met, each as a test.

Shown elsewhere, and so not repeated here:

* log q has no floor, log q over twelve decades is exact: test_draws.
* draws have the declared probabilities, for every sampler and mixture: test_draws.
* an item that can be drawn has no q = 0: test_draws and test_sampling (a weight of 0);
  a correction by a count of 0 is refused: tests/config/test_negatives.
* logQ with several samplers at once is exact: test_expected_counts.
* a margin compares negative cosines as well: test_losses, hinge and logistic.
* `num_hard_negatives` takes raw scores: test_blockwise and test_source_steps; more of
  them than there are columns keeps all: test_blockwise.
* the optimum does not depend on the temperature: test_popularity.
* evaluation ranks the whole catalogue, the same every time: tests/golden.
"""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.problems import (
    as_loaded,
    configure,
    small_problem,
    with_program,
    zipf_clicks,
)

from twotower_jax.config import (
    Config,
    fingerprint,
    from_dict,
    known_keys,
    to_dict,
)
from twotower_jax.config.convert import choices_with
from twotower_jax.data.log import Stage
from twotower_jax.losses.logits import column_terms
from twotower_jax.negatives.easy import make_proposal, sample
from twotower_jax.negatives.samplers import EASY
from twotower_jax.training.batch_loss import batch_terms
from twotower_jax.training.sources import draw
from twotower_jax.training.step import train_step
from twotower_jax.training.types import TrainState

USERS, ITEMS, CLICKS = 30, 40, 400
USER, ITEM = zipf_clicks(USERS, ITEMS, CLICKS)
DATA = as_loaded(USER, ITEM, USERS, ITEMS)
ROWS = np.array([0, 1, 2, 3], np.int32)


def draws_of(problem, rows, step=0):
    """Return the negatives of the rows at a step."""
    state = TrainState(jnp.int32(step), {}, {}, {})
    return DRAW(problem.program, problem.data, state, problem.data.batch(rows))


def terms_of(problem, rows, draws):
    """Return masks and corrections of the rows."""
    state = TrainState(jnp.int32(0), {}, {}, {})
    batch = problem.data.batch(rows)
    return TERMS(problem.program, problem.data, state, batch, draws)


DRAW, TERMS = jax.jit(draw), jax.jit(batch_terms)


# ------------------------------------------------------------------------------- masks


def chances(problem, rows, draws):
    """Return softmax probabilities [B, 1 + draws] of the rows at equal scores."""
    terms = terms_of(problem, rows, draws)
    parts = [terms.positive[:, None]]
    for pairs in (column_terms(terms.columns, terms.rows), terms.rows.slots):
        parts.append(pairs.log_mult - pairs.log_count)
    return np.asarray(jax.nn.softmax(jnp.concatenate(parts, axis=1), axis=1))


@pytest.mark.parametrize("layout", ["shared", "per_row"])
def test_an_accidental_hit_has_probability_zero_in_its_own_row_alone(layout):
    """Adding a tiny number instead of a mask, or reading the ids of row 0 for all."""
    problem = small_problem(
        DATA,
        negatives__layout=layout,
        negatives__easy__num=200,
        negatives__in_batch=False,
    )
    draws = draws_of(problem, ROWS)
    ids = draws.columns.encode_ids[: draws.columns.key.shape[0]]
    slots = draws.slots.items
    ids = slots if slots.size else np.tile(ids, (len(ROWS), 1))
    hit = np.asarray(ids) == ITEM[ROWS][:, None]
    assert (hit.sum(axis=1) > 0).all() and len(set(ITEM[ROWS])) > 2
    chance = chances(problem, ROWS, draws)[:, 1:]
    assert (chance[hit] == 0).all()
    assert (chance[~hit] > 1e-4).all()


def test_a_catalogue_of_two_items_has_the_other_one_as_negative():
    """A uniform sampler returns the positive in half of its draws."""
    user, item = np.arange(8) % 4, np.array([0, 1, 1, 1, 0, 1, 1, 1])
    problem = small_problem(
        as_loaded(user, item, 4, 2),
        negatives__in_batch=False,
        negatives__easy__num=100,
        loss__logq__correct="none",
        training__batch_size=4,
    )
    draws = draws_of(problem, ROWS)
    others = np.bincount(draws.columns.encode_ids[:100], minlength=2)[1 - item[ROWS]]
    assert (others > 30).all() and (others < 70).all()
    np.testing.assert_allclose(
        chances(problem, ROWS, draws)[:, 0], 1 / (1 + others), rtol=1e-5
    )


# ------------------------------------------------------------------- temperature, log q


def test_the_correction_is_not_divided_by_the_temperature():
    """With equal embeddings of all items only log q is left: any temperature, one loss.

    A correction before the temperature would give log q / T.
    """
    problem = small_problem(
        DATA,
        negatives__easy__num=8,
        loss__logq__correct="all",
        training__merge_columns=False,
        towers__hidden=(),
    )
    state = problem.start()
    tables = dict(state.params["tables"])
    tables["candidate.id"] = jnp.ones_like(tables["candidate.id"])
    params = state.params | {"tables": tables}
    step = jax.jit(train_step)
    rows = np.arange(16, dtype=np.int32)

    def loss(temperature):
        at = with_program(problem, log_temperature=jnp.log(temperature))
        start = state._replace(params=params)
        return float(step(at.program, at.data, start, rows)[1])

    draws = draws_of(problem, rows)
    want = -np.log(chances(problem, rows, draws)[:, 0]).mean()
    for temperature in (0.01, 0.1, 1.0):
        assert loss(temperature) == pytest.approx(want, rel=1e-4)
    counted = -np.log(chances_without_log_q(draws, rows)).mean()
    assert abs(want - counted) > 0.1  # The correction does something here.


def chances_without_log_q(draws, rows):
    ids = np.asarray(draws.columns.encode_ids)[: draws.columns.key.shape[0]]
    return 1 / (1 + (ids[None] != ITEM[rows][:, None]).sum(axis=1))


def test_an_item_without_clicks_has_a_correction_of_its_own():
    """Not of 1 and log 1 = 0, beside which the others' -log q lets it never be seen."""
    data = as_loaded(USER, np.minimum(ITEM, ITEMS - 2), USERS, ITEMS)
    assert data.counts[-1] == 0
    problem = small_problem(
        data,
        negatives__in_batch=False,
        negatives__layout="per_row",
        negatives__easy__num=400,
        negatives__easy__sampler="popularity",
        negatives__easy__alpha=1.0,
        loss__logq__correct="negatives",
    )
    draws = draws_of(problem, ROWS)
    terms = terms_of(problem, ROWS, draws)
    unseen = np.asarray(draws.slots.items) == ITEMS - 1
    assert unseen.any()
    want = np.log(400 * 1 / (CLICKS + ITEMS))  # (0 + 1) of all counts + 1
    got = np.asarray(terms.rows.slots.log_count)[unseen]
    np.testing.assert_allclose(got, want, rtol=1e-5)


# ---------------------------------------------------------------------------- samplers


@pytest.mark.parametrize("name", ["popularity", "log_uniform"])
def test_hot_items_are_drawn_more_often_than_cold_ones(name, key):
    """Counts taken as ranks would draw the hottest items least of all."""
    counts = 1_000 / np.arange(1, 101)
    drawn = np.bincount(sample(key, make_proposal(name, counts), (100_000,)))
    tenths = drawn.reshape(10, 10).sum(axis=1)
    assert (np.diff(tenths) < 0).all()
    assert drawn[0] > 10 * drawn[-10:].mean()


@pytest.mark.parametrize("name", EASY)
def test_there_may_be_more_draws_than_items(name, key):
    drawn = sample(key, make_proposal(name, np.array([5, 1, 0])), (1_000,))
    assert np.bincount(drawn, minlength=3).min() > 50


HARD = {
    "negatives__layout": "per_row",
    "negatives__easy__num": 6,
    "negatives__hard__num": 6,
    "negatives__hard__stages": ["ranked"],
    "negatives__hard_ratio": 0.5,
}


def with_pools():
    """Return the clicks with one pool of ten items for every click."""
    pool = np.random.default_rng(1).integers(0, ITEMS, (CLICKS, 10))
    rows = {
        "user": np.repeat(USER, 10),
        "item": pool.ravel(),
        "stage": np.full(pool.size, Stage.RANKED),
        "request": np.repeat(np.arange(CLICKS), 10),
    }
    return as_loaded(USER, ITEM, USERS, ITEMS, rows, np.arange(CLICKS))


def test_seeds_reproduce_draws_and_every_step_and_row_has_its_own():
    data = with_pools()
    one, other = (small_problem(data, seed=seed, **HARD) for seed in (3, 4))
    rows = np.zeros(64, np.int32)  # Rows alike, so that draws alone differ.

    def slots(problem, step):
        return np.asarray(draws_of(problem, rows, step).slots.items)

    first = slots(one, 5)
    np.testing.assert_array_equal(first, slots(small_problem(data, seed=3, **HARD), 5))
    agreement = [
        (first == slots(one, 6)).mean(),
        (first == slots(other, 5)).mean(),
        (first[:-1] == first[1:]).mean(),
        (first[:, :-1] == first[:, 1:]).mean(),
    ]
    # Two independent draws are equal with sum p^2: half pool of ten, half uniform.
    pool = np.bincount(data.log.item[-CLICKS * 10 :][:10], minlength=ITEMS) / 10
    mixture = 0.5 * pool + 0.5 / ITEMS
    assert agreement == pytest.approx([(mixture**2).sum()] * 4, abs=0.03)
    np.testing.assert_array_equal(
        one.order.batches(7, 2), small_problem(data, seed=3, **HARD).order.batches(7, 2)
    )
    assert (one.order.batches(7, 2) != other.order.batches(7, 2)).mean() > 0.9


# ----------------------------------------------------------------------- configuration


def test_a_configuration_of_every_kind_of_value_survives_its_dictionary():
    """Methods in place of values, lists for tuples, defaults in place of set values."""
    config = configure(
        name="a study",
        arm="0.25",
        seed=7,
        data__query_features={"age": "numeric"},
        positives__strategy="upsample_cold",
        positives__reference=3.5,
        negatives__layout="per_row",
        negatives__easy__num=8,
        negatives__easy__sampler="popularity",
        negatives__easy__smoothing=1e-9,
        negatives__hard__num=4,
        negatives__hard__stages=["retrieved", "ranked:10-50"],
        negatives__hard__weights=[0.1, 2],
        negatives__hard_ratio=0.25,
        negatives__hard_start=1.0,
        negatives__bank__size=2048,
        loss__name="gbce",
        loss__ratio=3,
        loss__logq__streaming__hashes=5,
        towers__hidden=(32, 16),
        towers__query=["id", "history", "age"],
        training__steps=10,
        evaluation__k=[5],
    )
    text = json.dumps(to_dict(config))
    again = from_dict(json.loads(text))
    assert again == config and hash(again) == hash(config)
    assert fingerprint(again) == fingerprint(config) != fingerprint(Config())
    assert json.dumps(to_dict(again)) == text
    others = {key for key in known_keys() if choices_with(key)}
    for key in [*(set(known_keys()) - others), "positives.reference", "loss.ratio"]:
        value, same = config, again
        for part in key.split("."):
            value, same = getattr(value, part), getattr(same, part)
        assert type(value) is type(same)
        if not dataclasses.is_dataclass(value):
            assert isinstance(value, bool | int | float | str | tuple | dict | None)
