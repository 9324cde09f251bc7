"""Streams of randomness: the same twice, different by seed, name and step."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np

from twotower_jax import keys

ARGUMENTS = list(
    itertools.product((0, 1, 2**31 - 1), ("order", "negatives.easy", ""), (0, 1, 7))
)


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
