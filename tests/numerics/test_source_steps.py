"""Bank, streamed frequencies and negatives that the model selects, in real steps.

Losses and gradients are compared to the reference of `source_steps`.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.problems import as_loaded, small_problem, zipf_clicks
from helpers.source_steps import (
    BATCH,
    ITEM,
    ITEMS,
    NO_BANK,
    Q_PLUS,
    RATE,
    SGD,
    TEMPERATURE,
    USER,
    USERS,
    batches_of,
    go,
    listed,
    log_of,
    one_by_one,
    problem_of,
    reference,
    start,
    vectors,
)

from twotower_jax import keys
from twotower_jax.negatives import frequency
from twotower_jax.training.sources import easy_law

# ------------------------------------------------------------------------------- bank


def test_the_bank_holds_the_last_candidates_as_they_were():
    """40 entries and batches of 16: the bank holds the last two and a half batches."""
    problem = problem_of(negatives__bank__size=40)
    batches = batches_of(problem, 5)
    states, _ = one_by_one(problem, start(problem), batches)
    bank = states[-1].samplers["bank"]
    entries = []
    for step, rows in enumerate(batches):
        _, item = vectors(states[step].params["tables"])  # As they were then.
        entries += [(step, i, np.asarray(item[i])) for i in ITEM[rows]]
    kept = entries[-40:]
    place = list(zip(bank.step.tolist(), bank.item.tolist(), strict=True))
    assert sorted(place) == sorted((step, item) for step, item, _ in kept)
    vectors_of = {(step, item): vector for step, item, vector in kept}
    for one, vector in zip(place, bank.embedding, strict=True):
        np.testing.assert_allclose(vector, vectors_of[one], atol=1e-6)
    np.testing.assert_allclose(bank.log_q, log_of(Q_PLUS)[bank.item], rtol=1e-6)


def test_a_warm_up_without_bank_and_no_gradient_through_it():
    """Steps of the warm-up are those without a bank; then the bank is a constant."""
    problem = problem_of(negatives__bank__size=40, negatives__bank__warmup=3 / 250)
    batches = batches_of(problem, 4)
    states, losses = one_by_one(problem, start(problem), batches)
    without = problem_of()
    others, other_losses = one_by_one(without, start(without), batches)
    np.testing.assert_allclose(losses[:3], other_losses[:3], rtol=1e-6)
    jax.tree.map(
        lambda x, y: np.testing.assert_allclose(x, y, atol=1e-6),
        states[3].params,
        others[3].params,
    )
    assert abs(losses[3] - other_losses[3]) > 0.1
    # The fourth step, by hand.
    rows, bank = batches[3], states[3].samplers["bank"]
    ids, keep, _ = listed(problem, states[3], rows)
    stored = np.tile(np.asarray(bank.item), (BATCH, 1))
    everything = np.concatenate([ids, stored], axis=1)
    keep = np.concatenate([keep, stored != ITEM[rows][:, None]], axis=1)
    log_n = log_of((BATCH - 1 + 40) * Q_PLUS)
    arguments = (ids, keep, log_n[everything], log_n[ITEM[rows]])
    before = states[3].params["tables"]
    loss, gradient = jax.value_and_grad(reference)(
        before, rows, *arguments, bank.embedding
    )
    assert losses[3] == pytest.approx(float(loss), rel=1e-5)
    assert_moved_by(states[4].params["tables"], before, gradient)
    # Encoded now, with their gradient, the same entries give another step.
    nothing = (everything, *arguments[1:], NO_BANK)
    other = jax.grad(reference)(before, rows, *nothing)
    gap = other["candidate.id"] - gradient["candidate.id"]
    assert jnp.abs(gap).max() > 0.05 * jnp.abs(gradient["candidate.id"]).max()


def assert_moved_by(after, before, gradient):
    for name, table in after.items():
        want = -RATE * gradient[name]
        moved = np.asarray(table - before[name])
        assert np.abs(want).max() > 1e-3
        np.testing.assert_allclose(moved, want, atol=2e-6)


# ------------------------------------------------------------------ streaming frequency


def test_streamed_frequencies_are_near_the_counted_ones():
    """After 6,000 batches of 4, of items in 3 % to 30 % of the batches.

    A moving mean with alpha = 0.01 has a relative error of sqrt(alpha / 2) = 7 %; it
    is biased by the hits that a batch has twice, log [(1 - (1 - q)^4) / 4 q]. Found:
    5.8 % (root mean square) to the items of a batch, 6.3 % to the counted q.
    """
    user, item = zipf_clicks(20, 200, 24_000)
    problem = small_problem(
        as_loaded(user, item, 20, 200),
        training__batch_size=4,
        loss__logq__frequency="streaming",
        loss__logq__streaming__initial_gap=20,
        **SGD,
    )
    state, _ = go(problem, problem.start(), batches_of(problem, 6_000))
    q = np.bincount(item, minlength=200) / len(item)
    hit = 1 - (1 - q) ** 4
    some = (hit > 0.03) & (hit < 0.3)
    assert some.sum() > 20
    seen = state.samplers["frequency"]
    # Of B alone: at a step before all hits the time since them does not count.
    got = np.asarray(frequency.log_q(seen, np.arange(200), 4, -1), float)
    error = (got - np.log(hit / 4))[some]
    assert np.sqrt((error**2).mean()) < 0.1
    assert abs(error.mean()) < 0.04
    assert np.sqrt(((got - np.log(q))[some] ** 2).mean()) < 0.12


def test_a_batch_is_counted_before_its_frequencies_are_read():
    problem = problem_of(
        negatives__easy__num=8,
        loss__logq__correct="negatives",
        loss__logq__frequency="streaming",
        loss__logq__streaming__alpha=0.5,
        loss__logq__streaming__initial_gap=1.5,
    )
    batches = batches_of(problem, 4)
    states, losses = one_by_one(problem, start(problem), batches)
    rows, before = batches[3], states[3]
    old = before.samplers["frequency"]
    new = frequency.update(old, ITEM[rows], 3, 0.5)
    jax.tree.map(np.testing.assert_array_equal, states[4].samplers["frequency"], new)
    ids, keep, _ = listed(problem, before, rows)

    def loss(seen, step=3):
        log_q = frequency.log_q(seen, np.arange(ITEMS), BATCH, step)
        q = np.exp(np.asarray(log_q, float))
        log_n = log_of((BATCH - 1) * q + 8 / ITEMS)[ids]
        own = np.zeros(BATCH, np.float32)
        return float(
            reference(before.params["tables"], rows, ids, keep, log_n, own, NO_BANK)
        )

    assert losses[3] == pytest.approx(loss(new), rel=1e-5)
    assert abs(losses[3] - loss(old)) > 0.02
    # The time since the last hit is that of this step: without it, another loss.
    assert abs(losses[3] - loss(new, step=-1)) > 0.01


# ------------------------------------------------------- selected by the model's scores


def scores_of(state, rows, ids):
    query, item = vectors(state.params["tables"])
    clipped = np.clip(ids, 0, ITEMS - 1)
    return np.asarray((query[USER[rows]][:, None] * item[clipped]).sum(axis=2))


def test_a_dynamic_negative_is_the_best_of_its_candidates():
    problem = problem_of(
        negatives__easy__num=4,
        negatives__hard__source="dns",
        negatives__hard__num=3,
        negatives__hard__candidate_num=6,
        negatives__hard__log_q="easy",
    )
    rows, state = batches_of(problem, 1)[0], start(problem)
    after, losses = go(problem, state, rows)
    ids, _, _ = listed(problem, state, rows)
    columns = ids[:, : BATCH + 4]
    law = easy_law(problem.program, problem.data)
    key = keys.stream(problem.program.seed, "negatives.hard", 0)
    batch = problem.data.batch(jnp.asarray(rows))
    candidates = np.asarray(law.draw(key, batch, (BATCH, 3, 6)))
    flat = candidates.reshape(BATCH, 18)
    scores = scores_of(state, rows, flat).reshape(BATCH, 3, 6)
    # As if the easy proposal had drawn the hard slots too.
    log_n = log_of((BATCH - 1) * Q_PLUS + (4 + 3) / ITEMS)

    def expected(choice):
        slots = np.take_along_axis(candidates, choice[..., None], axis=2)[..., 0]
        everything = np.concatenate([columns, slots], axis=1)
        keep = everything != ITEM[rows][:, None]
        arguments = (everything, keep, log_n[everything], log_n[ITEM[rows]], NO_BANK)
        return jax.value_and_grad(reference)(state.params["tables"], rows, *arguments)

    loss, gradient = expected(scores.argmax(axis=2))
    assert float(losses[0]) == pytest.approx(float(loss), rel=1e-5)
    assert_moved_by(after.params["tables"], state.params["tables"], gradient)
    for other in (scores.argmin(axis=2), np.zeros((BATCH, 3), int)):
        assert float(losses[0]) > float(expected(other)[0]) + 0.1


def test_mined_negatives_are_a_window_of_the_exact_ranking():
    """Ranks 2 to 6 of all items but the user's own; training draws from them alone."""
    problem = problem_of(
        negatives__in_batch=False,
        loss__logq__correct="negatives",
        negatives__hard__source="mined",
        negatives__hard__num=16,
        negatives__hard__mined__range_min=2,
        negatives__hard__mined__range_max=7,
    )
    state = start(problem)
    rows = batches_of(problem, 1)[0]
    ids, _, draws = listed(problem, state, rows)
    assert not draws.slots.is_hard.any()  # Before mining no row has a pool.
    mined = problem.renew(state, problem.memories).samplers["mined"]
    query, item = (np.asarray(x, float) for x in vectors(state.params["tables"]))
    for user in range(USERS):
        own = np.unique(ITEM[user == USER])
        ranked = [i for i in np.argsort(-(query[user] @ item.T)) if i not in own]
        assert mined[user].tolist() == ranked[2:7]
    state = state._replace(samplers={"mined": mined})
    ids, _, _ = listed(problem, state, rows)
    for row, slots in zip(rows, ids, strict=True):
        assert set(slots) <= set(mined[USER[row]].tolist())
    assert len(np.unique(ids)) > 10
    _, losses = go(problem, state, np.tile(rows, (30, 1)))
    assert losses[-1] < losses[0] - 0.5


