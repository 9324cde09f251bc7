"""A process reads the rows of its own devices, and they are stored like tables."""

import os
import subprocess
import sys

CODE = """
import jax, numpy as np
from twotower_jax.training import mesh

mesh.alone = lambda: False
read = []

def rows(part):
    read.append((part.start or 0, part.stop))
    return {"item": np.arange(8)[part], "pool": 10 * np.arange(16).reshape(8, 2)[part]}

made = mesh.read_parts(mesh.make_mesh(mesh.MeshShape(2, 2)), 8, rows)
assert sorted(read) == [(0, 2), (2, 4), (4, 6), (6, 8)], read
for name, right in rows(slice(0, 8)).items():
    assert made[name].sharding.spec == mesh.BY_ROWS
    np.testing.assert_array_equal(made[name], right)
"""


def test_the_rows_of_each_device_are_read_once():
    flags = os.environ.get("XLA_FLAGS", "")
    flags += " --xla_force_host_platform_device_count=4"
    done = subprocess.run(
        [sys.executable, "-c", CODE],
        env=os.environ | {"XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
