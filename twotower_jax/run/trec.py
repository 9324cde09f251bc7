"""The lists of a run in the format of trec_eval: a run file and its judgements."""

import re
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote

import numpy as np
import polars as pl

from twotower_jax.data.drafts import draft_of
from twotower_jax.evaluation.ragged import Ragged
from twotower_jax.run.inputs import Loaded
from twotower_jax.run.queries import QuerySet
from twotower_jax.run.ranking import Ranking

RUN, JUDGEMENTS = "topk.trec", "qrels.trec"
TAG = "twotower-jax"


def write_trec(folder: Path, data: Loaded, queries: QuerySet, ranking: Ranking) -> None:
    """Write the lists, and the positives that they are evaluated with.

    ``topk.trec`` has the lines ``user Q0 item rank score tag``, and ``qrels.trec`` the
    lines ``user 0 item 1``. Fields are separated by blanks, so white space in ids, and
    ``%``, are percent-encoded: ``red shoes`` is ``red%20shoes``. Programs of this
    format order by the score alone, each with its own rule for ties, so equal scores
    are written one step of float32 apart (`distinct`).

    Args:
      folder: of the run.
      data: the run's data.
      queries: of a split.
      ranking: of these queries.
    """
    users, items = words(data.log.user_ids), words(data.log.item_ids)
    number, length = ranking.items.shape
    kept = ranking.items.reshape(-1) >= 0
    ranks = np.tile(np.arange(1, length + 1), number)[kept]
    lists = {
        "user": users.gather(np.repeat(queries.user, length)[kept]),
        "q0": pl.repeat("Q0", len(ranks), eager=True),
        "item": items.gather(ranking.items.reshape(-1)[kept]),
        "rank": ranks,
        "score": distinct(ranking.scores).reshape(-1)[kept],
        "tag": pl.repeat(TAG, len(ranks), eager=True),
    }
    _write(folder / RUN, lists)
    positives: Ragged = queries.positives
    judged = {
        "user": users.gather(queries.user[positives.rows]),
        "zero": pl.repeat(0, len(positives.items), eager=True),
        "item": items.gather(positives.items),
        "one": pl.repeat(1, len(positives.items), eager=True),
    }
    _write(folder / JUDGEMENTS, judged)


def _write(path: Path, columns: Mapping[str, pl.Series | np.ndarray]) -> None:
    """Write columns separated by blanks, whole or not at all."""
    table = pl.DataFrame(columns)
    with draft_of(path) as draft:
        table.write_csv(draft, include_header=False, separator=" ", quote_style="never")


def words(ids: pl.Series) -> pl.Series:
    """Ids as texts without white space.

    Args:
      ids: [n] numbers or texts.

    Returns:
      [n] texts, in which white space and ``%`` are percent-encoded; different ids stay
      different.

    Examples:
      >>> words(pl.Series(["hat", "red shoes", "5%"])).to_list()
      ['hat', 'red%20shoes', '5%25']
    """
    text = ids.cast(pl.String)
    if not text.str.contains(r"[\s%]").any():
        return text
    encoded = (re.sub(r"[\s%]", lambda m: quote(m[0]), one) for one in text)
    return pl.Series(text.name, list(encoded))


def distinct(scores: np.ndarray) -> np.ndarray:
    """Scores of lists, each below the one before it.

    Args:
      scores: [queries, length] float32, best first; equal ones are ordered by place.

    Returns:
      [queries, length] float32: a score that is not below the one before it is replaced
      by the next smaller number.

    Examples:
      >>> distinct(np.array([[2, 1, 1]], np.float32)).tolist()
      [[2.0, 1.0, 0.9999999403953552]]
    """
    lower = scores.copy()
    for place in range(1, scores.shape[1]):
        before = lower[:, place - 1]
        step = np.nextafter(before, np.float32(-np.inf))
        # Beside 0 the next number is subnormal, which some programs read as 0.
        step = np.minimum(step, before - np.float32(1e-30))
        lower[:, place] = np.minimum(lower[:, place], step)
    return lower
