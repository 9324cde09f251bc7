"""Settings of every test: strict JAX, repeatable hypothesis, one key."""

import os

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("MPLBACKEND", "Agg")
# Nothing is left in the user's cache folder.
os.environ["TWOTOWER_CACHE"] = ""

import jax
import pytest
from hypothesis import settings

# Strict from the start: no silent broadcasting between ranks, typed keys only.
# 64 bits stay off; a test of numerics asks for them with `jax.enable_x64(True)`.
jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_legacy_prng_key", "error")

# The same examples on every machine, however slow it is.
settings.register_profile("repeatable", derandomize=True, deadline=None)
settings.load_profile("repeatable")


@pytest.fixture
def key() -> jax.Array:
    """Return a typed JAX key; fold in or split it for more."""
    return jax.random.key(0)
