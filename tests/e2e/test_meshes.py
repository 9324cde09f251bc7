"""Many devices are a value of the configuration, not another program."""

import re
from collections import Counter
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import devices, mesh_steps
from helpers.problems import as_loaded, small_problem, zipf_clicks
from helpers.quick import quick

from twotower_jax.errors import InputError
from twotower_jax.training.mesh import DeviceFeed
from twotower_jax.training.step import run_steps

HELPERS = Path(__file__).parents[1] / "helpers"


def on_eight_devices(script, *words):
    """Return what a script prints that sees eight devices of a CPU."""
    return devices.printed(8, "-W", "error", HELPERS / script, *words)


@pytest.mark.parametrize("meshes", quick(("2x4", "8x1,1x8"), ("2x4",)))
@pytest.mark.parametrize("case", quick(mesh_steps.CASES, ("bank",)))
def test_twenty_steps_on_eight_devices_are_those_of_one(case, meshes):
    """In float64: tables of 37 and 53 rows, spread over 1, 4 and 8 devices."""
    printed = on_eight_devices("mesh_steps.py", meshes, case)
    pattern = re.escape(case) + r" \dx\d: (\S+), losses (\S+)"
    found = re.findall(pattern, printed)
    assert len(found) == len(meshes.split(",")), printed
    assert all(float(gap) < 1e-10 for pair in found for gap in pair), printed


@pytest.mark.slow
@pytest.mark.parametrize(
    "check",
    [
        *("one_program", "one_layout", "layouts", "blocks"),
        *("catalogue", "catalogues"),
    ],
)
def test_a_training_on_a_mesh(check, tmp_path):
    assert f"{check} holds" in on_eight_devices("mesh_loop.py", tmp_path, check)


def test_no_device_holds_more_of_a_training_than_its_part():
    found = re.findall(r": (\d+) (\d+)$", on_eight_devices("mesh_shares.py"), re.M)
    assert len(found) == 6
    for most, least in found:
        assert int(most) < 1.05 * int(least)


def data():
    return as_loaded(*zipf_clicks(30, 40, 400), 30, 40)


def test_more_devices_than_there_are_is_an_error():
    many = len(jax.devices()) + 1
    keys = {"training__batch_size": 16 * many, "training__devices": many}
    problem = small_problem(data(), **keys)
    with pytest.raises(InputError, match=f"needs {many} devices, but jax sees"):
        problem.layout()


@pytest.mark.parametrize(
    "keys, message",
    [
        ({"devices": 3}, "not a multiple of training.devices=3"),
        (
            {"mesh__data": 3, "mesh__table": 2},
            r"training.batch_size=16 is not a multiple of 6, the devices of "
            r"training.mesh.data=3 and training.mesh.table=2, .* give one, such as 18",
        ),
        (
            {"devices": 4, "mesh__table": 3},
            r"training.devices=4 is not training.mesh.data=1 times "
            r"training.mesh.table=3; leave training.devices out",
        ),
        ({"mesh__table": 0}, r"training\.mesh\.table=0"),
        ({"mesh__tables": 2}, r"unknown key training\.mesh\.tables"),
    ],
)
def test_a_mesh_that_does_not_divide_is_an_error(keys, message):
    with pytest.raises(InputError, match=message):
        small_problem(data(), **{f"training__{key}": n for key, n in keys.items()})


def instructions(arguments):
    """Return how often a compiled dispatch has each instruction, with its shape."""
    text = run_steps.lower(*arguments).compile().as_text()
    assert text is not None
    return Counter(re.findall(r"= (\S+ [a-z-]+)\(", text))


def test_a_mesh_of_one_device_runs_the_instructions_of_no_mesh():
    problem = small_problem(data(), negatives__easy__num=10)
    layout, batches = problem.layout(), problem.order.batches(0, 4)
    feed = DeviceFeed(layout.mesh, problem.data)
    state = layout.put(problem.start())
    with jax.set_mesh(layout.mesh):
        program = layout.put_program(problem.program)
        positives, rows = feed(batches)
        on_mesh = instructions((program, positives, state, rows, np.int32(4)))
    alone = (problem.program, problem.data, problem.start(), jnp.asarray(batches))
    plain = instructions((*alone, np.int32(4)))
    assert plain.total() > 1_000
    assert on_mesh == plain


def test_devices_are_copies_of_the_tables_unless_the_mesh_says_otherwise():
    for keys, mesh in (
        ({"devices": 4}, (4, 1)),
        ({"devices": 4, "mesh__table": 2}, (2, 2)),
        ({"mesh__table": 4}, (1, 4)),
        ({"mesh__data": 2, "mesh__table": 4}, (2, 4)),
    ):
        keys = {f"training__{key}": number for key, number in keys.items()}
        assert small_problem(data(), **keys).mesh == mesh
