"""A small world and its log, shared by tests of the simulator."""

from twotower_jax.data.simulator.config import SimulatorConfig

CONFIG = SimulatorConfig(users=500, items=4_000, requests=3_000, kept=10)


def item_ids(log):
    return log.item_ids.to_numpy()[log.item]


def user_ids(log):
    return log.user_ids.to_numpy()[log.user]
