"""Minutes that are too few for an advice."""

import pytest

from twotower_jax.advice import stages
from twotower_jax.errors import InputError


def test_minutes_too_few_for_one_arm_name_the_minutes_that_are_enough():
    # 60 steps of 256 positives at 1,536 examples/s take 10 s.
    with pytest.raises(
        InputError, match=r"advise.minutes=0.1 is too small for one arm"
    ):
        stages.short_of(6, 1_536, 256)
    text = stages.short_of(60, 1_536, 256)
    # Twelve such runs in the 35 % that the test has: 343 s.
    assert "advise.minutes=1 is short" in text and "advise.minutes=6 is enough" in text
