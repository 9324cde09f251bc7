"""Masks, mixtures of sources and all losses, in real steps.

Losses and gradients are compared to the reference of `source_steps`.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.problems import with_program
from helpers.quick import quick
from helpers.source_steps import (
    BATCH,
    HARD,
    ITEM,
    ITEMS,
    POOL,
    POOLED,
    RUN,
    TEMPERATURE,
    USER,
    batches_of,
    go,
    listed,
    one_by_one,
    problem_of,
    start,
    vectors,
)

from twotower_jax.losses import LOSSES
from twotower_jax.negatives.hard import HardRatio
from twotower_jax.training.batch_loss import batch_terms
from twotower_jax.training.sources import draw
from twotower_jax.training.types import TrainState

# ------------------------------------------------------------------------------- masks


def test_the_score_of_a_masked_pair_never_changes_the_loss():
    """Items that the user clicked elsewhere: in columns, slots and bank."""
    problem = problem_of(
        negatives__easy__num=60,
        negatives__bank__size=40,
        negatives__bank__warmup=0,
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
    for source in (ids[:, :-20], draws.slots.items, bank.item):
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


def masked_losses(tables, rows, counts):
    """Return the loss of each row, by loops; item j stands ``counts[j]`` times."""
    query, item = (np.asarray(part, np.float64) for part in vectors(tables))
    clicked = set(zip(USER.tolist(), ITEM.tolist(), strict=True))
    losses = []
    for user, own in zip(USER[rows], ITEM[rows], strict=True):
        scores = item @ query[user] / TEMPERATURE
        terms = [
            scores[j] + np.log(counts[j])
            for j in range(ITEMS)
            if counts[j] and j != own and (int(user), j) not in clicked
        ]
        losses.append(np.logaddexp.reduce([scores[own], *terms]) - scores[own])
    return np.array(losses)


@pytest.mark.parametrize("name", ["full_softmax", "sampled_softmax"])
def test_columns_that_are_distinct_mask_what_users_clicked_without_a_look_up(name):
    keys = {"loss__name": name, "negatives__mask": "user_positives"}
    if name == "sampled_softmax":
        keys["loss__logq__correct"] = "none"
    problem = problem_of(training__merge_columns=True, **keys)
    (rows,) = batches_of(problem, 1)
    state = start(problem)
    counts = np.bincount(ITEM[rows], minlength=ITEMS)
    if name == "full_softmax":
        counts = np.ones(ITEMS)
    want = masked_losses(state.params["tables"], rows, counts).mean()
    assert float(go(problem, state, rows)[1][0]) == pytest.approx(want, rel=1e-5)
    program, data = problem.program, problem.data
    batch = data.batch(jnp.asarray(rows))
    terms = batch_terms(program, data, state, batch, draw(program, data, state, batch))
    assert terms.columns.place == () and terms.rows.seen[0].any()


# ------------------------------------------------------------------ mixture of sources


@pytest.mark.slow
@pytest.mark.parametrize(
    ("layout", "optimizer"),
    [
        ("shared", "adagrad"),
        pytest.param("per_row", "adam", marks=pytest.mark.slow),
    ],
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
    mixed = with_program(mixed, hard_ratio=zero)
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
    slots = mixed_draws.slots
    assert not np.asarray(slots.is_hard)[slots.items < ITEMS].any()
    np.testing.assert_array_equal(ids, mixed_ids[:, : ids.shape[1]])
    assert not mixed_keep[:, ids.shape[1] :].any()
    plain, plain_losses = go(easy, state, batches)
    np.testing.assert_allclose(losses, plain_losses, rtol=1e-6)
    jax.tree.map(
        lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-5, atol=1e-6),
        (one.params, one.opt_state),
        (plain.params, plain.opt_state),
    )


@pytest.mark.parametrize("layout", quick(["shared", "per_row"], ["per_row"]))
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
        slots, is_hard = np.asarray(draws.slots.items), np.asarray(draws.slots.is_hard)
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


@pytest.mark.parametrize("loss", quick(sorted(LOSSES), ["sampled_softmax"]))
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
        assert problem.program.merged_size
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


@pytest.mark.slow
def test_steps_per_dispatch_change_no_bit_with_all_memories_at_once():
    problem = problem_of(
        negatives__bank__size=40,
        negatives__bank__warmup=0.3,
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
        many, losses = RUN(problem.program, problem.data, many, some, len(part))
    assert np.isfinite(losses).all() and losses[0] > 0
    jax.tree.map(np.testing.assert_array_equal, one, many)
    assert {"bank", "frequency"} == set(one.samplers)
