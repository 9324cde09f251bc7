"""The L2 penalty of a batch, a function of its queries and positives alone.

  penalty = l2 / 2 * sum_i w_i (|rows of query i|^2 + |rows of positive i|^2)

The weights w_i are those of the rows in the loss and sum to 1; the rows are those of
the embedding tables that the towers look up, and a feature of several values counts
the mean of their squared norms. Negatives add nothing, so that two arms with other
negatives are regularised alike. Summed over an epoch, a row is penalised once per
positive, as in matrix factorisation.

References:
  Salakhutdinov & Mnih, Probabilistic matrix factorization, NIPS 2007, eq. 4, with the
  penalty of a row in proportion to its number of positives.
"""

import jax
import jax.numpy as jnp

from twotower_jax.model.embeddings import TableRows
from twotower_jax.training.batch_loss import Context, Weights, number_of_slots
from twotower_jax.training.correction import row_weights


def add_l2(context: Context, weights: Weights, gradient: Weights) -> Weights:
    """The gradient of the loss of a batch, with that of its L2 penalty added.

    Args:
      context: Constants of the loss.
      weights: Parameters that the batch touches.
      gradient: Gradient of the loss by them.

    Returns:
      The sum of both gradients.
    """
    program, draws, inputs = context.program, context.draws, context.inputs
    weight = program.hyper.l2 * row_weights(program, context.batch)
    place = number_of_slots(draws) + draws.columns.positive
    positives = {
        name: rows._replace(place=rows.place[place], present=rows.present[place])
        for name, rows in inputs.candidate.rows.items()
    }
    return gradient._replace(
        query=_add(gradient.query, weights.query, inputs.query.rows, weight),
        candidate=_add(gradient.candidate, weights.candidate, positives, weight),
    )


def _add(
    gradient: dict[str, jax.Array],
    values: dict[str, jax.Array],
    rows: dict[str, TableRows],
    weight: jax.Array,
) -> dict[str, jax.Array]:
    """Return the gradient by the rows of each table, with that of their norms added."""
    return {
        name: gradient[name] + look_ups(rows[name], weight)[:, None] * values[name]
        for name in rows
    }


def look_ups(rows: TableRows, weight: jax.Array) -> jax.Array:
    """Weight with which each row of a table is looked up.

    Args:
      rows: Rows, with places [E] for one id per entity, [E, width] for several.
      weight: [E] float, weight of each entity, spread over its values.

    Returns:
      [R] float.

    Examples:
      >>> from twotower_jax.model.embeddings import find_rows
      >>> rows = find_rows(jnp.array([[7, 7], [3, -1]]), 9)
      >>> weights = look_ups(rows, jnp.array([1.0, 0.5]))
      >>> rows.ids.tolist(), weights.tolist()  # 9 is padding
      ([3, 7, 9, 9], [0.5, 1.0, 0.0, 0.0])
    """
    present = rows.present.reshape(weight.shape[0], -1).astype(weight.dtype)
    number = jnp.maximum(present.sum(axis=1), 1)
    share = present * (weight / number)[:, None]
    total = jnp.zeros(rows.ids.shape[0], weight.dtype)
    return total.at[rows.place.reshape(share.shape)].add(share)
