"""Put the studies of the defaults, one per log, into this folder.

    python experiments/defaults/table.py outputs/defaults

Reads the folders of `twotower train -m experiment=defaults name=defaults/LOG ...`.
Writes runs.csv (the test runs), trials.csv (the runs on validation) and the table
of README.md. Logs that the folder lacks keep their rows.
"""

import json
import sys
from pathlib import Path

import polars as pl

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))
from collect import insert  # noqa: E402

METRIC = "recall@20"
OURS = "defaults"


def trials_of(log: str, folder: Path) -> pl.DataFrame:
    """The runs on validation.

    Args:
      log: its name.
      folder: of the study, with select.json.

    Returns:
      A row per trial: log, arm, point as overrides, mean on validation, chosen.
    """
    select = json.loads((folder / "select.json").read_text(encoding="utf-8"))
    return pl.DataFrame(
        [
            {
                "log": log,
                "arm": arm["arm"],
                "point": " ".join(f"{k}={v}" for k, v in trial["point"].items()),
                "valid": sum(trial["values"]) / len(trial["values"]),
                "chosen": place == arm["chosen"],
            }
            for arm in select["arms"]
            for place, trial in enumerate(arm["trials"])
            if None not in trial["values"]
        ],
        schema_overrides={"valid": pl.Float64},
    )


def tests_of(log: str, folder: Path) -> pl.DataFrame:
    """The test runs, with popularity on the same queries.

    Args:
      log: its name.
      folder: of the study.

    Returns:
      A row per run: log, arm, seed, recall@20, popularity, steps, seconds.
    """
    rows = []
    select = json.loads((folder / "select.json").read_text(encoding="utf-8"))
    for arm in select["arms"]:
        for name, seed in zip(arm["runs"], select["seeds"], strict=True):
            path = folder / name / "result.json"
            result = json.loads(path.read_text(encoding="utf-8"))
            rows.append(
                {
                    "log": log,
                    "arm": arm["arm"],
                    "seed": seed,
                    METRIC: result["metrics"]["test"][METRIC],
                    "popularity": result["baselines"]["popularity"]["test"][METRIC],
                    "steps": result["steps"],
                    "seconds": round(result["seconds"], 1),
                }
            )
    return pl.DataFrame(rows)


def merge(name: str, new: pl.DataFrame) -> pl.DataFrame:
    """The new rows and those of other logs, written to a file of this folder.

    Args:
      name: of the csv file.
      new: rows of the logs that were run.

    Returns:
      All rows.
    """
    path = HERE / name
    if path.exists():
        old = pl.read_csv(path, schema_overrides=new.schema)
        new = pl.concat([old.join(new, on="log", how="anti"), new])
    new = new.sort("log", maintain_order=True)
    new.write_csv(path)
    return new


def markdown(tests: pl.DataFrame, trials: pl.DataFrame) -> str:
    """A row per log: popularity, the defaults, the best of the trials, their ratio.

    Args:
      tests: see `tests_of`.
      trials: see `trials_of`.

    Returns:
      A table; the tuned arm is the better one on validation.
    """
    lines = [
        "| log | popularity | defaults | tuned | share | trials | best on validation |",
        "|---|---|---|---|---|---|---|",
    ]
    for log in tests["log"].unique(maintain_order=True):
        mine = trials.filter((pl.col("log") == log) & (pl.col("arm") != OURS))
        best = mine.filter("chosen").sort("valid").row(-1, named=True)
        runs = tests.filter(pl.col("log") == log)
        means = dict(runs.group_by("arm").agg(pl.mean(METRIC)).iter_rows())
        ours, tuned = means[OURS], means[best["arm"]]
        lines.append(
            f"| {log} | {runs['popularity'][0]:.4f} | {ours:.4f} | {tuned:.4f} | "
            f"{100 * ours / tuned:.0f} % | {len(mine)} | {best['arm']}: "
            f"{best['point']} |"
        )
    return "\n".join(lines)


def main() -> None:
    """Read the folder that the command line names."""
    folders = [path.parent for path in Path(sys.argv[1]).glob("*/select.json")]
    if not folders:
        raise SystemExit(
            f"{sys.argv[1]} holds no study; see README.md for the commands"
        )
    done = sorted(path for path in folders if (path / "study.csv").exists())
    tests = merge("runs.csv", pl.concat(tests_of(p.name, p) for p in done))
    trials = merge("trials.csv", pl.concat(trials_of(p.name, p) for p in done))
    insert(HERE / "README.md", "defaults", markdown(tests, trials))


if __name__ == "__main__":
    main()
