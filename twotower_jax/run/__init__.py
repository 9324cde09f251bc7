"""One run, from its configuration to its folder."""

from twotower_jax.run.execute import run as run
