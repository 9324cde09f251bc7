"""Progress of a run or a sweep: a live line where it can be redrawn, else plain lines.

A terminal and the cell of a notebook redraw their line."""

import contextvars
import functools
import sys
import threading
import time
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol, TextIO

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn


def in_notebook() -> bool:
    """Return True in the kernel of a Jupyter notebook."""
    module = sys.modules.get("IPython")
    shell = None if module is None else module.get_ipython()
    return getattr(shell, "kernel", None) is not None


class CellLine:
    """One output of the running cell, whose text is replaced.

    Threads may show a text, one at a time: it stands below the cell that made the line.
    """

    def __init__(self) -> None:
        """Begin without an output; the first text makes it."""
        self._context, self._handle = contextvars.copy_context(), None

    def show(self, text: str) -> None:
        """Replace the text."""
        # The context holds the cell that outputs belong to.
        self._context.run(self._show, {"text/plain": text})

    def _show(self, content: dict[str, Any]) -> None:
        from IPython.display import display  # type: ignore[import-not-found]

        if self._handle is None:
            self._handle = display(content, raw=True, display_id=True)
        else:
            self._handle.update(content, raw=True)


# --- Progress of a run or a sweep: a live line where it can be redrawn, else plain ----
# A terminal and the cell of a notebook redraw their line.


# Least time between two plain lines, and between two texts of a cell's line.
PLAIN_SECONDS, CELL_SECONDS = 10.0, 0.5
# Share of the work of a sweep after which its time left is shown.
KNOWN = 0.02


class ProgressLine(Protocol):
    """The line on which the loop shows a training."""

    def update(self, step: int, loss: float, rate: float | None) -> None:
        """Show the number of steps done, their rate and the loss of the last one."""

    def validated(self, metrics: dict[str, float]) -> None:
        """Show the newest value of the validation metric."""

    def close(self) -> None:
        """End the line."""


def make_console(file: TextIO | None = None, width: int | None = None) -> Console:
    """Return a console that writes plain text, also in a notebook.

    In a notebook, rich displays HTML in place of writing to the file, from whichever
    thread prints. Text on stdout is shown below its cell from all threads. A kernel
    sets FORCE_COLOR, by which rich would take the cell for a terminal.
    """
    terminal = False if in_notebook() else None
    return Console(
        file=file,
        width=width,
        force_jupyter=False,
        force_terminal=terminal,
        markup=False,  # a name or a path may look like it
    )


def _live(console: Console, title: str, text: str) -> Progress | None:
    """Return a live line, or None where the console cannot redraw one."""
    if not console.is_terminal or console.is_dumb_terminal:
        return None
    columns = (TextColumn(title), BarColumn(), TextColumn(text), TimeRemainingColumn())
    return Progress(*columns, console=console, transient=True)


class _Texts(NamedTuple):
    """Where texts are shown if no bar is drawn.

    Attributes:
      show: a text -> None.
      seconds: least time between two texts.
      cell: whether a text replaces the one before.
    """

    show: Callable[[str], None]
    seconds: float
    cell: bool


def _texts(console: Console) -> _Texts:
    """Return the line of a notebook's cell, or plain lines elsewhere."""
    if in_notebook() and console.file is sys.stdout:
        return _Texts(CellLine().show, CELL_SECONDS, True)
    show = functools.partial(console.print, highlight=False, soft_wrap=True)
    return _Texts(show, PLAIN_SECONDS, False)


class TrainingProgress:
    """Shows steps, examples per second, loss, validation metric and time left.

    Args:
      console: Console on which the line is shown.
      total: Number of steps of the training.
      start: Number of steps done before.
      batch: Rows per batch.
      metric: Name of the validation metric.
    """

    def __init__(
        self, console: Console, total: int, start: int, batch: int, metric: str
    ):
        self._texts, self._total, self._batch = _texts(console), total, batch
        self._metric, self._value = metric, ""
        self._begin, self._start = time.perf_counter(), start
        self._last_line = self._begin
        self._bar, self._last = None, ""
        if total > start:
            form = "{task.completed}/{task.total} steps  {task.fields[text]}"
            self._bar = _live(console, "training", form)
        if self._bar is not None:
            self._task = self._bar.add_task("", total=total, completed=start, text="")
            self._bar.start()

    def update(self, step: int, loss: float, rate: float | None) -> None:
        """Show the number of steps done, their rate, and the loss of the last one.

        Args:
          rate: Steps per second of training alone; None before any are timed.
        """
        now = time.perf_counter()
        speed = "" if rate is None else f"{rate * self._batch:,.0f} examples/s  "
        text = f"{speed}loss {loss:.4f}{self._value}"
        if self._bar is not None:
            self._bar.update(self._task, completed=step, text=text)
        elif now - self._last_line > self._texts.seconds:
            self._last_line = now
            # Validation takes time too, unlike in the rate.
            left = (self._total - step) * (now - self._begin) / (step - self._start)
            at = f"step {step}/{self._total}"
            self._texts.show(f"{at}  {text}  at most {left:.0f} s left")
        self._last = f"step {step}/{self._total}  {text}"

    def validated(self, metrics: dict[str, float]) -> None:
        """Show the newest value of the validation metric."""
        self._value = f"  {self._metric} {metrics[self._metric]:.4f}"

    def close(self) -> None:
        """End the live line; that of a cell keeps the last step."""
        if self._bar is not None:
            self._bar.stop()
        elif self._texts.cell and self._last:
            self._texts.show(self._last)


