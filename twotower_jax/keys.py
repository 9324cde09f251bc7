"""Randomness: a key is a function of (seed, stream name, step), never carried."""

import zlib

import jax
import numpy as np


def stream(seed: int | jax.Array, name: str, step: int | jax.Array = 0) -> jax.Array:
    """Return the key of a named stream at a step.

    ``fold_in`` by the name's CRC-32 and then by the step: any step can be made
    again on its own, and a new stream never shifts the others.

    Args:
      seed: the run's seed; a traced scalar inside a jitted step.
      name: the stream's name, such as "init" or "negatives".
      step: the optimizer step.

    Returns:
      A typed key, shape [].
    """
    key = jax.random.fold_in(jax.random.key(seed), zlib.crc32(name.encode()))
    return jax.random.fold_in(key, step)


def generator(seed: int, name: str, step: int = 0) -> np.random.Generator:
    """Return the host's generator of a named stream at a step (counter based)."""
    words = [seed, zlib.crc32(name.encode()), step]
    return np.random.Generator(np.random.Philox(np.random.SeedSequence(words)))
