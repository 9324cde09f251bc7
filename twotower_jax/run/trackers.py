"""Trackers: where the records of a run go beside its plain files.

`metrics.jsonl` is always written; a tracker is told the same records. Trackers decide
no number, write below the output folder only and need no network. Their packages are
the pip extra `track`.
"""

import importlib
import json
import math
import os
import re
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

from twotower_jax.config import Config, fingerprint, to_dict
from twotower_jax.errors import InputError, unknown
from twotower_jax.run.records import RunFolder

Values = dict[str, float]


class Tracker(Protocol):
    """What is told the records of one run; a new object for each attempt."""

    def start(self, config: Config, folder: Path) -> None:
        """Begin anew: what an attempt before left of this run is replaced.

        Args:
          config: the run.
          folder: the run's own.
        """
        ...

    def log(self, step: int, values: Values) -> None:
        """Take what was measured at a step; steps come in order."""
        ...

    def finish(self, step: int, values: Values | None) -> None:
        """Take the final values, None for a run that stopped or failed, and close."""
        ...


class TensorBoard:
    """Event files in `tensorboard/` of the run's folder."""

    def __init__(self) -> None:
        self._events = _need("tensorboard.compat.proto.event_pb2", "tensorboard")
        self._summaries = _need("tensorboard.compat.proto.summary_pb2", "tensorboard")
        self._writers = _need(
            "tensorboard.summary.writer.event_file_writer", "tensorboard"
        )

    def start(self, config: Config, folder: Path) -> None:
        """Replace the event files."""
        del config
        place = folder / "tensorboard"
        shutil.rmtree(place, ignore_errors=True)
        self._writer = self._writers.EventFileWriter(str(place))

    def log(self, step: int, values: Values) -> None:
        """Write one event with all values."""
        kind = self._summaries.Summary
        told = [kind.Value(tag=tag, simple_value=v) for tag, v in values.items()]
        event = self._events.Event(
            wall_time=time.time(), step=step, summary=kind(value=told)
        )
        self._writer.add_event(event)
        self._writer.flush()

    def finish(self, step: int, values: Values | None) -> None:
        """Write the final values and close the file."""
        if values:
            self.log(step, values)
        self._writer.close()


class MLflow:
    """A run of the file store `mlruns/` in the output folder.

    `mlflow.json` in the run's folder says which one. MLflow allows no `@` in names,
    and folders in its store must not be files: recall@20/head is recall_at_20.head.
    """

    _creating = threading.Lock()  # of experiments, when runs share a process

    def __init__(self) -> None:
        # The file store has to be asked for, and nothing is sent anywhere.
        os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        self._client_of = _need("mlflow.tracking", "mlflow").MlflowClient
        self._entities = _need("mlflow.entities", "mlflow")

    def start(self, config: Config, folder: Path) -> None:
        """Create the run, with the configuration as its parameters."""
        store = Path(config.output).resolve() / "mlruns"
        self._client = self._client_of(tracking_uri=store.as_uri())
        note = folder / "mlflow.json"
        if note.is_file():
            self._client.delete_run(json.loads(note.read_text("utf-8"))["run_id"])
        with self._creating:
            found = self._client.get_experiment_by_name(config.name)
            experiment = (
                found.experiment_id
                if found
                else self._client.create_experiment(config.name)
            )
        run = self._client.create_run(
            experiment,
            run_name=f"{config.arm or folder.name} seed {config.seed}",
            tags={"folder": str(folder), "fingerprint": fingerprint(config)},
        )
        self._run = run.info.run_id
        note.write_text(json.dumps({"run_id": self._run}) + "\n", encoding="utf-8")
        for key, value in _leaves(to_dict(config), "."):
            self._client.log_param(self._run, _allowed(key), str(value))

    def log(self, step: int, values: Values) -> None:
        """Write the values as metrics."""
        now = int(time.time() * 1000)
        metrics = [
            self._entities.Metric(_allowed(name), value, now, step)
            for name, value in values.items()
        ]
        for start in range(0, len(metrics), 500):  # at most 1000 a call
            self._client.log_batch(self._run, metrics=metrics[start : start + 500])

    def finish(self, step: int, values: Values | None) -> None:
        """Write the final values and the status."""
        if values:
            self.log(step, values)
        status = "FAILED" if values is None else "FINISHED"
        self._client.set_terminated(self._run, status)


