"""Resampled negatives: their log q is exact over all pools and draws of a catalogue."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.problems import as_loaded, configure, small_problem

from twotower_jax import keys
from twotower_jax.cards.arm import small_config
from twotower_jax.cards.optimum import find_optimum
from twotower_jax.cards.world import retrieved_items, world_of, zipf_counts
from twotower_jax.errors import InputError
from twotower_jax.model.two_tower import query_inputs
from twotower_jax.negatives.easy import EasyLaw
from twotower_jax.negatives.source import Slots
from twotower_jax.run.problem import make_problem
from twotower_jax.training.batch_loss import batch_terms
from twotower_jax.training.sources import draw
from twotower_jax.training.step import run_steps

ITEMS, TEMPERATURE = 4, 0.5
# Clicks 4, 2, 1, 1; the row clicked item 1.
CLICKED = np.array([0, 0, 0, 0, 1, 1, 2, 3])
ROW, OWN = 4, 1
SCORES = np.array([0.3, -1.0, 0.9, 0.1])
KEYS = {
    "negatives__hard__source": "resampled",
    "negatives__hard__num": 1,
    "negatives__easy__sampler": "popularity",
    "negatives__in_batch": False,
    "negatives__layout": "per_row",
    "loss__logq__correct": "negatives",
    "loss__temperature": TEMPERATURE,
    "towers__hidden": (),
    "towers__normalize": False,
    "towers__dim": 1,
    "training__batch_size": 2,
}


def problem_of(**keys):
    data = as_loaded(np.arange(8), CLICKED, 8, ITEMS)
    return small_problem(data, **(KEYS | keys))


def at_scores(problem):
    """Return the state in which every user scores the items by SCORES."""
    state = problem.start()
    tables = {
        "query.id": jnp.full((8, 1), TEMPERATURE),
        "candidate.id": jnp.asarray(SCORES, jnp.float32)[:, None],
    }
    return state._replace(params=state.params | {"tables": tables})


def chosen(problem, state, rows, pools=None):
    """Return the draws of a batch after the choice; ``pools`` replace drawn ones."""
    batch = problem.data.batch(jnp.asarray(rows))
    model, entities = problem.program.model, problem.data.entities
    queries = query_inputs(model, entities, batch.queries, batch.items)
    arguments = problem.program, problem.data, state, batch, queries
    if pools is None:
        return batch, draw(*arguments)
    with pytest.MonkeyPatch.context() as patch:
        # The first easy draws of a row are its slots, the next ones its pool.
        draws_of = EasyLaw.draw

        def given(law, key, batch, shape):
            of_pool = shape == pools.shape and bool(key == hard)
            return jnp.asarray(pools) if of_pool else draws_of(law, key, batch, shape)

        hard = keys.stream(problem.program.seed, "negatives.hard", state.step)
        patch.setattr(EasyLaw, "draw", given)
        return batch, draw(*arguments)


def estimates(problem, state, pools, items):
    """Return sum_d exp(s_d - log N_d) over slots [n, K] of rows with pools [n, M]."""
    batch, draws = chosen(problem, state, np.full(len(pools), ROW), pools)
    slots = Slots(jnp.asarray(items), jnp.asarray(items < ITEMS), draws.slots.pool)
    draws = draws._replace(slots=slots, drawn=(slots,))
    terms = batch_terms(problem.program, problem.data, state, batch, draws)
    part = terms.rows.slots.log_mult - terms.rows.slots.log_count
    return np.exp(np.append(SCORES, 0)[items] + np.asarray(part, float)).sum(axis=1)


def enumerated(problem, easy_num):
    """Return the mean of the estimate over all pools of two and all draws."""
    q = np.exp(np.asarray(problem.program.easy.log_q, float))
    outcomes, chances = [], []
    for pool in itertools.product(range(ITEMS), repeat=2):
        weight = np.array([np.exp(SCORES[j]) / q[j] * (j != OWN) for j in pool])
        # A pool that is masked whole leaves its slot empty.
        law = weight / weight.sum() if weight.any() else np.array([1.0, 0.0])
        for place, *easy in itertools.product(range(2), *[range(ITEMS)] * easy_num):
            hard = pool[place] if weight.any() else ITEMS
            outcomes.append((*pool, *easy, hard))
            chances.append(np.prod(q[list(pool)]) * law[place] * np.prod(q[easy]))
    outcomes, chances = np.array(outcomes, np.int32), np.array(chances)
    assert chances.sum() == pytest.approx(1)
    state = at_scores(problem)
    return float(chances @ estimates(problem, state, outcomes[:, :2], outcomes[:, 2:]))


@pytest.mark.slow
@pytest.mark.parametrize("easy", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_beside_easy_draws_the_corrected_sum_is_unbiased(easy):
    keys = {"negatives__easy__num": easy, "negatives__hard__candidate_num": 2}
    others = np.exp(SCORES).sum() - np.exp(SCORES[OWN])
    assert enumerated(problem_of(**keys), easy) == pytest.approx(others, rel=1e-5)


def test_alone_the_corrected_sum_is_unbiased():
    problem = problem_of(negatives__hard__candidate_num=2)
    assert problem.program.negatives.only_hard
    others = np.exp(SCORES).sum() - np.exp(SCORES[OWN])
    assert enumerated(problem, 0) == pytest.approx(others, rel=1e-5)


def test_dns_with_the_log_q_of_easy_draws_is_biased_where_resampling_is_not():
    """The best of two draws, counted as an easy one: the reason for a log q."""
    q = np.array([5, 3, 2, 2]) / 12
    pairs = list(itertools.product(range(ITEMS), repeat=2))
    best = [max(pair, key=lambda j: SCORES[j]) for pair in pairs]
    mean = sum(
        q[i] * q[j] * np.exp(SCORES[k]) / q[k]
        for (i, j), k in zip(pairs, best, strict=True)
    )
    assert abs(mean / np.exp(SCORES).sum() - 1) > 0.2


@pytest.mark.slow
def test_draws_follow_the_softmax_within_their_pool():
    """Shares of items and their declared log q, over many rows of one pool."""
    keys = {"negatives__easy__num": 1, "negatives__hard__candidate_num": 6}
    problem = problem_of(**keys, negatives__hard__num=64)
    pool = np.array([0, 2, 2, 3, 1, 0])
    _, draws = chosen(
        problem, at_scores(problem), np.full(512, ROW), np.tile(pool, (512, 1))
    )
    hard = np.asarray(draws.slots.items)[np.asarray(draws.slots.is_hard)]
    share = np.bincount(hard, minlength=ITEMS) / len(hard)
    q = np.exp(np.asarray(problem.program.easy.log_q, float))
    weight = np.bincount(pool, minlength=ITEMS) * np.exp(SCORES) / q
    weight[OWN] = 0
    want = weight / weight.sum()
    np.testing.assert_allclose(share, want, atol=4 * np.sqrt(0.25 / len(hard)))
    law = np.exp(np.asarray(draws.slots.pool.log_prob)[0])
    np.testing.assert_allclose(law, want[pool], rtol=1e-5)


@pytest.mark.slow
def test_a_row_whose_pool_is_masked_loses_its_slots_and_stays_finite():
    problem = problem_of(
        negatives__hard__candidate_num=2, negatives__hard__num=2, negatives__easy__num=1
    )
    state = at_scores(problem)
    own = np.full((4, 2), OWN)
    batch, draws = chosen(problem, state, np.full(4, ROW), own)
    hard = np.asarray(draws.slots.is_hard)
    assert (np.asarray(draws.slots.items)[hard] == ITEMS).all()
    terms = batch_terms(problem.program, problem.data, state, batch, draws)
    assert np.isfinite(terms.rows.slots.log_count).all()
    arguments = problem.program, problem.data, state
    rows = problem.order.batches(0, 5)
    after, losses = run_steps(*arguments, rows, np.int32(5))
    assert np.isfinite(losses).all()
    assert 0 < float(after.samplers["lost_slots"]) < 1
    jax.tree.map(lambda x: np.testing.assert_(np.isfinite(x).all()), after.params)


@pytest.mark.slow
def test_the_optimum_is_log_p_with_all_corrected_and_no_mask():
    counts = zipf_counts(60, 2, 2048)
    world = world_of(counts, retrieved_items(counts))
    half = {
        "negatives__in_batch": False,
        "negatives__layout": "per_row",
        "negatives__easy__num": 4,
        "negatives__hard__source": "resampled",
        "negatives__hard__num": 4,
        "negatives__hard__candidate_num": 16,
        "negatives__mask": "none",
        "training__batch_size": 64,
    }
    slopes = {}
    for log_q in ("mixture", "easy"):
        keys = half | {"negatives__hard__log_q": log_q}
        config = small_config(configure(**keys), world)
        scores = find_optimum(make_problem(config, world.loaded), world).scores
        x = np.log(world.probability)
        x, y = (v - v.mean(axis=1, keepdims=True) for v in (x, scores))
        slopes[log_q] = float((x * y).sum() / (x * x).sum())
    assert slopes["mixture"] == pytest.approx(1, abs=0.03)
    assert slopes["easy"] < 0.9


def test_all_hard_beside_nothing_is_refused():
    with pytest.raises(
        InputError, match="resampled leaves no easy draws beside the poo"
    ):
        configure(
            negatives__in_batch=False,
            negatives__layout="per_row",
            negatives__hard__source="resampled",
            negatives__hard__num=4,
            negatives__hard_ratio=1.0,
        )
