"""Memories of the samplers that the loop renews: mined items and k-th best scores.

Each has a row per user, ``start``s before the first step, and is ``renew``ed before the
steps of ``when``. Its name is that in ``TrainState.samplers``.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from twotower_jax import keys
from twotower_jax.arrays.processes import on_host
from twotower_jax.data.feed import Queries
from twotower_jax.evaluation.ragged import Ragged
from twotower_jax.evaluation.scorers import Embeddings
from twotower_jax.evaluation.spread import spread_items
from twotower_jax.model.two_tower import all_candidates, all_queries, mesh_of
from twotower_jax.negatives.mined import window
from twotower_jax.training.mesh import everywhere
from twotower_jax.training.schedule import Renewals
from twotower_jax.training.types import Program, TrainData, TrainState

# Positives whose scores are computed at a time: their vectors stay in the cache.
CHUNK = 2**13
SIGN, LOW = np.uint32(2**31), np.uint64(2**32 - 1)


class Mining(NamedTuple):
    """Hard negatives that the model mines: a window of each user's exact ranking.

    Huang et al., Embedding-based retrieval in Facebook search, KDD 2020 (offline
    mining; ranks 101-500 served best).
    """

    # Between two minings the pools are stale. None is at step 0, where the parameters
    # are random.
    when: Renewals
    first: int  # first rank of the window, from 0
    end: int  # rank behind the window
    queries: Queries  # one of every user, as of the end of training
    positives: Ragged  # of every user in training, which are never mined
    name: str = "mined"

    def start(self, program: Program) -> jax.Array:
        """No mined item, [users, end - first] int32, all num_items."""
        shape = (self.positives.num_rows, self.end - self.first)
        return jnp.full(shape, program.num_items, jnp.int32)

    def renew(self, program: Program, data: TrainData, state: TrainState) -> np.ndarray:
        """Each user's items at the ranks of the window of the exact ranking."""
        model, entities = program.model, data.entities
        candidates = all_candidates(model, state.params, entities, program.num_items)
        queries = all_queries(model, state.params, entities, self.queries)
        items = spread_items(candidates, program.num_items)
        _, items = Embeddings(queries, items).top_k(self.end, self.positives)
        return window(items, self.first, self.end, program.num_items)


class KthScores(NamedTuple):
    """Each user's k-th best score, among its positives and a sample of other items.

    Yang et al., Breaking the Top-K Barrier, KDD 2025, section 3.3 (quantiles by
    sampling).
    """

    when: Renewals  # before the first estimate the score is 0
    k: int  # rank of the score, from 1; at most ``sampled``
    sampled: int  # distinct items of the sample, at most the catalogue
    seed: int  # of the run, which draws the samples
    queries: Queries  # one of every user, as of the end of training
    positives: Ragged  # of every user in training
    name: str = "kth_score"

    def start(self, program: Program) -> jax.Array:
        """The scores before the first estimate, [users] float32."""
        return jnp.zeros(self.positives.num_rows, jnp.float32)

    def renew(self, program: Program, data: TrainData, state: TrainState) -> np.ndarray:
        """Each user's k-th largest score, among positives and items sampled for all."""
        model, num_items, params = program.model, program.num_items, state.params
        items = on_host(all_candidates(model, params, data.entities, num_items))
        users = np.asarray(all_queries(model, params, data.entities, self.queries))
        rng = keys.generator(self.seed, "loss.at_k", int(state.step))
        sample = np.sort(rng.choice(num_items, self.sampled, replace=False))
        # Places in the sample of the positives of each user that are in it.
        place = np.searchsorted(sample, self.positives.items)
        place = np.minimum(place, len(sample) - 1)
        present = sample[place] == self.positives.items
        sums = np.concatenate([[0], np.cumsum(present)])
        offsets = sums[self.positives.offsets]
        others = Ragged(offsets, place[present].astype(np.int32))
        drawn: Any = items[sample]
        if (mesh := mesh_of(params)) is not None:  # each device ranks for some queries
            drawn = spread_items(everywhere(mesh, drawn), len(sample))
        best, _ = Embeddings(users, drawn).top_k(self.k, others)
        row, own = self.positives.rows, np.empty(len(self.positives.items), np.float32)
        for begin in range(0, len(row), CHUNK):
            part = slice(begin, begin + CHUNK)
            pairs = users[row[part]], items[self.positives.items[part]]
            own[part] = np.einsum("nd,nd->n", *pairs)
        return kth_largest(best, own, self.positives, self.k)


Memory = Mining | KthScores


def kth_largest(
    best: np.ndarray, own: np.ndarray, positives: Ragged, k: int
) -> np.ndarray:
    """The k-th largest of the best scores of each row and of its own scores."""
    number = len(best)
    row = np.concatenate([np.repeat(np.arange(number), k), positives.rows])
    score = np.concatenate([best.reshape(-1), own]).astype(np.float32, copy=False)
    # Integers sort in an eighth of the time of pairs of a row and a score. Read as
    # integers, floats rise with their bits, negative ones fall.
    bits = score.view(np.uint32)
    descending = np.where(bits & SIGN, bits, ~(bits | SIGN))
    order = np.sort(row.astype(np.uint64) << np.uint64(32) | descending)
    begin = np.arange(number) * k + positives.offsets[:-1]
    kth = (order[begin + k - 1] & LOW).astype(np.uint32)
    return np.where(kth & SIGN, kth, ~(kth | SIGN)).view(np.float32)
