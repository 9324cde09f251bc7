"""Daily updates of a model: trains every arm and seed of the study, day after day.

    python experiments/updates/run.py [OUTPUT]

Calls `twotower train experiment=updates ...` with the window of each day and the run
that it starts from, and writes OUTPUT/updates/runs.csv (OUTPUT: `outputs` by default):
arm, day, seed and folder of each run, and choices.csv: the points that were tried. A
run that has finished is not repeated. Then `python experiments/updates/table.py
OUTPUT/updates` fills README.md.

Every model is tested on the afternoon of a day. "full" and "anew" are trained at
midnight before it, "incremental" at noon every day, and "full + incremental" at noon
on the morning alone, from the full model of midnight. The full softmax and the
baselines are fitted at midnight on all the data, as "anew" is. The temperature and
the settings of the baselines are those with the best recall@20 on the afternoon of
day 5, which no arm is tested on.
"""

import json
import sys
from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path

import numpy as np
import polars as pl

from twotower_jax.cli import main as twotower
from twotower_jax.data.log import Stage
from twotower_jax.data.simulator.funnel import SECONDS_A_DAY, START_SECONDS
from twotower_jax.run.folder import run_folder
from twotower_jax.run.loader import load_data
from twotower_jax.sweeps.compose import compose_config
from twotower_jax.sweeps.options import Options

FIRST, LAST = 5, 7  # days: that from which the first model serves, the last one tested
SEEDS = (0, 1, 2, 3, 4)
TUNE_SEED = 900
HALF = 0.5
TEMPERATURES = {"loss.temperature": "0.1,0.14,0.2,0.28,0.4"}
BASELINES = Options().arm_tune
# Arms of which every model is trained from the start: their overrides, their axes.
ANEW: dict[str, tuple[list[str], Mapping[str, str]]] = {
    "anew": ([], TEMPERATURES),
    "full softmax": (["arms=full_softmax"], TEMPERATURES),
    "item-kNN": (["arms=baseline/item_knn"], BASELINES["item_knn"]),
    "EASE": (["arms=baseline/ease"], BASELINES["ease"]),
    "iALS": (["arms=baseline/ials"], BASELINES["ials"]),
    "popularity": (["arms=baseline/popularity"], {}),
}


class Days:
    """The windows of the log, as overrides.

    Args:
      words: overrides of every run.
    """

    def __init__(self, words: Sequence[str]):
        log = load_data(compose_config(list(words))).log
        times = np.sort(np.asarray(log.time)[log.stage == Stage.CLICKED])
        self._days = (times - START_SECONDS) / SECONDS_A_DAY

    def _before(self, day: float) -> int:
        return int(np.searchsorted(self._days, day))

    def window(self, since: float, trained: float, test: float) -> list[str]:
        """Overrides: train on [since, trained), test on the half day from `test` on.

        The positives in between are the valid part, which enters histories alone.

        Args:
          since: day from which positives are trained on.
          trained: day before which they are.
          test: day from which the test part begins.
        """
        end, (start, valid) = test + HALF, (self._before(d) for d in (test, trained))
        number = self._before(end)
        return [
            f"data.since={START_SECONDS + since * SECONDS_A_DAY:.0f}",
            f"data.until={START_SECONDS + end * SECONDS_A_DAY:.0f}",
            f"data.valid_share={(start - valid) / number!r}",
            f"data.test_share={(number - start) / number!r}",
        ]


