"""``twotower plan``: what a training needs, before it."""

import re

import pytest
from helpers import tiny


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
    assert "192 users, 300 items" in out
    # 192 rows of 8 numbers of 4 bytes.
    assert re.search(r"table query.id +0.01 MiB", out)
    assert re.search(r"temporaries of a step +[\d.]+ MiB", out)
    assert re.search(r"the training needs 0.\d GiB; this machine has 32 GiB", out)
    assert "fits this machine" in out


def test_what_does_not_fit_is_named_with_what_asks_for_it(capsys):
    words = [*tiny.SMALL, "towers.query=[id]", "towers.candidate=[id]"]
    out = printed(capsys, *words, "towers.dim=10000000")
    # 300 rows of 1e7 numbers of 4 bytes.
    assert "does not fit this machine: the training needs" in out
    assert "table candidate.id 11 GiB" in out
    assert "lower towers.dim=10000000" in out


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["towers.dims=3"], "did you mean towers.dim"),
        (["towers=ease"], "has no steps to plan"),
        ([*tiny.SMALL, "towers.query=[age]"], "which the data does not have"),
        (
            [*tiny.SMALL, "training.batch_size=100000"],
            "training.batch_size=100000 is more than the",
        ),
    ],
)
def test_wrong_words_are_refused(words, part, capsys):
    assert tiny.command("plan", *words) == 2
    error = capsys.readouterr().err
    assert part in error and error.count("\n") == 1
