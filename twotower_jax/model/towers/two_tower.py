"""The towers of layers, or without layers: matrix factorisation."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from twotower_jax.model.towers.choice import TOWERS, Shape, Tower, Towers
from twotower_jax.registry import Lazy

if TYPE_CHECKING:
    import jax
    import jax.numpy as jnp

    from twotower_jax.model import modules
else:
    jnp, modules = Lazy("jax.numpy"), Lazy("twotower_jax.model.modules")


@TOWERS.add
@dataclass(unsafe_hash=True)
class TwoTower(Towers):
    """Two towers: the sum of the embeddings of the features, or layers over them."""

    kind: str = "two_tower"

    def build(self, shape: Shape) -> Tower:
        """The functions of a tower, as in `two_tower`."""
        return two_tower(shape)


def two_tower(shape: Shape) -> Tower:
    """Multi-layer perceptron of the concatenated vectors, or their sum.

    With hidden layers, the vectors are concatenated and pass through linear layers with
    ReLU between them. Without, the embedding is the sum of the vectors: matrix
    factorisation where the only feature is the id.
    """
    if not shape.hidden:
        return Tower(_no_params, _sum)
    mlp = modules.mlp((len(shape.features) * shape.dim, *shape.hidden, shape.dim))

    def init(key: jax.Array) -> dict:
        return {"mlp": mlp.init(key)}

    def apply(params: dict, vectors: Sequence[jax.Array]) -> jax.Array:
        return mlp.apply(params["mlp"], jnp.concatenate(vectors, 1))

    return Tower(init, apply)


def _no_params(key: jax.Array) -> dict:
    del key
    return {}


def _sum(params: dict, vectors: Sequence[jax.Array]) -> jax.Array:
    del params
    return functools.reduce(jnp.add, vectors)
