"""Every source of negatives in real steps, against what it says that it does.

Where a loss or a gradient is compared, the reference is written from the definition:
negatives are listed row by row, their expected counts added up by hand, and the mean of
-log [e^p / (e^p + sum e^(s - log N))] is differentiated as it stands. Only the draws
themselves are the package's (`test_draws` compares them with their counts).
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from problems import as_loaded, small_problem, zipf_clicks

from twotower_jax.data.log import Stage
from twotower_jax.losses import LOSSES
from twotower_jax.sampling import frequency
from twotower_jax.towers.tower import l2_normalize
from twotower_jax.training.draws import draw
from twotower_jax.training.mine import mine
from twotower_jax.training.samplers import init_samplers
from twotower_jax.training.step import init_state, run_steps
from twotower_jax.training.structure import HardRatio, TrainState

USERS, ITEMS, CLICKS, BATCH, RATE, TEMPERATURE = 30, 40, 400, 16, 0.05, 0.1
USER, ITEM = zipf_clicks(USERS, ITEMS, CLICKS)
POOL = np.random.default_rng(1).integers(0, ITEMS, (CLICKS, 6))
POOLED = np.arange(CLICKS) % 4 != 3  # Every fourth click has no pool.
Q_PLUS = np.bincount(ITEM, minlength=ITEMS) / CLICKS
MATRIX = {"towers__hidden": (), "training__merge_columns": False}
SGD = MATRIX | {"optimizer__name": "sgd", "optimizer__learning_rate": RATE}


def loaded():
    rows = {
        "user": np.repeat(USER[POOLED], 6),
        "item": POOL[POOLED].ravel(),
        "stage": np.full(6 * POOLED.sum(), Stage.RANKED),
        "request": np.repeat(np.flatnonzero(POOLED), 6),
    }
    return as_loaded(USER, ITEM, USERS, ITEMS, rows, np.arange(CLICKS))


DATA = loaded()
HARD = {"negatives__hard__num": 3, "negatives__hard__stages": ["ranked"]}
# Without the slow passes of the compiler, which takes most of the time of these tests.
CHEAP = {
    "static_argnames": "structure",
    "compiler_options": {"xla_backend_optimization_level": 0},
}
DRAW, RUN = jax.jit(draw, **CHEAP), jax.jit(run_steps.__wrapped__, **CHEAP)


def problem_of(**keys):
    return small_problem(DATA, **(SGD | keys))


PLAIN = problem_of().structure


def start(problem):
    """Return the state before the first step, of one program for all problems."""
    structure, scale = problem.structure, jnp.float32(problem.init_scale)
    plain = PLAIN._replace(model=structure.model, optimizer=structure.optimizer)
    samplers = init_samplers(structure, problem.streaming, problem.mining)
    state = init_state(plain, problem.hyper, scale)
    return state._replace(samplers=samplers)


def go(problem, state, rows):
    """Return the state after the batches rows [steps, B], and the losses."""
    rows = np.atleast_2d(np.asarray(rows, np.int32))
    number = np.int32(len(rows))
    return RUN(problem.structure, problem.hyper, problem.data, state, rows, number)


def one_by_one(problem, state, batches):
    """Return the states after each batch (the first is ``state``), and the losses."""
    states, losses = [state], []
    for rows in batches:
        state, loss = go(problem, states[-1], rows)
        states.append(state)
        losses.append(float(loss[0]))
    return states, np.array(losses)


def batches_of(problem, number, first=0):
    return problem.order.batches(first, number)


# ------------------------------------------------------------------- the reference


def vectors(tables):
    """Return embeddings of all users and items of matrix factorisation."""
    return l2_normalize(tables["query.id"]), l2_normalize(tables["candidate.id"])


@jax.jit
def reference(tables, rows, ids, keep, log_n, own_log_n, bank):
    """Return the mean loss of rows with the negatives ids [B, n] and a bank [M, D]."""
    query, item = vectors(tables)
    query = query[jnp.asarray(USER)[rows]] / TEMPERATURE
    positive = (query * item[jnp.asarray(ITEM)[rows]]).sum(axis=1) - own_log_n
    scores = (query[:, None] * item[ids.clip(0, ITEMS - 1)]).sum(axis=2)
    scores = jnp.concatenate([scores, query @ bank.T], axis=1)
    logits = jnp.where(keep, scores - log_n, -jnp.inf)
    every = jnp.concatenate([positive[:, None], logits], axis=1)
    return (jax.nn.logsumexp(every, axis=1) - positive).mean()


def log_of(counts):
    with np.errstate(divide="ignore"):
        return np.log(np.asarray(counts, float)).astype(np.float32)


def listed(problem, state, rows):
    """Return negatives [B, n] of the rows: columns, then slots; and which count."""
    rows = np.asarray(rows)
    # Draws do not depend on these: one program for all.
    structure = problem.structure._replace(optimizer="", loss="", correct="")
    draws = DRAW(structure, problem.hyper, problem.data, state, jnp.asarray(rows))
    number = draws.columns.key.shape[0]
    ids = np.tile(np.asarray(draws.columns.encode_ids)[:number], (len(rows), 1))
    if draws.slots is not None:
        ids = np.concatenate([ids, np.asarray(draws.slots).reshape(len(rows), -1)], 1)
    return ids, (ids != ITEM[rows][:, None]) & (ids < ITEMS), draws


NO_BANK = jnp.zeros((0, 6))


# ------------------------------------------------------------------------------- bank


def test_the_bank_holds_the_last_candidates_as_they_were():
    """40 entries and batches of 16: what comes out is the last two and a half."""
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
    known = {(step, item): vector for step, item, vector in kept}
    for one, vector in zip(place, bank.embedding, strict=True):
        np.testing.assert_allclose(vector, known[one], atol=1e-6)
    np.testing.assert_allclose(bank.log_q, log_of(Q_PLUS)[bank.item], rtol=1e-6)


def test_a_warm_up_without_bank_and_no_gradient_through_it():
    """Steps of the warm-up are those without a bank; then the bank is a constant."""
    problem = problem_of(negatives__bank__size=40, negatives__bank__warmup=3)
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
    5.8 % (root mean square) to what a batch hits, 6.3 % to the counted q.
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
    got = np.asarray(frequency.log_q(seen, np.arange(200), 4), float)
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
    )
    batches = batches_of(problem, 4)
    states, losses = one_by_one(problem, start(problem), batches)
    rows, before = batches[3], states[3]
    old = before.samplers["frequency"]
    new = frequency.update(old, ITEM[rows], 3, 0.5)
    jax.tree.map(np.testing.assert_array_equal, states[4].samplers["frequency"], new)
    ids, keep, _ = listed(problem, before, rows)

    def loss(seen):
        q = np.exp(np.asarray(frequency.log_q(seen, np.arange(ITEMS), BATCH), float))
        log_n = log_of((BATCH - 1) * q + 8 / ITEMS)[ids]
        own = np.zeros(BATCH, np.float32)
        return float(
            reference(before.params["tables"], rows, ids, keep, log_n, own, NO_BANK)
        )

    assert losses[3] == pytest.approx(loss(new), rel=1e-5)
    assert abs(losses[3] - loss(old)) > 0.02


# --------------------------------------------------------- chosen by the model's scores


def scores_of(state, rows, ids):
    query, item = vectors(state.params["tables"])
    known = np.clip(ids, 0, ITEMS - 1)
    return np.asarray((query[USER[rows]][:, None] * item[known]).sum(axis=2))


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
    columns, candidates = ids[:, : BATCH + 4], ids[:, BATCH + 4 :]
    scores = scores_of(state, rows, candidates).reshape(BATCH, 3, 6)
    # As if the easy proposal had drawn the hard slots too.
    log_n = log_of((BATCH - 1) * Q_PLUS + (4 + 3) / ITEMS)

    def expected(choice):
        slots = np.take_along_axis(
            candidates.reshape(BATCH, 3, 6), choice[..., None], axis=2
        )[..., 0]
        chosen = np.concatenate([columns, slots], axis=1)
        keep = chosen != ITEM[rows][:, None]
        arguments = (chosen, keep, log_n[chosen], log_n[ITEM[rows]], NO_BANK)
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
    assert (np.asarray(draws.group) == 1).all()  # Before mining no row has a pool.
    mined = mine(problem.mining, problem.structure, state.params, problem.data)
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


# ------------------------------------------------------------------------------- masks


def test_the_score_of_a_masked_pair_never_changes_the_loss():
    """Items that the user clicked elsewhere: in columns, slots and bank."""
    problem = problem_of(
        negatives__easy__num=60,
        negatives__bank__size=40,
        negatives__mask="user_positives",
        **(HARD | {"negatives__hard__num": 20}),
    )
    batches = batches_of(problem, 3)
    state = one_by_one(problem, start(problem), batches)[0][-1]
    row = 0
    own = np.unique(ITEM[USER[row] == USER])
    liked = own[own != ITEM[row]]
    rows = np.full(BATCH, row)
    ids, _, draws = listed(problem, state, rows)
    bank = state.samplers["bank"]
    banked = np.isin(bank.item, liked)
    for source in (ids[:, :-20], draws.slots, bank.item):
        assert np.isin(source, liked).any() and not np.isin(source, own).all()

    def loss(items, entries):
        table = state.params["tables"]["candidate.id"]
        changed = jnp.where(np.isin(np.arange(ITEMS), items)[:, None], -table, table)
        tables = state.params["tables"] | {"candidate.id": changed}
        other = bank._replace(
            embedding=jnp.where(entries[:, None], -bank.embedding, bank.embedding)
        )
        moved = state._replace(
            params=state.params | {"tables": tables}, samplers={"bank": other}
        )
        return float(go(problem, moved, rows)[1][0])

    nothing = np.zeros(40, bool)
    assert loss(liked, banked) == loss([], nothing)
    assert abs(loss([], ~banked & ~np.isin(bank.item, own)) - loss([], nothing)) > 1e-3
    others = np.setdiff1d(np.arange(ITEMS), own)
    assert abs(loss(others[:3], nothing) - loss([], nothing)) > 1e-3


# ------------------------------------------------------------------ mixture of sources


@pytest.mark.parametrize(
    ("layout", "optimizer"), [("shared", "adagrad"), ("per_row", "adam")]
)
def test_a_hard_ratio_that_has_come_to_zero_draws_easy_only(layout, optimizer):
    """Params and the optimizer's state after five steps at ratio 0 of a schedule.

    Other pools change no bit of them, so nothing of a pool is read. A step that has no
    hard slots is another program, whose sums XLA may round in another order: it has the
    same draws bit for bit, and its results are the same to float32 rounding.
    """
    keys = {"negatives__layout": layout, "optimizer__name": optimizer}
    mixed = problem_of(
        negatives__easy__num=6, negatives__hard_ratio=0.5, **HARD, **keys
    )
    zero = HardRatio(jnp.float32(0), jnp.float32(0), jnp.float32(0))
    mixed = mixed._replace(hyper=mixed.hyper._replace(hard_ratio=zero))
    batches = batches_of(mixed, 5)
    assert POOLED[batches].any() and not POOLED[batches].all()
    one, losses = go(mixed, start(mixed), batches)
    pools = mixed.data.pools
    others = pools._replace(item=(pools.item + 7) % ITEMS)
    moved = mixed._replace(data=mixed.data._replace(pools=others))
    same, same_losses = go(moved, start(moved), batches)
    np.testing.assert_array_equal(losses, same_losses)
    jax.tree.map(np.testing.assert_array_equal, one, same)

    easy = problem_of(negatives__easy__num=6 if layout == "shared" else 9, **keys)
    state = start(easy)
    ids, _, _ = listed(easy, state, batches[0])
    mixed_ids, mixed_keep, mixed_draws = listed(mixed, state, batches[0])
    assert not np.asarray(mixed_draws.is_hard)[mixed_draws.slots < ITEMS].any()
    np.testing.assert_array_equal(ids, mixed_ids[:, : ids.shape[1]])
    assert not mixed_keep[:, ids.shape[1] :].any()
    plain, plain_losses = go(easy, state, batches)
    np.testing.assert_allclose(losses, plain_losses, rtol=1e-6)
    jax.tree.map(
        lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-5, atol=1e-6),
        (one.params, one.opt_state),
        (plain.params, plain.opt_state),
    )


@pytest.mark.parametrize("layout", ["shared", "per_row"])
def test_a_schedule_from_all_hard_to_mixed(layout):
    """Ratio 1 at the first step, a quarter from the fourth on: shares of real draws."""
    problem = problem_of(
        negatives__layout=layout,
        negatives__easy__num=64,
        negatives__hard_ratio=0.25,
        negatives__hard_start=1.0,
        negatives__hard_ramp=0.5,
        training__steps=8,
        **(HARD | {"negatives__hard__num": 64}),
    )
    rows = np.flatnonzero(POOLED)[:64]
    for step, ratio in enumerate([1, 0.8125, 0.625, 0.4375, 0.25, 0.25, 0.25]):
        _, _, draws = listed(problem, TrainState(jnp.int32(step), {}, {}, {}), rows)
        slots, is_hard = np.asarray(draws.slots), np.asarray(draws.is_hard)
        on = slots < ITEMS
        in_pool = (slots[:, :, None] == POOL[rows][:, None, :]).any(axis=2)
        assert in_pool[on & is_hard].all()
        hard, easy = (on & is_hard).sum(axis=1), (on & ~is_hard).sum(axis=1)
        if layout == "shared":
            columns = np.asarray(draws.columns.encode_ids)[64 : 64 + 64]
            easy = easy + (columns < ITEMS).sum()
        share = hard.mean() / (hard.mean() + easy.mean())
        assert share == pytest.approx(ratio, abs=0 if ratio == 1 else 0.06)


# ------------------------------------------------------------------------ losses, bits


@pytest.mark.parametrize("loss", sorted(LOSSES))
def test_every_loss_falls_and_merged_columns_change_nothing(loss):
    keys = {
        "loss__name": loss,
        "optimizer__name": "adagrad",
        "optimizer__learning_rate": 0.1,
    }
    if loss in ("bce", "gbce"):
        keys |= {"loss__ratio": 3, "loss__temperature": 0.5}
    problem = problem_of(training__merge_columns=True, **keys)
    batches = batches_of(problem, 5)
    state, first = go(problem, start(problem), batches)
    if loss != "full_softmax":
        assert problem.structure.merged_size
        separate = problem_of(**keys)
        other, losses = go(separate, start(separate), batches)
        np.testing.assert_allclose(losses, first, rtol=1e-5)
        jax.tree.map(
            lambda x, y: np.testing.assert_allclose(x, y, atol=1e-5),
            state.params,
            other.params,
        )
    for part in range(1, 20):
        state, last = go(problem, state, batches_of(problem, 5, 5 * part))
    assert last.mean() < 0.8 * first.mean()


def test_steps_per_dispatch_change_no_bit_with_all_memories_at_once():
    problem = problem_of(
        negatives__bank__size=40,
        negatives__bank__warmup=2,
        negatives__easy__num=4,
        negatives__hard_ratio=0.5,
        negatives__hard_start=1.0,
        loss__logq__frequency="streaming",
        training__steps=6,
        training__merge_columns=True,
        **HARD,
    )
    batches = batches_of(problem, 6)
    one = start(problem)
    for rows in batches:
        one, _ = go(problem, one, rows)
    many = start(problem)
    for part in (batches[:4], batches[4:]):
        some = np.zeros((4, BATCH), np.int32)
        some[: len(part)] = part
        many, losses = RUN(
            problem.structure, problem.hyper, problem.data, many, some, len(part)
        )
    assert np.isfinite(losses).all() and losses[0] > 0
    jax.tree.map(np.testing.assert_array_equal, one, many)
    assert {"bank", "frequency"} == set(one.samplers)
