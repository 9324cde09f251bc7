"""Streams of randomness: the same twice, different by seed, name and step.

Their bits are those of JAX's threefry.
"""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from twotower_jax import keys

ARGUMENTS = list(
    itertools.product((0, 1, 2**31 - 1), ("order", "negatives.easy", ""), (0, 1, 7))
)

SHAPES = [(), (1,), (7,), (1000,), (33, 65), (4, 0, 3), (5, 6, 7)]


def test_streams_are_the_same_twice_and_differ_by_seed_name_and_step():
    first = [jax.random.key_data(keys.stream(*a)).tolist() for a in ARGUMENTS]
    again = [jax.random.key_data(keys.stream(*a)).tolist() for a in ARGUMENTS]
    assert first == again
    assert len({tuple(words) for words in first}) == len(ARGUMENTS)


def test_a_stream_is_the_same_inside_a_compiled_step():
    traced = jax.jit(lambda seed, step: keys.stream(seed, "negatives", step))
    for seed, step in ((0, 0), (3, 5), (2**31 - 1, 2**20)):
        inside = traced(jnp.uint32(seed), jnp.int32(step))
        outside = keys.stream(seed, "negatives", step)
        assert jnp.array_equal(
            jax.random.key_data(inside), jax.random.key_data(outside)
        )


def test_the_default_step_is_the_first():
    first, same = keys.stream(4, "init"), keys.stream(4, "init", 0)
    assert jnp.array_equal(jax.random.key_data(first), jax.random.key_data(same))


def test_generators_are_the_same_twice_and_differ_by_seed_name_and_step():
    first = [keys.generator(*a).integers(2**62, size=4).tolist() for a in ARGUMENTS]
    again = [keys.generator(*a).integers(2**62, size=4).tolist() for a in ARGUMENTS]
    assert first == again
    assert len({tuple(words) for words in first}) == len(ARGUMENTS)


def test_generators_of_neighbouring_steps_are_not_correlated():
    draws = np.stack(
        [keys.generator(0, "order", s).normal(size=2000) for s in range(8)]
    )
    correlation = np.corrcoef(draws) - np.eye(8)
    # Five standard deviations of a correlation of independent draws.
    assert np.abs(correlation).max() < 5 / np.sqrt(2000)


def pair(seed):
    """The keys of a seed: of the package's threefry and of JAX's."""
    return jax.random.key(seed, impl=keys.THREEFRY), jax.random.key(seed)


# Threefry-2x32 of 20 rounds: known answers of the authors' Random123 library.
@pytest.mark.parametrize(
    ("key", "block", "expected"),
    [
        ((0, 0), (0, 0), (0x6B200159, 0x99BA4EFE)),
        ((0xFFFFFFFF,) * 2, (0xFFFFFFFF,) * 2, (0x1CB996FC, 0xBB002BE7)),
        ((0x13198A2E, 0x03707344), (0x243F6A88, 0x85A308D3), (0xC4923A9C, 0x483DF7A0)),
    ],
)
def test_known_answers(key, block, expected):
    words = keys.encrypt(jnp.array(key, jnp.uint32), *map(jnp.uint32, block))
    assert tuple(map(int, words)) == expected


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("width", [8, 16, 32])
def test_bits(shape, width):
    dtype = np.dtype(f"uint{width}")
    fused, plain = (jax.random.bits(key, shape, dtype) for key in pair(12345))
    np.testing.assert_array_equal(fused, plain)
    assert fused.dtype == dtype


@pytest.mark.parametrize("shape", [(2,), (3, 4)])
def test_split_and_fold_in(shape):
    for make in (
        lambda key: jax.random.split(key, shape),
        lambda key: jax.random.fold_in(key, 0),
        lambda key: jax.random.fold_in(key, 2**32 - 1),
    ):
        fused, plain = (jax.random.key_data(make(key)) for key in pair(2**31 + 5))
        np.testing.assert_array_equal(fused, plain)


@pytest.mark.parametrize(
    "draw",
    [
        lambda key: jax.random.uniform(key, (40, 50), jnp.float32, -0.1, 0.1),
        lambda key: jax.random.normal(key, (40, 50)),
        lambda key: jax.random.randint(key, (3000,), 0, 10**6),
        lambda key: jax.random.permutation(key, 100),
    ],
    ids=["uniform", "normal", "randint", "permutation"],
)
def test_distributions(draw):
    fused, plain = (jax.jit(draw)(key) for key in pair(8))
    np.testing.assert_array_equal(fused, plain)


def test_many_keys_at_a_time():
    def draw(key):
        return jax.random.bits(key, (50,))

    fused, plain = (jax.vmap(draw)(jax.random.split(key, 4)) for key in pair(1))
    np.testing.assert_array_equal(fused, plain)


def test_is_compiled_without_a_loop():
    key = jax.random.key(0, impl=keys.THREEFRY)
    draw = jax.jit(lambda key: jax.random.uniform(key, (100, 64)))
    assert "while" not in str(draw.lower(key).compile().as_text())


def test_streams_have_keys_of_the_threefry_in_one_expression():
    assert jax.random.key_impl(keys.stream(0, "init")) == keys.THREEFRY


@pytest.mark.parametrize("shape", [(3,), (4, 5), (2, 3, 7)])
@pytest.mark.parametrize("first", [0, 6])
def test_rows_of_uniform_numbers_are_those_of_the_whole_array(shape, first):
    key = keys.stream(3, "dropout")
    whole = jax.random.uniform(key, (10, *shape[1:]), jnp.float32)
    rows = jax.jit(keys.uniform_rows, static_argnums=1)(key, shape, jnp.int32(first))
    np.testing.assert_array_equal(rows, whole[first : first + shape[0]])


@pytest.mark.parametrize("first, width", [(2**30, 3), (2**31 - 2, 2**21), (5, 2**31)])
def test_numbers_behind_the_first_2_to_the_32_are_blocks_of_both_words(first, width):
    """The row before such a place, by rows of one number each."""
    key = keys.stream(3, "dropout")
    high, low = keys._product(jnp.uint32(first), width)
    assert (int(high) << 32) + int(low) == first * width
    place = [first * 3 + i for i in range(6)]
    words = [jnp.array([f(one) for one in place], jnp.uint32) for f in (_high, _low)]
    upper, lower = keys.encrypt(jax.random.key_data(key), *words)
    right = ((upper ^ lower) >> 9).astype(jnp.float32) / 2**23
    got = keys.uniform_rows(key, (2, 3), first)
    np.testing.assert_array_equal(got.ravel(), right)


def _high(place):
    return place >> 32


def _low(place):
    return place & 0xFFFFFFFF
