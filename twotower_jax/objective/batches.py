"""A catalogue of one user, batches in which one item is marked, and forces on it.

A batch is made for one item at a time: the item is the positive of the rows whose pull
is measured, or one of the negatives of the rows whose push is measured. So an item that
is drawn once in 10^12 draws is measured as well as any other.
"""

from collections.abc import Callable
from typing import NamedTuple, Protocol

import numpy as np

from twotower_jax import keys
from twotower_jax.errors import InputError, unknown
from twotower_jax.objective.black_box import BlackBox, Candidates

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
    """A catalogue of N items and one user."""

    probability: np.ndarray  # [N] float64 P(i | u)
    popularity: np.ndarray  # [N] float64 share of the clicks of all users

    @property
    def counts(self) -> np.ndarray:
        """Clicks of the items, [N] int64."""
        return np.round(CLICKS * self.popularity).astype(np.int64)

    @property
    def rare(self) -> np.ndarray:
        """Whether an item is rare, [N] bool."""
        return np.arange(len(self.popularity)) >= COMMON


class Proposal(NamedTuple):
    """The draws of the slots of a row."""

    # Function of a shape and a generator to ids
    sample: Callable[[tuple[int, int], np.random.Generator], np.ndarray]
    # [N] float64 probability of a draw; nan where it is too seldom to be known
    q: np.ndarray
    log_q: np.ndarray  # [N] float64 log q as the library declares it


def make_catalogue(rare: bool) -> Catalogue:
    """The catalogue of the audit of a loss function."""
    common = np.arange(1, COMMON + 1) ** -POPULARITY
    popularity = np.concatenate([common / common.sum(), RARE if rare else []])
    noise = keys.generator(0, "objective.catalogue").standard_normal(len(popularity))
    # Nothing is liked so much that it is most of the clicks.
    probability = popularity * np.exp(TASTE * np.clip(noise, -1.5, 1.5))
    return Catalogue(probability / probability.sum(), popularity / popularity.sum())


def make_proposal(
    catalogue: Catalogue, negatives: str | Sampler, scores: np.ndarray
) -> Proposal:
    """The draws of slots, by name or by a given sampler."""
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


# Rows of a batch of slots.
ROWS = 256
# Rows of an in-batch matrix, those of the user among them, and matrices per item.
BATCH, OWN, SETS = 64, 8, 4


class Layout(Protocol):
    """Batches for one item at a time."""

    # [N] expected number of each item among the negatives of a row; nan where it is too
    # seldom to be known
    expected: np.ndarray
    log_q: np.ndarray  # [N] log q that the loss receives
    error: np.ndarray  # [N] declared minus true log q of a draw

    def pulls(self, scores: np.ndarray, item: int) -> list[Candidates]:
        """Return batches with the item as a positive; its cells are marked."""
        ...

    def pushes(self, scores: np.ndarray, item: int) -> list[Candidates]:
        """Return batches with the item as a negative; its cells are marked."""
        ...

    def hits(self, scores: np.ndarray, item: int) -> list[Candidates]:
        """Return batches with the item as positive and as negative of a row."""
        ...


class Slots:
    """Rows with a positive in column 0 and draws of their own behind it.

    Args:
      catalogue: The catalogue.
      proposal: The draws.
      draws: Draws of a row.
      shift: Added to the log q that the loss receives.
      set_number: Number of the set of draws.
    """

    def __init__(
        self,
        catalogue: Catalogue,
        proposal: Proposal,
        draws: int,
        shift: float,
        set_number: int,
    ):
        rng = keys.generator(0, "objective.slots", set_number)
        p = catalogue.probability
        self._positives = rng.choice(len(p), ROWS, p=p)
        self._drawn = proposal.sample((ROWS, draws), rng)
        self.log_q = proposal.log_q + shift
        self.expected = draws * proposal.q
        self.error = proposal.log_q - np.log(proposal.q)

    def pulls(self, scores: np.ndarray, item: int) -> list[Candidates]:
        """Return one batch: the item is the positive of every row."""
        return [self._batch(scores, np.full(ROWS, item), self._drawn, 0)]

    def pushes(self, scores: np.ndarray, item: int) -> list[Candidates]:
        """Return one batch: the item is the first draw of every row."""
        return [self._batch(scores, self._positives, self._with_first(item), 1)]

    def hits(self, scores: np.ndarray, item: int) -> list[Candidates]:
        """Return one batch: the item is the positive and the first draw."""
        drawn = self._with_first(item)
        return [self._batch(scores, np.full(ROWS, item), drawn, 1)]

    def _with_first(self, item: int) -> np.ndarray:
        drawn = self._drawn.copy()
        drawn[:, 0] = item
        return drawn

    def _batch(
        self, scores: np.ndarray, positives: np.ndarray, drawn: np.ndarray, column: int
    ) -> Candidates:
        ids = np.concatenate([positives[:, None], drawn], axis=1).astype(np.int32)
        cells = np.zeros(ids.shape, bool)
        cells[:, column] = True
        return _candidates(scores[ids], ids, self.log_q[ids], cells)


