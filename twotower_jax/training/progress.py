"""Progress of a run or a sweep: a live line on a terminal, plain lines otherwise."""

import threading
import time
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

PLAIN_SECONDS = 10.0


class ProgressLine(Protocol):
    """What the loop tells of a training."""

    def update(self, step: int, loss: float) -> None:
        """Show a step that is done and its loss."""

    def validated(self, metrics: dict[str, float]) -> None:
        """Show the newest value of the validation metric."""

    def close(self) -> None:
        """End the line."""


def _live(console: Console, title: str, text: str) -> Progress | None:
    """Return a live line, or None where the console cannot redraw one."""
    if not console.is_terminal or console.is_dumb_terminal:
        return None
    columns = (TextColumn(title), BarColumn(), TextColumn(text), TimeRemainingColumn())
    return Progress(*columns, console=console, transient=True)


class TrainingProgress:
    """Shows steps, examples per second, loss, validation metric and time left."""

    def __init__(
        self, console: Console, total: int, start: int, batch: int, metric: str
    ):
        self._console, self._total, self._batch = console, total, batch
        self._metric, self._value = metric, ""
        self._begin, self._start = time.perf_counter(), start
        self._last_line = self._begin
        self._bar = None
        if total > start:
            form = "{task.completed}/{task.total} steps  {task.fields[text]}"
            self._bar = _live(console, "training", form)
        if self._bar is not None:
            self._task = self._bar.add_task("", total=total, completed=start, text="")
            self._bar.start()

    def update(self, step: int, loss: float) -> None:
        """Show a step that is done and its loss."""
        now = time.perf_counter()
        rate = (step - self._start) * self._batch / max(now - self._begin, 1e-9)
        text = f"{rate:,.0f} examples/s  loss {loss:.4f}{self._value}"
        if self._bar is not None:
            self._bar.update(self._task, completed=step, text=text)
        elif now - self._last_line > PLAIN_SECONDS:
            self._last_line = now
            left = (self._total - step) * self._batch / max(rate, 1e-9)
            self._console.print(
                f"step {step}/{self._total}  {text}  {left:.0f} s left",
                highlight=False,
                soft_wrap=True,
            )

    def validated(self, metrics: dict[str, float]) -> None:
        """Show the newest value of the validation metric."""
        self._value = f"  {self._metric} {metrics[self._metric]:.4f}"

    def close(self) -> None:
        """End the live line."""
        if self._bar is not None:
            self._bar.stop()


class SweepProgress:
    """Shows runs that train side by side: how many, their rate together, time left.

    Runs tell of themselves from their own threads. The time left takes each run as
    one part of the work; one that finished before is none.
    """

    def __init__(self, console: Console, runs: int):
        self._console, self._lock = console, threading.Lock()
        self._todo, self._ended, self._examples = runs, 0, 0
        self._parts: dict[RunLine, float] = {}
        self._begin = self._last_line = time.perf_counter()
        self._bar = _live(console, "runs", "{task.fields[text]}")
        if self._bar is not None:
            self._task = self._bar.add_task("", total=runs, text="")
            self._bar.start()

    def add_run(self) -> "RunLine":
        """Return the line of a run that begins."""
        return RunLine(self)

    def close(self) -> None:
        """End the live line."""
        if self._bar is not None:
            self._bar.stop()

    def note(self, line: "RunLine", part: float, examples: int) -> None:
        """Note the part of its training that a run has done, and its new examples."""
        with self._lock:
            self._examples += examples
            self._parts[line] = part
            self._show()

    def end_run(self, line: "RunLine", trained: bool) -> None:
        """Count a run that has ended; ``trained`` is False for one found finished."""
        with self._lock:
            self._parts.pop(line, None)
            self._todo -= not trained
            self._ended += trained
            self._show()

    def _show(self) -> None:
        now = time.perf_counter()
        done, spent = self._ended + sum(self._parts.values()), now - self._begin
        rate = self._examples / max(spent, 1e-9)
        text = f"{self._ended}/{self._todo} done  {rate:,.0f} examples/s"
        if self._bar is not None:
            self._bar.update(self._task, completed=done, total=self._todo, text=text)
        elif now - self._last_line > PLAIN_SECONDS:
            self._last_line = now
            left = spent * (self._todo - done) / max(done, 1e-9)
            self._console.print(
                f"runs {text}  {left:.0f} s left", highlight=False, soft_wrap=True
            )


class RunLine:
    """What one run tells of itself; called as a TrainingProgress is made."""

    def __init__(self, sweep: SweepProgress):
        self._sweep, self._trained = sweep, True
        self._total = self._step = self._batch = 0

    def __call__(
        self, console: Console, total: int, start: int, batch: int, metric: str
    ) -> "RunLine":
        """Begin the training."""
        del console, metric
        self._total, self._step, self._batch = total, start, batch
        return self

    def update(self, step: int, loss: float) -> None:
        """Note a step that is done."""
        del loss
        examples, self._step = (step - self._step) * self._batch, step
        self._sweep.note(self, step / max(self._total, 1), examples)

    def validated(self, metrics: dict[str, float]) -> None:
        """Show nothing: runs have different metrics."""
        del metrics

    def close(self) -> None:
        """End the training; the run is still to be evaluated."""

    def found_finished(self) -> None:
        """Say that the run finished before and is no work."""
        self._trained = False

    def end(self) -> None:
        """End the run."""
        self._sweep.end_run(self, self._trained)
