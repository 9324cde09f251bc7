"""Results of a computation that the runs of a process share."""

import threading
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from typing import Generic, TypeVar

Made = TypeVar("Made")


class Latest(Generic[Made]):
    """The last results of a computation; threads that ask for the same one wait.

    Args:
      size: number of results that are kept.
    """

    def __init__(self, size: int):
        self._size, self._lock = size, threading.Lock()
        self._made: dict[Hashable, Future[Made]] = {}

    def get(self, key: Hashable, make: Callable[[], Made]) -> Made:
        """Return the result of a key, made now unless it is kept.

        Args:
          key: identifies the computation.
          make: computes it.
        """
        with self._lock:
            kept = self._made.get(key)
            future = kept or Future()
            if kept is None:
                while len(self._made) >= self._size:
                    del self._made[next(iter(self._made))]
                self._made[key] = future
        if kept is None:
            try:
                future.set_result(make())
            except BaseException as error:
                future.set_exception(error)
                with self._lock:
                    self._made.pop(key, None)
        return future.result()
