"""Put the claims to the test: what the runs of experiments/lecture/run.py say.

    python experiments/lecture/verdicts.py outputs/lecture

Writes verdicts.csv, and from it the figures and the tables of this folder's README. A
claim keeps the rows of a place where the folder has not all of its runs.
"""

import math
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl
from checks import CHECKS, CLAIMS, RECALL, Check
from run import WORLDS
from scipy import stats
from tables import HERE, draw, insert, markdown

from twotower_jax.study.comparison import without_effect
from twotower_jax.study.naming import differing_keys
from twotower_jax.study.runs import Run, check_same_data, read_runs
from twotower_jax.study.statistics import Difference, compare, holm


class Place(NamedTuple):
    """Where a study was run.

    Attributes:
      folder: within that of the study; "" for the study's own.
      recall: the metric that is recall there.
      claims: that are asked there.
    """

    folder: str
    recall: str = "true_recall@20"
    claims: tuple[str, ...] = tuple(CLAIMS)


LOG = "recall@20"  # what the log's clicks say
# Keys that decide nothing where the ratio of hard negatives is 0.
MOOT = {"negatives.hard.log_q"}
BY_LOG = "by its log"  # of a world: what an engineer without the truth would conclude
PLACES = {
    "default": Place(""),
    f"default, {BY_LOG}": Place("", LOG),
    "learning rate .05": Place("rate_05"),
    "each arm tuned": Place("tuned"),
    **{world: Place(world) for world in WORLDS},
    # Where the log and the truth part ways on the default world.
    **{f"{world}, {BY_LOG}": Place(world, LOG, ("L5", "L7")) for world in WORLDS},
    **{data: Place(data, LOG) for data in ("movielens", "gowalla", "wikispeedia")},
}


class Row(NamedTuple):
    """A check in a place: the difference, and what it says of the claim."""

    check: Check
    place: str
    found: Difference
    p_holm: float

    @property
    def verdict(self) -> str:
        """Holds, reversed, or why not told; a check without a claim says its sign."""
        one, sign = self.found, self.check.sign
        if one.seeds < 2:  # one seed says nothing of other seeds
            return "cannot tell"
        if self.p_holm < 0.05:
            if sign == 0:
                return "more" if one.difference > 0 else "less"
            return "holds" if one.difference * sign > 0 else "reversed"
        return without_effect(one)


def main() -> None:
    """Write the verdicts of a folder of studies."""
    folder = Path(sys.argv[1])
    rows = [row for place in PLACES for row in verdicts(folder, place)]
    if not rows:
        raise SystemExit(f"{folder} holds none of the studies; run run.py first")
    path = HERE / "verdicts.csv"
    table = merge(pl.read_csv(path) if path.exists() else None, to_table(rows))
    table.write_csv(path)
    for claim in CLAIMS:
        mine = table.filter(pl.col("claim") == claim)
        if len(mine):
            draw(claim, mine)
            insert(claim, markdown(mine))


def merge(earlier: pl.DataFrame | None, table: pl.DataFrame) -> pl.DataFrame:
    """Return the new rows, and the earlier ones that they do not answer anew, in order.

    Holm's family is a claim in a place: it is answered anew as a whole, or not at all.
    """
    said = [check.says for check in CHECKS]
    if earlier is not None:
        family, earlier = ["claim", "place"], earlier.cast(dict(table.schema))
        asked = earlier.filter(pl.col("says").is_in(said))
        partly = asked.join(table, on=[*family, "says"], how="anti")
        table = table.join(partly, on=family, how="anti")
        table = pl.concat([table, earlier.join(table, on=family, how="anti")])
    order = pl.DataFrame({"says": said, "check": range(len(said))})
    places = pl.DataFrame({"place": list(PLACES), "where": range(len(PLACES))})
    # A check or a place that is asked no more has no order, and is left out here.
    table = table.join(order, on="says").join(places, on="place")
    return table.sort("check", "where").drop("check", "where")


def runs_of(folder: Path, inner: str) -> list[Run]:
    """Return the finished runs of all studies of a place."""
    found: list[Run] = []
    for study in sorted(folder.iterdir()):
        place = study / inner
        if any(place.glob("*/result.json")):  # else it was not run in this place
            found += read_runs(place).finished
    if found:
        check_same_data(found)
    return found


