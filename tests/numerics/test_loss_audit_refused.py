"""`twotower_jax.audit` refuses functions that return no loss, and wrong options."""

import jax.numpy as jnp
import numpy as np
import pytest

import twotower_jax
from twotower_jax.errors import InputError


def squares(scores, ids, log_q):
    return float(np.square(scores).mean())


def raises(*_):
    raise RuntimeError("no CUDA")


@pytest.mark.parametrize(
    ("loss", "text"),
    [
        (3, "is not a function"),
        (lambda s, i, q: s - q, r"array of shape \(256, 65\)"),
        (lambda s, i, q: jnp.asarray(s - q).mean(axis=1), r"array of shape \(256,\)"),
        (lambda s, i, q: None, "returned None; return one number"),
        (lambda s, i, q: "loss", "'loss'; return one number"),
        (lambda s, i, q: float("nan"), "is nan for scores near log P"),
        (lambda s, i, q: np.exp(1e6 * np.abs(s)).sum(), "is inf"),
        (raises, "raised RuntimeError: no CUDA"),
        (lambda s, i: 0.0, "raised TypeError"),
        (lambda s, i, q: 1.0, "does not depend on the scores"),
    ],
)
@pytest.mark.filterwarnings("ignore:overflow")
def test_a_function_that_is_no_loss(loss, text):
    with pytest.raises(InputError, match=text):
        twotower_jax.audit(loss)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"negatives": "populrity"}, "choose one of: in_batch, popularity, uniform"),
        ({"draws": 0}, "draws=0 must be"),
        ({"temperature": 0.0}, "temperature=0.0 must be"),
        ({"log_q": "counts"}, "choose one of: count, probability"),
        ({"negatives": lambda c, s, shape, g: np.zeros(shape)}, "the sampler raised"),
        (
            {
                "negatives": lambda c, s, shape, g: (
                    np.full(shape, -1),
                    np.zeros(len(c)),
                )
            },
            "ids outside of",
        ),
        (
            {"negatives": lambda c, s, shape, g: (np.zeros(shape, int), np.zeros(2))},
            "one finite log q per item",
        ),
    ],
)
def test_wrong_options(options, text):
    with pytest.raises(InputError, match=text):
        twotower_jax.audit(squares, **options)
