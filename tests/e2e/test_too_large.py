"""Sizes beyond the machine are refused by name, before anything is allocated."""

import pytest
from helpers import tiny


@pytest.mark.parametrize(
    "word",
    [
        "towers.dim=100000000",
        "towers.hidden=[1000000000]",
        "negatives.easy.num=1000000000",
        "negatives.bank.size=100000000000",
        "training.steps_per_dispatch=1000000000",
        "data.simulator.items=2147483647",
    ],
)
def test_what_does_not_fit_is_refused(word, tmp_path, capsys, monkeypatch):
    for place in ("run.memory", "data.sources.simulated"):
        monkeypatch.setattr(f"twotower_jax.{place}.machine_memory", lambda: 2**35)
    words = [one for one in tiny.SMALL if one.partition("=")[0] != word.split("=")[0]]
    assert tiny.command("train", *words, f"output={tmp_path}", word) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1, error
    assert word in error and "GiB" in error and "lower " in error
    assert not list(tmp_path.rglob("config.yaml"))


def test_arrays_that_no_index_counts_are_refused(tmp_path, capsys):
    words = [word for word in tiny.SMALL if not word.startswith("towers.")]
    words += [f"output={tmp_path}", "negatives.easy.num=2147483000"]
    assert tiny.command("train", *words) == 2
    error = capsys.readouterr().err
    assert "lower training.batch_size=" in error and "negatives.easy.num" in error
    assert error.count("\n") == 1
