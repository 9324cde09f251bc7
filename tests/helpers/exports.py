"""Exported runs of a tiny world, their lists, and serve.py without this package."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl

from helpers import tiny
from twotower_jax.export import write
from twotower_jax.run import run
from twotower_jax.run.folder import run_folder

# Serves the first parameters of a model, and compiles no steps.
UNTRAINED = "training.steps=0"
CASES = {
    "id, dot": (
        "towers.query=[id]",
        "towers.candidate=[id]",
        "towers.normalize=false",
    ),
    # Eight categories: many items have equal vectors, so ties decide.
    "history, cosine": (
        "towers.query=[history]",
        "towers.candidate=[category]",
        UNTRAINED,
    ),
    "features, cosine": (
        "towers.query=[id,history,activity]",
        "towers.candidate=[id,price,tags]",
        "towers.history_length=4",
        "towers.history_pooling=recency",
        "towers.history_features=[id,category,price,tags]",
    ),
    "sequence, cosine": (
        "towers.query=[history,activity]",
        "towers.candidate=[id,category]",
        "towers.history_length=6",
        "towers.history_pooling=transformer",
        "towers.sequence.longer=newest",
        "towers.history_table=shared",
        "towers.history_features=[id,category]",
        "towers.sequence.heads=2",
    ),
    "hidden, dot": (
        "towers.query=[history,segment]",
        "towers.candidate=[id,category]",
        "towers.history_pooling=attention",
        "towers.history_table=shared",
        "towers.history_features=[id,category,price]",
        "towers.hidden=[16]",
        "towers.normalize=false",
    ),
}
# Lists of 100, and steps that compile fast.
QUICK = (
    "evaluation.k=[20,100]",
    "evaluation.save_topk=true",
    "training.metric=recall@20",
    "training.steps=20",
    "training.steps_per_dispatch=1",
    "training.merge_columns=false",
)
NEEDED = ("numpy", "jax", "jaxlib", "ml_dtypes", "opt_einsum", "scipy", "flatbuffers")
# Runs serve.py once per line of stdin where nothing but NEEDED can be imported.
ISOLATED = """
import contextlib, io, json, runpy, sys
sys.path.append(sys.argv.pop(1))
for name in ("twotower_jax", "polars", "pyarrow", "flax"):
    try:
        __import__(name)
    except ModuleNotFoundError:
        continue
    raise SystemExit(f"{name} can be imported")
for line in sys.stdin:
    script, *sys.argv[1:] = json.loads(line)
    out, err, status = io.StringIO(), io.StringIO(), 0
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            runpy.run_path(script, run_name="__main__")
        except SystemExit as end:
            status = end.code
    print(json.dumps([status, out.getvalue(), err.getvalue()]))
"""


def make(output, *words):
    """Return the configuration and the folder of a finished run with its lists."""
    config = tiny.make_config(output, *QUICK, *words)
    run(config)
    return config, run_folder(config)


class Exports(dict):
    """{case: (configuration, folder of the run, folder of the export)}, made once."""

    def __init__(self, output):
        super().__init__()
        self.output = output

    def __missing__(self, case):
        config, folder = make(self.output, *CASES[case])
        out = self.output / case
        write.export_run(folder, out)
        self[case] = config, folder, out
        return self[case]


def lists(folder):
    """Return the lists of a run, in its own order of users.

    Without those of one score throughout, which an evaluation has in a random order.
    """
    found = pl.read_parquet(folder / "topk.parquet")
    differ = pl.col("score").min().over("user") < pl.col("score").max().over("user")
    return found.filter(differ)


def users_of(folder):
    return lists(folder)["user"].unique(maintain_order=True)


def assert_same_lists(table, expected):
    """Items may change places only where their scores differ by a rounding."""
    score = expected["score"].to_numpy()
    np.testing.assert_allclose(table["score"], score, rtol=0, atol=1e-6)
    moved = (table["item"] != expected["item"]).to_numpy()
    step = np.abs(np.diff(score, prepend=np.inf, append=np.inf))
    nearest = np.minimum(step[:-1], step[1:])
    assert (nearest[moved] < 1e-6).all()


def site(tmp_path):
    """Return a folder with links to the packages that serve.py needs."""
    for name in NEEDED:
        spec = importlib.util.find_spec(name)
        assert spec is not None and spec.origin is not None
        place = Path(spec.origin).parent
        (tmp_path / name).symlink_to(place)
        libraries = place.with_name(f"{name}.libs")
        if libraries.is_dir():
            (tmp_path / libraries.name).symlink_to(libraries)
    return tmp_path


def serve(commands, tmp_path):
    """Return (status, stdout, stderr) of lines of arguments, without this package."""
    alone = site(tmp_path / "site")
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", ISOLATED, str(alone)],
        input="".join(
            json.dumps([str(word) for word in one]) + "\n" for one in commands
        ),
        capture_output=True,
        text=True,
        cwd=tmp_path,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr + done.stdout
    return [json.loads(line) for line in done.stdout.splitlines()]
