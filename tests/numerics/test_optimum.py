"""The optimum itself: free scores, started at log P, for every choice of samples.

A world of 60 items and two types of users has known probabilities; the scores that an
objective prefers are compared with log P, item by item or as a drift in nats. Draws,
corrections, masks and losses are those of the training step.
"""

import functools
import importlib
import sys
from pathlib import Path

import numpy as np
import pytest
from helpers.problems import configure, with_program
from helpers.quick import quick

from twotower_jax.cards.arm import small_config
from twotower_jax.cards.card import item_groups
from twotower_jax.cards.optimum import Optimum, find_optimum
from twotower_jax.cards.world import (
    World,
    retrieved_items,
    whole_counts,
    world_of,
    zipf_counts,
)
from twotower_jax.run.problem import make_problem

DOCS = Path(__file__).parents[2] / "docs"
ITEMS = 60
RANKED = (("ranked", 0, None),)
COUNTS = zipf_counts(ITEMS, 2, 2048)


@functools.cache
def small_world() -> World:
    """Return the world of most tests: a funnel rejects ranked items."""
    return world_of(COUNTS, retrieved_items(COUNTS) | many_retrieved(), RANKED)


def many_retrieved() -> np.ndarray:
    """Return a third of the items, every third one: more than a request rejects."""
    return np.broadcast_to(np.arange(ITEMS) % 3 == 0, COUNTS.shape)


def zipf_world() -> World:
    """Return a world of one type and 200 items with P in proportion to 1 / rank."""
    counts = whole_counts(1 / np.arange(1, 201), 2**14)[None]
    return world_of(counts, np.ones(counts.shape, bool))


def optimum_of(world: World, **keys) -> Optimum:
    """Return the optimum of a configuration in a world."""
    config = small_config(configure(**keys), world)
    return find_optimum(make_problem(config, world.loaded), world)


def drift_of(world: World, **keys) -> np.ndarray:
    """Return the optimum minus log P, less its mean over items: [T, N] nats."""
    drift = optimum_of(world, **keys).scores - np.log(world.probability)
    return drift - drift.mean(axis=1, keepdims=True)


def centred(values: np.ndarray) -> np.ndarray:
    return values - values.mean(axis=-1, keepdims=True)


def slope(world: World, drift: np.ndarray) -> float:
    x = centred(np.log(world.probability))
    return 1 + float((x * drift).sum() / (x * x).sum())


def mean_drift(world: World, drift: np.ndarray) -> dict[str, float]:
    """Return the drift of the groups of a card."""
    return {
        name: float((weight * drift).sum() / weight.sum())
        for name, weight in item_groups(world).items()
    }


SLOTS = {"negatives__in_batch": False, "negatives__layout": "per_row"}
HARD = SLOTS | {
    "negatives__easy__num": 8,
    "negatives__hard__num": 8,
    "negatives__hard__stages": ["ranked"],
    "negatives__hard_ratio": 0.5,
}
USER_POOL = {"negatives__hard__pool": "user"}
BATCH = {"training__batch_size": 64}
ALL = BATCH | {"loss__logq__correct": "all", "negatives__mask": "none"}
NEGATIVES = BATCH | {"loss__logq__correct": "negatives"}
NONE = BATCH | {"loss__logq__correct": "none", "negatives__mask": "none"}


# ------------------------------------------- correct=all: log P for any number of draws

EXACT = {
    "in-batch": {},
    "uniform, shared": {"negatives__in_batch": False, "negatives__easy__num": 64},
    "uniform, 2 a row": SLOTS | {"negatives__easy__num": 2},
    "popularity, 4 a row": SLOTS
    | {"negatives__easy__num": 4, "negatives__easy__sampler": "popularity"},
    "log-uniform, 4 a row": SLOTS
    | {"negatives__easy__num": 4, "negatives__easy__sampler": "log_uniform"},
    "mixed": {"negatives__easy__num": 32},
    "bank": {"negatives__bank__size": 128},
    "hard of the user, 8 slots a row, half": HARD | USER_POOL,
    "hard of the user, shared, half": HARD
    | USER_POOL
    | {"negatives__layout": "shared"},
    "hard of the user, all slots, in-batch": {
        "negatives__hard__num": 4,
        "negatives__hard__stages": ["ranked"],
    }
    | USER_POOL,
}


QUICK = (
    "in-batch",
    "uniform, 2 a row",
    "popularity, 4 a row",
    "bank",
    "hard of the user, all slots, in-batch",
)


