"""Tables of a ranking: metrics per query, and the lists."""

import numpy as np
import polars as pl

from twotower_jax.config import Config
from twotower_jax.run.inputs import Loaded
from twotower_jax.run.queries import QuerySet
from twotower_jax.run.ranking import Ranking
from twotower_jax.run.records import RunFolder
from twotower_jax.run.trec import write_trec


def write_tables(
    record: RunFolder,
    config: Config,
    data: Loaded,
    queries: QuerySet,
    ranking: Ranking,
) -> None:
    """Write the metrics per query, and the lists where they are to be saved.

    Args:
      record: of the run.
      config: the run.
      data: the run's data.
      queries: of the test part.
      ranking: of these queries.
    """
    record.write_table("queries.parquet", query_table(data, queries, ranking))
    if config.evaluation.save_topk:
        record.write_table("topk.parquet", topk_table(data, queries, ranking))
        write_trec(record.path, data, queries, ranking)


def query_table(data: Loaded, queries: QuerySet, ranking: Ranking) -> pl.DataFrame:
    """Return a table with one row per query: the user's id in the input, every metric.

    Args:
      data: the run's data.
      queries: of a split.
      ranking: of these queries.
    """
    user = data.log.user_ids[queries.user.tolist()].alias("user")
    return pl.DataFrame(
        [user, *(pl.Series(n, v) for n, v in ranking.per_query.items())]
    )


def topk_table(data: Loaded, queries: QuerySet, ranking: Ranking) -> pl.DataFrame:
    """Return the lists in long form: user, rank (from 1), item, score.

    Args:
      data: the run's data.
      queries: of a split.
      ranking: of these queries.
    """
    number, length = ranking.items.shape
    kept = ranking.items.reshape(-1) >= 0
    users = np.repeat(queries.user, length)[kept]
    ranks = np.tile(np.arange(1, length + 1, dtype=np.int32), number)[kept]
    return pl.DataFrame(
        {
            "user": data.log.user_ids.gather(users),
            "rank": ranks,
            "item": data.log.item_ids.gather(ranking.items.reshape(-1)[kept]),
            "score": ranking.scores.reshape(-1)[kept],
        }
    )
