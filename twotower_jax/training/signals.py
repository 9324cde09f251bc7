"""SIGTERM and Ctrl-C: finish the step, save, leave. A second one leaves at once."""

import signal
from types import FrameType


class Stopped(SystemExit):
    """The run was told to stop and saved its state; the exit status is 128 + signal."""

    def __init__(self, number: int, step: int):
        super().__init__(128 + number)
        self.reason = (
            f"stopped by {signal.Signals(number).name} at step {step}; "
            "the same command goes on from there"
        )


class StopRequest:
    """Context that notes SIGTERM and SIGINT instead of dying of them."""

    def __init__(self) -> None:
        self.number: int | None = None
        self._before: dict = {}

    def __enter__(self) -> "StopRequest":
        try:
            for number in (signal.SIGTERM, signal.SIGINT):
                self._before[number] = signal.signal(number, self._note)
        except ValueError:
            # Not the main thread: signals belong to whoever runs it.
            self._before = {}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        del frame
        self.number = number
        signal.signal(number, self._before[number])
