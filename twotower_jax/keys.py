"""Randomness: a key is a function of (seed, stream name, step), never carried.

The keys are of JAX's threefry, written as one expression. On a CPU JAX compiles its
rounds as a loop, whose every pass reads and writes all numbers; XLA fuses the
expression: the same bits in a quarter of the time, and less to compile.
"""

import math
import zlib

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.random import define_prng_impl, threefry_prng_impl

ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))
PARITY = 0x1BD11BDA


def stream(seed: int | jax.Array, name: str, step: int | jax.Array = 0) -> jax.Array:
    """Key of a named stream at a step.

    `fold_in` by the name's CRC-32 and then by the step: any step can be repeated on its
    own, and a new stream never shifts the others.

    Args:
      seed: seed of the run; a traced scalar inside a jitted step.
      name: name of the stream, such as "init" or "negatives".
      step: optimizer step.

    Returns:
      A typed key, shape [], with the bits of `jax.random.key`.

    Examples:
      >>> bool(stream(0, "init") == stream(0, "negatives"))
      False
      >>> bool(stream(0, "negatives", 7) == stream(0, "negatives", 7))
      True
    """
    key = jax.random.key(seed, impl=THREEFRY)
    return jax.random.fold_in(jax.random.fold_in(key, zlib.crc32(name.encode())), step)


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


def uniform_rows(
    key: jax.Array, shape: tuple[int, ...], first: jax.Array | int = 0
) -> jax.Array:
    """Some rows of a large array of uniform numbers, which is not made whole.

    Args:
      key: typed key, used for nothing else.
      shape: [n, ...] of the rows, fewer than 2^32 numbers.
      first: number of the first row, from 0.

    Returns:
      [n, ...] float32 from 0 to 1 without 1: rows ``first`` to ``first + n - 1`` of
      `jax.random.uniform` for that key and more rows.

    Examples:
      >>> key = stream(0, "dropout")
      >>> whole = jax.random.uniform(key, (5, 3))
      >>> bool((uniform_rows(key, (2, 3), 3) == whole[3:]).all())
      True
    """
    words = jax.lax.optimization_barrier(jax.random.key_data(key))
    high, low = _product(jnp.uint32(first), math.prod(shape[1:]))
    lower = low + _numbers(shape)
    upper, lower = encrypt(words, high + (lower < low).astype(jnp.uint32), lower)
    bits = jax.lax.optimization_barrier(upper ^ lower)
    # 23 bits behind the point of a number from 1 to 2.
    bits = (bits >> jnp.uint32(9)) | jnp.uint32(0x3F800000)
    return jax.lax.bitcast_convert_type(bits, jnp.float32) - 1


def fine_uniform(key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """Uniform numbers in [0, 1), multiples of 2^-48: `jax.random.uniform` has 2^-23."""
    high, low = jax.random.bits(key, (2, *shape), jnp.uint32) >> 8
    value = high.astype(jnp.float32) * 2.0**-24 + low.astype(jnp.float32) * 2.0**-48
    return jnp.minimum(value, 1 - 2.0**-24)


def _product(one: jax.Array, other: int) -> tuple[jax.Array, jax.Array]:
    """Return both words of the product of two numbers below 2^32."""
    half = jnp.uint32(0xFFFF)
    a, b = one & half, one >> 16
    c, d = jnp.uint32(other & 0xFFFF), jnp.uint32(other >> 16)
    middle = b * c + ((a * c) >> 16)
    other_middle = a * d + (middle & half)
    return b * d + (middle >> 16) + (other_middle >> 16), one * jnp.uint32(other)


@jax.jit  # one function of a program, however many of its parts draw numbers
def encrypt(
    key: jax.Array, upper: jax.Array, lower: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Encrypt blocks of two words by the 20 rounds of Threefry-2x32.

    Args:
      key: [2] uint32.
      upper: uint32, first word of each block.
      lower: uint32, second word; the shapes are broadcast.

    Returns:
      Both words of each block, encrypted.

    Examples:
      >>> zero = jnp.uint32(0)
      >>> [hex(word) for word in encrypt(jnp.zeros(2, jnp.uint32), zero, zero)]
      ['0x6b200159', '0x99ba4efe']

    References:
      Salmon et al., Parallel Random Numbers: As Easy as 1, 2, 3, SC 2011.
    """
    words = (key[0], key[1], key[0] ^ key[1] ^ jnp.uint32(PARITY))
    x, y = upper + words[0], lower + words[1]
    for group in range(5):
        for turn in ROTATIONS[group % 2]:
            x = x + y
            y = x ^ ((y << jnp.uint32(turn)) | (y >> jnp.uint32(32 - turn)))
        x = x + words[(group + 1) % 3]
        y = y + words[(group + 2) % 3] + jnp.uint32(group + 1)
    return x, y


def _random_bits(key: jax.Array, bit_width: int, shape: tuple[int, ...]) -> jax.Array:
    """Return random numbers of a width; block i under the key makes number i."""
    if bit_width != 32 or math.prod(shape) >= 2**32:
        return threefry_prng_impl.random_bits(key, bit_width, shape)
    # Else every number of a fused program computes the key anew.
    key = jax.lax.optimization_barrier(key)
    upper, lower = encrypt(key, jnp.uint32(0), _numbers(shape))
    # Not fused with the arithmetic behind it, whose rounding would depend on this.
    return jax.lax.optimization_barrier(upper ^ lower)


def _split(key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """Return [*shape, 2] keys; block i under the key is key i."""
    return jnp.stack(encrypt(key, jnp.uint32(0), _numbers(shape)), axis=-1)


def _fold_in(key: jax.Array, data: int) -> jax.Array:
    """Return the [2] key that is the block of a number below 2^32 under the key."""
    return jnp.stack(encrypt(key, jnp.uint32(0), jnp.uint32(data)))


def _numbers(shape: tuple[int, ...]) -> jax.Array:
    """Return the numbers from 0 in the order of rows, uint32."""
    numbers = jnp.zeros(shape, jnp.uint32)
    for axis in range(len(shape)):
        stride = jnp.uint32(math.prod(shape[axis + 1 :]))
        numbers += stride * jax.lax.broadcasted_iota(jnp.uint32, shape, axis)
    return numbers


# The bits of keys of this kind are those of `jax.random.key` with
# `jax_threefry_partitionable`, its default.
THREEFRY = define_prng_impl(
    key_shape=threefry_prng_impl.key_shape,
    seed=threefry_prng_impl.seed,
    split=_split,
    random_bits=_random_bits,
    fold_in=_fold_in,
    name="threefry2x32_fused",
    tag="fry1",
)
