"""Dynamic negatives: the mask applies before the choice of the best candidate."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.problems import as_loaded, small_problem

from twotower_jax import keys
from twotower_jax.model.tower import l2_normalize
from twotower_jax.model.two_tower import query_inputs
from twotower_jax.negatives.dns import dns_log_prob
from twotower_jax.training.sources import draw, easy_law
from twotower_jax.training.step import run_steps

# Everyone clicks the first half of the catalogue again and again, so that a model
# ranks it first; user 0 clicked all items but the last.
USERS, ITEMS, BATCH, SLOTS, CANDIDATES = 8, 20, 16, 4, 8
USER, ITEM = (
    part.ravel()
    for part in np.meshgrid(np.arange(USERS), np.arange(ITEMS // 2), indexing="ij")
)
USER = np.concatenate([USER, np.zeros(ITEMS // 2 - 1, int)])
ITEM = np.concatenate([ITEM, np.arange(ITEMS // 2, ITEMS - 1)])
LIKED = np.zeros((USERS, ITEMS + 1), bool)
LIKED[USER, ITEM] = True


def trained(**keys):
    """Return the problem and its state after 100 steps."""
    problem = small_problem(
        as_loaded(USER, ITEM, USERS, ITEMS),
        towers__hidden=(),
        training__batch_size=BATCH,
        training__merge_columns=False,
        optimizer__learning_rate=0.1,
        negatives__easy__num=8,
        negatives__hard__source="dns",
        negatives__hard__num=SLOTS,
        negatives__hard__candidate_num=CANDIDATES,
        negatives__hard__log_q="easy",
        **({"negatives__mask": "user_positives"} | keys),
    )
    rows = problem.order.batches(0, 100)
    arguments = (problem.program, problem.data, problem.start(), rows, np.int32(100))
    return problem, run_steps(*arguments)[0]


@jax.jit
def chosen(program, data, state, rows):
    """Return the candidates [B, K, M] of a batch and the items chosen, [B, K]."""
    batch, slots = data.batch(rows), program.negatives.slots
    key = keys.stream(program.seed, "negatives.hard", state.step)
    law = easy_law(program, data)
    candidates = law.draw(key, batch, (batch.size, slots, CANDIDATES))
    queries = query_inputs(program.model, data.entities, batch.queries, batch.items)
    after = draw(program, data, state, batch, queries)
    return candidates, after.slots.items


def many_choices(problem, state, steps=40):
    """Return users [n], candidates [n, K, M] and choices [n, K] of many batches."""
    users, candidates, choices = [], [], []
    for step in range(steps):
        rows = jnp.asarray(problem.order.batches(200 + step, 1)[0])
        later = state._replace(step=jnp.int32(200 + step))
        drawn, best = chosen(problem.program, problem.data, later, rows)
        users.append(USER[rows])
        candidates.append(np.asarray(drawn))
        choices.append(np.asarray(best))
    return np.concatenate(users), np.concatenate(candidates), np.concatenate(choices)


@pytest.mark.slow
def test_no_positive_of_the_user_is_chosen_and_no_slot_is_lost_for_one():
    problem, state = trained()
    users, candidates, choices = many_choices(problem, state)
    tables = state.params["tables"]
    scores = l2_normalize(tables["query.id"]) @ l2_normalize(tables["candidate.id"]).T
    scores = np.append(np.asarray(scores), np.full((USERS, 1), -np.inf), axis=1)
    liked_best = lost = 0
    for user, drawn, best in zip(users, candidates, choices, strict=True):
        for slot, item in zip(drawn, best, strict=True):
            free = [i for i in slot if not LIKED[user, i]]
            want = max(free, key=lambda i: scores[user, i]) if free else ITEMS
            assert item == want
            lost += not free
            liked_best += LIKED[user, max(slot, key=lambda i: scores[user, i])]
    # Chosen first and masked afterwards, most slots would hold a positive.
    assert liked_best > 0.5 * choices.size
    # 8 of 20 draws that all miss the last item: 2 in 3 slots of user 0.
    assert 0 < lost < 0.2 * choices.size


def test_lost_slots_are_counted():
    """The mean over the 100 steps is that of slots whose candidates are all liked."""
    problem, state = trained()
    share = float(state.samplers["lost_slots"])
    rows = problem.order.batches(0, 100)
    own = (USER[rows] == 0).mean()
    # For user 0 only the last item is free, for others a half of the catalogue is.
    want = own * 0.95**CANDIDATES + (1 - own) * 0.5**CANDIDATES
    assert share == pytest.approx(want, rel=0.1)


@pytest.mark.slow
def test_same_item_is_masked_before_the_choice_too():
    problem, state = trained(negatives__mask="same_item")
    rows = jnp.asarray(problem.order.batches(200, 1)[0])
    drawn, best = map(np.asarray, chosen(problem.program, problem.data, state, rows))
    own = ITEM[np.asarray(rows)]
    assert (drawn == own[:, None, None]).any()
    assert not (best == own[:, None]).any()
    assert (best < ITEMS).all()


def test_the_exact_chance_of_a_choice_among_masked_items():
    """`dns_log_prob` with -inf at masked items is the law of the unmasked ones."""
    rng = np.random.default_rng(0)
    q, scores = rng.dirichlet(np.ones(6)), rng.normal(size=6).astype(np.float32)
    masked = np.array([0, 1, 0, 0, 1, 0], bool)
    drawn = rng.choice(6, (200_000, 3), p=q)
    ranked = np.where(masked, -np.inf, scores)
    best = drawn[np.arange(len(drawn)), ranked[drawn].argmax(axis=1)]
    lost = masked[drawn].all(axis=1)
    share = np.bincount(best[~lost], minlength=6) / len(drawn)
    law = np.exp(dns_log_prob(jnp.asarray(ranked, jnp.float32), jnp.log(q), 3))
    np.testing.assert_allclose(share[~masked], law[~masked], atol=4e-3)
    assert lost.mean() == pytest.approx(q[masked].sum() ** 3, abs=3e-3)