@pytest.mark.parametrize("name", quick(EXACT, QUICK))
def test_all_corrected_has_log_p_as_optimum_with_any_draws(name):
    world = small_world()
    drift = drift_of(world, **(ALL | EXACT[name]))
    assert slope(world, drift) == pytest.approx(1, abs=0.03)
    assert max(map(abs, mean_drift(world, drift).values())) < 0.05


def test_all_corrected_is_biased_where_the_positive_is_never_in_its_own_pool():
    """Pools of a request: the own count lacks the term that the competitors have."""
    world = small_world()
    few = HARD | {"negatives__easy__num": 1, "negatives__hard__num": 1}
    drift = drift_of(world, **(ALL | few))
    groups = mean_drift(world, drift)
    assert slope(world, drift) == pytest.approx(0.87, abs=0.04)
    assert groups["retrieved"] - drift[~world.retrieved].mean() < -0.08


def test_same_item_is_biased_where_the_own_item_is_expected_more_than_once():
    """Draws of the own item are dropped, but its correction counts them."""
    world = small_world()
    masked = ALL | {"negatives__mask": "same_item", "training__batch_size": 512}
    drift = drift_of(world, **masked)
    # The optimum is near log P / (1 - P), which matters for the largest P alone.
    p = world.probability
    np.testing.assert_allclose(drift, centred(-np.log1p(-p)), atol=0.03)
    assert np.ptp(drift) > 0.1


# ----------------------------------------------- correct=negatives: Jensen's inequality


@pytest.mark.slow
@pytest.mark.parametrize(("draws", "want"), [(8, 1.46), (16, 1.21), (128, 1.02)])
def test_negatives_corrected_has_a_steep_optimum_with_few_draws(draws, want):
    """N = 200, P ~ 1 / rank; the slopes of an independent computation (docs)."""
    world = zipf_world()
    drift = drift_of(world, **NEGATIVES, **SLOTS, negatives__easy__num=draws)
    assert slope(world, drift) == pytest.approx(want, abs=0.03 * want)


@pytest.mark.slow
def test_every_score_is_that_of_another_computation(monkeypatch):
    """Iterative scaling over fixed sets of draws, for the same catalogue (docs)."""
    monkeypatch.syspath_prepend(str(DOCS))
    other = importlib.import_module("figures.optimum")
    for name in [name for name in sys.modules if name.split(".")[0] == "figures"]:
        monkeypatch.delitem(sys.modules, name)
    world = zipf_world()
    for correct, mask in (("negatives", "same_item"), ("all", "same_item")):
        drift = drift_of(
            world,
            **SLOTS,
            negatives__easy__num=8,
            negatives__mask=mask,
            loss__logq__correct=correct,
            training__batch_size=512,
        )
        case = other.Case(other.uniform(), 8, correct, True)
        want = centred(other.optimum(case) - np.log(other.target()))
        # The other computation repeats 2,000 sets, which is noise for single items.
        bins = (drift[0] - want).reshape(20, 10).mean(axis=1)
        np.testing.assert_allclose(bins, 0, atol=0.2)


@pytest.mark.slow
def test_hard_slots_of_a_fixed_pool_move_the_optimum_under_negatives_alone():
    """N = 1,000, eight slots, half of them from a pool of 20 items of the user."""
    rng = np.random.default_rng(1)
    counts = whole_counts(np.exp(rng.standard_normal(1_000)), 2**15)[None]
    pool = np.zeros(counts.shape, bool)
    pool[0, rng.choice(1_000, 20, replace=False)] = True
    world = world_of(counts, pool, RANKED)
    best = np.argsort(-np.where(pool[0], 0, counts[0]))[:10]
    half = HARD | USER_POOL | {"negatives__easy__num": 4, "negatives__hard__num": 4}
    moved = {}
    for name, form in (("negatives", NEGATIVES), ("all", ALL)):
        drift = drift_of(world, **(form | half | {"training__batch_size": 512}))
        moved[name] = float(drift[pool].mean() - drift[0, best].mean())
    assert moved["negatives"] == pytest.approx(-5.9, abs=0.6)
    assert moved["all"] == pytest.approx(0, abs=0.1)


@pytest.mark.slow
def test_without_a_mask_the_negatives_form_counts_the_positive_twice():
    """Many draws: e^{s_p} is added once as the positive, once more by the draws.

    The configuration refuses it, so the mask is taken out of the program.
    """
    world = small_world()
    keys = NEGATIVES | {"negatives__easy__num": 512, "negatives__in_batch": False}
    config = small_config(configure(**keys), world)
    problem = make_problem(config, world.loaded)
    negatives = problem.program.negatives._replace(mask="none")
    unmasked = with_program(problem, negatives=negatives)
    drifts = [
        centred(find_optimum(one, world).scores - np.log(world.probability))
        for one in (problem, unmasked)
    ]
    top = np.argsort(-world.probability[0])[:3]
    assert np.abs(drifts[0]).max() < 0.08
    assert drifts[1][0, top].mean() < -0.03


