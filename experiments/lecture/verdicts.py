"""Put the claims to the test: what the runs of experiments/lecture/run.py say.

    python experiments/lecture/verdicts.py outputs/lecture

Writes verdicts.csv, the figures and the tables of the README of this folder.
"""

import math
import sys
from pathlib import Path
from typing import NamedTuple

import matplotlib
import numpy as np
import polars as pl
from checks import CHECKS, RECALL, Check
from scipy import stats

from twotower_jax.errors import InputError
from twotower_jax.study.comparison import RELEVANT
from twotower_jax.study.runs import Run, read_runs
from twotower_jax.study.statistics import Difference, compare, holm

matplotlib.use("svg")
from matplotlib import pyplot as plt

HERE = Path(__file__).parent
# Where a study was run: the folder within its own, and the metric that is recall there.
BY_LOG = "default, by its log"
PLACES = {
    "default": ("", "true_recall@20"),
    BY_LOG: ("", "recall@20"),
    "learning rate .05": ("rate_05", "true_recall@20"),
    **{
        world: (world, "true_recall@20")
        for world in (
            "weak_position",
            "strong_position",
            "weak_popularity",
            "strong_popularity",
            "good_ranker",
            "bad_ranker",
        )
    },
    **{data: (data, "recall@20") for data in ("movielens", "gowalla", "wikispeedia")},
}
CLAIMS = {
    "L2": "uniform negatives are unfair to cold items; clicks^.75 lies between",
    "L3": "in-batch negatives push hot items down; logQ repairs it",
    "L4": "a classifier tells clicks from the catalogue best, from late stages worst",
    "L5": "hard negatives help when mixed with easy ones; all-hard hurts",
    "L6": "exposed, not clicked items as negatives hurt",
    "L7": "resampling positives helps cold items",
    "L8": "log q belongs to training, not to serving",
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
        visible = one.smallest <= RELEVANT * abs(one.base_mean)
        return "no difference seen" if visible else "cannot tell"


def main() -> None:
    """Write the verdicts of a folder of studies."""
    folder = Path(sys.argv[1])
    rows = [row for place in PLACES for row in verdicts(folder, place)]
    if not rows:
        raise SystemExit(f"{folder} holds none of the studies; run run.py first")
    to_table(rows).write_csv(HERE / "verdicts.csv")
    for claim in CLAIMS:
        mine = [row for row in rows if row.check.claim == claim]
        if mine:
            draw(claim, mine)
            insert(claim, markdown(mine))


def runs_of(folder: Path, inner: str) -> list[Run]:
    """Return the finished runs of all studies of a place."""
    found = []
    for study in sorted(folder.iterdir()):
        try:
            found += read_runs(study / inner).finished
        except InputError:  # the study was not run in this place
            continue
    return found


def verdicts(folder: Path, place: str) -> list[Row]:
    """Return every check that the runs of a place can answer, Holm within a claim."""
    inner, recall = PLACES[place]
    runs, found = runs_of(folder, inner), []
    for check in CHECKS:
        if place == BY_LOG and not check.metric.startswith(RECALL):
            continue
        one = difference(runs, check, recall)
        if one is not None:
            found.append((check, one))
    rows = []
    for claim in CLAIMS:
        mine = [(check, one) for check, one in found if check.claim == claim]
        if mine:
            adjusted = holm(np.array([one.p for _, one in mine]))
            pairs = zip(mine, adjusted.tolist(), strict=True)
            rows += [Row(check, place, one, p) for (check, one), p in pairs]
    return rows


def difference(runs: list[Run], check: Check, recall: str) -> Difference | None:
    """Return the difference of a check's arms over the seeds that both have."""
    arms = [
        {run.seed: run for run in runs if matches(run, keys)}
        for keys in (check.arm, check.base)
    ]
    seeds = sorted(set(arms[0]) & set(arms[1]))
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
            )
        )
    return compare(
        *(np.stack([queries(arm[seed], name) for seed in seeds]) for arm, name in pairs)
    )


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
    """Return a metric of every test query, in order of the queries' names."""
    table = pl.read_parquet(run.path / "queries.parquet", columns=["user", metric])
    return table.sort("user")[metric].to_numpy()


