"""Every training on the pages runs, cut to a few steps of a tiny log."""

import re
import shlex
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from helpers import tiny

from twotower_jax.sweeps.compose import compose_config

ROOT = Path(__file__).parents[2]
# Keys of the cut training; a page's own value of one of them is left out.
SHORT = {
    "name": "page",
    "data.simulator.users": "400",
    "data.simulator.items": "600",
    "data.simulator.requests": "1500",
    "towers.dim": "8",
    "training.batch_size": "32",
    "training.steps": "3",
    "training.eval_every": "3",
    "training.patience": "0",
    "training.steps_per_dispatch": "1",
    "evaluation.k": "[10,20]",
    "baselines": "false",
    "seed": "0",
}
EPOCHS = "training.epochs"
# What a page says of files that its reader has, or of a run before this one.
ELSEWHERE = re.compile(
    r"data=(?!simulator|table)|--|training\.(start_from|mesh)|experiment=|"
    r"items_path|stage=stage|"
    r"hydra/launcher=(ray|slurm|submitit_local|joblib)|hydra/sweeper"
)


def lines(command: str) -> list[str]:
    """Return the lines of README and of the pages that begin with a command."""
    found: set[str] = set()
    for path in [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]:
        blocks = re.findall(r"^```\w*\n(.*?)^```", path.read_text(), re.M | re.S)
        text = "".join(blocks).replace("\\\n", " ")
        found |= set(re.findall(rf"^twotower {command} .*", text, re.M))
    return sorted(found)


def trainings() -> list[str]:
    """Return every training of the pages that runs by itself."""
    return [line for line in lines("train") if not ELSEWHERE.search(line)]


def cut(line: str) -> list[str]:
    """Return the words of the first training of a command, cut short."""
    words = [word for word in shlex.split(line, comments=True)[2:] if word != "-m"]
    words = [re.sub(r"=([^\[{,]*),.*", r"=\1", word) for word in words]
    kept = [word for word in words if word.split("=")[0] not in {*SHORT, EPOCHS}]
    kept = [word for word in kept if not word.startswith(("hydra/", "hydra."))]
    return [*kept, *(f"{key}={value}" for key, value in SHORT.items())]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Write the files that the pages name: a log under three names, and lists."""
    place = tmp_path_factory.mktemp("pages")
    rng = np.random.default_rng(0)
    users, items = rng.integers(0, 150, 4000), rng.zipf(1.3, 4000) % 200
    seconds = 1_709_251_200 + np.sort(rng.integers(0, 3 * 86_400, 4000))
    log = pl.DataFrame({"user": users, "item": items, "time": seconds})
    log = log.with_columns(who="user", what="item", at="time", click=pl.lit(1))
    log.write_csv(place / "clicks.csv")
    log.write_parquet(place / "log.parquet")
    watched = pl.Series("watched_seconds", rng.integers(1, 60, 4000))
    log.with_columns(watched).write_parquet(place / "views.parquet")
    ids = {"user": np.arange(100), "item": np.arange(100) % 50}
    pl.DataFrame(ids).write_parquet(place / "lists.parquet")
    return place


@pytest.mark.slow
@pytest.mark.parametrize("line", trainings())
def test_a_training_of_the_pages_runs(line, folder, monkeypatch):
    monkeypatch.chdir(folder)
    words = cut(line)
    assert tiny.command("train", *words) == 0
    name = compose_config(words).name
    assert name == "page" and any((folder / "outputs" / name).glob("*/result.json"))


@pytest.mark.slow
@pytest.mark.parametrize("line", lines("audit") + lines("plan"))
def test_an_audit_or_a_plan_of_the_pages_runs(line, folder, monkeypatch):
    monkeypatch.chdir(folder)
    assert tiny.command(*shlex.split(line, comments=True)[1:]) == 0


def test_the_pages_have_trainings_that_run_by_themselves():
    assert len(trainings()) > 80
