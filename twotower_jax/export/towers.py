"""Both towers as `jax.export` artifacts, with the trained parameters inside."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.export
import jax.numpy as jnp
import numpy as np

from twotower_jax.errors import InputError
from twotower_jax.model.embeddings import (
    Bag,
    FeatureSpec,
    bag_vectors,
    join_numbers,
    mean_bag,
    whole_rows,
)
from twotower_jax.model.history import HistoryInputs, history_inputs
from twotower_jax.model.tower import Model, TowerSpec, l2_normalize
from twotower_jax.model.two_tower import Inputs, encode, table_sizes

PLATFORMS = ("cpu", "cuda")
# FlatBuffers, the format of an artifact, addresses 2 GiB.
MAX_BYTES = 2**31 - 2**24
MAX_BATCH = 4096
# Kinds of inputs that are numbers, not codes.
NUMBERS = ("numeric", "vector")


class TowerInput(NamedTuple):
    """One input of an exported tower.

    Attributes:
      name: the feature, as in ``towers.query`` or ``towers.candidate``.
      kind: "id", "history", "categorical", "multi", "numeric" or "vector".
      codes: number of codes, 0..codes-1; 0 for numeric and vector.
      width: codes or numbers per entity, the second axis; None for one per entity.
    """

    name: str
    kind: str
    codes: int
    width: int | None

    @property
    def dtype(self) -> type[np.generic]:
        """float32 for numbers, int32 for codes."""
        return np.float32 if self.kind in NUMBERS else np.int32

    def missing(self, number: int) -> np.ndarray:
        """Return the values of entities of which nothing is known."""
        shape = (number,) if self.width is None else (number, self.width)
        return np.full(shape, 0 if self.kind in NUMBERS else -1, self.dtype)


def tower_inputs(spec: TowerSpec, widths: dict[str, int]) -> tuple[TowerInput, ...]:
    """Inputs of a tower, one per feature."""

    def width(feature: FeatureSpec) -> int | None:
        if spec.history is not None and feature.kind == "history":
            return spec.history.length
        return widths.get(feature.name)

    return tuple(TowerInput(f.name, f.kind, f.size, width(f)) for f in spec.features)


def check_size(model: Model, params: dict) -> None:
    """Refuse parameters that an artifact cannot hold."""
    for side in ("query", "candidate"):
        spec = getattr(model, side)
        tables = _tables(side, spec, params)
        size = sum(x.nbytes for x in jax.tree.leaves([tables, params["dense"][side]]))
        if size > MAX_BYTES:
            raise InputError(
                f"the {side} tower has {size / 2**30:.1f} GiB of parameters, and a "
                "jax.export artifact holds at most 2 GiB; train with a smaller "
                "towers.dim, or without the id"
            )


def export_tower(
    side: str,
    spec: TowerSpec,
    params: dict,
    inputs: tuple[TowerInput, ...],
    items: dict[str, np.ndarray],
) -> bytes:
    """Serialised artifact of a tower: {input: array} -> embeddings [batch, dim].

    The batch dimension is symbolic, and the embeddings are those of evaluation.
    """
    (batch,) = jax.export.symbolic_shape("batch")
    shapes = {
        one.name: jax.ShapeDtypeStruct(
            (batch,) if one.width is None else (batch, one.width), one.dtype
        )
        for one in inputs
    }
    embed = jax.jit(_embed(side, spec, params, items))
    with _without_paths():
        return bytes(jax.export.export(embed, platforms=PLATFORMS)(shapes).serialize())


@contextmanager
def _without_paths() -> Iterator[None]:
    """Context in which programs do not name the files of their source."""
    name = "jax_traceback_in_locations_limit"
    before = getattr(jax.config, name)
    jax.config.update(name, 0)
    try:
        yield
    finally:
        jax.config.update(name, before)


def _embed(
    side: str, spec: TowerSpec, params: dict, items: dict[str, np.ndarray]
) -> Callable[[dict[str, jax.Array]], jax.Array]:
    """Return the function {input: codes or numbers} -> embeddings of a tower."""
    tables = {k: jnp.asarray(v) for k, v in _tables(side, spec, params).items()}

    def embed(values: dict[str, jax.Array]) -> jax.Array:
        rows, bags = {}, {}
        for feature in spec.features:
            name = f"{side}.{feature.name}"
            if feature.kind == "multi":
                bags[name] = mean_bag(values[feature.name], feature.size)
            elif feature.kind != "history" and not feature.numbers:
                rows[name] = whole_rows(values[feature.name], feature.size)
        of_items, history = _history(spec, values, items)
        bags |= of_items
        vectors = {name: bag_vectors(tables[name], bag) for name, bag in bags.items()}
        numbers = [_numbers(feature, values[feature.name]) for feature in spec.numeric]
        inputs = Inputs(rows, bags, join_numbers(numbers), history)
        return encode(side, spec, params["dense"], tables | vectors, inputs)

    return embed


def _numbers(feature: FeatureSpec, values: jax.Array) -> jax.Array:
    """Return numbers as the model reads them: vectors are given as in the log."""
    return l2_normalize(values) if feature.kind == "vector" else values


def _history(
    spec: TowerSpec, values: dict[str, jax.Array], items: dict[str, np.ndarray]
) -> tuple[dict[str, Bag], HistoryInputs | None]:
    """Return the inputs of histories; empty where the tower reads none."""
    if spec.history is None:
        return {}, None
    features = {
        one.name: jnp.asarray(items[one.name])
        for one in spec.history.features
        if one.kind != "id"
    }
    return history_inputs(spec.history, values["history"], features)


def _tables(side: str, spec: TowerSpec, params: dict) -> dict[str, np.ndarray]:
    """Return the embedding tables that one tower reads."""
    return {name: params["tables"][name] for name in table_sizes(side, spec)}


class LoadedTower:
    """A tower that was read from its artifact; ``inputs`` are in its order."""

    def __init__(self, path: Path, inputs: tuple[TowerInput, ...]):
        self.inputs = inputs
        exported: Any = jax.export.deserialize(bytearray(path.read_bytes()))
        self._call = jax.jit(exported.call)

    def missing(self, number: int) -> dict[str, np.ndarray]:
        """Return the inputs of entities of which nothing is known."""
        return {spec.name: spec.missing(number) for spec in self.inputs}

    def __call__(self, values: dict[str, np.ndarray], number: int) -> np.ndarray:
        """Return the embeddings [number, dim] float32 of entities.

        A block of entities is filled up to a power of two, so that few shapes are
        compiled.
        """
        parts = []
        for first in range(0, max(number, 1), MAX_BATCH):
            size = min(MAX_BATCH, number - first)
            padded = self.missing(1 << max(0, size - 1).bit_length())
            for name, array in padded.items():
                array[:size] = values[name][first : first + size]
            parts.append(np.asarray(self._call(padded))[:size])
        return np.concatenate(parts)
