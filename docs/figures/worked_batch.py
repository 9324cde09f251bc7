"""One batch of four rows and six items, from clicks to the loss."""

import functools
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from twotower_jax.losses import sampled_softmax
from twotower_jax.negatives.columns import Columns, separate_columns
from twotower_jax.negatives.easy import Proposal, log_prob, make_proposal
from twotower_jax.negatives.frequency import log_expected_count, log_frequency

ITEMS = ("A", "B", "C", "D", "E", "F")
CLICKS = np.array([8, 4, 2, 1, 1, 0])
POSITIVES = np.array([0, 1, 0, 3])  # A, B, A, D
DRAWN = np.array([2, 5])  # C, F
TEMPERATURE = 0.1
COSINES = np.array(
    [
        [0.6, 0.3, 0.2, 0.1, 0.0, -0.1],
        [0.4, 0.5, 0.1, 0.2, 0.1, 0.0],
        [0.5, 0.4, 0.3, 0.0, 0.2, -0.2],
        [0.3, 0.2, 0.1, 0.4, 0.3, 0.1],
    ]
)
MINUS = "\N{MINUS SIGN}"


class Batch(NamedTuple):
    """The numbers of the batch.

    Attributes:
      log_q_plus: [6] log q+ of every item.
      easy: the uniform proposal.
      log_count: [6] log N of every item.
      columns: of the batch and the two draws.
      keep: [4, 6] bool, whether a column is a negative of a row.
      scores: [4, 6] cosines over the temperature, row by item.
    """

    log_q_plus: np.ndarray
    easy: Proposal
    log_count: np.ndarray
    columns: Columns
    keep: np.ndarray
    scores: np.ndarray


@functools.cache
def batch() -> Batch:
    """Return the batch: in-batch and two uniform draws, mask same_item."""
    easy = make_proposal("uniform", CLICKS)
    log_q_plus = log_frequency(CLICKS)
    every = jnp.arange(len(ITEMS))
    in_batch = (jnp.asarray(log_q_plus), len(POSITIVES) - 1)
    log_count = log_expected_count(in_batch, (log_prob(easy, every), len(DRAWN)))
    columns = separate_columns(
        jnp.asarray(POSITIVES),
        jnp.asarray(DRAWN),
        in_batch=True,
        same_item=True,
        num_items=len(ITEMS),
    )
    keep = np.asarray(columns.key)[None, :] != np.asarray(columns.row_key)[:, None]
    scores = COSINES / TEMPERATURE
    return Batch(log_q_plus, easy, np.asarray(log_count), columns, keep, scores)


def logits(correct: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the logits of the positives [4] and of the columns [4, 6]."""
    one = batch()
    shift = np.zeros(len(ITEMS)) if correct == "none" else one.log_count
    ids = np.asarray(one.columns.key)
    positive = one.scores[np.arange(len(POSITIVES)), POSITIVES]
    if correct == "all":
        positive = positive - shift[POSITIVES]
    return positive, one.scores[:, ids] - shift[ids]


def losses(correct: str) -> np.ndarray:
    """Return the loss of each row: [4]."""
    positive, columns = logits(correct)
    weight = jnp.asarray(batch().keep, jnp.float32)
    return np.asarray(
        sampled_softmax(jnp.asarray(positive), jnp.asarray(columns), weight)
    )


def number(value: float, digits: int = 3) -> str:
    """Return a number as the tables print it."""
    return f"{value:.{digits}f}".replace("-", MINUS)


def table(heading: list[str], rows: list[list[str]]) -> str:
    """Return a Markdown table whose first column is text."""
    lines = [heading, ["---", *["---:"] * (len(heading) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def values() -> dict[str, str]:
    """Return the tables of the worked batch."""
    one = batch()
    q_easy = np.exp(np.asarray(one.easy.log_q))
    parts = zip(
        ITEMS, CLICKS, np.exp(one.log_q_plus), q_easy, one.log_count, strict=True
    )
    counts = [
        [name, str(clicks), *map(number, (plus, easy, np.exp(log_n), log_n))]
        for name, clicks, plus, easy, log_n in parts
    ]
    positive, columns = logits("all")
    ids = np.asarray(one.columns.key)
    shown = [
        [
            f"{row + 1} ({ITEMS[POSITIVES[row]]})",
            number(positive[row], 2),
            *(
                number(value, 2) if kept else "masked"
                for value, kept in zip(columns[row], one.keep[row], strict=True)
            ),
        ]
        for row in range(len(POSITIVES))
    ]
    forms = {name: losses(name) for name in ("none", "all", "negatives")}
    results = [
        [f"`{name}`", *map(number, values), number(values.mean())]
        for name, values in forms.items()
    ]
    return {
        "counts": table(
            ["item", "clicks $c$", "$q^+$", "$q^E$", "$N$", "$\\log N$"], counts
        ),
        "logits": table(
            ["row (positive)", "own", *(f"{ITEMS[i]}" for i in ids)], shown
        ),
        "losses": table(
            ["`loss.logq.correct`", "row 1", "row 2", "row 3", "row 4", "mean"], results
        ),
        "n-a": number(np.exp(one.log_count[0])),
        "log-n-a": number(one.log_count[0]),
        "own": number(positive[0], 2),
        "loss": number(forms["all"][0]),
    }
