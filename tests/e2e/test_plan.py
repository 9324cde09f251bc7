"""``twotower plan``: what a training needs, before it and without its data."""

import re

import pytest
from helpers import tiny

SIZES = ("--users", "1e6", "--items", "2e6", "--positives", "1e7")


@pytest.fixture(autouse=True)
def known_memory(monkeypatch):
    """A machine with 32 GiB of memory."""
    monkeypatch.setattr("twotower_jax.run.memory.machine_memory", lambda: 2**35)


def printed(capsys, *words):
    """Return what the command prints."""
    assert tiny.command("plan", *words) == 0
    return capsys.readouterr().out


def test_it_names_the_parts_and_the_work(capsys):
    out = printed(capsys, *tiny.SMALL)
    assert "200 users, 300 items" in out and "expected of the simulator" in out
    # 200 rows of 8 numbers of 4 bytes.
    assert re.search(r"table query.id +0.01 MiB", out)
    assert re.search(r"temporaries of a step +[\d.]+ MiB", out)
    # Scores of 256 rows and columns at dimension 8, and their gradients.
    flop = 6 * 8 * 256 * 256
    assert re.search(rf"FLOP of products, all devices +{flop / 1e6:.2f} M", out)
    assert "fits this machine" in out
    assert re.search(r"Google TPU v5e +16 GB +yes", out)


def test_a_log_that_is_not_there_is_described_by_its_sizes(capsys):
    words = ["towers.query=[id]", "towers.candidate=[id]", "towers.dim=64"]
    out = printed(capsys, *SIZES, *words)
    assert "1,000,000 users, 2,000,000 items, 10,000,000 training" in out
    # 1e6 rows of 64 numbers of 4 bytes, and two moments of both tables.
    assert f"{1e6 * 256 / 2**20:,.2f} MiB" in out
    assert f"{2 * 3e6 * 256 / 2**30:,.2f} GiB" in out


def test_what_does_not_fit_is_named_with_the_value_that_fits(capsys):
    words = [*SIZES, "towers.query=[id]", "towers.candidate=[id]"]
    out = printed(capsys, *words, "towers.dim=4096")
    found = re.search(r"does not fit this machine: (\S+) needs .* to (\d+) or", out)
    assert found is not None and found[1] == "towers.dim=4096", out
    fits = int(found[2])
    assert "does not fit" not in printed(capsys, *words, f"towers.dim={fits}")
    more = f"towers.dim={fits * 21 // 20}"
    assert "does not fit" in printed(capsys, *words, more)


def test_sizes_are_named_too(capsys):
    words = ["--users", "10", "--items", "1e9", "--positives", "1e4"]
    out = printed(capsys, *words, "towers.query=[id]", "towers.dim=8")
    assert "does not fit this machine: --items 1000000000 needs" in out


def test_training_refuses_with_the_value_that_fits(tmp_path, capsys):
    words = [*tiny.SMALL, f"output={tmp_path}", "negatives.bank.size=1000000000"]
    assert tiny.command("train", *words) == 2
    error = capsys.readouterr().err
    found = re.search(r"negatives.bank.size=1000000000 needs .* to (\d+) or", error)
    assert found is not None, error
    # The plan expects the size of the log that the training has read.
    words[-1] = f"negatives.bank.size={int(0.99 * int(found[1]))}"
    out = printed(capsys, *words)
    assert "does not fit" not in out


@pytest.mark.parametrize(
    ("option", "text"),
    [
        ("--items", "0"),
        ("--items", "-5"),
        ("--items", "1e30"),
        ("--users", "many"),
        ("--users", "nan"),
        ("--positives", "1.5"),
        ("--positives", ""),
        ("--items", "9" * 5000),
    ],
)
def test_wrong_sizes_are_refused_in_one_line(option, text, capsys):
    words = [word for word in SIZES]
    words[words.index(option) + 1] = text
    assert tiny.command("plan", *words) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"error: {option} {text[:40]}"), error
    assert error.count("\n") == 1 and "Traceback" not in error


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["--items", "10"], "--users and --positives missing"),
        (["towers.dims=3"], "did you mean towers.dim"),
        (["towers=ease"], "has no steps to plan"),
        ([*SIZES, "towers.query=[age]"], "which the data does not have"),
        (
            ["--users", "9", "--items", "9", "--positives", "9"],
            "training.batch_size=1024 is more than the 9 training positives",
        ),
    ],
)
def test_wrong_words_are_refused(words, part, capsys):
    assert tiny.command("plan", *words) == 2
    error = capsys.readouterr().err
    assert part in error and error.count("\n") == 1
