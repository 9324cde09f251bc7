"""Batches of a loss with every kind of term, and their negatives by loops."""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from twotower_jax.losses.logits import (
    ColumnTerms,
    ListedTerms,
    PairTerms,
    RowTerms,
    Scores,
)

ROWS, COLUMNS, DIM, SLOTS, POOL = 13, 9, 5, 3, 4
ITEM = np.array([0, 1, 2, 3, 4, 5, 6, 7, 3])  # Items of the columns; 3 twice.
FEATURES = ("plain", "groups", "pools", "seen", "slots", "all")


class Case(NamedTuple):
    """The arguments of ``softmax_loss``."""

    scores: Scores
    columns: ColumnTerms
    rows: RowTerms


def make_case(feature, seed=0, own_counts=False):
    """Return scores and terms with one feature, or all of them."""
    rng = np.random.default_rng(seed)
    query, matrix = rng.normal(size=(ROWS, DIM)), rng.normal(size=(COLUMNS, DIM))
    key = rng.integers(0, 8, ROWS)
    everything = feature == "all"
    groups = 2 if everything or feature in ("groups", "pools") else 1
    distinct, place = np.unique(ITEM, return_inverse=True)
    columns = ColumnTerms(
        np.log(rng.integers(1, 4, COLUMNS)),
        rng.normal(size=(groups, COLUMNS)),
        ITEM.astype(np.int32),
        (place.astype(np.int32),),
    )
    none = np.zeros((ROWS, 0))
    rows = RowTerms(
        rng.uniform(0.5, 2, ROWS),
        key.astype(np.int32),
        np.linspace(-1, 1, ROWS) if own_counts else np.full(ROWS, -np.inf),
        rng.normal(size=ROWS),
        PairTerms(none, none),
        (rng.integers(0, 2, ROWS),) if groups == 2 else (),
    )
    if everything or feature == "pools":
        pool = np.stack([rng.permutation(12)[:POOL] for _ in range(ROWS)])
        pool_place = np.where(pool < len(distinct), pool, COLUMNS)
        log_count = rng.normal(size=(ROWS, POOL))
        listed = ListedTerms(pool_place.astype(np.int32), log_count)
        rows = rows._replace(listed=(listed,))
    if everything or feature == "seen":
        rows = rows._replace(seen=(rng.random((ROWS, COLUMNS)) < 0.2,))
    slots = none
    if everything or feature == "slots":
        slots = rng.normal(size=(ROWS, SLOTS))
        off = rng.random((ROWS, SLOTS)) < 0.3
        log_count = rng.normal(size=(ROWS, SLOTS))
        rows = rows._replace(slots=PairTerms(np.where(off, -np.inf, 0.0), log_count))
    positive = (query * matrix[key]).sum(1)
    return Case(Scores(query, matrix, positive, slots), columns, rows)


def negatives(i, case):
    """Return (score, log count, draws) of row i's negatives, by loops."""
    scores, columns, rows = case
    found, place = [], columns.place[0]
    group = rows.group[0][i] if rows.group else 0
    for c in range(COLUMNS):
        mult = math.exp(columns.log_mult[c])
        count = math.exp(columns.log_count[group, c])
        for listed in rows.listed:
            for at, more in zip(listed.place[i], listed.log_count[i], strict=True):
                count += math.exp(more) if at == place[c] else 0
        if columns.key[c] == rows.key[i]:
            mult = math.exp(rows.own_log_mult[i])
            count = math.exp(rows.own_log_count[i])
        if rows.seen and rows.seen[0][i, place[c]]:
            mult = 0
        found.append((scores.query[i] @ scores.columns[c], math.log(count), mult))
    for s in range(scores.slots.shape[1]):
        mult = math.exp(rows.slots.log_mult[i, s])
        found.append((scores.slots[i, s], rows.slots.log_count[i, s], mult))
    return [one for one in found if one[2] > 0]


def on_device(case):
    return jax.tree.map(jnp.asarray, case)