def verdicts(folder: Path, name: str) -> list[Row]:
    """Return every check that the runs of a place can answer, Holm within a claim."""
    place = PLACES[name]
    runs, found = runs_of(folder, place.folder), []
    for check in CHECKS:
        if name.endswith(BY_LOG) and not check.metric.startswith(RECALL):
            continue  # the same as by the truth
        if check.claim not in place.claims:
            continue
        one = difference(runs, check, place.recall)
        if one is not None:
            found.append((check, one))
    rows = []
    for claim in CLAIMS:
        mine = [(check, one) for check, one in found if check.claim == claim]
        if mine:
            adjusted = holm(np.array([one.p for _, one in mine]))
            pairs = zip(mine, adjusted.tolist(), strict=True)
            rows += [Row(check, name, one, p) for (check, one), p in pairs]
    return rows


def difference(runs: list[Run], check: Check, recall: str) -> Difference | None:
    """Return the difference of a check's arms over the seeds that both have."""
    arms = [by_seed(runs, keys) for keys in (check.arm, check.base)]
    seeds = sorted(set(arms[0]) & set(arms[1]))
    tests = sum(one.claim == check.claim for one in CHECKS)
    if not seeds:
        return None
    names = (check.arm_metric or check.metric, check.metric)
    names = [name.replace(RECALL, recall, 1) for name in names]
    pairs = list(zip(arms, names, strict=True))
    if names[0].startswith("arp@"):
        return over_seeds(
            *(
                np.array([arm[seed].result["metrics"]["test"][name] for seed in seeds])
                for arm, name in pairs
            ),
            tests,
        )
    values = [
        np.stack([queries(arm[seed], name) for seed in seeds]) for arm, name in pairs
    ]
    return compare(*values, tests=tests)


def by_seed(runs: list[Run], keys: dict) -> dict[int, Run]:
    """Return the runs with the values by their seed; of equal ones the first.

    Raises:
      SystemExit: two that differ in more than seed, name and label: which is meant?
    """
    found: dict[int, Run] = {}
    for run in runs:
        if not matches(run, keys):
            continue
        same = found.setdefault(run.seed, run)
        if set(differing_keys([same.config, run.config])) - MOOT:
            raise SystemExit(f"{same.path} and {run.path} are both what is asked for")
    return found


def matches(run: Run, keys: dict) -> bool:
    """Say whether a run's configuration has all the values."""
    for key, wanted in keys.items():
        value = run.config
        for part in key.split("."):
            value = value[part]
        if value != wanted:
            return False
    return True


def queries(run: Run, metric: str) -> np.ndarray:
    """Return a metric of every test query, in order of the queries' names.

    The same queries in every run, for their data and split are the same.
    """
    table = pl.read_parquet(run.path / "queries.parquet", columns=["user", metric])
    return table.sort("user", maintain_order=True)[metric].to_numpy()


def over_seeds(arm: np.ndarray, base: np.ndarray, tests: int) -> Difference:
    """Return the difference of a metric of whole lists: a t interval over seeds."""
    nan = math.nan
    mean, other = float(arm.mean()), float(base.mean())
    if len(arm) < 2:
        return Difference(mean, other, mean - other, nan, nan, nan, nan, len(arm), 0)
    test = stats.ttest_rel(arm, base)
    interval = test.confidence_interval()
    # Seen 8 times of 10: the usual sum of two quantiles, of t.
    error = (interval.high - interval.low) / 2 / stats.t.ppf(0.975, len(arm) - 1)
    smallest = error * stats.t.ppf([1 - 0.025 / tests, 0.8], len(arm) - 1).sum()
    low, high, p = (float(x) for x in (interval.low, interval.high, test.pvalue))
    return Difference(
        mean, other, mean - other, low, high, p, float(smallest), len(arm), 0
    )


def to_table(rows: list[Row]) -> pl.DataFrame:
    """Return the verdicts as a tidy table."""
    return pl.DataFrame(
        [
            {
                "claim": row.check.claim,
                "says": row.check.says,
                "place": row.place,
                "metric": row.check.metric.replace(RECALL, PLACES[row.place].recall, 1),
                "mean": row.found.mean,
                "base_mean": row.found.base_mean,
                "difference": row.found.difference,
                "low": row.found.low,
                "high": row.found.high,
                "p_holm": row.p_holm,
                "smallest_visible": row.found.smallest,
                "seeds": row.found.seeds,
                "queries": row.found.queries,
                "verdict": row.verdict,
            }
            for row in rows
        ]
    )


if __name__ == "__main__":
    main()
