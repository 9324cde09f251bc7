"""Hard negatives that the model itself mines: a window of its exact ranking."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from twotower_jax.data.feed import Queries
from twotower_jax.evaluation.ragged import Ragged
from twotower_jax.evaluation.retrieve import top_k
from twotower_jax.model.embed import all_candidates, all_queries
from twotower_jax.sampling.mining import window
from twotower_jax.training.types import Structure, TrainData


class Mining(NamedTuple):
    """How hard negatives are mined.

    Attributes:
      every: steps between two minings; between them the pools are stale.
      first, end: the window [first, end) of ranks, from 0.
      queries: one query of every user, as they are known at the end of training.
      seen: training positives of every user, which are never mined.
    """

    every: int
    first: int
    end: int
    queries: Queries
    seen: Ragged


def mine(
    mining: Mining, structure: Structure, params: dict, data: TrainData
) -> jax.Array:
    """Return each user's items at the window's ranks [users, end - first] int32.

    The ranking is exact, over the whole catalogue without the user's training
    positives; num_items where it is shorter.

    References:
      Huang et al., Embedding-based retrieval in Facebook search, KDD 2020
      (offline mining; ranks 101-500 served best).
    """
    model, entities = structure.model, data.entities
    candidates = all_candidates(model, params, entities, structure.num_items)
    queries = all_queries(model, params, entities, mining.queries)
    _, items = top_k(queries, candidates, mining.end, seen=mining.seen)
    padded = jnp.where(items < 0, structure.num_items, items)
    return window(padded, mining.first, mining.end, structure.num_items)[0]
