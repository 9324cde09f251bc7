"""A catalogue of one user, and batches of candidates as a library passes them.

A batch is made for one item at a time: the item is the positive of the rows whose pull
is measured, or one of the negatives of the rows whose push is measured. So an item that
is drawn once in 10^12 draws is measured as well as any other.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from twotower_jax import keys
from twotower_jax.errors import InputError, unknown

COMMON = 60
# Shares of the clicks of rare items. Large catalogues have them, and floors of q show
# with them alone.
RARE = 10.0 ** -np.arange(6.5, 12)
POPULARITY, TASTE = 0.7, 0.5
# Clicks of the catalogue, whose counts a given sampler receives.
CLICKS = 100_000
# Draws by which the probabilities of a given sampler are counted, and the least number
# of draws of an item that is compared.
COUNTED, SELDOM = 2**18, 100
# Items whose draws have to be known.
LEAST = 10

# (counts [N], scores [N], shape, generator) -> ids of that shape, declared log q [N].
Sampler = Callable[
    [np.ndarray, np.ndarray, tuple[int, int], np.random.Generator],
    tuple[np.ndarray, np.ndarray],
]


class Catalogue(NamedTuple):
    """A catalogue of N items and one user.

    Attributes:
      probability: [N] float64 P(i | u).
      popularity: [N] float64 share of the clicks of all users.
    """

    probability: np.ndarray
    popularity: np.ndarray

    @property
    def counts(self) -> np.ndarray:
        """Clicks of the items, [N] int64."""
        return np.round(CLICKS * self.popularity).astype(np.int64)

    @property
    def rare(self) -> np.ndarray:
        """Whether an item is rare, [N] bool."""
        return np.arange(len(self.popularity)) >= COMMON


class Proposal(NamedTuple):
    """The draws of the slots of a row.

    Attributes:
      sample: Function of a shape and a generator to ids.
      q: [N] float64 probability of a draw; nan where it is too seldom to be known.
      log_q: [N] float64 log q as the library declares it.
    """

    sample: Callable[[tuple[int, int], np.random.Generator], np.ndarray]
    q: np.ndarray
    log_q: np.ndarray


def make_catalogue(rare: bool) -> Catalogue:
    """The catalogue of the audit of a loss function.

    Args:
      rare: Whether it has rare items.

    Returns:
      The catalogue.

    Examples:
      >>> catalogue = make_catalogue(rare=True)
      >>> int(catalogue.rare.sum()), bool(catalogue.probability.max() < 0.15)
      (6, True)
    """
    common = np.arange(1, COMMON + 1) ** -POPULARITY
    popularity = np.concatenate([common / common.sum(), RARE if rare else []])
    noise = keys.generator(0, "objective.catalogue").standard_normal(len(popularity))
    # Nothing is liked so much that it is most of the clicks.
    probability = popularity * np.exp(TASTE * np.clip(noise, -1.5, 1.5))
    return Catalogue(probability / probability.sum(), popularity / popularity.sum())


def make_proposal(
    catalogue: Catalogue, negatives: str | Sampler, scores: np.ndarray
) -> Proposal:
    """The draws of slots, by name or by a given sampler.

    Args:
      catalogue: The catalogue.
      negatives: "uniform", "popularity" or a sampler.
      scores: [N] current scores of the user, for samplers that read them.

    Returns:
      The proposal. The probabilities of a given sampler are counted.

    Raises:
      InputError: The name is unknown, or the sampler returns something else.
    """
    if callable(negatives):
        return _counted(catalogue, negatives, scores)
    number = len(catalogue.popularity)
    shares = {
        "uniform": np.full(number, 1 / number),
        "popularity": catalogue.popularity,
    }
    if negatives not in shares:
        raise unknown("negatives", negatives, [*shares, "in_batch"])
    q = shares[negatives]

    def sample(shape: tuple[int, int], generator: np.random.Generator) -> np.ndarray:
        return generator.choice(number, shape, p=q)

    return Proposal(sample, q, np.log(q))


def _counted(catalogue: Catalogue, sampler: Sampler, scores: np.ndarray) -> Proposal:
    """Return the proposal of a given sampler, with counted probabilities."""
    number = len(scores)
    declared = np.zeros(number)

    def sample(shape: tuple[int, int], generator: np.random.Generator) -> np.ndarray:
        try:
            ids, log_q = sampler(catalogue.counts, scores.copy(), shape, generator)
            ids, log_q = np.asarray(ids), np.asarray(log_q, np.float64)
        except Exception as error:
            raise InputError(
                f"the sampler raised {type(error).__name__}: {error}; it is called "
                "with counts [N], scores [N], a shape and a numpy generator"
            ) from error
        fits = ids.shape == shape and log_q.shape == (number,)
        if not fits or ids.dtype.kind not in "iu" or not np.isfinite(log_q).all():
            raise InputError(
                f"the sampler returned ids of shape {ids.shape} and log q of shape "
                f"{log_q.shape}; return integer ids of shape {shape} and one finite "
                f"log q per item, [{number}]"
            )
        if ids.min() < 0 or ids.max() >= number:
            raise InputError(f"the sampler returned ids outside of 0..{number - 1}")
        declared[:] = log_q
        return ids

    drawn = sample((COUNTED // 64, 64), keys.generator(0, "objective.counted"))
    counts = np.bincount(drawn.ravel(), minlength=number)
    q = np.where(counts >= SELDOM, counts / drawn.size, np.nan)
    if np.isfinite(q).sum() < LEAST:
        raise InputError(
            f"the sampler draws {np.isfinite(q).sum()} of {number} items more than "
            f"{SELDOM} times in {drawn.size:,} draws; an audit needs {LEAST}"
        )
    return Proposal(sample, q, declared)
