"""Processes beside the one of a sweep, each with cores of its own, that make its runs.

Trainings in threads of one process share its interpreter lock and the threads of XLA.
Each process reads the data itself. It ignores SIGTERM and Ctrl-C, for the sweep passes
them on. Where the sweep ends in any way, so that its end of the channel closes, the
training saves its state and the process ends.

An executor of the standard library would not do: it imports the main module, and with
it JAX, before a process is bound; one lost process breaks it; and a process that has
lost its parent trains on.
"""

import io
import os
import queue
import signal
import subprocess
import sys
import threading
import traceback
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, cast

from rich.console import Console

from twotower_jax.compiler import set_up
from twotower_jax.config import Config
from twotower_jax.errors import LostProcessError, file_error, shown
from twotower_jax.progress import ProgressLine, make_console
from twotower_jax.run.execute import Sharing, run
from twotower_jax.run.folder import run_folder
from twotower_jax.run.loader import cached_loader
from twotower_jax.signals import Stopped, StopRequest
from twotower_jax.sweeps.jobs import EXPECTED, FailedJobError

SECONDS = 0.2  # between two looks at the signal that ends a sweep
# NumPy and JAX make as many threads as they find cores when they are imported.
START = """
import os, signal, sys
for number in (signal.SIGTERM, signal.SIGINT):
    signal.signal(number, signal.SIG_IGN)
if hasattr(os, "sched_setaffinity"):
    os.sched_setaffinity(0, map(int, sys.argv[2].split(",")))
from twotower_jax.sweeps.processes import serve
serve(int(sys.argv[1]))
"""


class WorkerProcess:
    """A process that makes one run at a time; it starts with its first."""

    def __init__(self, cores: list[int]):
        self.cores = cores
        self._process: subprocess.Popen[bytes] | None = None
        self._channel: Connection | None = None

    def run(
        self, config: Config, *, console: Console, command: str, shared: Sharing
    ) -> dict[str, Any]:
        """Train and evaluate a configuration, as `twotower_jax.run.run`."""
        order = (config, command, console.width, shared.wait)
        line: ProgressLine | None = None
        answered = False
        try:
            for kind, *values in self._messages(order, shared.request):
                if kind == "begin":
                    line = shared.progress(console, *values)
                elif kind != "end" and line is not None:
                    getattr(line, kind)(*values)
                elif kind == "end":
                    answered = True
                    text, result, error = values
                    console.print(text, end="", highlight=False, soft_wrap=True)
                    if error is not None:
                        raise error
                    return result
        finally:
            if not answered:  # messages of this run would be taken for the next one's
                self.end()
        raise AssertionError("the messages end with a result or an error")

    def _messages(self, order: Any, request: StopRequest | None) -> Iterator[Any]:
        """Send an order, and yield what comes back; pass a signal on."""
        channel, passed_on = self._started(), False
        try:
            channel.send(order)
        except OSError:
            raise self._lost(order[0]) from None
        while True:
            number = request.number if request else None
            try:
                if number is not None and not passed_on:
                    channel.send(number)
                    passed_on = True
                if not channel.poll(SECONDS):
                    continue
                message = channel.recv()
            except (EOFError, OSError):
                raise self._lost(order[0]) from None
            yield message

    def _started(self) -> Connection:
        """The channel to the process, which is started where there is none."""
        if self._channel is None:
            self._channel, theirs = Pipe()
            words = (str(theirs.fileno()), ",".join(map(str, self.cores)))
            folders = (os.environ.get("PYTHONPATH"), str(Path(__file__).parents[2]))
            path = os.pathsep.join(filter(None, folders))
            self._process = subprocess.Popen(  # noqa: S603  the text above
                # -P: the working directory is not searched for modules.
                [sys.executable, "-P", "-c", START, *words],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                env=os.environ | {"PYTHONPATH": path},
                process_group=0,  # Ctrl-C of a terminal reaches the sweep alone
            )
            theirs.close()
        return self._channel

    def _lost(self, config: Config) -> LostProcessError:
        """Return how the process has ended, which is started anew by its next run."""
        status = self.end()
        how = f"by {signal.Signals(-status).name}" if status < 0 else f"with {status}"
        return LostProcessError(
            f"the process that trained {run_folder(config)} was ended {how}; make sure "
            "that memory suffices for hydra.launcher.workers runs at a time, and start "
            "the command again, which goes on from the last checkpoint"
        )

    def end(self) -> int:
        """Close the channel, whereupon the process ends; wait for its status."""
        process, channel = self._process, self._channel
        self._process = self._channel = None
        if channel is not None:
            channel.close()
        return process.wait() if process is not None else 0


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


def own_cores() -> set[int]:
    """The numbers of the cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return os.sched_getaffinity(0)
    return set(range(os.cpu_count() or 1))


# --- in the process -------------------------------------------------------------------


def serve(channel_number: int) -> None:
    """Make the runs that a sweep sends through a channel, until it ends."""
    set_up()
    channel, request, load = Connection(channel_number), StopRequest(), cached_loader()
    orders: queue.SimpleQueue[Any] = queue.SimpleQueue()

    def listen() -> None:
        try:
            while True:
                order = channel.recv()
                if isinstance(order, int):
                    request.number = order
                else:
                    orders.put(order)
        except (EOFError, OSError):
            request.number = signal.SIGTERM
            orders.put(None)

    threading.Thread(target=listen, daemon=True).start()
    line = cast(Any, _Line(channel))
    while (order := orders.get()) is not None:
        config, command, width, wait = order
        text, result, ended = io.StringIO(), None, None
        shared = Sharing(load, line, request, wait=wait)
        options = {"console": make_console(text, width), "command": command}
        try:
            result = run(config, **options, shared=shared)
        except BaseException as error:
            ended = sendable(error)
        line.end(text.getvalue(), result, ended)


class _Line:
    """A `progress.ProgressLine` whose calls are sent."""

    def __init__(self, channel: Connection):
        self._channel = channel

    def __call__(self, console: Any, *begin: Any) -> "_Line":
        del console
        self.__getattr__("begin")(*begin)
        return self

    def __getattr__(self, name: str) -> Any:
        return partial(self._send, name)

    def _send(self, *message: Any) -> None:
        with suppress(OSError):  # the sweep has ended: `listen` stops the run
            self._channel.send(message)


def sendable(error: BaseException) -> BaseException:
    """An error that the sweep can read; of an unforeseen one, its message."""
    if isinstance(error, OSError):
        error = file_error(error)
    if isinstance(error, (*EXPECTED, Stopped)):
        return error
    traceback.print_exception(error)
    return FailedJobError(shown(error) if isinstance(error, Exception) else repr(error))
