"""Train the arms of `design.py` in their settings; finished runs are not trained again.

    python experiments/lecture/run.py default
    python experiments/lecture/run.py "good funnel" "bad funnel"
    python experiments/lecture/run.py movielens --path FOLDER

Means of each run are added to runs.csv and printed values of queries to
outputs/lecture/queries. Runs whose rows are in runs.csv are left out.
"""

import argparse
import re
import sys
from pathlib import Path

import polars as pl
from design import ARMS, FUNNELS, LOGS, WORLDS, arms_of
from rich.console import Console

from twotower_jax.config import Config
from twotower_jax.run.records import RunFolder, run_folder
from twotower_jax.sweeps.compose import compose_config
from twotower_jax.sweeps.fused import SideBySide, train_job
from twotower_jax.sweeps.options import FusedOptions

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
KEY = ["setting", "arm", "value", "seed"]


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
    }


def main() -> None:
    """Train what is missing, and write runs.csv after each setting."""
    parser = argparse.ArgumentParser(description="Train the arms of the claims.")
    parser.add_argument(
        "settings", nargs="+", help=f"default, {', '.join(FUNNELS)}, {', '.join(LOGS)}"
    )
    parser.add_argument("--path", default="", help="folder of a log")
    parser.add_argument("--output", default="outputs")
    parser.add_argument("--arms", default="", help="only arms whose name this pattern finds")
    parser.add_argument("--seeds", type=int, nargs="*", default=WORLDS)
    parser.add_argument("--values", type=float, nargs="*", help="further temperatures")
    options = parser.parse_args()
    for setting in options.settings:
        train(setting, options)


def train(setting: str, options: argparse.Namespace) -> None:
    """Train the missing runs of a setting, world by world."""
    path = HERE / "runs.csv"
    done = pl.read_csv(path, infer_schema_length=None) if path.exists() else None
    known = set(done.select(KEY).iter_rows()) if done is not None else set()
    console = Console(file=sys.stdout)
    for seed in options.seeds:
        configs = {}
        for arm in arms_of(setting):
            if not re.search(options.arms, arm):
                continue
            values = ARMS[arm].values or (0.0,)
            if options.values and ARMS[arm].axis == "loss.temperature":
                values = options.values
            for value in values:
                key = (setting, arm, float(value), seed)
                if key not in known:
                    configs[key] = configuration(
                        setting, arm, value, seed, options.output, options.path
                    )
        if not configs:
            continue
        console.print(f"{setting}, world {seed}: {len(configs)} runs")
        every = list(configs.values())
        with SideBySide(every, console, "run.py", FusedOptions(processes=True)):
            for config in every:
                train_job(config, console=Console(quiet=True), command="run.py")
        rows = [
            dict(zip(KEY, key, strict=True)) | row(config)
            for key, config in configs.items()
        ]
        table = pl.DataFrame(rows, infer_schema_length=None)
        if path.exists():  # read again: another process may have added rows
            earlier = pl.read_csv(path, schema=table.schema)
            table = pl.concat([earlier, table]).unique(KEY, keep="last")
        table.sort(KEY).write_csv(path)


if __name__ == "__main__":
    main()
