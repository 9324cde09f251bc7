"""Gradients by the tables: of the loss and of its L2 penalty."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from twotower_jax.model.embeddings import Bag, TableRows
from twotower_jax.model.inputs import Inputs
from twotower_jax.training.batch_loss import Context, Weights, number_of_slots
from twotower_jax.training.queries import SummedRows
from twotower_jax.training.sources import row_weights
from twotower_jax.training.updates import BagGradient, TouchedRows, as_bags


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
    for distinct in inputs.place:
        place = distinct[place]
    positives = {
        name: rows._replace(
            place=place if rows.place is None else rows.place[place],
            present=rows.present[place],
        )
        for name, rows in inputs.candidate.rows.items()
    }
    number = number_of_slots(draws) + draws.columns.encode_ids.shape[0]
    if inputs.place:
        number = program.structure.num_items
    every = jnp.zeros(number, weight.dtype).at[place].add(weight)
    query, candidate = inputs.query, inputs.candidate
    entities = {
        "query": Counted(query, query.rows, weight, weight),
        "candidate": Counted(candidate, positives, every, weight),
    }
    for name, (items, of_term) in inputs.terms.items():
        none = jnp.zeros(items.shape[0], weight.dtype)
        entities[name] = Counted(of_term, of_term.rows, none, none)
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
    if history and history.tokens:
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


# --- Gradients by the tables: of the loss and its L2 penalty, from both towers --------


# The gradient by a table is the sum of its parts.
TableGradients = dict[str, list[TouchedRows | BagGradient]]


def table_gradients(
    context: Context, weights: Weights, gradient: Weights
) -> TableGradients:
    """Gradients by the tables that a batch touches."""
    tables: TableGradients = {}
    for side, entities in penalised(context).items():
        read, moved = (
            one.terms[side] if side in one.terms else getattr(one, side)
            for one in (weights, gradient)
        )
        parts = _of_side(entities, read, moved)
        for name, part in parts.items():
            tables[name] = [*tables.get(name, []), part]
    return tables


def _of_side(
    entities: Counted, values: dict[str, jax.Array], gradient: dict[str, jax.Array]
) -> dict[str, TouchedRows | BagGradient]:
    """Return the gradient of one tower by each of its tables."""
    parts: dict[str, TouchedRows | BagGradient] = {}
    for name, rows in entities.inputs.rows.items():
        norms = look_ups(entities.rows[name], entities.row_weight)
        added = gradient[name] + norms[:, None] * values[name]
        parts[name] = TouchedRows(rows.ids, values[name], added)
    for name, bag in entities.inputs.bags.items():
        decay = bag_decay(entities, bag)
        summed = gradient[name]
        if isinstance(summed, SummedRows):
            factor = jnp.zeros(len(summed.ids), decay.dtype)
            factor = factor.at[summed.place].add(decay.reshape(-1), mode="drop")
            rows = TouchedRows(summed.ids, summed.gradient, summed.gradient)
            parts[name] = as_bags(rows)._replace(decay=factor[:, None])
            continue
        vectors = gradient[name] / bag.total[:, None]
        parts[name] = BagGradient(bag.ids, bag.weight, vectors, decay)
    return parts
