"""Modules of flax as pure functions of plain dictionaries."""

import itertools
from collections.abc import Callable
from typing import Any

import jax
from flax import nnx

from twotower_jax.model.towers.choice import Tower


def as_functions(build: Callable[[nnx.Rngs], nnx.Module]) -> Tower:
    """A module as pure functions."""
    graph, abstract = nnx.split(nnx.eval_shape(lambda: build(nnx.Rngs(0))))

    def init(key: jax.Array) -> dict:
        return nnx.to_pure_dict(nnx.state(build(nnx.Rngs(key))))

    def apply(params: dict, *inputs: Any) -> Any:
        state = jax.tree.map(lambda leaf: leaf, abstract)
        nnx.replace_by_pure_dict(state, params)
        return nnx.merge(graph, state)(*inputs)

    return Tower(init, apply)


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


def mlp(widths: tuple[int, ...]) -> Tower:
    """Linear layers with ReLU between them, none after the last."""
    return as_functions(lambda rngs: _Layers(widths, rngs=rngs))
