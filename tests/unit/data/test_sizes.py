"""Sizes of a world without simulating it, against the log that is simulated."""

import pytest

from twotower_jax.data.config import DataConfig
from twotower_jax.data.simulator.config import SimulatorConfig
from twotower_jax.data.simulator.record import simulate
from twotower_jax.data.sizes import simulated_sizes, sizes_of
from twotower_jax.data.split import split


@pytest.mark.slow
def test_a_simulated_world_has_the_sizes_that_were_expected():
    config = DataConfig(
        simulator=SimulatorConfig(users=300, items=2000, requests=4000, click_rate=0.2)
    )
    log = simulate(config.simulator)
    true, expected = sizes_of(log, split(log, config)), simulated_sizes(config)
    assert expected.num_items == true.num_items
    assert expected.num_users == pytest.approx(true.num_users, rel=0.1)
    assert expected.positives == pytest.approx(true.positives, rel=0.25)
    assert expected.rows == true.rows and expected.pool == true.pool
    assert expected.timed == true.timed
    for side in ("user_features", "item_features"):
        ours, theirs = getattr(expected, side), getattr(true, side)
        assert list(ours) == sorted(theirs)
        assert {n: f.kind for n, f in ours.items()} == {n: theirs[n].kind for n in ours}
        for name in ours:
            if ours[name].kind != "multi":
                assert ours[name].values.shape[1:] == theirs[name].values.shape[1:]
