"""Progress of a run or a sweep: a live line on a terminal, else plain lines."""

import sys
import threading
import time
from typing import Protocol, TextIO

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn


def in_notebook() -> bool:
    """Return True in the kernel of a Jupyter notebook."""
    if "IPython" not in sys.modules:
        return False
    return bool(getattr(sys.modules["IPython"].get_ipython(), "kernel", False))


PLAIN_SECONDS = 10.0  # least time between two plain lines
# Share of the work of a sweep after which its time left is shown.
KNOWN = 0.02


class ProgressLine(Protocol):
    """The line on which the loop shows a training."""

    def update(self, step: int, loss: float, rate: float) -> None:
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


class _Line:
    """A live line where the console can redraw one, else plain lines."""

    def __init__(
        self, console: Console, title: str, form: str, total: int, done: int = 0
    ):
        self._bar: Progress | None = None
        if console.is_terminal and not console.is_dumb_terminal and total > done:
            columns = TextColumn(title), BarColumn(), TextColumn(form)
            columns = (*columns, TimeRemainingColumn())
            self._bar = Progress(*columns, console=console, transient=True)
            self._task = self._bar.add_task("", total=total, completed=done, text="")
            self._bar.start()
        self._console = console
        self._last = time.perf_counter()

    def update(self, done: float, total: int, text: str, plain: str) -> None:
        """Redraw the line with ``text``, or show ``plain`` if it is time."""
        if self._bar is not None:
            self._bar.update(self._task, completed=done, total=total, text=text)
        elif (now := time.perf_counter()) - self._last > PLAIN_SECONDS:
            self._last = now
            self._console.print(plain, highlight=False, soft_wrap=True)

    def close(self) -> None:
        """End the line."""
        if self._bar is not None:
            self._bar.stop()


class TrainingProgress:
    """Shows steps, examples per second, loss, validation metric and time left."""

    def __init__(
        self, console: Console, total: int, start: int, batch: int, metric: str
    ):
        form = "{task.completed}/{task.total} steps  {task.fields[text]}"
        self._line = _Line(console, "training", form, total, start)
        self._total, self._batch, self._metric = total, batch, metric
        self._begin, self._start = time.perf_counter(), start
        self._value = ""

    def update(self, step: int, loss: float, rate: float) -> None:
        """Show the number of steps done, their rate, and the loss of the last one."""
        speed = f"{rate * self._batch:,.0f} examples/s  " if rate else ""
        text = f"{speed}loss {loss:.4f}{self._value}"
        # Validation takes time too, unlike in the rate.
        spent = time.perf_counter() - self._begin
        left = (self._total - step) * spent / (step - self._start)
        plain = f"step {step}/{self._total}  {text}  at most {left:.0f} s left"
        self._line.update(step, self._total, text, plain)

    def validated(self, metrics: dict[str, float]) -> None:
        """Show the newest value of the validation metric."""
        self._value = f"  {self._metric} {metrics[self._metric]:.4f}"

    def close(self) -> None:
        """End the line."""
        self._line.close()


class SweepProgress:
    """Shows runs that train side by side: their number, the sum of their rates.

    Runs report from their own threads. The time left counts each run as one part of the
    work; a run that finished before the sweep does not count.
    """

    def __init__(self, console: Console, runs: int):
        self._line = _Line(console, "runs", "{task.fields[text]}", runs)
        self._lock, self._begin = threading.Lock(), time.perf_counter()
        self._number, self._runs = runs, list[RunLine]()

    def add_run(self) -> "RunLine":
        """Return the line of a run that begins."""
        self._runs.append(RunLine(self))
        return self._runs[-1]

    def close(self) -> None:
        """End the line."""
        self._line.close()

    def _counts(self) -> tuple[int, int]:
        """Return how many runs have ended, and of how many."""
        ended = [run for run in self._runs if run.ended]
        trained = sum(run.trained for run in ended)
        return trained, self._number - len(ended) + trained

    def show(self) -> None:
        """Show the runs as they are now."""
        with self._lock:
            ended, todo = self._counts()
            done = sum(run.part for run in self._runs)
            text = f"{ended}/{todo} done"
            if rate := sum(run.rate for run in self._runs):
                text += f"  {rate:,.0f} examples/s"
            plain = f"runs {text}"
            # Before, compiling is most of the time that was spent.
            if done and done >= KNOWN * todo:
                spent = time.perf_counter() - self._begin
                plain += f"  at most {spent * (todo - done) / done:.0f} s left"
            self._line.update(done, todo, text, plain)


class RunLine:
    """The progress of one run among several; called like ``TrainingProgress``."""

    def __init__(self, sweep: SweepProgress):
        self._sweep, self._total, self._batch = sweep, 0, 0
        self.part = self.rate = 0.0
        self.trained, self.ended = True, False

    def __call__(
        self, console: Console, total: int, start: int, batch: int, metric: str
    ) -> "RunLine":
        """Begin the training."""
        self._total, self._batch = total, batch
        return self

    def update(self, step: int, loss: float, rate: float) -> None:
        """Note the number of steps done and their rate."""
        self.part, self.rate = step / max(self._total, 1), rate * self._batch
        self._sweep.show()

    def validated(self, metrics: dict[str, float]) -> None:
        """Show nothing: runs have different metrics."""

    def close(self) -> None:
        """End the training; the run is still to be evaluated."""
        self.rate = 0.0

    def found_finished(self) -> None:
        """Note that the run had finished before the sweep."""
        self.trained = False

    def end(self) -> None:
        """End the run."""
        self.part, self.rate, self.ended = float(self.trained), 0.0, True
        self._sweep.show()
