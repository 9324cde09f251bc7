"""Negatives of a positive are items known by its time: draws, masks and the loss."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.problems import (
    as_loaded,
    configure,
    small_problem,
    with_times,
    zipf_clicks,
)
from helpers.quick import quick
from helpers.source_steps import DRAW, batches_of, go, one_by_one, start, vectors
from scipy import stats

from twotower_jax.data.known_items import known_items
from twotower_jax.data.log import Stage
from twotower_jax.negatives.easy import (
    from_weights,
    host_mass_tree,
    log_known_mass,
    sample_known,
)

RNG = np.random.default_rng(0)
# Twelve decades of probability, in an order of time that is none of size.
WEIGHTS = np.logspace(-12, 0, 1_000)
PLACE = RNG.permutation(1_000)


def mass_tree(proposal, place):
    """Return the sums of a proposal on the device."""
    return jax.tree.map(jnp.asarray, host_mass_tree(proposal, place))


TREE = mass_tree(from_weights(WEIGHTS), PLACE)


# ----------------------------------------------------------------- restricted proposals


def test_the_mass_of_known_items_is_exact_for_every_moment():
    q = WEIGHTS / WEIGHTS.sum()
    want = np.log(np.cumsum(q[np.argsort(PLACE)]))
    got = log_known_mass(TREE, jnp.arange(1, 1_001))
    np.testing.assert_allclose(got, want, atol=5e-6)


@pytest.mark.parametrize("number", quick([1, 2, 37, 512, 999, 1_000], [1, 37, 1_000]))
def test_draws_are_from_the_restricted_proposal(key, number):
    draws = 400_000
    drawn = np.asarray(
        jax.jit(sample_known, static_argnums=3)(key, TREE, number, (draws,))
    )
    known = number > PLACE
    assert known[drawn].all()
    expected = draws * np.where(known, WEIGHTS, 0) / WEIGHTS[known].sum()
    observed = np.bincount(drawn, minlength=1_000)
    often = expected >= 5
    rest = draws - np.array([observed[often].sum(), expected[often].sum()])
    assert 0 <= rest[0] < 5 * 1_000
    pairs = np.append([observed[often], expected[often]], rest[:, None], axis=1)
    pairs = pairs[:, pairs[1] > 1]
    pairs[1] *= pairs[0].sum() / pairs[1].sum()
    assert pairs.shape[1] == 1 or stats.chisquare(*pairs).pvalue > 1e-3


@pytest.mark.slow
def test_rare_items_are_drawn_as_rarely_as_they_should(key):
    """Of a million draws 1e-9 each are of 999 rare items that all are known."""
    weights = np.full(1_000, 1e-9)
    weights[500] = 1.0
    tree = mass_tree(from_weights(weights), PLACE)
    number = jnp.int32(1_000)
    drawn = sample_known(key, tree, number, (1_000_000,))
    assert int((drawn != 500).sum()) <= 8  # one is expected
    before = jnp.int32(PLACE[500])  # without the large item
    drawn = np.asarray(sample_known(key, tree, before, (100_000,)))
    assert (PLACE[drawn] < PLACE[500]).all()
    count = np.bincount(drawn, minlength=1_000)[PLACE[500] > PLACE]
    assert stats.chisquare(count).pvalue > 1e-3


@pytest.mark.parametrize("items", quick([1, 2, 3, 8, 9], [1, 3, 8]))
def test_small_catalogues(key, items):
    tree = mass_tree(from_weights(np.ones(items)), np.arange(items))
    for number in range(1, items + 1):
        drawn = sample_known(key, tree, jnp.int32(number), (200,))
        assert set(np.asarray(drawn).tolist()) == set(range(number))
        assert float(log_known_mass(tree, jnp.int32(number))) == pytest.approx(
            np.log(number / items), abs=1e-6
        )


def test_an_item_is_known_from_its_first_event_on():
    known = known_items(np.array([3.0, 1.0, np.inf, 3.0]), np.array([0.5, 1, 2.9, 3]))
    assert known.number.tolist() == [0, 1, 1, 3]
    assert known.place.tolist() == [1, 0, 3, 2]


# ------------------------------------------------------------------------ in real steps

USERS, ITEMS, CLICKS, BATCH = 30, 40, 400, 16
USER, ITEM = zipf_clicks(USERS, ITEMS, CLICKS)
# Item i appears at moment i: early clicks are of few items.
TIME = np.maximum(ITEM, np.random.default_rng(1).uniform(0, ITEMS, CLICKS))
FIRST = np.full(ITEMS, np.inf)
POOL_USER, POOL_ITEM = (
    np.repeat(np.arange(USERS), 8),
    np.tile(np.arange(0, 40, 5), USERS),
)
np.minimum.at(FIRST, ITEM, TIME)
np.minimum.at(FIRST, POOL_ITEM, TIME.max())


def problem_of(**keys):
    """Return a problem with times; every user's pool has items of all times."""
    rows = {
        "user": POOL_USER,
        "item": POOL_ITEM,
        "stage": np.full(len(POOL_USER), Stage.RANKED),
        "request": CLICKS + np.arange(len(POOL_USER)),
    }
    data = as_loaded(USER, ITEM, USERS, ITEMS, rows, np.arange(CLICKS))
    data = with_times(data, TIME, np.full(len(POOL_USER), TIME.max()))
    defaults = {
        "towers__hidden": (),
        "training__merge_columns": False,
        "optimizer__name": "sgd",
        "negatives__available": True,
    }
    return small_problem(data, **(defaults | keys))


