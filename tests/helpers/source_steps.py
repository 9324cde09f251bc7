"""A small problem with every source of negatives, its steps, and a slow reference.

The reference is written from the definition: negatives are listed row by row, their
expected counts added up by hand, and the mean of -log [e^p / (e^p + sum e^(s - log N))]
is differentiated as it stands. Only the draws themselves are the package's
(`test_draws` compares them with their counts).
"""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np

from helpers.problems import as_loaded, small_problem, with_program, zipf_clicks
from twotower_jax.data.log import Stage
from twotower_jax.losses import SampledSoftmax
from twotower_jax.model.tower import l2_normalize
from twotower_jax.model.two_tower import query_inputs
from twotower_jax.optimizers import Sgd
from twotower_jax.registry import as_tree
from twotower_jax.training.sources import draw
from twotower_jax.training.step import init_state, run_steps

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
CHEAP = {"compiler_options": {"xla_backend_optimization_level": 0}}
DRAW, RUN = jax.jit(draw, **CHEAP), jax.jit(run_steps.__wrapped__, **CHEAP)


def problem_of(**keys):
    return small_problem(DATA, **(SGD | keys))


PLAIN = problem_of().program


def start(problem):
    """Return the state before the first step, of one program for all problems."""
    own = {
        name: getattr(problem.program, name) for name in ("seed", "model", "optimizer")
    }
    state = init_state(replace(PLAIN, **own), jnp.float32(problem.init_scale))
    return state._replace(samplers=problem.start().samplers)


def go(problem, state, rows):
    """Return the state after the batches rows [steps, B], and the losses."""
    rows = np.atleast_2d(np.asarray(rows, np.int32))
    number = np.int32(len(rows))
    return RUN(problem.program, problem.data, state, rows, number)


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
    parts = {
        "optimizer": as_tree(Sgd(), jnp.float32),
        "loss": as_tree(SampledSoftmax(), jnp.float32),
    }
    program = with_program(problem, **parts, correct="none").program
    batch = problem.data.batch(jnp.asarray(rows))
    inputs = query_inputs(
        program.model, problem.data.entities, batch.queries, batch.items
    )
    draws = DRAW(program, problem.data, state, batch, inputs)
    number = draws.columns.key.shape[0]
    ids = np.tile(np.asarray(draws.columns.encode_ids)[:number], (len(rows), 1))
    slots = np.asarray(draws.slots.items).reshape(len(rows), -1)
    ids = np.concatenate([ids, slots], 1)
    return ids, (ids != ITEM[rows][:, None]) & (ids < ITEMS), draws


NO_BANK = jnp.zeros((0, 6))