def test_the_best_raw_scores_are_kept_and_corrected_afterwards():
    """Ranking by corrected logits would prefer rare items to hard ones."""
    problem = problem_of(negatives__num_hard_negatives=4)
    rows, state = batches_of(problem, 1)[0], start(problem)
    after, losses = go(problem, state, rows)
    ids, keep, _ = listed(problem, state, rows)
    log_n = log_of((BATCH - 1) * Q_PLUS)
    raw = scores_of(state, rows, ids) / TEMPERATURE

    def expected(ranked_by):
        order = np.argsort(-np.where(keep, ranked_by, -np.inf), axis=1, kind="stable")
        best = np.zeros_like(keep)
        np.put_along_axis(best, order[:, :4], True, axis=1)
        arguments = (ids, best & keep, log_n[ids], log_n[ITEM[rows]], NO_BANK)
        return jax.value_and_grad(reference)(state.params["tables"], rows, *arguments)

    loss, gradient = expected(raw)
    assert float(losses[0]) == pytest.approx(float(loss), rel=1e-5)
    assert_moved_by(after.params["tables"], state.params["tables"], gradient)
    assert float(losses[0]) != pytest.approx(float(expected(raw - log_n[ids])[0]), 1e-2)


def test_the_best_are_the_same_with_merged_columns():
    problem = problem_of(negatives__num_hard_negatives=4)
    merged = problem_of(negatives__num_hard_negatives=4, training__merge_columns=True)
    rows = batches_of(problem, 1)[0]
    _, want = go(problem, start(problem), rows)
    _, losses = go(merged, start(merged), rows)
    np.testing.assert_allclose(losses, want, rtol=1e-5)
