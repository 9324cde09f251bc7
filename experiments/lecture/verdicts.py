"""Check the claims of the lecture on the runs of experiments/lecture/run.py.

    python experiments/lecture/verdicts.py outputs/lecture

Writes verdicts.csv, and from it the pages and figures of `tables`. A claim keeps its
earlier rows for a place if the folder lacks some of its runs.
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl
from checks import CHECKS, CLAIMS, RECALL, Check
from places import BY_LOG, PLACES
from scipy import stats
from tables import HERE, write_pages

from twotower_jax.study.intervals import Interval
from twotower_jax.study.naming import differing_keys, is_baseline
from twotower_jax.study.runs import Run, check_same_data, read_runs
from twotower_jax.study.spread import Spread
from twotower_jax.study.statistics import Difference, compare, means_alone
from twotower_jax.study.verdicts import (
    BETTER,
    CANNOT_TELL,
    EQUIVALENT,
    WORSE,
    Judgement,
    Rules,
    judge,
)

# Keys that have no effect where the ratio of hard negatives is 0.
MOOT = {"negatives.hard.log_q"}


class Row(NamedTuple):
    """A check in a place.

    Attributes:
      check: the check.
      place: the name of the place.
      difference: the difference of the check's arms.
      judged: its verdict among the checks of the claim, with the interval that decides.
    """

    check: Check
    place: str
    difference: Difference
    judged: Judgement

    @property
    def verdict(self) -> str:
        """Holds, reversed, equivalent or cannot tell; for a cost, its sign."""
        word, sign = self.judged.word, self.check.sign
        if word.startswith(EQUIVALENT):
            return EQUIVALENT
        if not word.startswith((BETTER, WORSE)):
            return CANNOT_TELL
        rises = word.startswith(BETTER)
        if sign == 0:
            return "more" if rises else "less"
        return "holds" if rises == (sign > 0) else "reversed"


def main() -> None:
    """Write the verdicts of a folder of studies."""
    folder = Path(sys.argv[1])
    rows = [row for place in PLACES for row in verdicts(folder, place)]
    if not rows:
        raise SystemExit(f"{folder} holds none of the studies; run run.py first")
    path = HERE / "verdicts.csv"
    table = merge(pl.read_csv(path) if path.exists() else None, to_table(rows))
    table.write_csv(path)
    write_pages()


def merge(earlier: pl.DataFrame | None, table: pl.DataFrame) -> pl.DataFrame:
    """New rows, and the earlier rows that they do not replace, in order.

    Holm's family is a claim in a place: it is replaced as a whole, or not at all.

    Args:
      earlier: the rows of verdicts.csv, if any.
      table: the new rows.

    Returns:
      The rows by check and place; those of removed checks and places are left out.
    """
    statements = [check.statement for check in CHECKS]
    if earlier is not None:
        if "level" in table.columns and "level" not in earlier.columns:
            earlier = earlier.with_columns(level=pl.lit(95))
        earlier = earlier.select(table.columns).cast(table.schema)
        family = ["claim", "place"]
        current = earlier.filter(pl.col("statement").is_in(statements))
        partly = current.join(table, on=[*family, "statement"], how="anti")
        table = table.join(partly, on=family, how="anti")
        table = pl.concat([table, earlier.join(table, on=family, how="anti")])
    order = pl.DataFrame({"statement": statements, "check": range(len(statements))})
    places = pl.DataFrame({"place": list(PLACES), "where": range(len(PLACES))})
    table = table.join(order, on="statement").join(places, on="place")
    return table.sort("check", "where").drop("check", "where")


def runs_of(folder: Path, studies: Sequence[str]) -> list[Run]:
    """Finished runs of the studies of a place.

    Args:
      folder: the folder of the studies.
      studies: names of their folders.

    Returns:
      The runs, all on the same data, baselines too.
    """
    runs: list[Run] = []
    for place in (folder / study for study in studies):
        if any(place.glob("*/result.json")):  # else it was not run
            runs += read_runs(place).finished
    if runs:
        check_same_data(runs)
    return runs


def verdicts(folder: Path, name: str) -> list[Row]:
    """Every check for which a place has the runs, with Holm's correction per claim.

    Args:
      folder: the folder of the studies.
      name: the name of the place.

    Returns:
      One row per check.
    """
    place = PLACES[name]
    found = runs_of(folder, place.studies)
    runs = [run for run in found if not is_baseline(run.config)]
    measured = []
    for check in CHECKS:
        if name.endswith(BY_LOG) and not check.metric.startswith(RECALL):
            continue  # the same as by the truth
        if check.claim not in place.claims:
            continue
        one = difference(runs, check, place.recall)
        if one is not None:
            measured.append((check, one))
    rows = []
    for claim in CLAIMS:
        mine = [(check, one) for check, one in measured if check.claim == claim]
        if mine:
            judged = judge([one for _, one in mine], [Rules()] * len(mine))
            pairs = zip(mine, judged, strict=True)
            rows += [Row(check, name, one, p) for (check, one), p in pairs]
    return rows


def difference(runs: list[Run], check: Check, recall: str) -> Difference | None:
    """Difference of a check's arms over the seeds that both have.

    Args:
      runs: the runs of a place.
      check: the check.
      recall: the metric that stands for recall there.

    Returns:
      The difference; None if the arms share no seed.
    """
    arms = [by_seed(runs, keys) for keys in (check.arm, check.base)]
    seeds = sorted(set(arms[0]) & set(arms[1]))
    tests = sum(one.claim == check.claim for one in CHECKS)
    if not seeds:
        return None
    names = (check.arm_metric or check.metric, check.metric)
    names = [name.replace(RECALL, recall, 1) for name in names]
    pairs = list(zip(arms, names, strict=True))
    if names[0].startswith("arp@"):
        means = [
            np.array([arm[seed].result["metrics"]["test"][name] for seed in seeds])
            for arm, name in pairs
        ]
        return over_seeds(means[0], means[1], tests)
    values = [
        np.stack([queries(arm[seed], name) for seed in seeds]) for arm, name in pairs
    ]
    return compare(*values, tests=tests)


def by_seed(runs: list[Run], keys: dict[str, Any]) -> dict[int, Run]:
    """Runs with given values of keys, by seed; of equal runs the first.

    Args:
      runs: the runs of a place.
      keys: the values by dotted key.

    Returns:
      {seed: run}.

    Raises:
      SystemExit: when two runs match that differ in more than seed, name and label.
    """
    runs_by_seed: dict[int, Run] = {}
    for run in runs:
        if not matches(run, keys):
            continue
        same = runs_by_seed.setdefault(run.seed, run)
        if set(differing_keys([same.config, run.config])) - MOOT:
            raise SystemExit(
                f"{same.path} and {run.path} both match one arm of a check"
            )
    return runs_by_seed


def matches(run: Run, keys: dict[str, Any]) -> bool:
    """Whether a run's configuration has all the values.

    Args:
      run: a finished run.
      keys: the values by dotted key.

    Returns:
      True if all are equal.
    """
    for key, expected in keys.items():
        value: Any = run.config
        for part in key.split("."):
            value = value[part]
        if value != expected:
            return False
    return True


def queries(run: Run, metric: str) -> np.ndarray:
    """A metric of every test query, sorted by the names of the users.

    The queries are the same in all runs of a place, because data and split are.

    Args:
      run: a finished run.
      metric: the name of a column of queries.parquet.

    Returns:
      [queries] float64.
    """
    table = pl.read_parquet(run.path / "queries.parquet", columns=["user", metric])
    return table.sort("user", maintain_order=True)[metric].to_numpy()


def over_seeds(arm: np.ndarray, base: np.ndarray, tests: int) -> Difference:
    """Difference of a metric without values per query: a t interval over seeds.

    Args:
      arm: [seeds] float.
      base: [seeds] float, the same seeds.
      tests: size of the family of Holm's correction.

    Returns:
      The difference, with 0 queries.
    """
    mean, other, seeds = float(arm.mean()), float(base.mean()), len(arm)
    if seeds < 2:
        return means_alone(mean, other, seeds)
    test = stats.ttest_rel(arm, base)
    ends = test.confidence_interval()
    df, error = seeds - 1, float(stats.sem(arm - base))
    return Difference(
        mean,
        other,
        Interval(mean - other, float(ends.low), float(ends.high), df),
        float(test.pvalue),
        Spread(error, df, error, df),
        seeds,
        queries=0,
        tests=tests,
    )


def to_table(rows: list[Row]) -> pl.DataFrame:
    """The verdicts as a tidy table."""
    return pl.DataFrame(
        [
            {
                "claim": row.check.claim,
                "statement": row.check.statement,
                "place": row.place,
                "metric": row.check.metric.replace(RECALL, PLACES[row.place].recall, 1),
                "mean": row.difference.mean,
                "base_mean": row.difference.base_mean,
                "difference": row.difference.difference,
                "low": row.judged.ends[0],
                "high": row.judged.ends[1],
                "level": 90 if row.verdict == EQUIVALENT else 95,
                "p_holm": row.judged.p_holm,
                "smallest_visible": row.difference.smallest,
                "seeds": row.difference.seeds,
                "queries": row.difference.queries,
                "verdict": row.verdict,
            }
            for row in rows
        ]
    )


if __name__ == "__main__":
    main()
