"""The self-supervised loss of items: one view of an item against views of others."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from twotower_jax import keys
from twotower_jax.losses.blockwise import softmax_loss
from twotower_jax.losses.terms import ColumnTerms, PairTerms, RowTerms, Scores
from twotower_jax.model.inputs import Inputs, candidate_inputs
from twotower_jax.model.tower import l2_normalize
from twotower_jax.training.types import Program, TrainData, TrainState


class Views(NamedTuple):
    """Two views of the items of a step.

    Attributes:
      items: [N] int32.
      inputs: Inputs of the candidate tower for the N first views, then the N second.
    """

    items: jax.Array
    inputs: Inputs


def draw_views(program: Program, data: TrainData, state: TrainState) -> Views | None:
    """Two views of uniform items; None where the loss has no such term.

    A random half of the features is shown in the first view, the others in the second.
    All items of a step are divided alike, so that two items never differ in which of
    their features are missing.

    References:
      Yao et al., Self-supervised learning for large-scale item recommendations, CIKM
      2021 (random feature masking in two exclusive sets; items drawn uniformly, other
      than the clicked items of the main loss).
    """
    number = program.structure.view_num
    if not number:
        return None
    of_items, of_features = jax.random.split(
        keys.stream(program.hyper.seed, "loss.self_supervised", state.step)
    )
    num_items = program.structure.num_items
    items = jax.random.randint(of_items, (number,), 0, num_items, jnp.int32)
    features = len(program.structure.model.candidate.features)
    place = jax.random.permutation(of_features, features)
    first = place < features // 2
    shown = jnp.repeat(jnp.stack([first, ~first]), number, axis=0)
    inputs = candidate_inputs(
        program.structure.model, data.entities, jnp.tile(items, 2), shown
    )
    return Views(items, inputs)


def view_loss(program: Program, items: jax.Array, views: jax.Array) -> jax.Array:
    """Weighted mean softmax loss of the first views against the second.

    For items i and j of the step, with embeddings z of the first and z' of the second
    views,

      L = -1/N sum_i log [ e^{cos(z_i, z'_i) / tau} / sum_j e^{cos(z_i, z'_j) / tau} ],

    where j runs over i itself and the draws of other items.

    Args:
      items: [N] int32.
      views: [2 N, D] embeddings of the first and then of the second views.

    Returns:
      [] float32, times the weight of the loss.

    References:
      Yao et al., CIKM 2021, eq. 2.
    """
    numbers = program.hyper.self_supervised
    if numbers is None:
        raise ValueError("the program has no self-supervised loss")
    rows = items.shape[0]
    first, second = jnp.split(l2_normalize(views), 2)
    first = first / numbers.temperature
    zeros, none = jnp.zeros(rows, jnp.float32), jnp.zeros((rows, 0), jnp.float32)
    place = jnp.arange(rows, dtype=jnp.int32)
    loss = softmax_loss(
        Scores(first, second, (first * second).sum(axis=1), none),
        ColumnTerms(zeros, zeros[None, :], items, place),
        RowTerms(
            weight=jnp.full(rows, 1 / rows, jnp.float32),
            key=items,
            own_log_mult=jnp.full(rows, -jnp.inf, jnp.float32),
            own_log_count=zeros,
            slots=PairTerms(none, none),
            seen=None,
        ),
    )
    return numbers.weight * loss
