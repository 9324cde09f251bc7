"""Towers: pure functions from the vectors of features to one embedding.

A tower is a pair of functions, init(key) -> params and apply(params, vectors) ->
[E, dim]. The model looks up and pools the rows of every feature before the tower, and
normalises the embedding after it, so a tower only combines vectors. A new tower is one
function of a `TowerSpec` and one entry of `TOWERS`.
"""

import functools
import itertools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx

from twotower_jax.model.embeddings import FeatureSpec, number_vectors
from twotower_jax.model.history import HistorySpec, init_history
from twotower_jax.model.modules import as_functions
from twotower_jax.registry import Registry


class TowerSpec(NamedTuple):
    """The static shape of a tower.

    Attributes:
      features: features that the tower reads.
      dim: size of the vectors of features and of the embedding.
      hidden: widths of hidden layers.
      normalize: whether the embedding has length 1.
      kind: a name of TOWERS.
      history: shape of the feature "history"; None where the tower does not read it.
    """

    features: tuple[FeatureSpec, ...]
    dim: int
    hidden: tuple[int, ...]
    normalize: bool
    kind: str = "two_tower"
    history: HistorySpec | None = None

    @property
    def numeric(self) -> tuple[FeatureSpec, ...]:
        """Features that are numbers or vectors of numbers, in order."""
        return tuple(feature for feature in self.features if feature.numbers)


class Tower(NamedTuple):
    """A tower: two pure functions.

    Attributes:
      init: key -> params, a nested dictionary of float32 arrays.
      apply: (params, vectors) -> embeddings [E, dim]; vectors holds one float32
        [E, dim] per feature, numeric features last, 0 where a value is missing.
    """

    init: Callable[[jax.Array], dict]
    apply: Callable[[dict, Sequence[jax.Array]], jax.Array]


def two_tower(spec: TowerSpec) -> Tower:
    """Multi-layer perceptron of the concatenated vectors, or their sum.

    With hidden layers, the vectors are concatenated and pass through linear layers with
    ReLU between them. Without, the embedding is the sum of the vectors: matrix
    factorisation where the only feature is the id.

    Args:
      spec: static shape; an empty `hidden` selects the sum.

    Returns:
      The tower; params are {"mlp": ...}, or {} for the sum.

    Examples:
      >>> tower = two_tower(TowerSpec((FeatureSpec("id", "id", 5),), 2, (), False))
      >>> tower.apply({}, [jnp.ones((1, 2))]).tolist()
      [[1.0, 1.0]]
    """
    if not spec.hidden:
        return Tower(_no_params, _sum)
    mlp = _mlp((len(spec.features) * spec.dim, *spec.hidden, spec.dim))

    def init(key: jax.Array) -> dict:
        return {"mlp": mlp.init(key)}

    def apply(params: dict, vectors: Sequence[jax.Array]) -> jax.Array:
        return mlp.apply(params["mlp"], [jnp.concatenate(vectors, 1)])

    return Tower(init, apply)


def _no_params(key: jax.Array) -> dict:
    del key
    return {}


def _sum(params: dict, vectors: Sequence[jax.Array]) -> jax.Array:
    del params
    return functools.reduce(jnp.add, vectors)


TOWERS: Registry[Callable[[TowerSpec], Tower]] = Registry(
    "towers.kind", {"two_tower": two_tower}
)


def init_tower(spec: TowerSpec, key: jax.Array) -> dict:
    """Initial parameters of one side of the model, tables excepted.

    Args:
      spec: static shape.
      key: used for nothing else.

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
      params: as of `init_tower`.
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
    return TOWERS[spec.kind](spec)


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


class _Layers(nnx.Module):
    """Linear layers with ReLU between them; none after the last."""

    def __init__(self, widths: tuple[int, ...], *, rngs: nnx.Rngs):
        initializer = nnx.initializers.he_normal()
        self.layers = nnx.List(
            nnx.Linear(before, after, kernel_init=initializer, rngs=rngs)
            for before, after in itertools.pairwise(widths)
        )

    def __call__(self, x: jax.Array) -> jax.Array:
        for layer in self.layers[:-1]:
            x = nnx.relu(layer(x))
        return self.layers[-1](x)


def _mlp(widths: tuple[int, ...]) -> Tower:
    """Return the layers as a tower of one vector, with plain dictionaries outside."""
    layers = as_functions(lambda rngs: _Layers(widths, rngs=rngs))
    return Tower(layers.init, lambda params, vectors: layers.apply(params, vectors[0]))
