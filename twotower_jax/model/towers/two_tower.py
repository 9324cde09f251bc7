"""The towers of layers, or without layers: matrix factorisation."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from twotower_jax.lazy import Lazy, jax, jnp
from twotower_jax.model.towers.choice import TOWERS, Tower, Towers

if TYPE_CHECKING:
    from twotower_jax.model import modules
else:
    modules = Lazy("twotower_jax.model.modules")


@TOWERS.add
@dataclass(unsafe_hash=True)
class TwoTower(Towers):
    """Two towers: the sum of the embeddings of the features, or layers over them."""

    kind: str = "two_tower"

    def build(self, shape: Any) -> Tower:
        """Layers with ReLU between them over the concatenated vectors, or their sum.

        Without hidden layers this is matrix factorisation where the only feature is the
        id.
        """
        if not shape.hidden:
            return Tower(lambda key: {}, lambda _, x: functools.reduce(jnp.add, x))
        mlp = modules.mlp((len(shape.features) * shape.dim, *shape.hidden, shape.dim))

        def init(key: jax.Array) -> dict:
            return {"mlp": mlp.init(key)}

        def apply(params: dict, vectors: Sequence[jax.Array]) -> jax.Array:
            return mlp.apply(params["mlp"], jnp.concatenate(vectors, 1))

        return Tower(init, apply)
