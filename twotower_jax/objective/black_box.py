"""A loss function from elsewhere, as a black box: its value and its derivatives."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from twotower_jax.errors import InputError

# (scores [B, C], candidate ids [B, C], log q [B, C]) -> scalar of any library.
LossFunction = Callable[[Any, Any, Any], Any]
# Half of the difference over which a derivative is taken, in nats. The error is of the
# order of its square; a smaller one drowns in the rounding of float32.
STEP = 0.02


class Candidates(NamedTuple):
    """The arguments of a loss, and the cells by which it is differentiated."""

    scores: np.ndarray  # [B, C] float32 logits before the correction
    ids: np.ndarray  # [B, C] int32
    log_q: np.ndarray  # [B, C] float32
    cells: np.ndarray  # [B, C] bool, cells that move together


class BlackBox:
    """A loss of scores, logits times the temperature, and its derivatives.

    JAX differentiates a function that it can trace; differences any other.
    """

    def __init__(self, loss: LossFunction, temperature: float):
        if not callable(loss):
            raise InputError(
                f"audit({loss!r}) is not a function; give a function of scores, "
                "candidate ids and log q that returns the loss"
            )
        self._loss, self.temperature = loss, temperature
        self._gradients: dict[str, Callable[..., Any]] | None = None

    def check(self, example: Candidates) -> None:
        """Call the loss once, and find out whether JAX can trace it."""
        self.value(example)
        gradients = {
            name: jax.jit(jax.grad(self._traced, argnums=place))
            for name, place in (("scores", 0), ("log_q", 2))
        }
        try:
            for gradient in gradients.values():
                gradient(example.scores, example.ids, example.log_q)
        # A function of another library fails in its own way on a traced array.
        except Exception:
            return
        self._gradients = gradients

    def value(self, at: Candidates) -> float:
        """Return the loss."""
        scores = (self.temperature * at.scores).astype(np.float32)
        try:
            result = self._loss(scores, at.ids.copy(), at.log_q.copy())
        except Exception as error:
            raise InputError(
                f"the audited loss raised {type(error).__name__}: {error}; it is "
                "called with scores, candidate ids and log q as arrays of shape "
                f"{at.scores.shape}"
            ) from error
        return _scalar(result)

    def slope(self, at: Candidates, name: str) -> float:
        """Return the derivative of the loss by cells that move together."""
        if self._gradients is None:
            slope = self._difference(at, name)
        else:
            gradient = self._gradients[name](at.scores, at.ids, at.log_q)
            slope = float(np.asarray(gradient)[at.cells].sum())
        if not np.isfinite(slope):
            raise InputError(
                f"the derivative of the audited loss by its {name} is not finite; mask "
                "by a large negative logit such as -1e9, and keep logarithms finite"
            )
        return slope

    def _difference(self, at: Candidates, name: str) -> float:
        step = (STEP * at.cells).astype(np.float32)
        values = getattr(at, name)
        ahead = self.value(at._replace(**{name: values + step}))
        behind = self.value(at._replace(**{name: values - step}))
        return (ahead - behind) / (2 * STEP)

    def _traced(self, scores: jax.Array, ids: jax.Array, log_q: jax.Array) -> jax.Array:
        result = self._loss(self.temperature * scores, ids, log_q)
        if not isinstance(result, jax.Array) or result.shape:
            raise TypeError("not a scalar of JAX")
        return result.astype(jnp.float32)


def _scalar(result: Any) -> float:
    shape = getattr(result, "shape", ())
    try:
        if len(tuple(shape)):
            raise TypeError
        number = float(result)
    except (TypeError, ValueError):
        what = f"an array of shape {tuple(shape)}" if shape else repr(result)[:80]
        raise InputError(
            f"the audited loss returned {what}; return one number, the mean or the sum "
            "over the rows"
        ) from None
    if not np.isfinite(number):
        raise InputError(
            f"the audited loss is {number} for scores near log P(i | u); mask by a "
            "large negative logit such as -1e9, and keep logarithms finite"
        )
    return number
