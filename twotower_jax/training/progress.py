"""Progress of a run: a live line on a terminal, plain lines otherwise."""

import time

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

PLAIN_SECONDS = 10.0


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
        if console.is_terminal and not console.is_dumb_terminal and total > start:
            self._bar = Progress(
                TextColumn("training"),
                BarColumn(),
                TextColumn("{task.completed}/{task.total} steps  {task.fields[text]}"),
                TimeRemainingColumn(),
                console=console,
                transient=True,
            )
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
