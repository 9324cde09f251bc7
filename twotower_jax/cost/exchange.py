"""Bytes that the devices of a training exchange in a step.

Counted in compiled steps of an in-batch softmax: with B rows of queries and E encoded
candidates of D numbers, on N devices of which T hold a copy of the tables,

* rows looked up in spread tables are summed over T devices: (B + E) D numbers;
* embeddings of candidates are gathered by all N: 3 E D;
* gradients of them, of the looked-up rows and of the layers are summed over N:
  (2 E + B + E) D and the layers.

A sum of n numbers over N devices sends 2 (N - 1) / N n from each of them, a gathering
of n numbers (N - 1) / N n.
"""

from twotower_jax.cost.memory import NUMBER
from twotower_jax.cost.shape import Shape, dense_numbers


def exchanged_bytes(shape: Shape) -> float:
    """Bytes that each device sends to others in a step; it receives as many.

    Args:
      shape: of the training.
    """
    model, dim = shape.structure.model, shape.dim
    queries = shape.batch * len(model.query.features)
    looked_up = queries + shape.candidates * len(model.candidate.features)
    dense = dense_numbers(model.query) + dense_numbers(model.candidate)
    gathered = 3 * shape.candidates * dim
    summed = 2 * shape.candidates * dim + looked_up * dim + dense
    numbers = 2 * _share(shape.shards) * looked_up * dim
    numbers += _share(shape.devices) * (gathered + 2 * summed)
    return NUMBER * numbers


def _share(devices: int) -> float:
    """Return the share of an array that a device does not hold itself."""
    return (devices - 1) / devices
