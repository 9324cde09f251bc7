"""Bytes that the devices of a training exchange in a step.

Counted in compiled steps of an in-batch softmax: with B rows of queries and E encoded
candidates of D numbers, on N devices of which T hold a copy of the tables,

* rows looked up in spread tables are summed over T devices: (B + E) D numbers, and so
  are the features of a user for each row, of an item for each candidate and each item
  of a history, and what is kept of each positive: user and item, the span and the items
  of its history, its weight, its pool, log q of its user;
* embeddings of candidates are gathered by all N: 3 E D;
* gradients of them, of the looked-up rows and of the layers are summed over N:
  (2 E + B + E) D and the layers;
* with the softmax over users their embeddings are gathered, 2 B D, and so many numbers
  of gradients summed.

A sum of n numbers over N devices sends 2 (N - 1) / N n from each of them, a gathering
of n numbers (N - 1) / N n.
"""

import math

from twotower_jax.cost.memory import NUMBER
from twotower_jax.cost.shape import Shape, dense_numbers
from twotower_jax.model.tower import TowerSpec
from twotower_jax.negatives.masks import CHUNK


def exchanged_bytes(shape: Shape, chunk: int = CHUNK) -> float:
    """Bytes that each device sends to others in a step; it receives as many."""
    model, dim = shape.structure.model, shape.dim
    looked_up = _looked_up(model.query, shape.batch)
    looked_up += _looked_up(model.candidate, shape.candidates)
    dense = dense_numbers(model.query) + dense_numbers(model.candidate)
    gathered = 3 * shape.candidates * dim
    summed = 2 * shape.candidates * dim + looked_up * dim + dense
    of_users = 2 * shape.batch * dim * shape.extras.two_way
    gathered, summed = gathered + of_users, summed + of_users
    of_user, of_item = (each / NUMBER for each in shape.feature_bytes)
    items = shape.candidates + shape.devices * shape.tokens
    values = shape.batch * (of_user + _of_positive(shape)) + items * of_item
    values += shape.devices * shape.tokens + _of_mask(shape, chunk)
    numbers = 2 * _share(shape.shards) * (looked_up * dim + values)
    numbers += _share(shape.devices) * (gathered + 2 * summed)
    return NUMBER * numbers


def _of_positive(shape: Shape) -> float:
    """Return the numbers that are kept of each positive."""
    negatives, extras = shape.structure.negatives, shape.extras
    # item, log q and stage of each entry of the pool, and its place.
    pool = 9 / NUMBER * extras.pool + 1
    pools = negatives.hard_num and negatives.hard.of_log
    spans = 2 * (shape.structure.model.query.history is not None)
    one_each = extras.weighted + extras.known + extras.of_users
    return 2 + spans + one_each + pool * bool(pools)


def _of_mask(shape: Shape, chunk: int) -> float:
    """Return the numbers by which positives of users are looked up for the mask."""
    if not shape.masks_users:
        return 0.0
    positives = shape.rows * shape.seen / shape.users
    chunks = max(1, math.ceil(positives * shape.shards / chunk))
    return 2 * shape.batch + chunks * chunk


def _looked_up(spec: TowerSpec, number: int) -> int:
    """Return the vectors that inputs of a tower look up, one per table and input.

    Of a small table each row is looked up once, and one for padding.
    """
    ones = [one for one in spec.features if one.kind not in ("numeric", "vector")]
    small = [one for one in ones if one.kind in ("id", "categorical")]
    few = sum(min(number, one.size + 1) for one in small)
    return few + number * (len(ones) - len(small))


def _share(devices: int) -> float:
    """Return the share of an array that a device does not hold itself."""
    return (devices - 1) / devices