HARD = {
    "negatives__hard__num": 3,
    "negatives__hard__stages": ["ranked"],
    "negatives__hard__pool": "user",
}


@pytest.mark.parametrize("source", quick([{}, HARD], [HARD]))
def test_rows_draw_their_own_slots_from_what_they_know(source):
    """All of them count; shared columns are of all items, and rows mask the others."""
    keys = {"negatives__easy__num": 8, "negatives__in_batch": False} | source
    own = problem_of(
        negatives__layout="per_row", loss__logq__correct="negatives", **keys
    )
    shared = problem_of(loss__logq__correct="negatives", **keys)
    rows = np.argsort(TIME)[:BATCH]
    early = TIME[rows].max() >= FIRST
    assert early.sum() < 10
    slots = columns = np.zeros(0, int)
    for step in range(20):
        for problem in (own, shared):
            state = start(problem)._replace(step=jnp.int32(step))
            batch = problem.data.batch(jnp.asarray(rows))
            draws = DRAW(problem.program, problem.data, state, batch)
            if problem is own:
                easy = np.where(draws.slots.is_hard, -1, draws.slots.items)
                for time, items in zip(TIME[rows], easy, strict=True):
                    assert (FIRST[items[items >= 0]] <= time).all()
                slots = np.append(slots, easy[easy >= 0])
            else:
                columns = np.append(columns, draws.columns.encode_ids[:8])
    assert len(np.unique(slots)) == early.sum()
    assert len(np.unique(columns)) > 30


@pytest.mark.parametrize(
    "keys",
    [
        pytest.param({"negatives__easy__num": 20}, marks=pytest.mark.slow),
        pytest.param(
            {"negatives__easy__num": 20, "training__merge_columns": True},
            marks=pytest.mark.slow,
        ),
        pytest.param(
            {"negatives__easy__num": 4, "negatives__layout": "per_row"},
            marks=pytest.mark.slow,
        ),
        HARD | {"negatives__easy__num": 4, "negatives__layout": "per_row"},
        HARD | {"negatives__bank__size": 40, "negatives__bank__warmup": 0},
        {"loss__name": "full_softmax"},
        pytest.param(
            {
                "loss__name": "bce",
                "loss__ratio": None,
                "loss__logq__correct": "all",
                "negatives__easy__num": 20,
            },
            marks=pytest.mark.slow,
        ),
        pytest.param(
            {"negatives__easy__num": 20, "negatives__num_hard_negatives": 5},
            marks=pytest.mark.slow,
        ),
        pytest.param(
            {
                "negatives__easy__num": 8,
                "negatives__hard__source": "dns",
                "negatives__hard__num": 3,
                "negatives__hard__log_q": "easy",
            },
            marks=pytest.mark.slow,
        ),
    ],
)
def test_unknown_items_have_no_part_in_the_loss(keys):
    """Early rows; later items are columns, in the pools and in the bank."""
    problem = problem_of(**keys)
    state = start(problem)
    if "bank" in state.samplers:
        state = one_by_one(problem, state, batches_of(problem, 3))[0][-1]
    rows = np.argsort(TIME)[:BATCH]
    later = TIME[rows].max() < FIRST
    assert later.sum() > 20

    def loss(items):
        table = state.params["tables"]["candidate.id"]
        tables = {"candidate.id": jnp.where(items[:, None], -table, table)}
        params = state.params | {"tables": state.params["tables"] | tables}
        samplers = dict(state.samplers)
        if "bank" in samplers:
            bank = samplers["bank"]
            flipped = np.append(items, False)[bank.item][:, None]
            samplers["bank"] = bank._replace(
                embedding=jnp.where(flipped, -bank.embedding, bank.embedding)
            )
        moved = state._replace(params=params, samplers=samplers)
        # A copy: the step takes its arrays.
        after, losses = go(problem, jax.tree.map(jnp.copy, moved), rows)
        change = after.params["tables"]["candidate.id"] - tables["candidate.id"]
        return float(losses[0]), np.asarray(change)

    nothing = np.zeros(ITEMS, bool)
    plain, gradient = loss(nothing)
    assert loss(later)[0] == plain
    assert (gradient[later] == 0).all() and (gradient[~later] != 0).any()
    assert loss(~later)[0] != plain


def test_they_have_a_part_where_all_items_are_available():
    """Without the mask the same early rows move the later items."""
    problem = problem_of(negatives__available=False, negatives__easy__num=20)
    state, rows = start(problem), np.argsort(TIME)[:BATCH]
    later = TIME[rows].max() < FIRST
    before = np.asarray(state.params["tables"]["candidate.id"])
    after = go(problem, state, rows)[0].params["tables"]["candidate.id"]
    assert (np.asarray(after) != before)[later].any()


def test_the_full_softmax_is_over_the_known_items():
    problem = problem_of(loss__name="full_softmax")
    state, rows = start(problem), batches_of(problem, 1)[0]
    query, item = vectors(state.params["tables"])
    scores = np.asarray(query[USER[rows]] @ item.T, float) / 0.1
    known = FIRST[None] <= TIME[rows][:, None]
    total = np.where(known, np.exp(scores), 0).sum(axis=1)
    want = np.mean(np.log(total) - scores[np.arange(BATCH), ITEM[rows]])
    assert float(go(problem, state, rows)[1][0]) == pytest.approx(want, rel=1e-5)


def test_off_leaves_program_and_data_as_they_were():
    problem = problem_of(negatives__available=False, negatives__easy__num=4)
    assert problem.data.known is None and problem.program.known_mass == ()
    assert not configure().negatives.available
