"""The number of runs of a sweep that have ended, and the time left."""

import time
from collections.abc import Callable, Iterable
from pathlib import Path

from twotower_jax.run.folder import RunFolder


class Countdown:
    """Counts the runs of a list of jobs as they end.

    The time left is the mean time of the runs that this process has seen end, for each
    run that is left. Runs that had finished before take no time and do not count.
    """

    def __init__(
        self, folders: Iterable[Path], clock: Callable[[], float] = time.perf_counter
    ):
        """Begin the count.

        Args:
          clock: seconds.
        """
        self._folders = list(folders)
        self._left = {one for one in self._folders if not RunFolder(one).is_done()}
        self._timed, self._ended = len(self._left), 0
        self._clock, self._begin = clock, clock()

    def ended(self, folder: Path) -> str:
        """Count a job that has ended.

        Examples:
          >>> seconds = iter([0.0, 10.0, 30.0])
          >>> runs = [Path("a"), Path("b"), Path("c")]
          >>> count = Countdown(runs, clock=lambda: next(seconds))
          >>> count.ended(Path("a"))
          'run 1 of 3, 20 s left'
          >>> count.ended(Path("b"))
          'run 2 of 3, 15 s left'
        """
        self._ended += 1
        self._left.discard(folder)
        text = f"run {self._ended} of {len(self._folders)}"
        seen = self._timed - len(self._left)
        if not seen or not self._left:
            return text
        seconds = (self._clock() - self._begin) / seen * len(self._left)
        left = f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"
        return f"{text}, {left} left"
