"""Towers of a model: their static shape, parameters and embeddings."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp

from twotower_jax.model.embeddings import FeatureSpec, number_vectors
from twotower_jax.model.history import HistorySpec, init_history
from twotower_jax.model.towers import Tower, Towers, TwoTower


class TowerSpec(NamedTuple):
    """The static shape of a tower.

    Attributes:
      features: features that the tower reads.
      dim: size of the vectors of features and of the embedding.
      hidden: widths of hidden layers.
      normalize: whether the embedding has length 1.
      choice: its kind and the keys that this kind adds.
      history: shape of the feature "history"; None where the tower does not read it.
    """

    features: tuple[FeatureSpec, ...]
    dim: int
    hidden: tuple[int, ...]
    normalize: bool
    choice: Towers = TwoTower()
    history: HistorySpec | None = None

    @property
    def numeric(self) -> tuple[FeatureSpec, ...]:
        """Features that are numbers or vectors of numbers, in order."""
        return tuple(feature for feature in self.features if feature.numbers)


def init_tower(spec: TowerSpec, key: jax.Array) -> dict:
    """Initial parameters of one side of the model, tables excepted.

    Args:
      spec: static shape.

    Returns:
      The params of the tower; "numeric" [n, dim] float32 where the tower reads n
      numbers, those of vectors included: the vector that each of them scales; and
      "history" where histories have parameters of their own.

    Examples:
      >>> age = FeatureSpec("age", "numeric", 0)
      >>> params = init_tower(TowerSpec((age,), 2, (), False), jax.random.key(0))
      >>> params["numeric"].shape
      (1, 2)
    """
    params = _build(spec).init(jax.random.fold_in(key, 0))
    if spec.numeric:
        shape = (sum(feature.numbers for feature in spec.numeric), spec.dim)
        numeric = 0.05 * jax.random.normal(jax.random.fold_in(key, 1), shape)
        params = {**params, "numeric": numeric}
    if spec.history is not None:
        history = init_history(spec.history, spec.dim, jax.random.fold_in(key, 2))
        params = {**params, **({"history": history} if history else {})}
    return params


def apply_tower(
    spec: TowerSpec,
    params: dict,
    vectors: dict[str, jax.Array],
    numbers: jax.Array | None,
) -> jax.Array:
    """Embeddings of entities from the vectors and the numbers of their features.

    Args:
      spec: static shape.
      vectors: {feature: [E, dim]} float32, of features that have a table.
      numbers: [E, n] float32, of numeric features and vectors in order; None without
        any.

    Returns:
      [E, dim] float32, of length 1 where the spec normalises.
    """
    parts = [vectors[f.name] for f in spec.features if not f.numbers]
    parts += number_vectors(spec.numeric, numbers, params.get("numeric"))
    x = _build(spec).apply(params, parts)
    return l2_normalize(x) if spec.normalize else x


@functools.lru_cache
def _build(spec: TowerSpec) -> Tower:
    """Return the tower of a static shape, built once."""
    return spec.choice.build(spec)


def l2_normalize(x: jax.Array) -> jax.Array:
    """Vectors of length 1: x / |x| along the last axis, with a finite gradient at 0.

    Args:
      x: [..., dim] float32.

    Returns:
      [..., dim] float32; 0 stays 0.

    Examples:
      >>> [round(x, 4) for x in l2_normalize(jnp.array([3.0, 4.0])).tolist()]
      [0.6, 0.8]
    """
    return x * jax.lax.rsqrt(jnp.maximum((x * x).sum(-1, keepdims=True), 1e-12))
