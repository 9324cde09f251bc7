"""The minutes of a study: of its runs on validation and on test, towers and baselines.

    python experiments/papers/minutes.py FOLDER [...]

The folders are studies such as outputs/bsl. Minutes are those of the clock, of
trainings with their validations and of fits, without reading the log, the metrics at
the end and the report. The launcher `fused` has one run on each core: a study takes
about the sum over the number of cores, if these do no other work.
"""

import json
import sys
from pathlib import Path
from typing import NamedTuple

from twotower_jax.model.towers import BASELINES
from twotower_jax.run.folder import RunFolder, stored_config


class Cost(NamedTuple):
    """Finished runs of one kind.

    Attributes:
      runs: their number.
      steps: of their trainings.
      minutes: sum over the runs.
    """

    runs: int
    steps: int
    minutes: float


def costs(study: Path) -> dict[str, Cost]:
    """Return the cost of the finished runs of a study, by kind and part.

    Args:
      study: its folder; the runs on validation are in its folder "select".
    """
    found: dict[str, Cost] = {}
    for path in sorted(study.glob("**/result.json")):
        if not RunFolder(path.parent).is_done():
            continue
        part = "validation" if path.parent.parent.name == "select" else "test"
        kind = stored_config(path.parent).towers.kind
        key = f"{'baselines' if kind in BASELINES else 'towers'} on {part}"
        result, old = json.loads(path.read_text()), found.get(key, Cost(0, 0, 0.0))
        found[key] = Cost(
            old.runs + 1,
            old.steps + (result.get("steps") or 0),
            old.minutes + result["seconds"] / 60,
        )
    return found


def main(*folders: str) -> None:
    """Print the costs of studies, and their sum."""
    for folder in folders:
        found = costs(Path(folder))
        if not found:
            sys.exit(f"{folder} holds no finished run")
        print(folder)
        for key, one in found.items():
            print(
                f"  {key}: {one.runs} runs, {one.steps:,} steps, {one.minutes:.1f} min"
            )
        print(f"  all: {sum(one.minutes for one in found.values()):.1f} min")


if __name__ == "__main__":
    main(*sys.argv[1:])
