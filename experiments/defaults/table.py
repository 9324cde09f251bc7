"""Put the studies of the defaults, one per log, into this folder.

    python experiments/defaults/table.py outputs/defaults [outputs/references]

Reads the folders of `twotower train -m experiment=defaults name=defaults/LOG ...`, and
of `twotower train -m name=references/LOG ...` (see README.md). Writes runs.csv (the
test runs), trials.csv (the runs on validation), references.csv (baselines and full
softmax on test) and the table of README.md. Logs that a folder lacks keep their rows.
"""

import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import polars as pl
import yaml

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))
from collect import insert  # noqa: E402

METRIC = "recall@20"
OURS = "defaults"
REFERENCES = ("item-kNN", "iALS", "EASE", "full softmax")


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


def references_of(log: str, folder: Path) -> pl.DataFrame:
    """The runs of baselines and of the full softmax, without tuning, one seed each.

    Args:
      log: its name.
      folder: of the runs.

    Returns:
      A row per run: log, arm, recall@20.
    """
    rows = []
    for path in sorted(folder.glob("*/result.json")):
        result = json.loads(path.read_text(encoding="utf-8"))
        value = result["metrics"]["test"][METRIC]
        config = yaml.safe_load((path.parent / "config.yaml").read_text("utf-8"))
        rows.append({"log": log, "arm": config["arm"], METRIC: value})
    return pl.DataFrame(rows)


def merge(
    name: str, folders: Sequence[Path], read: Callable[[str, Path], pl.DataFrame]
) -> pl.DataFrame:
    """The rows of folders and those of other logs, written to a file of this folder.

    Args:
      name: of the csv file.
      folders: one per log that was run.
      read: (log, folder) -> rows.

    Returns:
      All rows.
    """
    path, new = HERE / name, [read(folder.name, folder) for folder in folders]
    rows = pl.concat(new) if new else pl.read_csv(path)
    if new and path.exists():
        old = pl.read_csv(path, schema_overrides=rows.schema)
        rows = pl.concat([old.join(rows, on="log", how="anti"), rows])
    rows = rows.sort("log", maintain_order=True)
    rows.write_csv(path)
    return rows


def markdown(
    tests: pl.DataFrame, trials: pl.DataFrame, references: pl.DataFrame
) -> str:
    """A row per log: baselines, the defaults, the best of the trials, their ratio.

    Args:
      tests: see `tests_of`.
      trials: see `trials_of`.
      references: see `references_of`.

    Returns:
      A table; the tuned arm is the better one on validation.
    """
    lines = [
        f"| log | defaults | tuned | share | popularity | {' | '.join(REFERENCES)} | "
        "trials | best on validation |",
        "|" + "---|" * (7 + len(REFERENCES)),
    ]
    for log in tests["log"].unique(maintain_order=True):
        mine = trials.filter((pl.col("log") == log) & (pl.col("arm") != OURS))
        best = mine.filter("chosen").sort("valid").row(-1, named=True)
        runs = tests.filter(pl.col("log") == log)
        means = dict(runs.group_by("arm").agg(pl.mean(METRIC)).iter_rows())
        ours, tuned = means[OURS], means[best["arm"]]
        known = references.filter(pl.col("log") == log)["arm", METRIC]
        values = {arm: f"{value:.4f}" for arm, value in known.iter_rows()}
        cells = [f"{ours:.4f}", f"{tuned:.4f}", f"{100 * ours / tuned:.0f} %"]
        cells += [f"{runs['popularity'][0]:.4f}"]
        cells += [values.get(arm, "") for arm in REFERENCES]
        cells += [f"{len(mine)}", f"{best['arm']}: {best['point']}"]
        lines.append(f"| {log} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    """Read the folders that the command line names."""
    folders = [path.parent for path in Path(sys.argv[1]).glob("*/select.json")]
    done = sorted(path for path in folders if (path / "study.csv").exists())
    tests = merge("runs.csv", done, tests_of)
    trials = merge("trials.csv", done, trials_of)
    others = sorted(Path(sys.argv[2]).iterdir()) if len(sys.argv) > 2 else []
    references = merge("references.csv", others, references_of)
    insert(HERE / "README.md", "defaults", markdown(tests, trials, references))


if __name__ == "__main__":
    main()
