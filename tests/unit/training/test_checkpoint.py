"""Arrays on disk are those that were saved, and others are refused."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from twotower_jax.training import checkpoint
from twotower_jax.training.checkpoint import DamagedError, notes_of
from twotower_jax.training.mesh import Layout, MeshShape, make_mesh

TREE = {"tables": {"id": np.arange(6, dtype=np.float32).reshape(3, 2)}, "step": 7}


@pytest.fixture
def layout():
    return Layout(make_mesh(MeshShape()), {})


@pytest.fixture
def saved(tmp_path):
    path = tmp_path / "5"
    checkpoint.save_arrays(path, jax.tree.map(jnp.asarray, TREE), {"step": 5})
    return path


def shapes(rows=3, dtype="float32", **more):
    table = jax.ShapeDtypeStruct((rows, 2), np.dtype(dtype))
    step = jax.ShapeDtypeStruct((), np.int32)
    return {"tables": {"id": table}, "step": step} | more


def test_arrays_of_the_same_shapes_are_read(saved, layout):
    notes = json.loads(notes_of(saved).read_text())
    assert notes["arrays"]["tables/id"] == [[3, 2], "float32"]
    found = checkpoint.read_arrays(saved, shapes(), layout)
    np.testing.assert_array_equal(found["tables"]["id"], TREE["tables"]["id"])
    assert int(found["step"]) == 7


@pytest.mark.parametrize(
    "like",
    [
        shapes(rows=4),
        shapes(dtype="int32"),
        shapes(bias=jax.ShapeDtypeStruct((3,), np.float32)),
        {"step": jax.ShapeDtypeStruct((), np.int32)},
    ],
    ids=["rows", "dtype", "more", "fewer"],
)
def test_other_arrays_are_refused(saved, layout, like):
    with pytest.raises(DamagedError, match="it has other arrays"):
        checkpoint.read_arrays(saved, like, layout)


def test_arrays_of_any_shapes_are_read(saved):
    found = checkpoint.read_any_arrays(saved)
    np.testing.assert_array_equal(found["tables"]["id"], TREE["tables"]["id"])