class Chain:
    """The runs of one seed.

    Args:
      words: overrides of every run.
      days: windows of the log.
      seed: of the first model; each later run has another one.
      choices: overrides of each arm of `ANEW`; those of "anew" hold for all updates.
    """

    def __init__(
        self,
        words: Sequence[str],
        days: Days,
        seed: int,
        choices: Mapping[str, Sequence[str]],
    ):
        self._words, self._days, self._seed = words, days, seed
        self._choices = choices
        self.rows: list[dict[str, object]] = []

    def train(self, arm: str, day: float, window: list[str], *more: str) -> Path:
        """Train one run, or find it finished, and return its folder.

        Args:
          arm: its name.
          day: on whose afternoon it is tested.
          window: of the log.
          more: further overrides.
        """
        place = 100 * self._seed + int(2 * day)
        chosen = self._choices[arm if arm in ANEW else "anew"]
        folder = train([*self._words, *window, *chosen, *more], arm, place)
        row = {"arm": arm, "day": day, "seed": self._seed, "folder": str(folder)}
        self.rows.append(row)
        return folder

    def run(self) -> None:
        """Train all arms, from the first day to the last."""
        window = self._days.window
        first = self.train("first", FIRST, window(0, FIRST, FIRST + HALF))
        full = incremental = first
        for day in range(FIRST + 1, LAST + 1):
            noon = day + HALF
            start = f"training.start_from={first}"
            self.train("never", day, window(0, FIRST, noon), start, "training.steps=0")
            for arm in ANEW:
                self.train(arm, day, window(0, day, noon))
            full = self.train(
                "full", day, window(day - 1, day, noon), *update("full", full)
            )
            since = FIRST if day == FIRST + 1 else noon - 1
            incremental = self.train(
                "incremental",
                day,
                window(since, noon, noon),
                *update("incremental", incremental),
            )
            self.train(
                "full + incremental",
                day,
                window(day, noon, noon),
                *update("incremental", full),
            )


def train(words: Sequence[str], arm: str, seed: int) -> Path:
    """Train one run, or find it finished, and return its folder.

    Args:
      words: its overrides.
      arm: its name.
      seed: its seed.
    """
    words = [*words, f"arm='{arm}'", f"seed={seed}"]
    try:
        twotower(["train", *words])
    except SystemExit as end:
        if end.code:
            raise
    return run_folder(compose_config(words))


def choose(words: Sequence[str], days: Days) -> pl.DataFrame:
    """Try every point of each arm of `ANEW` on the afternoon of the first day.

    Args:
      words: overrides of every run.
      days: windows of the log.

    Returns:
      A row per point: arm, overrides (JSON), recall@20, and best, true at the first
      one with the arm's largest recall.
    """
    window, rows = days.window(0, FIRST, FIRST + HALF), []
    for arm, (own, axes) in ANEW.items():
        points = product(*(value.split(",") for value in axes.values()))
        for number, point in enumerate(points):
            pairs = zip(axes, point, strict=True)
            chosen = [*own, *(f"{key}={value}" for key, value in pairs)]
            folder = train([*words, *window, *chosen], f"{arm} {number}", TUNE_SEED)
            text = (folder / "result.json").read_text(encoding="utf-8")
            recall = json.loads(text)["metrics"]["test"]["recall@20"]
            row = {"arm": arm, "overrides": json.dumps(chosen)}
            rows.append(row | {"recall@20": recall})
    best = pl.col("recall@20").arg_max().over("arm")
    return pl.DataFrame(rows).with_columns(
        best=pl.int_range(pl.len()).over("arm") == best
    )


def update(kind: str, parent: Path) -> tuple[str, str]:
    """Overrides of an update.

    Args:
      kind: full or incremental.
      parent: folder of the run that it starts from.
    """
    return f"training.update={kind}", f"training.start_from={parent}"


def main() -> None:
    """Train every arm, day and seed."""
    output = sys.argv[1] if len(sys.argv) > 1 else "outputs"
    words = ["experiment=updates", f"output={output}"]
    days, rows = Days(words), []
    points = choose(words, days)
    folder = Path(output) / "updates"
    points.write_csv(folder / "choices.csv", float_precision=6)
    best = points.filter("best")
    choices = {
        arm: json.loads(chosen) for arm, chosen in best["arm", "overrides"].iter_rows()
    }
    for seed in SEEDS:
        chain = Chain(words, days, seed, choices)
        chain.run()
        rows += chain.rows
    pl.DataFrame(rows).write_csv(folder / "runs.csv")


if __name__ == "__main__":
    main()
