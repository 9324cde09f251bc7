"""Progress: a live line on a terminal and in a notebook, plain lines elsewhere."""

import io
import sys
import types

import pytest
from rich.console import Console

from twotower_jax import progress
from twotower_jax.progress import (
    SweepProgress,
    TrainingProgress,
    make_console,
)


class Clock:
    """A clock that the test turns."""

    now = 100.0

    def perf_counter(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(progress, "time", clock)
    return clock


def make(console, total=100, start=20):
    return TrainingProgress(console, total, start, 10, "recall@20")


def test_plain_lines_are_whole_and_no_more_often_than_every_ten_seconds(clock):
    out = io.StringIO()
    line = make(Console(file=out, width=30))
    for step in range(30, 61, 10):
        clock.now += 4
        line.update(step, 0.5, 40.0)
        line.validated({"recall@20": 0.25, "ndcg@20": 0.1})
    line.close()
    # 40 steps of 10 per second without validation; at 12 s: 30 steps done, 50 left.
    shown = "step 50/100  400 examples/s  loss 0.5000  recall@20 0.2500"
    assert out.getvalue() == f"{shown}  at most 20 s left\n"


def test_a_terminal_shows_a_live_line_that_goes_away(clock):
    out = io.StringIO()
    console = Console(
        file=out,
        force_terminal=True,
        width=120,
        color_system=None,
        _environ={"TERM": "xterm"},
    )
    line = make(console)
    clock.now += 1
    line.update(60, 0.125, 25.0)
    line.close()
    assert "60/100 steps" in out.getvalue()
    assert "250 examples/s  loss 0.1250" in out.getvalue()
    assert not console._live_stack


def test_a_finished_run_shows_nothing(clock):
    out = io.StringIO()
    line = make(Console(file=out, force_terminal=True), start=100)
    line.close()
    assert out.getvalue() == ""


def test_a_kernel_shows_plain_lines(clock, monkeypatch, capsys):
    shell = types.ModuleType("IPython")
    shell.get_ipython = lambda: types.SimpleNamespace(kernel=object())
    monkeypatch.setitem(sys.modules, "IPython", shell)
    # As kernels have it, so that other programs write colours into cells.
    monkeypatch.setenv("FORCE_COLOR", "1")
    line = make(make_console())
    clock.now += 11
    line.update(40, 0.5, 40.0)
    line.close()
    shown = capsys.readouterr().out
    assert shown.startswith("step 40/100  400 examples/s  loss 0.5000  at most ")


def test_no_time_left_is_shown_while_a_sweep_compiles(clock):
    out = io.StringIO()
    sweep = SweepProgress(Console(file=out, width=80), 2)
    line = sweep.add_run()(Console(), 1000, 0, 4, "recall@20")
    for step in (8, 16, 500):
        clock.now += 11
        line.update(step, 0.5, 100.0)
    # 33 seconds for half a run: three halves are left.
    rate = "runs 0/2 done  400 examples/s"
    assert out.getvalue() == f"{rate}\n{rate}\n{rate}  at most 99 s left\n"
