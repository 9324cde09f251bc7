"""Train the arms of `design.py` in their settings; finished runs are not trained again.

    python experiments/lecture/run.py default
    python experiments/lecture/run.py "good funnel" "bad funnel"
    python experiments/lecture/run.py movielens --path FOLDER

Means of each run are added to runs.csv and printed values of queries to
outputs/lecture/queries. Runs whose rows are in runs.csv are left out.
"""

import argparse
import hashlib
import math
import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import polars as pl
from design import ARMS, FUNNELS, LOGS, WORLDS, arms_of
from rich.console import Console

from twotower_jax.config import Config
from twotower_jax.data.simulator.record import simulate
from twotower_jax.run.folder import RunFolder, run_folder
from twotower_jax.run.truth import stage_truth
from twotower_jax.sweeps.compose import compose_config
from twotower_jax.sweeps.options import FusedOptions
from twotower_jax.sweeps.runner import run_many

HERE = Path(__file__).parent
COMMON = (
    "experiment=lecture/base",
    "baselines=false",
    "evaluation.k=[20]",
    "evaluation.uniform_exposures=0",
)
ON_LOGS = ("towers.candidate=[id]", "data.simulator.seed=0", "training.batch_size=256")
LOG_WORDS = {
    "movielens": ("data=movielens",),
    "toys": (
        "data=table",
        "data.split=leave_last_out",
        "data.separator=space",
        "data.header=false",
        "data.list_separator=space",
        "data.columns.user=column_0",
        "data.columns.item=column_1",
        "training.batch_size=1024",
    ),
    "wikispeedia": ("data=wikispeedia", "towers.query=[current,target]"),
    "gowalla": ("data=lightgcn", "training.batch_size=4096"),
    "yelp2018": ("data=lightgcn", "training.batch_size=4096"),
}
# Columns of runs.csv and the metrics of the test part in them.
METRICS = {
    "truth": "true_recall@20",
    "log": "recall@20",
    **{
        f"{column}/{part}": f"{metric}/{part}"
        for column, metric in (("truth", "true_recall@20"), ("log", "recall@20"))
        for part in ("head", "mid", "tail")
    },
    "weighted_log": "ips_recall@20",
    "ndcg": "ndcg@20",
    "arp": "arp@20",
}
RUNS = 60  # trained before their rows are written
KEY = ["setting", "arm", "value", "seed"]
SCHEMA = {
    **{"setting": pl.String, "arm": pl.String, "value": pl.Float64, "seed": pl.Int64},
    **dict.fromkeys(["valid", *METRICS], pl.Float64),
    **{"steps": pl.Int64, "stopped": pl.String, "seconds": pl.Float64},
    # Checksum of the metrics of every query; null where queries.sha256 has it.
    **{"data": pl.String, "run": pl.String, "queries": pl.String},
}


def configuration(
    setting: str, arm: str, value: float | None, seed: int, output: str, path: str
) -> Config:
    """Configuration of one run.

    Args:
      setting: "default", a funnel, or a log.
      arm: a name of ARMS.
      value: of the arm's axis; None without one.
      seed: of the world and of the run; of a log, of the run alone.
      output: folder of all runs.
      path: of a log.
    """
    words = [*COMMON, f"output={output}", "name=lecture/worlds", f"seed={seed}"]
    if setting in LOGS:
        words += [*ON_LOGS, *LOG_WORDS[setting], f"data.path={path}"]
        words += [f"name=lecture/{setting}"]
    else:
        funnel = [f"data.simulator.{word}" for word in FUNNELS.get(setting, ())]
        words += [f"data.simulator.seed={seed}", *funnel]
    made = ARMS[arm]
    words += made.words
    if setting in LOGS and arm == "full softmax":
        words += ["training.batch_size=1024"]
    return compose_config([*words, *([f"{made.axis}={value:g}"] if value else [])])


def row(config: Config) -> dict[str, float | int | str | None]:
    """The row of a finished run."""
    folder = RunFolder(run_folder(config))
    result = folder.result()
    test = result["metrics"]["test"]
    means = {column: test.get(metric) for column, metric in METRICS.items()}
    return {
        "valid": result["metrics"]["valid"].get("recall@20"),
        **means,
        "steps": result["steps"],
        "stopped": result.get("stopped"),
        "seconds": round(result["seconds"], 2),
        "data": (folder.read("manifest") or {})["data_fingerprint"],
        "run": folder.path.name,
        "queries": checksum_of([query_values(folder.path)]),
    }


def query_values(folder: Path) -> pl.DataFrame:
    """Recall by truth and by log of every query of a run, by user."""
    table = pl.read_parquet(folder / "queries.parquet")
    table = table.sort("user", maintain_order=True)
    truth = "true_recall@20" if "true_recall@20" in table.columns else None
    return table.select(
        pl.col("user").cast(pl.String),
        (pl.col(truth) if truth else pl.lit(None, pl.Float64)).alias("truth"),
        pl.col("recall@20").alias("log"),
    )


def checksum_of(tables: Iterable[pl.DataFrame]) -> str:
    """SHA-256 of the values of tables, whatever the form of their file."""
    digest = hashlib.sha256()
    for table in tables:
        for column in ("truth", "log"):
            digest.update(table[column].fill_null(math.nan).to_numpy().tobytes())
    return digest.hexdigest()