class SweepProgress:
    """Shows runs that train side by side: their number, the sum of their rates.

    Runs report from their own threads. The time left counts each run as one part of the
    work; a run that finished before the sweep does not count.

    Args:
      console: Console on which the line is shown.
      runs: Number of runs.
    """

    def __init__(self, console: Console, runs: int):
        self._texts, self._lock = _texts(console), threading.Lock()
        self._todo, self._ended = runs, 0
        self._parts: dict[RunLine, float] = {}
        self._rates: dict[RunLine, float] = {}
        self._begin = self._last_line = time.perf_counter()
        self._bar = _live(console, "runs", "{task.fields[text]}")
        if self._bar is not None:
            self._task = self._bar.add_task("", total=runs, text="")
            self._bar.start()

    def add_run(self) -> "RunLine":
        """Return the line of a run that begins."""
        return RunLine(self)

    def close(self) -> None:
        """End the live line; that of a cell keeps the number of runs."""
        if self._bar is not None:
            self._bar.stop()
        elif self._texts.cell and self._todo:
            self._texts.show(f"runs {self._ended}/{self._todo} done")

    def note(self, line: "RunLine", part: float, rate: float) -> None:
        """Note the progress of a run."""
        with self._lock:
            self._parts[line], self._rates[line] = part, rate
            self._show()

    def end_training(self, line: "RunLine") -> None:
        """Leave a run that no longer trains out of the rate."""
        with self._lock:
            self._rates.pop(line, None)

    def end_run(self, line: "RunLine", trained: bool) -> None:
        """Count a run that has ended."""
        with self._lock:
            self._parts.pop(line, None)
            self._rates.pop(line, None)
            self._todo -= not trained
            self._ended += trained
            self._show()

    def _show(self) -> None:
        now = time.perf_counter()
        done, spent = self._ended + sum(self._parts.values()), now - self._begin
        text = f"{self._ended}/{self._todo} done"
        if rate := sum(self._rates.values()):
            text += f"  {rate:,.0f} examples/s"
        if self._bar is not None:
            self._bar.update(self._task, completed=done, total=self._todo, text=text)
        elif now - self._last_line > self._texts.seconds:
            self._last_line = now
            # Before, compiling is most of the time that was spent.
            if done and done >= KNOWN * self._todo:
                left = spent * (self._todo - done) / done
                text += f"  at most {left:.0f} s left"
            self._texts.show(f"runs {text}")


class RunLine:
    """The progress of one run among several; called like ``TrainingProgress``.

    Args:
      sweep: Progress of all runs.
    """

    def __init__(self, sweep: SweepProgress):
        self._sweep, self._trained = sweep, True
        self._total = self._batch = 0

    def __call__(
        self, console: Console, total: int, start: int, batch: int, metric: str
    ) -> "RunLine":
        """Begin the training."""
        del console, metric, start
        self._total, self._batch = total, batch
        return self

    def update(self, step: int, loss: float, rate: float | None) -> None:
        """Note the number of steps done and their rate.

        Args:
          rate: Steps per second of training alone; None before any are timed.
        """
        del loss
        examples = (rate or 0.0) * self._batch
        self._sweep.note(self, step / max(self._total, 1), examples)

    def validated(self, metrics: dict[str, float]) -> None:
        """Show nothing: runs have different metrics."""
        del metrics

    def close(self) -> None:
        """End the training; the run is still to be evaluated."""
        self._sweep.end_training(self)

    def found_finished(self) -> None:
        """Note that the run had finished before the sweep."""
        self._trained = False

    def end(self) -> None:
        """End the run."""
        self._sweep.end_run(self, self._trained)
