"""A process, bound to its cores, that makes the runs which `worker_process` sends.

It ignores SIGTERM and Ctrl-C, for the sweep that started it passes them on. Where the
sweep ends in any way, so that its end of the channel closes, the training saves its
state and the process ends.

Only the standard library is imported before the process is bound to its cores: NumPy
and JAX make as many threads as they find cores.
"""

import io
import json
import os
import queue
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Any


class _Worker:
    """The loop over the orders of the sweep."""

    def __init__(self, channel: Connection):
        from twotower_jax.run.loader import cached_loader
        from twotower_jax.training.signals import StopRequest

        self._channel, self._load = channel, cached_loader()
        self._request = StopRequest()
        self._orders: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        """Put orders into the queue; note a signal that the sweep passes on."""
        try:
            while True:
                order = json.loads(self._channel.recv_bytes())
                if "signal" in order:
                    self._request.number = order["signal"]
                else:
                    self._orders.put(order)
        except (EOFError, OSError):
            self._request.number = signal.SIGTERM
            self._orders.put(None)

    def serve(self) -> None:
        """Make runs until the sweep ends."""
        while (order := self._orders.get()) is not None:
            self._run(order)

    def _run(self, order: dict[str, Any]) -> None:
        """Make one run; send its output, and its result or its error."""
        from twotower_jax.config import from_record
        from twotower_jax.run.execute import Sharing, run
        from twotower_jax.sweeps.jobs import FailedJobError
        from twotower_jax.sweeps.worker_process import error_message
        from twotower_jax.training.progress import make_console

        text = io.StringIO()
        console = make_console(text, order["width"])
        line = _Line(self._send)
        shared = Sharing(self._load, line, self._request, wait=order["wait"])
        options = {"console": console, "command": order["command"], "shared": shared}
        try:
            answer = {"result": run(from_record(order["run"]), **options)}
        except BaseException as error:
            answer = {"error": error_message(error)}
            if answer["error"][0] == FailedJobError.__name__:
                traceback.print_exception(error)
        self._send({"text": text.getvalue()})
        self._send(answer)

    def _send(self, message: dict[str, Any]) -> None:
        with suppress(OSError):  # the sweep has ended: `_listen` stops the run
            self._channel.send_bytes(json.dumps(message).encode())


class _Line:
    """A `training.progress.ProgressLine` whose calls are sent."""

    def __init__(self, send: Callable[[dict[str, Any]], None]):
        self._send = send

    def __call__(self, console: Any, *begin: Any) -> "_Line":
        del console
        self._send({"begin": begin})
        return self

    def update(self, step: int, loss: float, rate: float | None) -> None:
        self._send({"update": (step, loss, rate)})

    def validated(self, metrics: dict[str, float]) -> None:
        self._send({"validated": (metrics,)})

    def close(self) -> None:
        self._send({"close": ()})


def main(channel: int, cores: list[int]) -> None:
    """Bind this process to cores, and make the runs that are sent."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, cores)
    from twotower_jax.compiler import set_up

    set_up()
    _Worker(Connection(channel)).serve()


if __name__ == "__main__":
    main(int(sys.argv[1]), [int(core) for core in sys.argv[2].split(",")])
