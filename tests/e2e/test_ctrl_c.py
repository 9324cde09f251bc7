"""Ctrl-C while modules are imported, and where Python loses it."""

import signal
import subprocess
import sys
from contextlib import suppress

import pytest
from helpers import tiny
from helpers.quick import quick

from twotower_jax.data.split import split

IMPORTING = """
import signal, sys
from twotower_jax.__main__ import start

name_of_module = sys.argv[1]

class Press:
    def find_spec(self, name, path=None, target=None):
        if name == name_of_module:
            signal.raise_signal(signal.SIGINT)

sys.meta_path.insert(0, Press())
sys.argv = ["twotower", "train", "training.steps=1"]
start()
"""


@pytest.mark.parametrize(
    "name", quick(["twotower_jax.cli", "hydra", "jax", "optax"], ["hydra", "jax"])
)
def test_while_importing_it_ends_without_a_word(name, tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", IMPORTING, name],
        capture_output=True,
        text=True,
        timeout=120,
        cwd=tmp_path,
    )
    assert done.returncode == 130
    assert "Traceback" not in done.stderr and done.stderr.count("\n") <= 1


def test_a_lost_one_ends_the_run_before_its_next_step(tmp_path, capsys, monkeypatch):
    def pressed(*arguments):
        # As in a callback of JAX or of the garbage collector.
        with suppress(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        return split(*arguments)

    # Data that no other test has read: a process keeps what it has split.
    words = ("train", *tiny.SMALL, "data.test_share=0.13", f"output={tmp_path}")
    with monkeypatch.context() as patched:
        patched.setattr("twotower_jax.run.loader.split", pressed)
        assert tiny.command(*words) == 130
    assert "the same command" in capsys.readouterr().out
    assert not list(tmp_path.rglob("result.json"))
    # The next command of this process begins without it.
    assert tiny.command(*words) == 0
    assert len(list(tmp_path.rglob("result.json"))) == 1
