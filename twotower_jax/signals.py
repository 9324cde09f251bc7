"""SIGTERM and Ctrl-C: finish the step, save, leave. A second one leaves at once."""

import os
import signal
import sys
import threading
from types import FrameType


class Stopped(SystemExit):
    """A signal ended the run, which saved its state; ``reason`` is a sentence of it."""

    def __init__(self, number: int, step: int):
        super().__init__(128 + number)
        self.number, self.step = number, step
        self.reason = (
            f"stopped by {signal.Signals(number).name} at step {step}; "
            "the same command goes on from there"
        )

    def __reduce__(self) -> tuple[type["Stopped"], tuple[int, int]]:
        return Stopped, (self.number, self.step)


class Interrupts:
    """Notes Ctrl-C of a command, for an exception of it can be lost.

    JAX and the garbage collector call Python in places from which no exception leaves;
    there it is printed or dropped, and the command would go on.
    """

    def __init__(self) -> None:
        self.noted = False  # whether Ctrl-C arrived since the command began

    def begin(self) -> None:
        """Forget an earlier command, and note Ctrl-C from now on."""
        self.noted = False
        # Python delivers signals to the main thread alone.
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, self._raise)
        if sys.unraisablehook is sys.__unraisablehook__:
            sys.unraisablehook = self._not_raised

    def _not_raised(self, lost: "sys.UnraisableHookArgs") -> None:
        """Print an exception that could not be raised, unless it is Ctrl-C."""
        if not isinstance(lost.exc_value, KeyboardInterrupt):
            sys.__unraisablehook__(lost)

    def _raise(self, number: int, frame: FrameType | None) -> None:
        self.noted = True
        while frame is not None:
            # A C extension that is interrupted while it is imported ends in tracebacks
            # of its own, or crashes.
            if frame.f_code.co_filename.startswith("<frozen importlib"):
                os._exit(130)
            frame = frame.f_back
        raise KeyboardInterrupt


INTERRUPTS = Interrupts()


class StopRequest:
    """Context that notes the first SIGTERM or SIGINT instead of ending the process."""

    def __init__(self) -> None:
        # The signal that arrived. Ctrl-C that JAX lost still ends the run, before its
        # first step.
        self.number: int | None = signal.SIGINT if INTERRUPTS.noted else None
        self._before: dict = {}

    def __enter__(self) -> "StopRequest":
        try:
            for number in (signal.SIGTERM, signal.SIGINT):
                self._before[number] = signal.signal(number, self._note)
        except ValueError:
            # Python delivers signals to the main thread alone: its caller notes them.
            self._before = {}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.number = number
        signal.signal(number, self._before[number])
