"""Losses of sequences: by loops over positions, and with every kind of samples."""

from dataclasses import fields

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.quick import quick
from helpers.sequences import ITEMS, LENGTH, items_of, problem_of, seen_by, slow_vector
from helpers.sequences import some_params as random_params
from helpers.source_steps import CHEAP

from twotower_jax.losses import LOSSES
from twotower_jax.training.sources import draw, mixture_of
from twotower_jax.training.step import run_steps, train_step

BATCH, EASY = 9, 4
STEP = jax.jit(train_step, **CHEAP)
RUN = jax.jit(run_steps.__wrapped__, **CHEAP)
SHAPE = {"training__batch_size": BATCH, "loss__temperature": 0.5}
MIXED = {"negatives__easy__num": EASY}
UNIFORM = MIXED | {"negatives__in_batch": False}
# Everything that decides the loss of a batch, in words of the configuration.
CASES = {
    "in-batch": {"loss__logq__correct": "none"},
    "in-batch + logQ": {"loss__logq__correct": "negatives"},
    "in-batch + logQ, no mask": {
        "loss__logq__correct": "all",
        "negatives__mask": "none",
    },
    "mixed + logQ, user positives": MIXED
    | {"loss__logq__correct": "negatives", "negatives__mask": "user_positives"},
    "uniform": UNIFORM | {"loss__logq__correct": "none"},
    "full softmax": {"loss__name": "full_softmax"},
    "bce": UNIFORM | {"loss__name": "bce", "loss__ratio": 2.0},
}
QUICK = ("mixed + logQ, user positives",)


def logits_of(problem, row_items, users, code, draws, counts):
    """Yield (item, log expected count) of the negatives of each row of a batch."""
    program, every = problem.program, range(BATCH)
    negatives, correct = program.negatives, program.correct
    own = [[j for j in every if j != i and code[j] == code[i]] for i in every]
    others = BATCH - 1 - np.mean([len(rows) for rows in own])
    share = np.exp(np.asarray(problem.program.log_q_batch, np.float64))

    def log_count(i, item):
        count = 0.0
        if negatives.in_batch:
            count += others * share[item]
            if negatives.mask != "user_positives":
                count += sum(row_items[j] == item for j in own[i])
        return np.log(count + negatives.easy_num / ITEMS)

    for i in every:
        drawn = []
        if negatives.in_batch:
            drawn += [row_items[j] for j in every if j != i]
        drawn += draws
        if negatives.mask != "none":
            drawn = [item for item in drawn if item != row_items[i]]
        if negatives.mask == "user_positives":
            drawn = [item for item in drawn if item not in counts[users[i]]]
        zero = correct == "none"
        yield (
            [(item, 0 if zero else log_count(i, item)) for item in drawn],
            log_count(i, row_items[i]) if correct == "all" else 0,
        )


def slow_loss(problem, params, rows):
    """Return the mean loss of a batch, position by position."""
    data, program = problem.data, problem.program
    state = problem.start()
    draws = draw(problem.program, data, state, data.batch(rows))
    columns = draws.columns.encode_ids[: draws.columns.log_mult.shape[0]]
    in_batch = BATCH if program.negatives.in_batch else 0
    easy = np.asarray(columns).tolist()[in_batch:]
    host, rows = jax.tree.map(np.asarray, params), np.asarray(rows)
    items = np.asarray(data.item)[rows].tolist()
    users = np.asarray(data.queries.user)[rows].tolist()
    seen, table = seen_by(problem), host["tables"]["candidate.id"]
    known = {user: set(items_of(user)) for user in set(users)}
    queries = [slow_vector(seen[row], host, 1) / 0.5 for row in rows]
    if program.loss.name == "full_softmax":
        scores = np.array(queries) @ table.T
        top = np.log(np.exp(scores).sum(axis=1))
        return np.mean([t - s[i] for t, s, i in zip(top, scores, items, strict=True)])
    losses = []
    code = np.cumsum(np.diff(users, prepend=users[0]) != 0)
    pairs = logits_of(problem, items, users, code, easy, known)
    for query, item, (negatives, own) in zip(queries, items, pairs, strict=True):
        positive = query @ table[item] - own
        logits = np.array([query @ table[j] - count for j, count in negatives])
        if program.loss.name == "bce":
            softplus = np.log1p(np.exp(logits))
            # Negatives weigh as much as a ratio of 2 asks for.
            loss = np.log1p(np.exp(-positive)) + 2 * softplus.mean()
        else:
            loss = np.log(np.exp(positive) + np.exp(logits).sum()) - positive
        losses.append(loss)
    return np.mean(losses)


@pytest.mark.parametrize("case", quick(CASES, QUICK))
def test_the_loss_of_a_batch_is_the_mean_over_positions_one_by_one(case):
    problem = problem_of(**SHAPE, **CASES[case])
    params = random_params(problem)
    state = problem.start()._replace(params=params)
    for rows in jnp.asarray(problem.order.batches(0, 2)):
        _, loss = STEP(problem.program, problem.data, state, rows)
        np.testing.assert_allclose(loss, slow_loss(problem, params, rows), rtol=2e-4)


