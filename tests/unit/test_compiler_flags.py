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


def test_a_gather_moves_several_numbers_of_a_row_at_once(tmp_path):
    """The machine code of a gather has loads of vectors of numbers, with equal bits."""
    # Without the settings of these tests, which compile quickly and keep programs.
    env = {k: v for k, v in os.environ.items() if not k.startswith("JAX_")}
    env |= {"JAX_PLATFORMS": "cpu", "TWOTOWER_CACHE": ""}
    env |= {"XLA_FLAGS": f"--xla_dump_to={tmp_path}"}
    subprocess.run([sys.executable, "-c", GATHER], env=env, check=True)
    (code,) = tmp_path.glob("*gather*with-opt.ll")
    assert "x float>" in code.read_text()


@pytest.mark.parametrize("name", FLAGS)
def test_the_users_flags_go_first(name):
    words = with_flags(f"--xla_force_host_platform_device_count=2 --{name}=mine")
    assert words.count(name) == 1 and f"--{name}=mine" in words.split()
    assert "--xla_force_host_platform_device_count=2" in words.split()


def test_flags_are_added_once():
    once = with_flags("")
    assert set(once.split()) == {f"--{name}={value}" for name, value in FLAGS.items()}
    assert with_flags(once) == once
