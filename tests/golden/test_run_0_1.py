"""A run that version 0.1.0 wrote, before its modules moved, is read by every command.

The folder was made by `twotower train` with jax 0.10.2 and the overrides of its
manifest. Its paths and the name of its machine were made neutral.
"""

import re
import shutil
from pathlib import Path

import polars as pl
import pytest
from helpers import tiny

from twotower_jax.negatives import Funnel
from twotower_jax.run.evaluate import evaluate_run
from twotower_jax.run.folder import RunFolder, stored_config

OLD = Path(__file__).with_name("run_0_1") / "54671b76f8"


@pytest.fixture
def folder(tmp_path):
    """A copy of the run that a command may write into."""
    return Path(shutil.copytree(OLD, tmp_path / "single" / OLD.name))


def test_its_configuration_is_read():
    """Without the keys of mining, which it wrote beside hard draws of the log."""
    config = stored_config(OLD)
    assert isinstance(config.negatives.hard, Funnel)
    assert config.negatives.hard.num == 2 and config.towers.history_length == 4


def test_evaluate_gives_its_metrics(folder):
    metrics = evaluate_run(stored_config(folder), folder)
    stored = RunFolder(folder).result()["metrics"]
    assert set(metrics) == set(stored) == {"valid", "test"}
    for split, values in stored.items():
        newer = {name for name in metrics[split] if name.startswith("ips_recall@")}
        assert set(metrics[split]) - newer == set(values)
        now = {k: None if v != v else v for k, v in metrics[split].items()}
        for name, value in values.items():
            assert now[name] == (value and pytest.approx(value, abs=1e-6)), name


def test_report_has_its_numbers(folder, capsys):
    assert tiny.command("report", str(folder.parent)) == 0
    table = pl.read_csv(folder.parent / "study.csv")
    tested = table.filter(split="test", metric="recall@20")
    (row,) = tested.iter_rows(named=True)
    stored = RunFolder(folder).result()["metrics"]["test"]["recall@20"]
    assert row["run"] == OLD.name and row["value"] == pytest.approx(stored)
    assert "report.html" in capsys.readouterr().out
    assert "recall@20" in (folder.parent / "report.html").read_text()


def test_reproduce_compares_it(folder, capsys):
    status = tiny.command("reproduce", str(folder))
    shown, errors = capsys.readouterr()
    different = re.findall(r"^\w+ \S+: .* before, .* now$", shown, re.MULTILINE)
    assert not errors
    # Another processor rounds otherwise, and then the metrics are listed.
    if status == 0:
        assert "equal: every metric has the same bits" in shown and not different
    else:
        assert status == 1 and different