class WandB:
    """An offline run in `wandb/` of the run's folder; `wandb sync` sends it later."""

    def __init__(self) -> None:
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
        self._wandb = _need("wandb", "wandb")

    def start(self, config: Config, folder: Path) -> None:
        """Replace the run."""
        shutil.rmtree(folder / "wandb", ignore_errors=True)
        settings = self._wandb.Settings(
            silent=True,
            console="off",
            disable_git=True,
            save_code=False,
            x_disable_stats=True,
            x_disable_meta=True,
        )
        self._run = self._wandb.init(
            mode="offline",
            dir=str(folder),
            project=config.name.replace("/", "-"),
            name=f"{config.arm or folder.name} seed {config.seed}",
            group=config.arm,
            config=to_dict(config),
            reinit="create_new",
            settings=settings,
        )

    def log(self, step: int, values: Values) -> None:
        """Log the values at a step."""
        self._run.log(values, step=step)

    def finish(self, step: int, values: Values | None) -> None:
        """Set the final values as the summary, and close the run."""
        del step
        self._run.summary.update(values or {})
        self._run.finish(exit_code=int(values is None))


TRACKERS: dict[str, Callable[[], Tracker]] = {
    "tensorboard": TensorBoard,
    "mlflow": MLflow,
    "wandb": WandB,
}


def _need(module: str, tracker: str) -> Any:
    """Import a module of an optional package, or raise InputError."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise InputError(
            f"trackers=[{tracker}] needs a package that is not installed ({error}); "
            f"pip install 'twotower-jax[track]', or leave {tracker} out"
        ) from None


def make_trackers(config: Config) -> dict[str, Tracker]:
    """Return a new tracker for each name in ``trackers``.

    Raises:
      InputError: for a name that is unknown, or whose package is not installed.
    """
    made = {}
    for name in config.trackers:
        if name not in TRACKERS:
            raise unknown("trackers", name, TRACKERS)
        made[name] = TRACKERS[name]()
    return made


class Tracking:
    """Tells the trackers of a run what its metrics.jsonl is told.

    They begin at the first record, or at the end of a run without one, with the
    records that a resumed run has kept: they hold what the file holds. A tracker that
    fails is left out from there on; the run goes on.
    """

    def __init__(self, config: Config, record: RunFolder, warn: Callable[[str], Any]):
        """Listen to the records of a run.

        Args:
          config: the run.
          record: its folder.
          warn: told when a tracker fails.
        Raises:
          InputError: as `make_trackers`.
        """
        self._config, self._record, self._warn = config, record, warn
        self._trackers = make_trackers(config)
        self._begun = False
        record.listeners.append(self._log)

    def _log(self, record: dict[str, Any]) -> None:
        if self._begun:
            self._tell(record)
        else:
            self._begin()  # the record is in the file by now

    def _begin(self) -> None:
        self._begun = True
        self._each(lambda tracker: tracker.start(self._config, self._record.path))
        for record in self._record.metrics() if self._trackers else ():
            self._tell(record)

    def _tell(self, record: dict[str, Any]) -> None:
        values = numbers({k: v for k, v in record.items() if k != "step"})
        self._each(lambda tracker: tracker.log(record["step"], values))

    def finish(self, result: dict[str, Any] | None) -> None:
        """Close the trackers with what result.json holds, None where there is none."""
        if not self._begun and result is None:
            return
        if not self._begun:
            self._begin()
        step, values = 0, None
        if result is not None:
            step = result["steps"]
            costs = {name: result[name] for name in ("seconds", "examples_per_second")}
            values = numbers(result["metrics"] | costs)
        self._each(lambda tracker: tracker.finish(step, values))

    def _each(self, tell: Callable[[Tracker], None]) -> None:
        for name, tracker in list(self._trackers.items()):
            try:
                tell(tracker)
            except Exception as error:
                del self._trackers[name]
                self._warn(f"tracker {name} failed, the run goes on without: {error}")


def numbers(values: dict[str, Any]) -> Values:
    """Return the finite numbers of nested values, as {"valid/recall@20": 0.5}."""
    return {
        key: float(value)
        for key, value in _leaves(values, "/")
        if isinstance(value, int | float)
        and not isinstance(value, bool)
        and math.isfinite(value)
    }


def _leaves(values: dict[str, Any], join: str) -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, dict):
            for inner, leaf in _leaves(value, join):
                yield f"{key}{join}{inner}", leaf
        else:
            yield str(key), value


def _allowed(name: str) -> str:
    """Return a name as MLflow allows it.

    A metric is a file of its store, and one with slices cannot be a folder too: only
    the split stays one, as in valid/recall_at_20.head.
    """
    split, slash, rest = name.partition("/")
    name = split + slash + rest.replace("/", ".")
    return re.sub(r"[^\w\-. /]", "_", name.replace("@", "_at_"))