def test_expected_counts_are_the_means_over_batches():
    """How often an item is in the other rows of a batch, own sequence or not."""
    users, items, size, number = 1000, 40, 64, 1500
    rng = np.random.default_rng(0)
    user = np.repeat(np.arange(users), 1 + rng.integers(1, LENGTH + 3, users))
    item = rng.choice(items, len(user), p=1 / np.arange(1, 41) / 4.278543)
    problem = problem_of(
        clicks=(user, item, users, items),
        loss__logq__correct="negatives",
        training__batch_size=size,
    )
    program, data, state = problem.program, problem.data, problem.start()
    every = jnp.tile(jnp.arange(items), (size, 1))

    @jax.jit
    def expected(rows):
        batch, mixture = data.batch(rows), mixture_of(program, data, state)
        draws = draw(program, data, state, batch)
        return jnp.exp(mixture.log_count(state.samplers, batch, draws, every))

    item, user = np.asarray(data.item), np.asarray(data.queries.user)
    found, counted = np.zeros((2, len(item), items))
    for rows in problem.order.batches(0, number):
        among = (item[rows][:, None] == np.arange(items)).astype(float)
        others = among.sum(axis=0) - among
        counted[rows] += others
        found[rows] += np.asarray(expected(jnp.asarray(rows)))
    clicked = np.zeros((users, items), bool)
    clicked[user, item] = True
    itself = item[:, None] == np.arange(items)
    own, other = clicked[user] & ~itself, ~clicked[user]
    for pairs in (own, other):
        assert counted[pairs].sum() == pytest.approx(found[pairs].sum(), rel=0.02)
    # Items of the own sequence are there more often than as draws from q+ alone.
    share = np.exp(np.asarray(program.log_q_batch))
    drawn = (size - 1) * share[None, :] * number * size / len(item)
    assert counted[own].sum() > 1.1 * (drawn * own).sum()


SAMPLES = {
    "popularity, per row": UNIFORM
    | {"negatives__layout": "per_row", "negatives__easy__sampler": "popularity"},
    "log_uniform": UNIFORM | {"negatives__easy__sampler": "log_uniform"},
    "bank": {"negatives__bank__size": 18, "negatives__bank__warmup": 0.01},
    "mined": {
        "negatives__hard__source": "mined",
        "negatives__hard__num": 3,
        "negatives__hard__mined__range_min": 1,
        "negatives__hard__mined__range_max": 9,
    },
    "dns": {
        "negatives__hard__source": "dns",
        "negatives__hard__num": 3,
        "negatives__hard__candidate_num": 4,
        "negatives__hard__log_q": "easy",
    },
    "resampled": {"negatives__hard__source": "resampled", "negatives__hard__num": 3},
    "half hard": MIXED
    | {
        "negatives__hard__source": "resampled",
        "negatives__hard__num": 3,
        "negatives__hard_ratio": 0.5,
    },
    "top": {"negatives__num_hard_negatives": 2},
    "streamed": {"loss__logq__frequency": "streaming"},
    "available": MIXED | {"negatives__available": True},
    "resampled positives": {"positives__strategy": "power", "positives__exponent": 0.5},
}


def trains(**keys):
    """Assert that a few steps with dropout lower the loss of the same batch."""
    problem = problem_of(
        training__batch_size=BATCH,
        **({"towers__sequence__dropout": 0.1, "optimizer__learning_rate": 0.1} | keys),
    )
    state = problem.renew(problem.start(), problem.memories)
    rows = np.repeat(problem.order.batches(0, 1), 20, axis=0)
    end, losses = RUN(problem.program, problem.data, state, rows, np.int32(20))
    losses = np.asarray(losses)
    assert np.isfinite(losses).all() and losses[-3:].mean() < losses[:3].mean()
    for leaf in jax.tree.leaves(end.params):
        assert np.isfinite(np.asarray(leaf)).all()


@pytest.mark.slow
@pytest.mark.parametrize("samples", SAMPLES)
def test_every_kind_of_samples_trains_sequences(samples):
    correct = {} if samples == "dns" else {"loss__logq__correct": "negatives"}
    trains(**(correct | SAMPLES[samples]))


@pytest.mark.slow
@pytest.mark.parametrize("loss", LOSSES)
def test_every_loss_trains_sequences(loss):
    keys = {"towers__normalize": True}
    if "logq" in {one.name for one in fields(LOSSES[loss])}:
        keys["loss__logq__correct"] = "negatives"
    if loss == "softmax_at_k":
        keys |= {"loss__at_k__k": 3, "loss__at_k__every": 0.1}
    trains(loss__name=loss, **MIXED, **keys)