# ------------------------------------------------------------------------- correct=none


def test_uncorrected_in_batch_negatives_have_the_optimum_log_p_minus_log_q():
    world = small_world()
    counts = world.loaded.counts
    drift = drift_of(world, **(NONE | {"training__batch_size": 512}))
    want = -np.log(counts / counts.sum())
    np.testing.assert_allclose(drift, centred(np.stack([want, want])), atol=0.08)


def test_uncorrected_uniform_negatives_have_the_optimum_log_p():
    world = small_world()
    many = {"negatives__in_batch": False, "negatives__easy__num": 512}
    assert slope(world, drift_of(world, **NONE, **many)) == pytest.approx(1, abs=0.02)


# ----------------------------------------------------------- hard draws and their log q


@pytest.mark.slow
@pytest.mark.parametrize("log_q", ["easy", "none"])
def test_hard_draws_that_weigh_more_than_their_share_push_their_items_down(log_q):
    world = small_world()
    many = {"negatives__easy__num": 32, "negatives__hard__num": 32}
    keys = HARD | USER_POOL | many | {"negatives__hard__log_q": log_q}
    drift = drift_of(world, **(NEGATIVES | keys))
    exact = drift_of(world, **(NEGATIVES | HARD | USER_POOL | many))
    groups = mean_drift(world, drift)
    others = float(drift[~world.retrieved].mean())
    assert groups["retrieved"] - others < -0.5
    assert abs(mean_drift(world, exact)["retrieved"]) < 0.1
    if log_q == "easy":
        # Each item j has the weight (easy + hard of j) / (2 easy), and as many draws.
        pool = np.where(world.retrieved, world.probability**0.75, 0)
        pool = pool / pool.sum(axis=1, keepdims=True)
        want = centred(-np.log1p(pool * ITEMS))
        assert np.abs(drift - want).mean() < 0.12


@pytest.mark.slow
def test_mined_and_dns_negatives_move_the_optimum():
    world = small_world()
    window = SLOTS | {
        "negatives__easy__num": 1,
        "negatives__hard__source": "mined",
        "negatives__hard__num": 2,
        "negatives__hard__mined__range_min": 5,
        "negatives__hard__mined__range_max": 15,
    }
    dns = SLOTS | {
        "negatives__hard__source": "dns",
        "negatives__hard__num": 4,
        "negatives__hard__log_q": "easy",
    }
    assert slope(world, drift_of(world, **ALL, **window)) < 0.97
    assert slope(world, drift_of(world, **NEGATIVES, **dns)) < 0.5


# ------------------------------------------------------------- masks, positives, losses


def test_masking_the_positives_of_the_user_lifts_what_many_users_click():
    world = small_world()
    keys = {"negatives__mask": "user_positives", "training__batch_size": 512}
    drift = mean_drift(world, drift_of(world, **(NEGATIVES | keys)))
    assert drift["head"] > 0.1 and drift["own positives"] > 0.05


def test_resampled_positives_have_the_optimum_log_p_plus_log_w():
    world = small_world()
    strategy = {"positives__strategy": "power", "positives__exponent": 0.5}
    log_w = -0.5 * np.log(world.loaded.counts)
    drift = drift_of(world, **ALL, **strategy)
    error = drift - centred(np.stack([log_w, log_w]))
    back = drift_of(world, **ALL, **strategy, positives__reweight=True)
    # The draws of positives are noise for single items.
    assert np.abs(error).mean() < 0.08 and np.abs(back).mean() < 0.08
    assert np.abs(drift).mean() > 0.25


def test_bce_has_the_odds_of_its_draws_as_optimum_constant_included():
    world = small_world()
    keys = SLOTS | {"negatives__easy__num": 8, "loss__name": "bce", "loss__ratio": None}
    found = optimum_of(world, **(NONE | keys))
    want = np.log(world.probability) - np.log(8 / ITEMS)
    np.testing.assert_allclose(found.scores, want, atol=0.12)


def test_logistic_learns_the_ratio_of_positives_to_draws_without_a_constant():
    world = small_world()
    keys = SLOTS | {"negatives__easy__num": 8, "loss__name": "logistic"}
    assert np.abs(drift_of(world, **(NONE | keys))).mean() < 0.05


def test_the_full_softmax_has_log_p_as_optimum():
    assert (
        np.abs(drift_of(small_world(), **BATCH, loss__name="full_softmax")).max() < 0.01
    )
