"""The towers as pure functions: init(key) -> params, apply(params, vectors).

A tower gets one vector a feature. Without hidden layers their sum is the embedding
(matrix factorisation when the only feature is the id); with hidden layers they are
concatenated and go through an MLP with ReLU. Then the embedding is L2-normalised.
Flax is used inside, once; outside, parameters are nested dictionaries of arrays.
"""

import functools
import itertools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx

from twotower_jax.model.embeddings import FeatureSpec


class TowerSpec(NamedTuple):
    """The static shape of a tower: features, embedding size, hidden widths."""

    features: tuple[FeatureSpec, ...]
    dim: int
    hidden: tuple[int, ...]
    normalize: bool


class Tower(NamedTuple):
    """Pure functions.

    Attributes:
      init: key -> params, nested dict of arrays.
      apply: (params, vectors {feature: [E, dim]}, numeric [E, n] or None) -> [E, dim].
    """

    init: Callable[[jax.Array], dict]
    apply: Callable[..., jax.Array]


class _MLP(nnx.Module):
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


@functools.lru_cache
def make_tower(spec: TowerSpec) -> Tower:
    """Build a tower's functions from its static shape."""
    widths = (len(spec.features) * spec.dim, *spec.hidden, spec.dim)
    mlp = _pure_mlp(widths) if spec.hidden else None
    numeric = [feature for feature in spec.features if feature.kind == "numeric"]

    def init(key: jax.Array) -> dict:
        params: dict = {}
        if mlp:
            params["mlp"] = mlp.init(jax.random.fold_in(key, 0))
        if numeric:
            shape = (len(numeric), spec.dim)
            params["numeric"] = 0.05 * jax.random.normal(
                jax.random.fold_in(key, 1), shape
            )
        return params

    def apply(params: dict, vectors: dict, numbers: jax.Array | None) -> jax.Array:
        parts = [vectors[f.name] for f in spec.features if f.kind != "numeric"]
        for place in range(len(numeric)):
            assert numbers is not None
            parts.append(numbers[:, place, None] * params["numeric"][place][None, :])
        if mlp:
            x = mlp.apply(params["mlp"], jnp.concatenate(parts, 1))
        else:
            x = functools.reduce(jnp.add, parts)
        return l2_normalize(x) if spec.normalize else x

    return Tower(init, apply)


def l2_normalize(x: jax.Array) -> jax.Array:
    """Return x / |x| along the last axis, with a finite gradient at 0."""
    return x * jax.lax.rsqrt(jnp.maximum((x * x).sum(-1, keepdims=True), 1e-12))


class _Mlp(NamedTuple):
    init: Callable
    apply: Callable


def _pure_mlp(widths: tuple[int, ...]) -> _Mlp:
    """Wrap the flax module once into pure functions over plain dictionaries."""

    def build(rngs: nnx.Rngs) -> _MLP:
        return _MLP(widths, rngs=rngs)

    graph, abstract = nnx.split(nnx.eval_shape(lambda: build(nnx.Rngs(0))))

    def init(key: jax.Array) -> dict:
        return nnx.to_pure_dict(nnx.state(build(nnx.Rngs(key))))

    def apply(params: dict, x: jax.Array) -> jax.Array:
        state = jax.tree.map(lambda leaf: leaf, abstract)
        nnx.replace_by_pure_dict(state, params)
        return nnx.merge(graph, state)(x)

    return _Mlp(init, apply)
