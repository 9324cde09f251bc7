"""Worlds that cannot be simulated are refused with key, value and remedy."""

import pytest

from twotower_jax.data.simulator.config import SimulatorConfig
from twotower_jax.data.simulator.record import simulate
from twotower_jax.errors import InputError


def test_a_click_rate_above_the_examination_rate_is_refused():
    # Mean of k ** -0.7 over k = 1..10 is 0.397.
    message = (
        r"click_rate=0.5 cannot be reached: .* probability 0.397 on average; lower"
    )
    with pytest.raises(InputError, match=message):
        simulate(SimulatorConfig(click_rate=0.5))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"items": 0}, r"items=0 is out of range; give a value between 1"),
        ({"users": 1}, r"users=1 is out of range; give a value between 2"),
        ({"click_rate": 1.5}, r"click_rate=1.5 .* between 0 and 1"),
        ({"position_bias": -0.5}, r"position_bias=-0.5 .* between 0 and 1"),
        ({"kept": -1}, r"kept=-1 .* at least 0"),
        ({"drift": 4.0}, r"drift=4.0 .* between 0 and 3.14"),
        ({"latent_dim": 257}, r"latent_dim=257 .* between 1 and 256"),
        ({"growth": float("nan")}, r"growth=nan is out of range"),
        ({"items": 9}, r"exposed=10 is more than data.simulator.items=9; lower exp"),
        ({"exposed": 21}, r"exposed=21 .*re_ranked=20; lower exposed, or raise re_"),
        ({"re_ranked": 51}, r"re_ranked=51 is more than data.simulator.ranked=50"),
        ({"ranked": 151}, r"ranked=151 is more than data.simulator.pre_ranked=150"),
        ({"pre_ranked": 401}, r"pre_ranked=401 .*retrieved=400; lower pre_ranked"),
        (
            {"from_popular": 0, "from_similar": 0, "from_taste": 0},
            r"from_popular=0, .* retrieve nothing; raise one",
        ),
        ({"requests": 10**9}, r"requests=10{9} .* 256 per second; raise .*days=30"),
    ],
)
def test_impossible_worlds_are_refused(values, message):
    with pytest.raises(InputError, match=message):
        SimulatorConfig(**values)
