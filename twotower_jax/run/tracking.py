"""The records of a run on their way to its trackers."""

import math
from collections.abc import Callable
from typing import Any

from twotower_jax.config import Config
from twotower_jax.data.processes import leads
from twotower_jax.run.records import RunFolder
from twotower_jax.run.trackers import Tracker, Values, leaves, make_trackers


class Tracking:
    """Gives the trackers of a run the records of its metrics.jsonl.

    They begin at the first record, or at the end of a run without one, with the
    records that a resumed run has kept, so that they hold the same records as the file.
    A tracker that fails is left out from there on; the run goes on.
    """

    def __init__(self, config: Config, record: RunFolder, warn: Callable[[str], Any]):
        """Listen to the records of a run.

        Args:
          config: the run's configuration.
          record: the run's folder.
          warn: takes the message when a tracker fails.

        Raises:
          InputError: for a tracker that is unknown or not installed.
        """
        self._config, self._record, self._warn = config, record, warn
        self._trackers = make_trackers(config) if leads() else {}
        self._begun = False
        record.listeners.append(self._log)

    def _log(self, record: dict[str, Any]) -> None:
        if self._begun:
            self._send(record)
        else:
            self._begin()  # the record is in the file by now

    def _begin(self) -> None:
        self._begun = True
        self._each(lambda tracker: tracker.start(self._config, self._record.path))
        for record in self._record.metrics() if self._trackers else ():
            self._send(record)

    def _send(self, record: dict[str, Any]) -> None:
        values = numbers({k: v for k, v in record.items() if k != "step"})
        self._each(lambda tracker: tracker.log(record["step"], values))

    def finish(self, result: dict[str, Any] | None) -> None:
        """Close the trackers.

        Args:
          result: the content of result.json, None for a run that did not finish.
        """
        if not self._begun:
            if result is None:
                return
            self._begin()
        step, values = 0, None
        if result is not None:
            step = result["steps"]
            costs = {name: result[name] for name in ("seconds", "examples_per_second")}
            values = numbers(result["metrics"] | costs)
        self._each(lambda tracker: tracker.finish(step, values))

    def _each(self, send: Callable[[Tracker], None]) -> None:
        for name, tracker in list(self._trackers.items()):
            try:
                send(tracker)
            except Exception as error:
                del self._trackers[name]
                self._warn(f"tracker {name} failed, the run goes on without: {error}")


def numbers(values: dict[str, Any]) -> Values:
    """Return the finite numbers of nested values by their joined names.

    Examples:
      >>> numbers({"valid": {"recall@20": 0.5, "auc": None}, "note": "x"})
      {'valid/recall@20': 0.5}
    """
    return {
        key: float(value)
        for key, value in leaves(values, "/")
        if isinstance(value, int | float)
        and not isinstance(value, bool)
        and math.isfinite(value)
    }
