"""The commands that compute nothing answer without the libraries of a run."""

import subprocess
import sys

import pytest

HEAVY = ("jax", "polars", "matplotlib", "scipy", "orbax")
PROGRAM = """
import sys
from twotower_jax.cli import main
try:
    main(sys.argv[1:])
finally:
    print(sorted(set({heavy}) & set(sys.modules)), file=sys.stderr)
"""


def start(*words):
    """Return exit status, stdout and the lines of stderr of a command."""
    code = [sys.executable, "-c", PROGRAM.format(heavy=HEAVY), *words]
    done = subprocess.run(code, capture_output=True, text=True, timeout=120)
    return done.returncode, done.stdout, done.stderr.splitlines()


@pytest.mark.parametrize(
    ("words", "status", "text"),
    [
        (["--help"], 0, "reproduce"),
        (["--version"], 0, "twotower-jax 0."),
        (["data", "list"], 0, "wikispeedia"),
        (["train", "--help"], 0, "== Config =="),
        (["train", "--help", "loss.temperature"], 0, "above 0"),
        (["advise", "--help", "negatives"], 0, "negatives.hard.num"),
        (["train", "optimzer.learning_rate=1"], 2, "did you mean optimizer?"),
        (["train", "loss=bcee"], 2, "bce ccl dcl full_softmax"),
        (["train", "loss.temperature=-1"], 2, "is out of range"),
        (["train", "-m", "sed=0,1"], 2, "did you mean seed?"),
        (["train", "-sc", "query=bash"], 0, "loss="),
        (["train", "-sc", "install=bash"], 0, "complete -o nospace"),
    ],
)
def test_a_command_answers_without_the_libraries(words, status, text, monkeypatch):
    monkeypatch.setenv("COMP_LINE", "twotower train lo")
    monkeypatch.setenv("COMP_POINT", "17")
    code, out, lines = start(*words)
    assert code == status, lines
    assert text in out + "\n".join(lines)
    assert lines[-1] == "[]"
