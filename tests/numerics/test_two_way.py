"""The softmax over the users of a batch, against loops and as an optimum."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.problems import configure
from helpers.source_steps import (
    BATCH,
    CLICKS,
    ITEM,
    TEMPERATURE,
    USER,
    USERS,
    batches_of,
    go,
    problem_of,
    start,
    vectors,
)

from twotower_jax.cards.arm import small_config
from twotower_jax.cards.card import audit_arm
from twotower_jax.cards.optimum import find_optimum
from twotower_jax.cards.world import retrieved_items, world_of, zipf_counts
from twotower_jax.errors import InputError
from twotower_jax.run.problem import make_problem

WEIGHT = 0.7
Q_USER = np.bincount(USER, minlength=USERS) / CLICKS
CLICKED = {(int(u), int(i)) for u, i in zip(USER, ITEM, strict=True)}


def slow_user_losses(tables, rows, correct, mask):
    """Return the loss of each row's item against the batch's users, by loops."""
    query, item = (np.asarray(part, np.float64) for part in vectors(tables))
    users, items = USER[rows], ITEM[rows]
    losses = []
    for own, user in enumerate(users):
        logits = []
        for other in range(len(rows)):
            if other != own:
                if mask != "none" and users[other] == user:
                    continue
                liked = (int(users[other]), int(items[own])) in CLICKED
                if mask == "user_positives" and liked:
                    continue
            score = query[users[other]] @ item[items[own]] / TEMPERATURE
            if correct == "users":
                score -= np.log((len(rows) - 1) * Q_USER[users[other]])
            logits.append(score)
            if other == own:
                positive = score
        losses.append(np.logaddexp.reduce(logits) - positive)
    return np.array(losses)


@functools.cache
def pair_of(mask, correct):
    """Return the problem with the second softmax, and the one without it."""
    keys = {"negatives__mask": mask}
    two_way = {
        "loss__two_way__weight": WEIGHT,
        "loss__two_way__correct": correct,
    }
    return problem_of(**keys, **two_way), problem_of(**keys)


@pytest.mark.parametrize(
    ("mask", "correct"),
    [
        pytest.param("none", "users", marks=pytest.mark.slow),
        pytest.param("same_item", "none", marks=pytest.mark.slow),
        ("user_positives", "users"),
    ],
)
def test_the_loss_is_the_first_plus_the_weighted_second(mask, correct):
    both, one = pair_of(mask, correct)
    (rows,) = batches_of(both, 1)
    assert len(np.unique(USER[rows])) < BATCH
    state = start(both)
    losses = [float(go(problem, state, rows)[1][0]) for problem in (both, one)]
    each = slow_user_losses(state.params["tables"], rows, correct, mask)
    assert losses[0] - losses[1] == pytest.approx(WEIGHT * each.mean(), rel=1e-4)


def test_both_towers_get_the_gradient_of_the_second():
    """Central differences of the loops in a direction of all tables."""
    both, one = pair_of("same_item", "none")
    (rows,) = batches_of(both, 1)
    state = start(both)
    rate = float(both.program.optimizer.learning_rate)
    moves = [go(problem, state, rows)[0].params["tables"] for problem in (both, one)]
    rng = np.random.default_rng(0)
    tables = state.params["tables"]
    for name, table in tables.items():
        gradient = np.asarray(moves[1][name] - moves[0][name], np.float64) / rate
        direction = rng.normal(size=table.shape)
        ends = []
        for sign in (1, -1):
            moved = np.asarray(table, np.float64) + sign * 1e-4 * direction
            with jax.enable_x64(True):
                changed = {k: jnp.asarray(v, jnp.float64) for k, v in tables.items()}
                changed[name] = jnp.asarray(moved)
                losses = slow_user_losses(changed, rows, "none", "same_item")
            ends.append(WEIGHT * losses.mean())
        want = (ends[0] - ends[1]) / 2e-4
        assert (gradient * direction).sum() == pytest.approx(want, rel=2e-3)
        assert abs(want) > 1e-3


def test_users_shares_follow_resampled_positives():
    strategy = {"positives__strategy": "cap", "positives__cap": 3}
    keys = {"loss__two_way__weight": 1.0, "loss__two_way__correct": "users"}
    problem = problem_of(**keys, **strategy, training__batch_size=8)
    share = np.exp(np.asarray(problem.program.terms[0].log_q_user[0], float))
    want = np.bincount(USER, problem.weights[ITEM], USERS)
    np.testing.assert_allclose(share, want / want.sum(), rtol=1e-5)
    assert np.abs(share - Q_USER).max() > 1e-3


@pytest.mark.parametrize("correct", ["none", "users"])
def test_the_optimum_ranks_by_log_p_with_either_correction(correct):
    counts = zipf_counts(60, 2, 2048)
    world = world_of(counts, retrieved_items(counts))
    keys = {
        "negatives__mask": "none",
        "training__batch_size": 64,
        "loss__two_way__weight": 1.0,
        "loss__two_way__correct": correct,
    }
    config = small_config(configure(**keys), world)
    scores = find_optimum(make_problem(config, world.loaded), world).scores
    drift = scores - np.log(world.probability)
    drift -= drift.mean(axis=1, keepdims=True)
    x = np.log(world.probability)
    x = x - x.mean(axis=1, keepdims=True)
    assert (x * drift).sum() / (x * x).sum() == pytest.approx(0, abs=0.03)
    assert np.abs(drift).mean() < 0.08


@pytest.mark.slow
def test_the_card_counts_the_pairs_of_both():
    one, both = (audit_arm(configure(loss__two_way__weight=w)) for w in (0.0, 1.0))
    assert both.pairs == 2 * one.pairs


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"loss__name": "bce"}, "loss.two_way is a key of loss="),
        ({"loss__name": "full_softmax"}, "loss.two_way is a key of loss="),
        (
            {"negatives__in_batch": False, "negatives__easy__num": 8},
            r"loss.two_way.weight=0.5 .*but negatives.in_batch=false; set it to true",
        ),
    ],
)
def test_without_pairs_of_a_batch_it_is_refused(keys, message):
    with pytest.raises(InputError, match=message):
        configure(loss__two_way__weight=0.5, **keys)
