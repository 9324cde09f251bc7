"""Wrong words on the command line end with status 2 and one line, at once."""

import subprocess
import sys

import pytest
from helpers import tiny


@pytest.mark.parametrize("words", [[], ["trian"], ["report"], ["evaluate", "a", "b"]])
def test_wrong_commands(words, capsys):
    assert tiny.command(*words) == 2
    error = capsys.readouterr().err
    assert error.startswith("usage: twotower") and "Traceback" not in error


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["training.batchsize=64"], "did you mean training.batch_size?"),
        # Slower: it reads the data before the check.
        pytest.param(
            [*tiny.WORLD, "training.batch_size=1000000"],
            "training.batch_size=1000000",
            marks=pytest.mark.slow,
        ),
    ],
    ids=["key", "size"],
)
def test_a_process_of_its_own(words, part, tmp_path):
    """The whole command ends at once: seconds, before any training."""
    done = subprocess.run(
        [sys.executable, "-m", "twotower_jax", "train", f"output={tmp_path}", *words],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 2
    assert part in done.stderr and "Traceback" not in done.stderr
    assert done.stderr.count("\n") == 1
