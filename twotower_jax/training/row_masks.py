"""Items that a row masks: they are no negatives of it."""

import jax

from twotower_jax.data.known_items import KnownItems
from twotower_jax.data.shards import take, take_rows
from twotower_jax.sampling.masks import MASKS, contains
from twotower_jax.training.types import Batch, Program, TrainData


def masked_items(
    program: Program, data: TrainData, batch: Batch, items: jax.Array
) -> jax.Array:
    """Whether each item of a row is masked in it.

    Masked are ids outside of the catalogue, which stand for draws that are switched
    off, the items that ``negatives.mask`` names, and with ``negatives.available`` those
    that are not known yet.

    Args:
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
    if data.known is not None:
        masked |= unknown_items(data.known, batch, flat)
    return masked.reshape(items.shape)


def unknown_items(known: KnownItems, batch: Batch, items: jax.Array) -> jax.Array:
    """Whether each item is not known yet at the moment of the row.

    Args:
      items: [B or 1, K] int32; an id outside of the catalogue gets some value.

    Returns:
      [B, K] bool.
    """
    return take(known.place, items) >= take_rows(known.number, batch.rows)[:, None]
