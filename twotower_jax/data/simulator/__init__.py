"""The embedded world: a funnel with known truth (formulas in README.md)."""

from twotower_jax.data.simulator.facts import (
    UniformExposures,
    true_top_k,
    true_vectors,
    truth,
    uniform_exposures,
)
from twotower_jax.data.simulator.funnel import share_of_time
from twotower_jax.data.simulator.record import LogBlock, simulate, simulate_blocks
from twotower_jax.data.simulator.world import World, make_world

__all__ = [
    "LogBlock",
    "UniformExposures",
    "World",
    "make_world",
    "share_of_time",
    "simulate",
    "simulate_blocks",
    "true_top_k",
    "true_vectors",
    "truth",
    "uniform_exposures",
]
