"""A catalogue of one user, batches in which one item is marked, and forces on it.

Each item in turn is the positive of rows whose pull is measured, or a negative of rows
whose push is: one that is drawn once in 10^12 draws is measured as well as any other.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from twotower_jax import keys
from twotower_jax.errors import InputError, unknown
from twotower_jax.objective.black_box import BlackBox, Candidates

COMMON = 60
# Shares of the clicks of rare items, with which alone floors of q show.
RARE = 10.0 ** -np.arange(6.5, 12)
POPULARITY, TASTE = 0.7, 0.5
CLICKS = 100_000  # of the catalogue, whose counts a given sampler receives
# Draws by which the probabilities of a given sampler are counted, the least number of
# draws of an item that is compared, and the least number of such items.
COUNTED, SELDOM, LEAST = 2**18, 100, 10

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

    sample: Callable[[tuple[int, int], np.random.Generator], np.ndarray]  # ids
    q: np.ndarray  # [N] float64 probability of a draw; nan where it is not known
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
    uniform = np.full(number, 1 / number)
    shares = {"uniform": uniform, "popularity": catalogue.popularity}
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


ROWS = 256  # of a batch of slots
# Rows of an in-batch matrix, those of the user among them, and matrices per item.
BATCH, OWN, SETS = 64, 8, 4


class Layout(NamedTuple):
    """Batches for one item at a time."""

    expected: np.ndarray  # [N] draws of an item in a row; nan where it is not known
    log_q: np.ndarray  # [N] log q that the loss receives
    error: np.ndarray  # [N] declared minus true log q of a draw
    # (scores [N], positive, negative) -> scores, ids and marked cells of batches
    arrange: Callable[[np.ndarray, int | None, int | None], list[tuple[Any, Any, Any]]]

    def batches(
        self, scores: np.ndarray, positive: int | None = None, negative: Any = None
    ) -> list[Candidates]:
        """Return batches with an item as positive, as negative, or as both of a row.

        The cells of the negative are marked; without one those of the positive.
        """
        log_q = self.log_q.astype(np.float32)
        return [
            Candidates(values.astype(np.float32), ids, log_q[ids], cells)
            for values, ids, cells in self.arrange(scores, positive, negative)
        ]


def slots(
    catalogue: Catalogue, proposal: Proposal, draws: int, shift: float, set_number: int
) -> Layout:
    """Rows with a positive in column 0 and draws of their own behind it.

    Shift is added to the log q that the loss receives.
    """
    rng = keys.generator(0, "objective.slots", set_number)
    p = catalogue.probability
    clicked = rng.choice(len(p), ROWS, p=p)
    drawn = proposal.sample((ROWS, draws), rng)

    def arrange(scores: np.ndarray, positive: int | None, negative: int | None) -> Any:
        positives = clicked if positive is None else np.full(ROWS, positive)
        ids = np.concatenate([positives[:, None], drawn], axis=1).astype(np.int32)
        cells = np.zeros(ids.shape, bool)
        if negative is not None:
            ids[:, 1] = negative
        cells[:, 0 if negative is None else 1] = True
        return [(scores[ids], ids, cells)]

    error = proposal.log_q - np.log(proposal.q)
    return Layout(draws * proposal.q, proposal.log_q + shift, error, arrange)


def in_batch(catalogue: Catalogue, shift: float, set_number: int) -> Layout:
    """Square matrices: the positives of other rows are the negatives of a row.

    The positive of row b is column b. The first rows are those of the user; the
    positives of the others follow the popularity, and their scores stay as they are.
    """
    rng = keys.generator(0, "objective.in_batch", set_number)
    p, popularity = catalogue.probability, catalogue.popularity
    own = rng.choice(len(p), (SETS, OWN), p=p)
    other = rng.choice(len(p), (SETS, BATCH - OWN), p=popularity)
    clicked, others = np.concatenate([own, other], axis=1), np.log(popularity)

    def arrange(scores: np.ndarray, positive: int | None, negative: int | None) -> Any:
        cells = np.zeros((BATCH, BATCH), bool)
        if negative is None:
            cells[0, 0] = True
        else:
            cells[: OWN if positive is None else 1, -1] = True
        matrices = []
        for positives in clicked.copy():
            if positive is not None:
                positives[0] = positive
            if negative is not None:
                positives[-1] = negative
            ids = np.tile(positives, (BATCH, 1)).astype(np.int32)
            values = others[ids]
            values[:OWN] = scores[ids[:OWN]]
            matrices.append((values, ids, cells))
        return matrices

    expected = (OWN - 1) * p + (BATCH - OWN) * popularity
    log_q = np.log(expected / (BATCH - 1)) + shift
    return Layout(expected, log_q, np.zeros(len(p)), arrange)


class Forces(NamedTuple):
    """Forces on the items, in units of a row's gradient."""

    pull: np.ndarray  # [N] of rows in which the item is the positive
    push: np.ndarray  # [N] of rows in which it is a negative


def forces(
    box: BlackBox, layout: Layout, catalogue: Catalogue, scores: np.ndarray
) -> Forces:
    """The forces of a loss on the scores of the user."""
    known = np.isfinite(layout.expected)
    pull, push = np.zeros((2, len(scores)))
    for item in np.flatnonzero(known).tolist():
        pull[item] = -mean_slope(box, layout.batches(scores, positive=item), "scores")
        push[item] = mean_slope(box, layout.batches(scores, negative=item), "scores")
    expected = np.where(known, layout.expected, 0)
    return Forces(catalogue.probability * pull, expected * push)


def mean_slope(box: BlackBox, batches: list[Candidates], name: str) -> float:
    """The mean derivative of the loss by a marked cell."""
    slopes = [box.slope(batch, name) / batch.cells.sum() for batch in batches]
    return float(np.mean(slopes))
