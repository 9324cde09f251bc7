"""README.md: commands and Python run, the table is the study's, the links exist."""

import functools
import json
import re
import runpy
import shlex
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from helpers import tiny

import twotower_jax
from twotower_jax.commands.advise import read_minutes
from twotower_jax.sweeps.compose import compose_config

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)
COMMANDS = [
    shlex.split(line)
    for kind, block in BLOCKS
    if not kind
    for line in block.replace("\\\n", " ").splitlines()
    if line.startswith("twotower ")
]
SHORT = (
    *("towers.dim=8", "training.batch_size=64", "training.steps=6", "seed=0"),
    *("training.merge_columns=false", "training.steps_per_dispatch=1"),
)


@pytest.fixture
def log(tmp_path, monkeypatch):
    """Write the log that README.md describes; commands run in its folder."""
    rng = np.random.default_rng(0)
    who, what = rng.integers(0, 200, 6000), rng.zipf(1.3, 6000) % 400
    rows = {"who": who, "what": what}
    pl.DataFrame({**rows, "at": np.arange(6000)}).write_csv(tmp_path / "clicks.csv")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_commands_for_a_log_of_ones_own_are_read(log):
    check, advise, _ = COMMANDS
    assert tiny.command(*check[1:]) == 0
    minutes, words = read_minutes(advise[2:])
    assert minutes == 10 and compose_config(words).data.columns.user == "who"


@pytest.mark.slow
def test_the_training_of_a_log_of_ones_own_runs(log):
    *_, train = COMMANDS
    assert tiny.command(*train[1:], *SHORT) == 0
    assert (log / "outputs" / "table" / "report.html").is_file()
    results = sorted((log / "outputs" / "table").glob("*/result.json"))
    assert len(results) == 3 + 4
    arms = pl.read_csv(log / "outputs" / "table" / "study.csv")["arm"].unique()
    assert len(arms) == 7 and {"popularity", "item-kNN", "EASE", "iALS"} < set(arms)
    for path in results:
        assert json.loads(path.read_text())["metrics"]["test"]["recall@20"] > 0


@pytest.mark.slow
def test_the_python_of_the_readme_runs(log, monkeypatch, capsys):
    code, _ = [block for kind, block in BLOCKS if kind == "python"]
    (log / "readme.py").write_text(code)
    pairs = (word.split("=") for word in SHORT if not word.startswith("seed"))
    short: dict = {key: json.loads(value) for key, value in pairs}
    short["hydra.callbacks.study.objective"] = False
    compare = functools.partial(twotower_jax.compare, overrides=short)
    monkeypatch.setattr(twotower_jax, "compare", compare)
    values = runpy.run_path(str(log / "readme.py"))
    assert len(code.strip().splitlines()) <= 6
    study, out = values["study"], capsys.readouterr().out
    assert set(study.table["arm"]) == {"in-batch + logQ", "uniform"}
    assert str(study.table) in out and "7" in out
    assert study.report.is_relative_to("outputs") and study.report.is_file()


@pytest.mark.parametrize(
    "page", ["README.md", "docs/index.md", "experiments/lecture/README.md"]
)
def test_the_tables_are_those_of_the_runs(page, monkeypatch):
    """Each table between marks is computed from runs.csv and verdicts.csv."""
    monkeypatch.syspath_prepend(str(ROOT / "experiments" / "lecture"))
    from pages import tables

    text = (ROOT / page).read_text()
    shown = re.findall(r"<!-- (\w+) -->\n(.*?)\n?<!-- /\1 -->", text, re.DOTALL)
    assert "headline" in dict(shown)
    made = tables()
    assert {name: made[name] for name, _ in shown} == dict(shown)


def test_verdicts_are_computed_from_the_runs(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(str(ROOT / "experiments" / "lecture"))
    import verdicts

    folder = ROOT / "experiments" / "lecture"
    expected = (folder / "verdicts.csv").read_text()
    (tmp_path / "runs.csv").write_text((folder / "runs.csv").read_text())
    monkeypatch.setattr(verdicts, "HERE", tmp_path)
    verdicts.main()
    assert (tmp_path / "verdicts.csv").read_text() == expected


def test_a_value_at_the_end_of_its_grid_and_added_worlds_give_no_verdict(
    monkeypatch, tmp_path
):
    monkeypatch.syspath_prepend(str(ROOT / "experiments" / "lecture"))
    import verdicts

    ones = [
        verdicts.Judged(at, 0.2, 0.1, 0.09, 0.11, 0.09, 0.11, 1e-6, 5)
        for at in ("0.1", "0.2", "0.4", "own")
    ]
    assert verdicts.verdict(ones, 1e-6, 1) == "more, as predicted"
    ones[-1] = ones[-1]._replace(note="arm: 0.4 is an end of its grid")
    assert verdicts.verdict(ones, 1e-6, 1) == "end of its grid"
    rows = pl.read_csv(ROOT / "experiments" / "lecture" / "verdicts.csv")
    assert rows["worlds"].max() == 5  # of the ten that some arms have


def test_the_library_of_the_readme_counts_each_item(capsys):
    _, code = [block for kind, block in BLOCKS if kind == "python"]
    assert len(code.strip().splitlines()) <= 12
    values: dict = {}
    exec(code, values)
    counts = np.asarray(values["jnp"].exp(values["log_n"]))[0]
    expected = np.array([0.5, 0.3, 0.2]) + 2 / 3
    np.testing.assert_allclose(counts, expected, rtol=1e-5)


def test_every_file_that_it_links_to_exists():
    links = re.findall(r"\]\(([^)#]+)", TEXT)
    assert len(links) > 10
    for link in links:
        assert link.startswith("https://") or (ROOT / link).exists(), link


def test_a_reader_is_through_in_five_minutes():
    lines = TEXT.splitlines()
    assert len(lines) <= 120
    assert any("make study" in line for line in lines[:40])
