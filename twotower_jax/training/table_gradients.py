"""Gradients by the tables: of the loss and its L2 penalty, from both towers."""

import jax
import jax.numpy as jnp

from twotower_jax.training.batch_loss import Context, Weights
from twotower_jax.training.optimizers import TouchedRows
from twotower_jax.training.penalty import Counted, bag_decay, look_ups, penalised
from twotower_jax.training.query_chunks import SummedRows
from twotower_jax.training.row_updates import BagGradient, as_bags

# The gradient by a table is the sum of its parts.
TableGradients = dict[str, list[TouchedRows | BagGradient]]


def table_gradients(
    context: Context, weights: Weights, gradient: Weights
) -> TableGradients:
    """Gradients by the tables that a batch touches."""
    tables: TableGradients = {}
    for side, entities in penalised(context).items():
        parts = _of_side(entities, getattr(weights, side), getattr(gradient, side))
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
