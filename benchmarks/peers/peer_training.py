"""Job, batches and clock of the training scripts of all peers.

A script is called as `python SCRIPT JOB`, where JOB is JSON with the keys of `Job`, and
prints one line of JSON. It needs numpy and the peer, and nothing of this package.
"""

import json
import sys
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np


class Job(NamedTuple):
    """One training.

    Attributes:
      file: npz of `user`, `item` and `probability`, one entry per click; `users` and
        `items`, the numbers of both; `history` [clicks, length] with -1 behind its end
        and `hard` [clicks, slots] where the towers read them.
      batch: rows of a step.
      dim: of tables and embeddings; the hidden layer is twice as wide.
      seconds: for which steps are timed; 0: the training ends with its first step.
      compiled: whether the peer compiles its loss, where that is a choice.
    """

    file: str
    batch: int
    dim: int
    seconds: float
    compiled: bool = True


TEMPERATURE, RATE, ACCUMULATOR = 0.05, 0.05, 0.1
WARM_UP = 5  # steps before those that are timed
STEPS = 10  # of an epoch of Keras, after which a training can end


def read_job() -> tuple[Job, dict[str, np.ndarray]]:
    """Return the job of the command line and the arrays of its file."""
    job = Job(**json.loads(sys.argv[1]))
    with np.load(job.file) as arrays:
        return job, {name: arrays[name] for name in arrays.files}


def rows_of(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return the arrays with one entry per click."""
    return {k: v for k, v in arrays.items() if k not in ("users", "items")}


def batches(
    arrays: dict[str, np.ndarray], batch: int
) -> Iterator[dict[str, np.ndarray]]:
    """Yield batches of the clicks in their order, again and again."""
    rows = rows_of(arrays)
    last = len(rows["item"]) - batch
    while True:
        for first in range(0, last + 1, batch):
            yield {name: x[first : first + batch] for name, x in rows.items()}


def fit(model: Any, data: Any, ends: Any, job: Job) -> None:
    """Train a model of Keras 2 or 3 until a callback ends it.

    Args:
      model: the model, compiled.
      data: batches without an end.
      ends: the callback.
      job: the training.
    """
    steps = STEPS if job.seconds else 1
    model.fit(data, epochs=10**6, steps_per_epoch=steps, verbose=0, callbacks=[ends])


class Clock:
    """The ends of the steps of a training."""

    def __init__(self, seconds: float):
        self.seconds, self.ends, self.cpu = seconds, [], []
        self.first = {"first": 0.0, "cpu": 0.0}

    def step(self) -> bool:
        """Note the end of a step and return whether another is needed."""
        self.ends.append(time.perf_counter())
        self.cpu.append(time.process_time())
        if len(self.ends) == 1:
            self.first = {"first": time.time(), "cpu": self.cpu[0]}
        if not self.seconds:
            return False
        timed = len(self.ends) - WARM_UP
        return timed < 4 or self.ends[-1] - self.ends[WARM_UP - 1] < self.seconds

    def print(self) -> None:
        """Print the time of the first step and the seconds of the timed steps.

        The key "cpu" has the same in CPU seconds of all threads of the process.
        """
        steps, cpu = (np.diff(x[WARM_UP - 1 :]).tolist() for x in (self.ends, self.cpu))
        result = {"first": self.first["first"], "steps": steps}
        result["cpu"] = {"first": self.first["cpu"], "started": 0.0, "steps": cpu}
        print(json.dumps(result), flush=True)
