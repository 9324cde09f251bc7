"""Randomness: a key is a function of (seed, stream name, step), never carried."""

import zlib

import jax
import numpy as np


def stream(seed: int | jax.Array, name: str, step: int | jax.Array = 0) -> jax.Array:
    """Key of a named stream at a step.

    `fold_in` by the name's CRC-32 and then by the step: any step can be repeated on its
    own, and a new stream never shifts the others.

    Args:
      seed: seed of the run; a traced scalar inside a jitted step.
      name: name of the stream, such as "init" or "negatives".
      step: optimizer step.

    Returns:
      A typed key, shape [].

    Examples:
      >>> bool(stream(0, "init") == stream(0, "negatives"))
      False
      >>> bool(stream(0, "negatives", 7) == stream(0, "negatives", 7))
      True
    """
    key = jax.random.fold_in(jax.random.key(seed), zlib.crc32(name.encode()))
    return jax.random.fold_in(key, step)


def generator(seed: int, name: str, step: int = 0) -> np.random.Generator:
    """Generator on the host of a named stream at a step (counter based).

    Args:
      seed: seed of the run.
      name: name of the stream.
      step: optimizer step or epoch.

    Returns:
      A generator of its own for every (seed, name, step).

    Examples:
      >>> generator(0, "order", 3).random() == generator(0, "order", 3).random()
      True
    """
    words = [seed, zlib.crc32(name.encode()), step]
    return np.random.Generator(np.random.Philox(np.random.SeedSequence(words)))