def main() -> None:
    """Train what is missing, and write runs.csv after each setting."""
    parser = argparse.ArgumentParser(description="Train the arms of the claims.")
    parser.add_argument(
        "settings", nargs="*", help=f"default, {', '.join(FUNNELS)}, {', '.join(LOGS)}"
    )
    parser.add_argument("--path", default="", help="folder of a log")
    parser.add_argument("--output", default="outputs")
    parser.add_argument(
        "--arms", default="", help="only arms whose name this pattern finds"
    )
    parser.add_argument("--seeds", type=int, nargs="*", default=WORLDS)
    parser.add_argument("--values", type=float, nargs="*", help="further temperatures")
    parser.add_argument(
        "--queries", action="store_true", help="write the metrics of every query"
    )
    parser.add_argument(
        "--stages", action="store_true", help="write the truth of each stage"
    )
    options = parser.parse_args()
    for setting in options.settings:
        if setting not in ("default", *FUNNELS, *LOGS):
            known = ", ".join(("default", *FUNNELS, *LOGS))
            parser.error(f"{setting!r} is not a setting; choose from {known}")
        if setting in LOGS and not options.path:
            parser.error(f"{setting} needs --path, the place of its log")
    if options.stages:
        return write_stages()
    if options.queries:
        return write_queries(Path(options.output) / "lecture")
    every = {
        key: one
        for setting in options.settings
        for key, one in missing(setting, options)
    }
    keys = list(every)
    for begin in range(0, len(keys), RUNS):
        train({key: every[key] for key in keys[begin : begin + RUNS]})
        print(f"{min(begin + RUNS, len(keys))} of {len(keys)} runs", flush=True)


def missing(
    setting: str, options: argparse.Namespace
) -> Iterator[tuple[tuple[str, str, float, int], Config]]:
    """Yield key and configuration of the runs of a setting that runs.csv lacks."""
    path = HERE / "runs.csv"
    done = pl.read_csv(path, schema=SCHEMA) if path.exists() else None
    known = set(done.select(KEY).iter_rows()) if done is not None else set()
    for seed in options.seeds:
        for arm in arms_of(setting):
            if not re.search(options.arms, arm):
                continue
            values = ARMS[arm].values or (0.0,)
            if options.values and ARMS[arm].axis == "loss.temperature":
                values = options.values
            for value in values:
                key = (setting, arm, float(value), seed)
                if key not in known:
                    yield (
                        key,
                        configuration(
                            setting, arm, value, seed, options.output, options.path
                        ),
                    )


def train(configs: dict[tuple[str, str, float, int], Config]) -> None:
    """Train runs side by side, and add their rows to runs.csv."""
    options, console = FusedOptions(processes=True), Console(file=sys.stdout)
    every = list(configs.values())
    for outcome in run_many(every, console=console, command="run.py", options=options):
        outcome.get()  # raises the error of a run
    rows = [
        dict(zip(KEY, key, strict=True)) | row(config)
        for key, config in configs.items()
    ]
    table, path = pl.DataFrame(rows, schema=SCHEMA), HERE / "runs.csv"
    if path.exists():  # another process may have added rows
        table = pl.concat([pl.read_csv(path, schema=SCHEMA), table])
    table.unique(KEY, keep="last").sort(KEY).write_csv(path)


def write_stages() -> None:
    """Write stages.csv: true click rate and AUC of each stage in world 1."""
    rows = []
    for setting in ("default", *FUNNELS):
        config = configuration(
            setting, "in-batch + logQ", None, WORLDS[0], "outputs", ""
        )
        stages = stage_truth(config.data, simulate(config.data.simulator))
        rows += [{"setting": setting, "stage": s} | one for s, one in stages.items()]
    pl.DataFrame(rows).write_csv(HERE / "stages.csv")


def write_queries(folder: Path) -> None:
    """Write recall by truth and by log of every query of the runs that are in a folder.

    A run without a checksum of its own is one of `queries.sha256`, which has that of
    all of them in the order of runs.csv, each behind its key.

    Args:
      folder: of the studies, which holds the folders of runs of runs.csv.
    """
    digest, parts, together = hashlib.sha256(), [], 0
    runs = pl.read_csv(HERE / "runs.csv", schema=SCHEMA)
    for run in runs.iter_rows(named=True):
        name = run["setting"] if run["setting"] in LOGS else "worlds"
        path = folder / name / run["run"]
        if not path.is_dir():
            continue
        table = query_values(path)
        if run["queries"] is None:
            together += 1
            digest.update(repr([run[key] for key in KEY]).encode())
            for column in ("truth", "log"):
                digest.update(table[column].fill_null(math.nan).to_numpy().tobytes())
        elif run["queries"] != checksum_of([table]):
            raise SystemExit(f"{path} has other values than runs.csv")
        parts.append(table.select(*(pl.lit(run[k]).alias(k) for k in KEY), pl.all()))
    pl.concat(parts).write_parquet(folder / "queries.parquet", compression="zstd")
    print(f"{len(parts)} runs written")
    known, _, number = (HERE / "queries.sha256").read_text().partition("  ")
    if together == int(number.split()[0]):
        print(
            "equal" if digest.hexdigest() == known else f"differ: {digest.hexdigest()}"
        )


if __name__ == "__main__":
    main()
