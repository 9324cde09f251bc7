"""Daily updates of a model: trains every arm and seed of the study, day after day.

    python experiments/updates/run.py [OUTPUT]

Calls `twotower train experiment=updates ...` with the window of each day and the run
that it starts from, and writes OUTPUT/updates/runs.csv (OUTPUT: `outputs` by default):
arm, day, seed and folder of each run. A run that has finished is not repeated. Then
`python experiments/updates/table.py OUTPUT/updates` fills README.md.

Every model is tested on the afternoon of a day. "full" and "anew" are trained at
midnight before it, "incremental" at noon every day, and "full + incremental" at noon
on the morning alone, from the full model of midnight.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl

from twotower_jax.cli import main as twotower
from twotower_jax.data.log import Stage
from twotower_jax.data.simulator.requests import SECONDS_A_DAY, START_SECONDS
from twotower_jax.run.inputs import load_data
from twotower_jax.run.records import run_folder
from twotower_jax.sweeps.compose import compose_config

FIRST, LAST = 5, 7  # days: that from which the first model serves, the last one tested
SEEDS = (0, 1, 2)
HALF = 0.5


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
    """

    def __init__(self, words: Sequence[str], days: Days, seed: int):
        self._words, self._days, self._seed = words, days, seed
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
        words = [*self._words, *window, *more, f"arm='{arm}'", f"seed={place}"]
        try:
            twotower(["train", *words])
        except SystemExit as end:
            if end.code:
                raise
        folder = run_folder(compose_config(words))
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
            self.train("anew", day, window(0, day, noon))
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
    for seed in SEEDS:
        chain = Chain(words, days, seed)
        chain.run()
        rows += chain.rows
    pl.DataFrame(rows).write_csv(Path(output) / "updates" / "runs.csv")


if __name__ == "__main__":
    main()
