"""The update of a learned temperature: gradient descent on its log, within bounds.

The temperature is one number, and its gradient is of another size than those of the
tables, so it has a rate of its own and no optimizer state. For a softmax the gradient
of the loss by log T is the mean of (score of the positive - expected score of the row):
it is positive wherever the model fits its training rows better than its own
probabilities expect, so that T falls as the model memorises them. The loss of other
rows, or a metric, may be best at a larger T. The bounds and the rate limit the fall.
"""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp


class TemperatureNumbers(NamedTuple):
    """Numbers of the update of a learned temperature.

    Attributes:
      rate: [] change of log T per unit of its gradient.
      low: [] lowest log T.
      high: [] highest log T.
    """

    rate: jax.Array | float
    low: jax.Array | float
    high: jax.Array | float


def update_log_temperature(
    numbers: TemperatureNumbers, log_temperature: jax.Array, gradient: jax.Array
) -> jax.Array:
    """Log of the temperature after one step.

    Examples:
      >>> numbers = TemperatureNumbers(0.5, low=-3.0, high=-1.0)
      >>> [float(update_log_temperature(numbers, jnp.float32(-2), g)) for g in (1, 9)]
      [-2.5, -3.0]
    """
    moved = log_temperature - numbers.rate * gradient
    return jnp.clip(moved, numbers.low, numbers.high)


def learned_temperature(params: dict[str, Any]) -> float | None:
    """Temperature of params, None where it is not one of them.

    Examples:
      >>> [learned_temperature(p) for p in ({"log_temperature": jnp.zeros(())}, {})]
      [1.0, None]
    """
    value = params.get("log_temperature")
    return None if value is None else math.exp(value)
