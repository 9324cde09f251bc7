"""Each user's k-th best score, among its positives and a sample of other items."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from twotower_jax import keys
from twotower_jax.data.feed import Queries
from twotower_jax.data.processes import on_host
from twotower_jax.evaluation.ragged import Ragged
from twotower_jax.evaluation.scorers import Embeddings
from twotower_jax.evaluation.spread import spread_items
from twotower_jax.model.two_tower import all_candidates, all_queries, mesh_of
from twotower_jax.training.mesh import everywhere
from twotower_jax.training.schedule import Renewals
from twotower_jax.training.types import Structure, TrainData, TrainState

# Positives whose scores are computed at a time: their vectors stay in the cache.
CHUNK = 2**13
SIGN, LOW = np.uint32(2**31), np.uint64(2**32 - 1)


class KthScores(NamedTuple):
    """How each user's k-th best score is estimated.

    Attributes:
      when: Steps of the estimates; before the first one the score is 0.
      k: Rank of the score, from 1; at most ``sampled``.
      sampled: Number of distinct items of the sample, at most the catalogue.
      seed: Seed of the run, which draws the samples.
      queries: One query of every user, as of the end of training.
      positives: Training positives of every user.

    References:
      Yang et al., Breaking the Top-K Barrier, KDD 2025, section 3.3 (quantiles by
      sampling).
    """

    when: Renewals
    k: int
    sampled: int
    seed: int
    queries: Queries
    positives: Ragged

    name: str = "kth_score"

    def rows(self, structure: Structure) -> dict[str, int]:
        """Rows of the memory: one a user."""
        return {self.name: self.positives.num_rows}

    def start(self, structure: Structure) -> jax.Array:
        """Return the scores before the first estimate, [users] float32."""
        return jnp.zeros(self.positives.num_rows, jnp.float32)

    def renew(
        self, structure: Structure, data: TrainData, state: TrainState
    ) -> np.ndarray:
        """The k-th largest score of every user among its positives and sampled items.

        The items are drawn without replacement, alike and the same for all users;
        those that are positives of a user count once.
        """
        model, num_items, params = structure.model, structure.num_items, state.params
        items = on_host(all_candidates(model, params, data.entities, num_items))
        users = np.asarray(all_queries(model, params, data.entities, self.queries))
        rng = keys.generator(self.seed, "loss.at_k", int(state.step))
        sample = np.sort(rng.choice(num_items, self.sampled, replace=False))
        others = _without(self.positives, sample)
        best, _ = Embeddings(users, _copied(params, items[sample])).top_k(
            self.k, others
        )
        own = _pair_scores(users, items, self.positives)
        return kth_largest(best, own, self.positives, self.k)


def _copied(params: dict[str, Any], items: np.ndarray) -> Any:
    """Return items on every device of the tables: each ranks a part of the queries."""
    mesh = mesh_of(params)
    if mesh is None:
        return items
    return spread_items(everywhere(mesh, items), len(items))


def kth_largest(
    best: np.ndarray, own: np.ndarray, positives: Ragged, k: int
) -> np.ndarray:
    """The k-th largest of the best scores of each row and of its own scores.

    Examples:
      >>> positives = Ragged(np.array([0, 2, 2]), np.array([5, 7]))
      >>> best = np.array([[0.75, 0.25], [0.5, 0.125]])
      >>> kth_largest(best, np.array([0.5, 0.875]), positives, 2).tolist()
      [0.75, 0.125]
    """
    number = len(best)
    row = np.concatenate([np.repeat(np.arange(number), k), positives.rows])
    score = np.concatenate([best.reshape(-1), own]).astype(np.float32, copy=False)
    # Integers sort in an eighth of the time of pairs of a row and a score.
    order = np.sort(row.astype(np.uint64) << np.uint64(32) | _descending(score))
    begin = np.arange(number) * k + positives.offsets[:-1]
    return _scores((order[begin + k - 1] & LOW).astype(np.uint32))


def _descending(scores: np.ndarray) -> np.ndarray:
    """Return integers [n] uint32 that rise as float32 scores fall.

    Read as integers, floats rise with their bits, negative ones fall.
    """
    bits = scores.view(np.uint32)
    return np.where(bits & SIGN, bits, ~(bits | SIGN))


def _scores(integers: np.ndarray) -> np.ndarray:
    """Return the scores of the integers of `_descending`."""
    bits = np.where(integers & SIGN, integers, ~(integers | SIGN))
    return bits.view(np.float32)


def _without(positives: Ragged, sample: np.ndarray) -> Ragged:
    """Return the places in the ascending sample of each row's positives in it."""
    place = np.minimum(np.searchsorted(sample, positives.items), len(sample) - 1)
    present = sample[place] == positives.items
    sums = np.concatenate([[0], np.cumsum(present)])
    return Ragged(sums[positives.offsets], place[present].astype(np.int32))


def _pair_scores(users: np.ndarray, items: np.ndarray, positives: Ragged) -> np.ndarray:
    """Return the scores of users and their positives, [nnz] float32."""
    row, found = positives.rows, np.empty(len(positives.items), np.float32)
    for first in range(0, len(row), CHUNK):
        part = slice(first, first + CHUNK)
        pairs = users[row[part]], items[positives.items[part]]
        found[part] = np.einsum("nd,nd->n", *pairs)
    return found


def weights_at_k(lead: jax.Array, temperature: jax.Array) -> jax.Array:
    """Weights sigmoid((s_p - b_u) / T_w) of the rows, b_u the user's k-th best score.

    Args:
      lead: [B] s_p - b_u, scores before the temperature of the loss.
      temperature: [] T_w.

    Returns:
      [B] float32. Gradients flow to the scores, as in the published code.

    References:
      Yang et al., Breaking the Top-K Barrier: Advancing Top-K Ranking Metrics
      Optimization in Recommender Systems, KDD 2025, eq. 3.5.
    """
    return jax.nn.sigmoid(lead / temperature)
