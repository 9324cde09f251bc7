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

FUNCTIONS = """
import jax
import jax.numpy as jnp
import numpy as np

from twotower_jax import compiler

compiler.set_up()
x = np.linspace(-0.99, 0.99, 512).astype(np.float32)
within_one = ["arcsin", "arccos", "arctanh"]
of_positive = ["log", "log1p", "log2", "sqrt", "cbrt"]
others = "tan arcsinh sinh cosh tanh sin cos exp expm1".split()
for name in within_one + of_positive + others:
    one = np.abs(x) if name in of_positive else x
    for scale in (1,) if name in within_one else (1, 3):
        found = jax.jit(getattr(jnp, name))(one * scale)
        want = getattr(np, name)((one * scale).astype(np.float64))
        np.testing.assert_allclose(found, want, rtol=1e-4, atol=1e-6, err_msg=name)
"""

SURROGATES = """
import jax
import numpy as np

from twotower_jax.losses.cosine import psl_logits

d = np.linspace(-1, 1, 512).astype(np.float32)
for name, sigma in {"tanh": np.tanh, "atan": np.arctan}.items():
    half = jax.jit(lambda d, name=name: psl_logits(name, d * 0, 2 * d[:, None], 1.0))
    want = np.log(1 + sigma(d.astype(np.float64)))
    np.testing.assert_allclose(half(d)[:, 0], want, rtol=1e-4, atol=1e-6)
"""


def run(code, flags):
    """Run code in a process of its own, with flags of the user."""
    # Without the settings of these tests, which compile quickly and keep programs.
    env = {k: v for k, v in os.environ.items() if not k.startswith("JAX_")}
    env |= {"JAX_PLATFORMS": "cpu", "TWOTOWER_CACHE": "", "XLA_FLAGS": flags}
    return subprocess.run([sys.executable, "-c", code], env=env, check=True)


def code_size(folder, flags):
    """Return the bytes of the machine code of a gather, with flags of the user."""
    run(GATHER, f"--xla_dump_to={folder} {flags}")
    (code,) = folder.glob("*gather*.o")
    return code.stat().st_size


def test_functions_are_those_of_numpy():
    """But arctan, which jaxlib 0.10.2 itself computes wrong on some CPUs."""
    run(FUNCTIONS, "")


def test_surrogates_of_psl_are_those_of_numpy_where_arctan_of_xla_is_wrong():
    run(SURROGATES, "--xla_cpu_prefer_vector_width=512")


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
