"""Memories that the loop renews between steps: functions of the parameters."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from twotower_jax.training.schedule import Renewals
from twotower_jax.training.types import TrainState


class Renewal(NamedTuple):
    """One memory of the samplers that the loop renews.

    Attributes:
      name: Name of the memory in ``TrainState.samplers``.
      when: Steps before which it is renewed.
      renew: Function of the state that returns the memory.
    """

    name: str
    when: Renewals
    renew: Callable[[TrainState], np.ndarray]
