"""Whole numbers of the log as inputs of artifacts, which map them to codes themselves.

An artifact holds the ids in ascending order and finds a value by bisection. JAX has no
text, and no 64-bit integers by default, so other ids are given as codes.
"""

from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

if TYPE_CHECKING:
    from twotower_jax.export.towers import TowerInput

LARGEST = 2**31 - 1


def raw_inputs(side: str, vocabulary: dict[str, Any]) -> set[str]:
    """Inputs whose values are whole numbers of 0 to 2^31 - 1.

    An artifact takes these values, and -1 for a missing one; of other inputs, codes.

    Examples:
      >>> names = {"users": [7, 3], "items": ["a", "b"], "user_features": {"age": [40]}}
      >>> sorted(raw_inputs("query", names))
      ['age', 'id']
    """
    return {
        name
        for name, values in _by_input(side, vocabulary).items()
        if all(isinstance(value, int) and 0 <= value <= LARGEST for value in values)
    }


def values_of(
    side: str, vocabulary: dict[str, Any], inputs: tuple["TowerInput", ...]
) -> dict[str, np.ndarray]:
    """Values by code of the inputs that are raw, {input: [codes] int32}."""
    lists = _by_input(side, vocabulary)
    return {
        one.name: np.array(lists[one.name][: one.codes], np.int32)
        for one in inputs
        if one.raw
    }


def _by_input(side: str, vocabulary: dict[str, Any]) -> dict[str, list]:
    """Return the lists of values by input."""
    kind = "user" if side == "query" else "item"
    features = vocabulary[f"{kind}_features"].items()
    lists = {"id": vocabulary[f"{kind}s"], "history": vocabulary["items"]}
    return lists | {name: one for name, one in features if isinstance(one, list)}


def codes_in(values: jax.Array, known: np.ndarray) -> jax.Array:
    """Codes of values by bisection.

    Examples:
      >>> codes_in(jnp.array([3, 5, -1, 7]), np.array([7, 3])).tolist()
      [1, -1, -1, 0]
    """
    if not len(known):
        return jnp.full_like(values, -1)
    order = np.argsort(known).astype(np.int32)
    ascending = jnp.asarray(known[order])
    place = jnp.minimum(jnp.searchsorted(ascending, values), len(known) - 1)
    return jnp.where(ascending[place] == values, jnp.asarray(order)[place], -1)


def known_first(codes: jax.Array) -> jax.Array:
    """Codes [batch, width] without the unknown ones between known ones.

    Examples:
      >>> known_first(jnp.array([[-1, 4, -1, 2]])).tolist()
      [[4, 2, -1, -1]]
    """
    order = jnp.argsort(codes < 0, axis=1, stable=True)
    return jnp.take_along_axis(codes, order, axis=1)


def as_given(codes: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Values that `codes_in` maps to these codes.

    Examples:
      >>> as_given(np.array([1, -1]), np.array([7, 3])).tolist()
      [3, -1]
    """
    return np.append(known, np.int32(-1))[codes]
