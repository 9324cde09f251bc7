"""Batches of candidates in which one item is marked, and the forces on that item."""

from typing import NamedTuple, Protocol

import numpy as np

from twotower_jax import keys
from twotower_jax.objective.black_box import BlackBox, Candidates
from twotower_jax.objective.catalogue import Catalogue, Proposal

# Rows of a batch of slots.
ROWS = 256
# Rows of an in-batch matrix, those of the user among them, and matrices per item.
BATCH, OWN, SETS = 64, 8, 4


class Layout(Protocol):
    """Batches for one item at a time.

    Attributes:
      expected: [N] expected number of each item among the negatives of a row; nan
        where it is too seldom to be known.
      log_q: [N] log q that the loss receives.
      error: [N] declared minus true log q of a draw.
    """

    expected: np.ndarray
    log_q: np.ndarray
    error: np.ndarray

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
    """Forces on the items, in units of a row's gradient.

    Attributes:
      pull: [N] of rows in which the item is the positive.
      push: [N] of rows in which it is a negative.
    """

    pull: np.ndarray
    push: np.ndarray


def forces(
    box: BlackBox, layout: Layout, catalogue: Catalogue, scores: np.ndarray
) -> Forces:
    """The forces of a loss on the scores of the user.

    Args:
      box: The loss.
      layout: The batches.
      catalogue: The catalogue.
      scores: [N] logits.

    Returns:
      The forces; 0 where the draws of an item are unknown.
    """
    known = np.isfinite(layout.expected)
    pull, push = np.zeros(len(scores)), np.zeros(len(scores))
    for item in np.flatnonzero(known).tolist():
        pull[item] = -mean_slope(box, layout.pulls(scores, item), "scores")
        push[item] = mean_slope(box, layout.pushes(scores, item), "scores")
    expected = np.where(known, layout.expected, 0)
    return Forces(catalogue.probability * pull, expected * push)


def mean_slope(box: BlackBox, batches: list[Candidates], name: str) -> float:
    """The mean derivative of the loss by a marked cell.

    Args:
      box: The loss.
      batches: Batches with marked cells.
      name: "scores" or "log_q".

    Returns:
      The mean over the cells of all batches.
    """
    slopes = [box.slope(one, name) / one.cells.sum() for one in batches]
    return float(np.mean(slopes))


def _candidates(
    scores: np.ndarray, ids: np.ndarray, log_q: np.ndarray, cells: np.ndarray
) -> Candidates:
    return Candidates(scores.astype(np.float32), ids, log_q.astype(np.float32), cells)
