"""Hard negatives that the model itself mines: a window of its exact ranking."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from twotower_jax.data.feed import Queries
from twotower_jax.evaluation.ragged import Ragged
from twotower_jax.evaluation.scorers import Embeddings
from twotower_jax.evaluation.spread import spread_items
from twotower_jax.model.embed import all_candidates, all_queries
from twotower_jax.negatives.mined import window
from twotower_jax.training.schedule import Renewals
from twotower_jax.training.types import Structure, TrainData


class Mining(NamedTuple):
    """How hard negatives are mined.

    Attributes:
      when: Steps of the minings; between them the pools are stale. None is at step 0,
        where the parameters are random.
      first: First rank of the window, from 0.
      end: Rank behind the window.
      queries: One query of every user, as of the end of training.
      seen: Training positives of every user, which are never mined.
    """

    when: Renewals
    first: int
    end: int
    queries: Queries
    seen: Ragged


def empty_window(mining: Mining, num_items: int) -> jax.Array:
    """The mined items before the first mining: none.

    Returns:
      [users, end - first] int32, all num_items.
    """
    shape = (mining.seen.num_rows, mining.end - mining.first)
    return jnp.full(shape, num_items, jnp.int32)


def mine(
    mining: Mining, structure: Structure, params: dict[str, Any], data: TrainData
) -> np.ndarray:
    """Each user's items at the ranks of the window.

    The ranking is exact, over the whole catalogue without the user's training
    positives.

    Returns:
      [users, end - first] int32; num_items where the ranking is shorter.

    References:
      Huang et al., Embedding-based retrieval in Facebook search, KDD 2020 (offline
      mining; ranks 101-500 served best).
    """
    model, entities = structure.model, data.entities
    candidates = all_candidates(model, params, entities, structure.num_items)
    queries = all_queries(model, params, entities, mining.queries)
    items = spread_items(candidates, structure.num_items)
    _, items = Embeddings(queries, items).top_k(mining.end, mining.seen)
    return window(items, mining.first, mining.end, structure.num_items)
