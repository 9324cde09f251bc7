"""The softmax at k: its estimate of the k-th best score, its weights and gradient."""

import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.problems import as_loaded, small_problem, zipf_clicks

from twotower_jax import keys
from twotower_jax.errors import InputError
from twotower_jax.evaluation.ragged import from_pairs
from twotower_jax.losses.logits import Scores, column_terms
from twotower_jax.model.two_tower import all_candidates, all_queries
from twotower_jax.training.batch_loss import (
    Context,
    TowerInputs,
    batch_terms,
    loss_of_scores,
)
from twotower_jax.training.memories import kth_largest
from twotower_jax.training.sources import draw

USERS, ITEMS, CLICKS = 23, 60, 300
USER, ITEM = zipf_clicks(USERS, ITEMS, CLICKS)
AT_K = {"loss__name": "softmax_at_k", "loss__at_k__k": 4}


def problem_of(**changes):
    return small_problem(as_loaded(USER, ITEM, USERS, ITEMS), **(AT_K | changes))


def all_scores(problem, params):
    """Return the cosines of all users and items, [users, items]."""
    model, data = problem.program.model, problem.data
    items = all_candidates(model, params, data.entities, ITEMS)
    queries = problem.memories[0].queries
    return np.asarray(all_queries(model, params, data.entities, queries) @ items.T)


def estimates(problem, params, step):
    state = problem.start()._replace(params=params, step=np.int32(step))
    return np.asarray(problem.renew(state, problem.memories).samplers["kth_score"])


def test_a_sample_of_the_whole_catalogue_gives_the_exact_kth_score():
    problem = problem_of()
    params = problem.start().params
    want = np.sort(all_scores(problem, params), axis=1)[:, -4]
    np.testing.assert_allclose(estimates(problem, params, 7), want, rtol=1e-5)


@pytest.mark.parametrize(("k", "sampled"), [(1, 9), (4, 9), (9, 9), (9, 30)])
def test_the_estimate_is_the_kth_best_of_positives_and_sample_by_loops(k, sampled):
    problem = problem_of(loss__at_k__k=k, loss__at_k__sampled=sampled)
    params = problem.start().params
    scores = all_scores(problem, params)
    for step in (3, 10):
        rng = keys.generator(0, "loss.at_k", step)
        sample = set(rng.choice(ITEMS, sampled, replace=False).tolist())
        found = estimates(problem, params, step)
        for user in range(USERS):
            items = sample | set(ITEM[user == USER].tolist())
            want = sorted((scores[user, i] for i in items), reverse=True)[k - 1]
            assert found[user] == pytest.approx(want, rel=1e-5)
    assert (estimates(problem, params, 3) != estimates(problem, params, 10)).any()


def test_a_user_without_positives_has_the_kth_best_of_the_sample():
    best, own = np.array([[0.9, 0.5], [0.4, -np.inf]]), np.array([0.75, 0.625])
    positives = from_pairs([1, 1], [3, 8], 2)
    assert kth_largest(best, own, positives, 2).tolist() == [0.5, 0.625]


def test_the_kth_largest_is_that_of_a_sort_of_each_row_whatever_the_signs():
    rng, k = np.random.default_rng(5), 3
    positives = from_pairs(rng.integers(0, 40, 300), rng.integers(0, 90, 300), 40)
    rows = [rng.normal(scale=10.0**n, size=(40, k)) for n in (-42, -3, 0, 9)]
    special = np.array([0.0, -0.0, np.inf, -np.inf])
    for best in (*rows, rng.choice(special, (40, k)), rng.choice([-1.0, 1.0], (40, k))):
        own = rng.permutation(np.resize(best, len(positives.items)))
        best, own = best.astype(np.float32), own.astype(np.float32)
        found = kth_largest(best, own, positives, k)
        for row, (low, high) in enumerate(itertools.pairwise(positives.offsets)):
            every = sorted([*best[row], *own[low:high]], reverse=True)
            assert found[row] == every[k - 1]


def context_of(problem):
    """Return the context of the first batch, with k-th scores by user."""
    state = problem.start()
    kth = jnp.linspace(-0.5, 0.5, USERS)
    state = state._replace(samplers=state.samplers | {"kth_score": kth})
    batch = problem.data.batch(jnp.asarray(problem.order.batches(0, 1)[0]))
    draws = draw(problem.program, problem.data, state, batch)
    none = TowerInputs(None, None)  # type: ignore[arg-type]
    return Context(problem.program, problem.data, state, batch, draws, none)


def slow_loss(context, scores, temperature, tau, decoupled):
    """Return the mean of sigmoid((s_p - b_u) / T_w) log sum_j e^{(s_j - s_p) / T}."""
    program, kth = context.program, np.asarray(context.state.samplers["kth_score"])
    terms = batch_terms(
        program, context.data, context.state, context.batch, context.draws
    )
    mult = np.exp(np.asarray(column_terms(terms.columns, terms.rows).log_mult, float))
    rows, found = len(scores.positive), 0.0
    for i in range(rows):
        own = scores.positive[i]
        total = 0.0 if decoupled else 1.0
        for c in range(mult.shape[1]):
            total += mult[i, c] * math.exp(scores.query[i] @ scores.columns[c] - own)
        lead = own * temperature - kth[int(context.batch.queries.user[i])]
        found += math.log(total) / (1 + math.exp(-lead / tau)) / rows
    return found


@pytest.mark.parametrize("decoupled", [False, True])
def test_loss_and_gradient_are_those_of_equation_3_5(decoupled):
    """Gradients flow through the weights too; differences of the loops show it."""
    tau, temperature = 0.3, 0.1
    problem = problem_of(
        loss__at_k__temperature=tau,
        loss__decoupled=decoupled,
        training__merge_columns=False,
    )
    context, rng = context_of(problem), np.random.default_rng(0)
    unit = rng.normal(size=(32, 6))
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    scores = Scores(
        query=unit[:16] / temperature,
        columns=unit[16:],
        positive=rng.uniform(-1, 1, 16) / temperature,
        slots=np.zeros((16, 0)),
    )
    at = jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), scores)
    value, gradient = jax.jit(
        jax.value_and_grad(lambda s: loss_of_scores(context, s, jnp.float32(0.1)))
    )(at)
    keys_of = temperature, tau, decoupled
    want = slow_loss(context, scores, *keys_of)
    assert float(value) == pytest.approx(want, rel=1e-5)
    for i in (0, 5, 15):
        ends = []
        for sign in (1, -1):
            moved = scores.positive.copy()
            moved[i] += sign * 1e-5
            one = scores._replace(positive=moved)
            ends.append(slow_loss(context, one, *keys_of))
        want = (ends[0] - ends[1]) / 2e-5
        assert float(gradient.positive[i]) == pytest.approx(want, rel=1e-3, abs=1e-6)


def test_k_above_the_catalogue_is_refused():
    keys_of = {"loss__at_k__k": ITEMS + 1, "loss__at_k__sampled": 1000}
    with pytest.raises(InputError, match=r"loss\.at_k\.k=61 is larger .* 60 items"):
        problem_of(**keys_of)
