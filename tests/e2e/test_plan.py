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


def test_it_names_the_parts_and_their_sum(capsys):
    out = printed(capsys, *tiny.SMALL)
    assert "200 users, 300 items" in out and "expected of the simulator" in out
    # 200 rows of 8 numbers of 4 bytes.
    assert re.search(r"table query.id +0.01 MiB", out)
    assert re.search(r"temporaries of a step +[\d.]+ MiB", out)
    assert re.search(r"the training needs 0.\d GiB; this machine has 32 GiB", out)
    assert "fits this machine" in out


def test_a_log_that_is_not_there_is_described_by_its_sizes(capsys):
    words = ["towers.query=[id]", "towers.candidate=[id]", "towers.dim=64"]
    out = printed(capsys, *SIZES, *words)
    assert "1,000,000 users, 2,000,000 items, 10,000,000 training" in out
    # 1e6 rows of 64 numbers of 4 bytes, and two moments of both tables.
    assert f"{1e6 * 256 / 2**20:,.2f} MiB" in out
    assert f"{2 * 3e6 * 256 / 2**30:,.2f} GiB" in out


def test_what_does_not_fit_is_named_with_what_asks_for_it(capsys):
    words = [*SIZES, "towers.query=[id]", "towers.candidate=[id]"]
    out = printed(capsys, *words, "towers.dim=4096")
    parts = "optimizer state of the tables 92 GiB, table candidate.id 31 GiB"
    assert "does not fit this machine: the training needs" in out
    assert parts in out and "lower towers.dim=4096" in out


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
