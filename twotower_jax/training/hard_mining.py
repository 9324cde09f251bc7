"""Hard negatives that the model itself mines: a window of its exact ranking."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from twotower_jax.data.feed import Queries
from twotower_jax.evaluation.ragged import Ragged
from twotower_jax.evaluation.scorers import Embeddings
from twotower_jax.evaluation.spread import spread_items
from twotower_jax.model.two_tower import all_candidates, all_queries
from twotower_jax.negatives.mined import window
from twotower_jax.training.schedule import Renewals
from twotower_jax.training.types import Structure, TrainData, TrainState


class Mining(NamedTuple):
    """How hard negatives are mined.

    Attributes:
      when: Steps of the minings; between them the pools are stale. None is at step 0,
        where the parameters are random.
      first: First rank of the window, from 0.
      end: Rank behind the window.
      queries: One query of every user, as of the end of training.
      seen: Training positives of every user, which are never mined.

    References:
      Huang et al., Embedding-based retrieval in Facebook search, KDD 2020 (offline
      mining; ranks 101-500 served best).
    """

    when: Renewals
    first: int
    end: int
    queries: Queries
    seen: Ragged
    name: str = "mined"

    def rows(self, structure: Structure) -> dict[str, int]:
        """Rows of the memory: one a user."""
        return {self.name: self.seen.num_rows}

    def start(self, structure: Structure) -> jax.Array:
        """Return no mined item, [users, end - first] int32, all num_items."""
        shape = (self.seen.num_rows, self.end - self.first)
        return jnp.full(shape, structure.num_items, jnp.int32)

    def renew(
        self, structure: Structure, data: TrainData, state: TrainState
    ) -> np.ndarray:
        """Each user's items at the ranks of the window of the exact ranking."""
        model, entities = structure.model, data.entities
        candidates = all_candidates(model, state.params, entities, structure.num_items)
        queries = all_queries(model, state.params, entities, self.queries)
        items = spread_items(candidates, structure.num_items)
        _, items = Embeddings(queries, items).top_k(self.end, self.seen)
        return window(items, self.first, self.end, structure.num_items)
