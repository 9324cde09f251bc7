"""One line for runs side by side: how many, their rate together, time left."""

import io

import pytest
from rich.console import Console

from twotower_jax import progress
from twotower_jax.progress import SweepProgress


@pytest.fixture
def clock(monkeypatch):
    """Return the seconds that the module sees, as a list of one number."""
    now = [0.0]
    monkeypatch.setattr(progress.time, "perf_counter", lambda: now[0])
    return now


def plain():
    text = io.StringIO()
    return Console(file=text, width=60), text


def test_two_runs_are_one_line_with_rate_and_time_left(clock):
    console, text = plain()
    sweep = SweepProgress(console, 4)
    first, second = sweep.add_run(), sweep.add_run()
    first(console, 100, 0, 8, "m").update(50, 0.1, 0)
    assert text.getvalue() == ""
    clock[0] = 20.0
    # Resumed at step 40 of 80: its part is three quarters. Its own rate is 5 x 8.
    second(console, 80, 40, 8, "m").update(60, 0.1, 5.0)
    # 1.25 of 4 runs in 20 s leave 44 s.
    assert text.getvalue() == "runs 0/4 done  40 examples/s  at most 44 s left\n"
    first.update(60, 0.1, 2.0)
    clock[0] = 25.0
    first.end()
    assert text.getvalue().count("\n") == 1, "a line each ten seconds"
    third = sweep.add_run()
    third(console, 80, 0, 8, "m").update(0, 0.1, 3.0)
    clock[0] = 40.0
    second.update(80, 0.1, 6.0)
    # The sum of the rates of the runs that train.
    assert text.getvalue().endswith("runs 1/4 done  72 examples/s  at most 40 s left\n")
    second.close()
    clock[0] = 60.0
    third.update(40, 0.1, 3.0)
    assert text.getvalue().endswith("runs 1/4 done  24 examples/s  at most 36 s left\n")


def test_a_run_found_finished_is_no_work(clock):
    console, text = plain()
    sweep = SweepProgress(console, 3)
    before = sweep.add_run()
    before.found_finished()
    before.end()
    run = sweep.add_run()
    run(console, 10, 0, 4, "m")
    clock[0] = 11.0
    run.update(10, 0.1, 1.0)
    run.close()
    run.end()
    assert text.getvalue() == "runs 0/2 done  4 examples/s  at most 11 s left\n"


def test_a_terminal_has_one_live_line():
    text = io.StringIO()
    console = Console(
        file=text, force_terminal=True, width=80, _environ={"TERM": "xterm"}
    )
    sweep = SweepProgress(console, 2)
    sweep.add_run().end()
    sweep.close()
    shown = text.getvalue()
    assert "1/2 done" in shown
    # The line is taken away at the end.
    assert shown.rstrip().endswith("\x1b[2K")


def test_a_sweep_whose_only_run_was_found_finished_ends(clock):
    console, text = plain()
    run = SweepProgress(console, 1).add_run()
    run.found_finished()
    clock[0] = 11.0
    run.end()
    assert text.getvalue() == "runs 0/0 done\n"