class InBatch:
    """Square matrices: the positive of row b is column b, the other rows' positives
    are its negatives.

    The first rows are those of the user; the positives of the other rows follow the
    popularity, and their scores stay as they are.

    Args:
      catalogue: The catalogue.
      shift: Added to the log q that the loss receives.
      set_number: Number of the set of draws.
    """

    def __init__(self, catalogue: Catalogue, shift: float, set_number: int):
        rng = keys.generator(0, "objective.in_batch", set_number)
        p, popularity = catalogue.probability, catalogue.popularity
        own = rng.choice(len(p), (SETS, OWN), p=p)
        other = rng.choice(len(p), (SETS, BATCH - OWN), p=popularity)
        self._positives = np.concatenate([own, other], axis=1)
        self._others = np.log(popularity)
        self.expected = (OWN - 1) * p + (BATCH - OWN) * popularity
        self.log_q = np.log(self.expected / (BATCH - 1)) + shift
        self.error = np.zeros(len(p))

    def pulls(self, scores: np.ndarray, item: int) -> list[Candidates]:
        """Return matrices whose first positive is the item."""
        return [self._matrix(scores, one, (item, None)) for one in self._positives]

    def pushes(self, scores: np.ndarray, item: int) -> list[Candidates]:
        """Return matrices whose last positive, of another user, is the item."""
        return [self._matrix(scores, one, (None, item)) for one in self._positives]

    def hits(self, scores: np.ndarray, item: int) -> list[Candidates]:
        """Return matrices whose first and last positives are the item."""
        return [self._matrix(scores, one, (item, item)) for one in self._positives]

    def _matrix(
        self,
        scores: np.ndarray,
        positives: np.ndarray,
        ends: tuple[int | None, int | None],
    ) -> Candidates:
        first, last = ends
        positives = positives.copy()
        cells = np.zeros((BATCH, BATCH), bool)
        if first is not None:
            positives[0], cells[0, 0] = first, last is None
        if last is not None:
            positives[-1] = last
            cells[: 1 if first is not None else OWN, -1] = True
        ids = np.tile(positives, (BATCH, 1)).astype(np.int32)
        values = self._others[ids]
        values[:OWN] = scores[ids[:OWN]]
        return _candidates(values, ids, self.log_q[ids], cells)


class Forces(NamedTuple):
    """Forces on the items, in units of a row's gradient."""

    pull: np.ndarray  # [N] of rows in which the item is the positive
    push: np.ndarray  # [N] of rows in which it is a negative


def forces(
    box: BlackBox, layout: Layout, catalogue: Catalogue, scores: np.ndarray
) -> Forces:
    """The forces of a loss on the scores of the user."""
    known = np.isfinite(layout.expected)
    pull, push = np.zeros(len(scores)), np.zeros(len(scores))
    for item in np.flatnonzero(known).tolist():
        pull[item] = -mean_slope(box, layout.pulls(scores, item), "scores")
        push[item] = mean_slope(box, layout.pushes(scores, item), "scores")
    expected = np.where(known, layout.expected, 0)
    return Forces(catalogue.probability * pull, expected * push)


def mean_slope(box: BlackBox, batches: list[Candidates], name: str) -> float:
    """The mean derivative of the loss by a marked cell."""
    slopes = [box.slope(one, name) / one.cells.sum() for one in batches]
    return float(np.mean(slopes))


def _candidates(
    scores: np.ndarray, ids: np.ndarray, log_q: np.ndarray, cells: np.ndarray
) -> Candidates:
    return Candidates(scores.astype(np.float32), ids, log_q.astype(np.float32), cells)
