"""Processes beside the one of a sweep, each with cores of its own, that make its runs.

Trainings in threads of one process share its interpreter lock and the threads of XLA.
Each process reads the data itself. Messages are JSON, in both directions.
"""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from rich.console import Console

from twotower_jax.config import Config, to_dict
from twotower_jax.errors import DataError, LostProcessError, file_error, shown
from twotower_jax.run.execute import Sharing
from twotower_jax.run.folder import run_folder
from twotower_jax.sweeps.jobs import EXPECTED
from twotower_jax.training.progress import ProgressLine
from twotower_jax.training.signals import Stopped

SECONDS = 0.2  # between two looks at the signal that ends a sweep
KINDS = {kind.__name__: kind for kind in (*EXPECTED, DataError)}


class WorkerProcess:
    """A process that makes one run at a time; it starts with its first.

    Attributes:
      cores: to which it is bound.
    """

    def __init__(self, cores: list[int]):
        self.cores = cores
        self._process: subprocess.Popen[bytes] | None = None
        self._channel: Connection | None = None

    def run(
        self, config: Config, *, console: Console, command: str, shared: Sharing
    ) -> dict[str, Any]:
        """Train and evaluate a configuration, as `twotower_jax.run.run`."""
        order = {"run": to_dict(config), "command": command, "width": console.width}
        line: ProgressLine | None = None
        answered = False
        try:
            for kind, value in self._messages(config, order, shared):
                answered = kind in ("result", "error")
                if kind == "result":
                    return value
                if kind == "error":
                    raise error_of(*value)
                if kind == "text":
                    console.print(value, end="", highlight=False, soft_wrap=True)
                elif kind == "begin":
                    line = shared.progress(console, *value)
                elif line is not None:
                    getattr(line, kind)(*value)
        finally:
            if not answered:  # messages of this run would be taken for the next one's
                self.end()
        raise AssertionError("the messages end with a result or an error")

    def _messages(
        self, config: Config, order: dict[str, Any], shared: Sharing
    ) -> Iterator[tuple[str, Any]]:
        """Send an order, and yield what comes back; pass a signal on."""
        channel, passed_on = self._started(), False
        orders = [order | {"wait": shared.wait}]
        while True:
            number = shared.request.number if shared.request else None
            if number is not None and not passed_on:
                orders.append({"signal": number})
                passed_on = True
            try:
                while orders:
                    _send(channel, orders.pop(0))
                if not channel.poll(SECONDS):
                    continue
                message = json.loads(channel.recv_bytes())
            except (EOFError, OSError):
                raise LostProcessError(self._end_of(config)) from None
            yield from message.items()

    def _started(self) -> Connection:
        """Return the channel to the process, which is started where there is none."""
        if self._channel is None or self._process is None:
            self._channel, theirs = Pipe()
            words = (str(theirs.fileno()), ",".join(map(str, self.cores)))
            # -P: the working directory is not searched for modules.
            module = ("-P", "-m", "twotower_jax.sweeps.worker")
            folders = (os.environ.get("PYTHONPATH"), _place())
            path = os.pathsep.join(filter(None, folders))
            self._process = subprocess.Popen(  # noqa: S603  this package's own module
                [sys.executable, *module, *words],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                env=os.environ | {"PYTHONPATH": path},
                process_group=0,  # Ctrl-C of a terminal reaches the sweep alone
            )
            theirs.close()
        return self._channel

    def _end_of(self, config: Config) -> str:
        """Return how the process has ended, which is started anew by its next run."""
        process = self._leave()
        status = process.wait() if process else 0
        how = f"by {signal.Signals(-status).name}" if status < 0 else f"with {status}"
        return (
            f"the process that trained {run_folder(config)} was ended {how}; make sure "
            "that memory suffices for hydra.launcher.workers runs at a time, and start "
            "the command again, which goes on from the last checkpoint"
        )

    def _leave(self) -> subprocess.Popen[bytes] | None:
        """Close the channel, whereupon the process ends; return it."""
        process, channel = self._process, self._channel
        self._process = self._channel = None
        if channel is not None:
            channel.close()
        return process

    def end(self) -> None:
        """Let the process end, and wait for it."""
        if process := self._leave():
            process.wait()


class WorkerPool:
    """Processes that keep their data between two calls for as many of them."""

    def __init__(self) -> None:
        self._processes: list[WorkerProcess] = []

    def of_size(self, number: int) -> list[WorkerProcess]:
        """Return this many processes, which share the cores."""
        if len(self._processes) != number:
            self.end()
            cores = sorted(own_cores())
            for index in range(number):
                low, high = (len(cores) * n // number for n in (index, index + 1))
                own = cores[low:high] or [cores[index % len(cores)]]
                self._processes.append(WorkerProcess(own))
        return list(self._processes)

    def end(self) -> None:
        """End the processes; a training there saves its state before."""
        while self._processes:
            self._processes.pop().end()


def error_message(error: BaseException) -> list[Any]:
    """Return an error as `error_of` reads it."""
    if isinstance(error, Stopped):
        return ["Stopped", error.number, error.step]
    if isinstance(error, OSError):
        error = file_error(error)
    kind = type(error).__name__
    if kind not in KINDS:
        kind = "FailedJobError"
    return [kind, shown(error) if isinstance(error, Exception) else repr(error)]


def error_of(kind: str, *values: Any) -> BaseException:
    """Return the error of a message."""
    return Stopped(*values) if kind == "Stopped" else KINDS[kind](*values)


def _send(channel: Connection, message: dict[str, Any]) -> None:
    channel.send_bytes(json.dumps(message).encode())


def own_cores() -> set[int]:
    """Return the numbers of the cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return os.sched_getaffinity(0)
    return set(range(os.cpu_count() or 1))


def _place() -> str:
    """Return the folder that holds this package."""
    return str(Path(__file__).parents[2])
