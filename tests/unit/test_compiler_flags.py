"""Flags of XLA: what they change in a program, and those that the user has set."""

import os
import subprocess
import sys

import pytest

from twotower_jax.compiler import FLAGS, with_flags

GATHER = """
import jax
import numpy as np

from twotower_jax import compiler

compiler.set_up()
table = np.random.default_rng(0).normal(size=(300, 64)).astype(np.float32)
ids = np.array([299, 4, 4, 0, 17], np.int32)
rows = np.asarray(jax.jit(lambda table, ids: table[ids])(table, ids))
assert rows.tobytes() == table[ids].tobytes()
"""


def code_size(folder, flags):
    """Return the bytes of the machine code of a gather, with flags of the user."""
    # Without the settings of these tests, which compile quickly and keep programs.
    env = {k: v for k, v in os.environ.items() if not k.startswith("JAX_")}
    env |= {"JAX_PLATFORMS": "cpu", "TWOTOWER_CACHE": ""}
    env |= {"XLA_FLAGS": f"--xla_dump_to={folder} {flags}"}
    subprocess.run([sys.executable, "-c", GATHER], env=env, check=True)
    (code,) = folder.glob("*gather*.o")
    return code.stat().st_size


def test_a_gather_is_not_unrolled_number_by_number(tmp_path):
    """The bits of its rows are those of numpy, and its machine code is short."""
    unrolled = code_size(tmp_path / "a", "--xla_backend_extra_options=xla_none")
    assert 1.3 * code_size(tmp_path / "b", "") < unrolled


@pytest.mark.parametrize("name", FLAGS)
def test_the_users_flags_go_first(name):
    words = with_flags(f"--xla_force_host_platform_device_count=2 --{name}=mine")
    assert words.count(name) == 1 and f"--{name}=mine" in words.split()
    assert "--xla_force_host_platform_device_count=2" in words.split()


def test_flags_are_added_once():
    once = with_flags("")
    assert set(once.split()) == {f"--{name}={value}" for name, value in FLAGS.items()}
    assert with_flags(once) == once
