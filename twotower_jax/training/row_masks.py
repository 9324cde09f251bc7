"""Items that a row masks: they are no negatives of it."""

import jax

from twotower_jax.sampling.masks import MASKS, contains
from twotower_jax.training.types import Batch, Program, TrainData


def masked_items(
    program: Program, data: TrainData, batch: Batch, items: jax.Array
) -> jax.Array:
    """Whether each item of a row is masked in it.

    Masked are ids outside of the catalogue, which stand for draws that are switched
    off, and the items that ``negatives.mask`` names.

    Args:
      program: The program, with the mask.
      data: Training data, with the positives of the users where the mask reads them.
      batch: B positives.
      items: [B, ...] int32.

    Returns:
      [B, ...] bool.
    """
    flat = items.reshape(items.shape[0], -1)
    masked = flat >= program.structure.num_items
    if MASKS[program.structure.negatives.mask].same_item:
        masked |= flat == batch.items[:, None]
    if data.positives is not None:
        masked |= contains(data.positives, batch.queries.user, flat)
    return masked.reshape(items.shape)