def over_seeds(arm: np.ndarray, base: np.ndarray) -> Difference:
    """Return the difference of a metric of whole lists: a t interval over seeds."""
    nan = math.nan
    mean, other = float(arm.mean()), float(base.mean())
    if len(arm) < 2:
        return Difference(mean, other, mean - other, nan, nan, nan, nan, len(arm), 0)
    test = stats.ttest_rel(arm, base)
    interval = test.confidence_interval()
    # Seen 8 times of 10: the usual sum of two quantiles, of t.
    error = (interval.high - interval.low) / 2 / stats.t.ppf(0.975, len(arm) - 1)
    smallest = error * stats.t.ppf([0.975, 0.8], len(arm) - 1).sum()
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
                "metric": row.check.metric.replace(RECALL, PLACES[row.place][1], 1),
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


def markdown(rows: list[Row]) -> str:
    """Return the verdicts of a claim as a table."""
    lines = [
        "| the claim says | where | base | difference | interval | seeds | verdict |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in sorted(rows, key=lambda row: CHECKS.index(row.check)):
        one, digits = row.found, 1 if row.check.metric.startswith("arp") else 4
        lines.append(
            f"| {row.check.says} | {row.place} | {one.base_mean:.{digits}f} "
            f"| {one.difference:+.{digits}f} | {one.low:+.{digits}f} to "
            f"{one.high:+.{digits}f} | {one.seeds} | {row.verdict} |"
        )
    return "\n".join(lines)


def insert(claim: str, text: str) -> None:
    """Replace what stands between the marks of a claim in README.md."""
    path, (begin, end) = HERE / "README.md", (f"<!-- {claim} -->", f"<!-- /{claim} -->")
    before, rest = path.read_text(encoding="utf-8").split(begin)
    after = rest.split(end)[1]
    path.write_text(f"{before}{begin}\n{text}\n{end}{after}", encoding="utf-8")


COLOURS = {"holds": "#1b7837", "reversed": "#b2182b"}


def draw(claim: str, rows: list[Row]) -> None:
    """Write the differences of a claim's checks in every place, in % of the base."""
    checks = [check for check in CHECKS if any(row.check == check for row in rows)]
    heights = [sum(row.check == check for row in rows) for check in checks]
    figure, axes = plt.subplots(
        len(checks),
        figsize=(8, 0.26 * sum(heights) + 0.75 * len(checks)),
        height_ratios=heights,
        squeeze=False,
        layout="constrained",
    )
    for axis, check in zip(axes[:, 0], checks, strict=True):
        mine = [row for row in rows if row.check == check]
        for place, row in enumerate(reversed(mine)):
            scale = 100 / row.found.base_mean
            low, high = row.found.low * scale, row.found.high * scale
            colour = COLOURS.get(row.verdict, "#666666")
            axis.plot([low, high], [place, place], color=colour, lw=2)
            axis.plot(row.found.difference * scale, place, "o", color=colour, ms=5)
        axis.axvline(0, color="black", lw=0.8)
        axis.set_yticks(range(len(mine)), [row.place for row in reversed(mine)])
        axis.set_ylim(-0.6, len(mine) - 0.4)
        axis.tick_params(labelsize=8)
        axis.set_title(check.says, fontsize=9, loc="left")
    axes[-1, 0].set_xlabel("difference in % of the base, 95 % interval", fontsize=9)
    with matplotlib.rc_context({"svg.hashsalt": claim}):
        figure.savefig(HERE / f"figure_{claim}.svg", metadata={"Date": None})
    plt.close(figure)


if __name__ == "__main__":
    main()
