"""Progress: a live line on a terminal and in a notebook, plain lines elsewhere."""

import io
import sys
import threading
import types

import pytest
from rich.console import Console

from twotower_jax.training import progress
from twotower_jax.training.progress import (
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


class Shell(types.ModuleType):
    """A stand-in for IPython in a kernel: keeps the outputs of a cell in order."""

    def __init__(self):
        super().__init__("IPython")
        self.kernel, self.outputs = object(), []
        self.display = types.ModuleType("IPython.display")
        self.display.display = self.show

    def get_ipython(self):
        return self

    def show(self, content, raw, display_id):
        assert raw and display_id
        self.outputs.append([content["text/plain"]])
        return self

    def update(self, content, raw):
        self.outputs[-1].append(content["text/plain"])


@pytest.fixture
def shell(monkeypatch):
    shell = Shell()
    monkeypatch.setitem(sys.modules, "IPython", shell)
    monkeypatch.setitem(sys.modules, "IPython.display", shell.display)
    # As kernels have it, so that other programs write colours into cells.
    monkeypatch.setenv("FORCE_COLOR", "1")
    return shell


def test_a_cell_has_one_line_that_is_redrawn(clock, shell, capsys):
    line = make(make_console())
    for step in range(30, 101, 10):
        clock.now += 0.3
        line.update(step, 0.5, 40.0)
    line.close()
    (texts,) = shell.outputs
    assert texts[0].startswith("step 40/100  400 examples/s  loss 0.5000  at most ")
    assert len(texts) == 5 and texts[-1].startswith("step 100/100  ")
    assert capsys.readouterr().out == ""


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


def test_a_cell_counts_the_runs_of_a_sweep_from_their_threads(clock, shell, capsys):
    console = make_console()
    sweep = SweepProgress(console, 2)
    runs = [sweep.add_run() for _ in range(2)]
    for run in runs:
        run(console, 10, 0, 4, "recall@20")
        clock.now += 1
        thread = threading.Thread(target=lambda one=run: one.update(5, 0.1, 2.0))
        thread.start()
        thread.join()
        console.print("a line of a run", style="bold red")
    for run in runs:
        run.close()
        run.end()
    sweep.close()
    (texts,) = shell.outputs
    assert texts[0] == "runs 0/2 done  8 examples/s  at most 3 s left"
    assert texts[-1] == "runs 2/2 done"
    assert capsys.readouterr().out == 2 * "a line of a run\n"


def test_a_kernel_shows_the_line_once(tmp_path):
    reason = "nbclient and ipykernel, which run notebooks, are not installed"
    for module in ("ipykernel", "nbformat"):
        pytest.importorskip(module, reason=reason)
    client = pytest.importorskip("nbclient", reason=reason)
    import nbformat

    cell = """
import threading, time
from twotower_jax.training.progress import SweepProgress, make_console
console = make_console()
sweep = SweepProgress(console, 1)
run = sweep.add_run()
run(console, 10, 0, 4, "recall@20")
def train():
    for step in range(1, 11):
        time.sleep(0.2)
        run.update(step, 0.1, 2.0)
thread = threading.Thread(target=train)
thread.start()
thread.join()
console.print("[bold]one run[/bold]")
run.end()
sweep.close()
"""
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell)])
    place = {"metadata": {"path": str(tmp_path)}}
    client.NotebookClient(book, resources=place, timeout=100).execute()
    line, printed = book.cells[0].outputs
    assert line["data"] == {"text/plain": "runs 1/1 done"}
    assert printed["text"] == "one run\n"
