"""The L2 penalty of a batch, a function of its queries and positives alone.

  penalty = l2 / 2 * sum_i w_i (|rows of query i|^2 + |rows of positive i|^2)

The weights w_i are those of the rows in the loss; the rows are those of
the embedding tables that the towers look up, and a feature of several values counts
the mean of their squared norms. Negatives add nothing, so that two arms with other
negatives are regularised alike. Summed over an epoch, a row is penalised once per
positive, as in matrix factorisation.

References:
  Salakhutdinov & Mnih, Probabilistic matrix factorization, NIPS 2007, eq. 4, with the
  penalty of a row in proportion to its number of positives.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from twotower_jax.model.bags import Bag
from twotower_jax.model.embeddings import TableRows
from twotower_jax.model.inputs import Inputs
from twotower_jax.training.batch_loss import Context, number_of_slots
from twotower_jax.training.correction import row_weights


class Counted(NamedTuple):
    """Entities of one tower, and the weights with which the penalty counts them.

    Attributes:
      inputs: Inputs of the tower.
      rows: Its features of one value, of the counted entities alone.
      weight: [E] float32 weight of every entity, 0 for one that is not counted.
      row_weight: [B] float32 weights of the counted entities.
    """

    inputs: Inputs
    rows: dict[str, TableRows]
    weight: jax.Array
    row_weight: jax.Array


def penalised(context: Context) -> dict[str, Counted]:
    """The entities of a batch, by the field of its weights that they read."""
    program, draws, inputs = context.program, context.draws, context.inputs
    weight = program.hyper.l2 * row_weights(program, context.data, context.batch)
    place = number_of_slots(draws) + draws.columns.positive
    if inputs.place is not None:
        place = inputs.place[place]
    positives = {
        name: rows._replace(
            place=place if rows.place is None else rows.place[place],
            present=rows.present[place],
        )
        for name, rows in inputs.candidate.rows.items()
    }
    number = number_of_slots(draws) + draws.columns.encode_ids.shape[0]
    if inputs.place is not None:
        number = program.structure.num_items
    every = jnp.zeros(number, weight.dtype).at[place].add(weight)
    query, candidate = inputs.query, inputs.candidate
    entities = {
        "query": Counted(query, query.rows, weight, weight),
        "candidate": Counted(candidate, positives, every, weight),
    }
    if inputs.views is not None:
        none = jnp.zeros(2 * inputs.views.items.shape[0], weight.dtype)
        views = inputs.views.inputs
        entities["views"] = Counted(views, views.rows, none, none)
    return entities


def bag_decay(entities: Counted, bag: Bag) -> jax.Array:
    """Weight with which the penalty counts each value of bags.

    The weight of an entity is spread over its values in proportion to theirs; bags of
    the places of a history share the weight of their query. Of a sequence the newest
    item has all of it, so that each item counts once per row that it adds.

    Returns:
      [E, width] float32.
    """
    weight, history = entities.weight, entities.inputs.history
    if history is not None and history.tokens is not None:
        tokens = history.tokens
        if bag.ids.shape[0] == tokens.place.size:
            every = jnp.zeros(tokens.place.size, weight.dtype)
            weight = every.at[tokens.newest].set(weight)
    elif bag.ids.shape[0] != weight.shape[0] and history is not None:
        present = history.present
        number = jnp.maximum(present.sum(axis=1, keepdims=True), 1)
        weight = (present * (weight[:, None] / number)).reshape(-1)
    return bag.weight * (weight / bag.total)[:, None]


def look_ups(rows: TableRows, weight: jax.Array) -> jax.Array:
    """Weight with which each row of a table is looked up.

    Args:
      rows: Rows, with places [E].
      weight: [E] float, weight of each entity.

    Returns:
      [R] float.

    Examples:
      >>> from twotower_jax.model.embeddings import find_rows
      >>> rows = find_rows(jnp.array([7, 3, 7, -1]), 9)
      >>> weights = look_ups(rows, jnp.array([1.0, 0.5, 1.0, 1.0]))
      >>> rows.ids.tolist(), weights.tolist()  # 9 is padding
      ([3, 7, 9, 9], [0.5, 2.0, 0.0, 0.0])
    """
    total = jnp.zeros(rows.ids.shape[0], weight.dtype)
    return total.at[rows.place].add(rows.present.astype(weight.dtype) * weight)
