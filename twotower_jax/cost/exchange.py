"""Bytes that the devices of a training exchange in a step.

Counted in compiled steps of an in-batch softmax: with B rows of queries and E encoded
candidates of D numbers, on N devices of which T hold a copy of the tables,

* rows looked up in spread tables are summed over T devices: (B + E) D numbers, and so
  are the features of a user for each row, of an item for each candidate and each item
  of a history, and what is kept of each positive: user and item, the span and the items
  of its history, its weight, its pool;
* embeddings of candidates are gathered by all N: 3 E D;
* gradients of them, of the looked-up rows and of the layers are summed over N:
  (2 E + B + E) D and the layers.

A sum of n numbers over N devices sends 2 (N - 1) / N n from each of them, a gathering
of n numbers (N - 1) / N n.
"""

import math

from twotower_jax.cost.memory import NUMBER
from twotower_jax.cost.shape import Shape, dense_numbers
from twotower_jax.model.tower import TowerSpec
from twotower_jax.sampling.masks import CHUNK


def exchanged_bytes(shape: Shape) -> float:
    """Bytes that each device sends to others in a step; it receives as many.

    Args:
      shape: of the training.
    """
    model, dim = shape.structure.model, shape.dim
    looked_up = shape.batch * _tables(model.query)
    looked_up += shape.candidates * _tables(model.candidate)
    dense = dense_numbers(model.query) + dense_numbers(model.candidate)
    gathered = 3 * shape.candidates * dim
    summed = 2 * shape.candidates * dim + looked_up * dim + dense
    of_user, of_item = (each / NUMBER for each in shape.feature_bytes)
    items = shape.candidates + shape.devices * shape.tokens
    values = shape.batch * (of_user + _of_positive(shape)) + items * of_item
    values += shape.devices * shape.tokens + _of_mask(shape)
    numbers = 2 * _share(shape.shards) * (looked_up * dim + values)
    numbers += _share(shape.devices) * (gathered + 2 * summed)
    return NUMBER * numbers


def _of_positive(shape: Shape) -> float:
    """Return the numbers that are kept of each positive."""
    negatives, extras = shape.structure.negatives, shape.extras
    # item, log q and stage of each entry of the pool, and its place.
    pool = 9 / NUMBER * extras.pool + 1
    pools = negatives.hard_num and negatives.hard_source == "log"
    spans = 2 * (shape.structure.model.query.history is not None)
    return 2 + spans + extras.weighted + extras.known + pool * bool(pools)


def _of_mask(shape: Shape) -> float:
    """Return the numbers by which positives of users are looked up for the mask."""
    if not shape.masks_users:
        return 0.0
    positives = shape.rows * shape.seen / shape.users
    chunks = max(1, math.ceil(positives * shape.shards / CHUNK))
    return 2 * shape.batch + chunks * CHUNK


def _tables(spec: TowerSpec) -> int:
    """Return the features of a tower that are rows of tables."""
    return sum(one.kind not in ("numeric", "vector") for one in spec.features)


def _share(devices: int) -> float:
    """Return the share of an array that a device does not hold itself."""
    return (devices - 1) / devices
