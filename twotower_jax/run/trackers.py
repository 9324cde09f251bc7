"""Trackers: TensorBoard, MLflow and W&B log the records of a run.

`metrics.jsonl` is always written; a tracker gets the same records. Trackers do not
change a number, write below the output folder only and need no network. Their packages
are the pip extra `track`.

A tracker is a new object per attempt at a run: ``start(config, folder)`` begins, and
replaces the records of an earlier attempt; ``log(step, values)`` takes values by name,
such as "valid/recall@20", in the order of steps; ``finish(step, values)`` logs the
final ones, None for a run that stopped or failed, and closes.
"""

import importlib
import json
import math
import os
import re
import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from twotower_jax.arrays.processes import leads
from twotower_jax.config import Config, fingerprint, to_dict
from twotower_jax.config.convert import leaves
from twotower_jax.errors import InputError
from twotower_jax.registry import Registry
from twotower_jax.run.folder import RunFolder

Values = dict[str, float]


class _TensorBoard:
    """Event files in `tensorboard/` of the run's folder."""

    def __init__(self) -> None:
        proto = "tensorboard.compat.proto"
        self._events = _need(f"{proto}.event_pb2", "tensorboard")
        self._summaries = _need(f"{proto}.summary_pb2", "tensorboard")
        writers = _need("tensorboard.summary.writer.event_file_writer", "tensorboard")
        self._writer_of = writers.EventFileWriter

    def start(self, config: Config, folder: Path) -> None:
        shutil.rmtree(folder / "tensorboard", ignore_errors=True)
        self._writer = self._writer_of(str(folder / "tensorboard"))

    def log(self, step: int, values: Values) -> None:
        kind = self._summaries.Summary
        scalars = [kind.Value(tag=tag, simple_value=v) for tag, v in values.items()]
        event = self._events.Event(
            wall_time=time.time(), step=step, summary=kind(value=scalars)
        )
        self._writer.add_event(event)
        self._writer.flush()

    def finish(self, step: int, values: Values | None) -> None:
        if values:
            self.log(step, values)
        self._writer.close()


class _MLflow:
    """A run of the file store `mlruns/` in the output folder.

    `mlflow.json` in the run's folder holds its id.
    """

    _creating = threading.Lock()  # of experiments, when runs share a process

    def __init__(self) -> None:
        # The file store is off by default; telemetry is on.
        os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        self._client_of = _need("mlflow.tracking", "mlflow").MlflowClient
        self._metric = _need("mlflow.entities", "mlflow").Metric

    def start(self, config: Config, folder: Path) -> None:
        store = Path(config.output).resolve() / "mlruns"
        self._client = client = self._client_of(tracking_uri=store.as_uri())
        note = folder / "mlflow.json"
        if note.is_file():
            client.delete_run(json.loads(note.read_text("utf-8"))["run_id"])
        with self._creating:
            same = client.get_experiment_by_name(config.name)
            experiment = (
                same.experiment_id if same else client.create_experiment(config.name)
            )
        run = client.create_run(
            experiment,
            run_name=f"{config.arm or folder.name} seed {config.seed}",
            tags={"folder": str(folder), "fingerprint": fingerprint(config)},
        )
        self._run = run.info.run_id
        note.write_text(json.dumps({"run_id": self._run}) + "\n", encoding="utf-8")
        for key, value in leaves(to_dict(config)):
            client.log_param(self._run, _allowed(key), str(value))

    def log(self, step: int, values: Values) -> None:
        now = int(time.time() * 1000)
        metrics = [self._metric(_allowed(n), v, now, step) for n, v in values.items()]
        for start in range(0, len(metrics), 500):  # at most 1000 per call
            self._client.log_batch(self._run, metrics=metrics[start : start + 500])

    def finish(self, step: int, values: Values | None) -> None:
        if values:
            self.log(step, values)
        status = "FAILED" if values is None else "FINISHED"
        self._client.set_terminated(self._run, status)


class _WandB:
    """An offline run in `wandb/` of the run's folder; `wandb sync` sends it later."""

    def __init__(self) -> None:
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
        self._wandb = _need("wandb", "wandb")

    def start(self, config: Config, folder: Path) -> None:
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
        self._run.log(values, step=step)

    def finish(self, step: int, values: Values | None) -> None:
        self._run.summary.update(values or {})
        self._run.finish(exit_code=int(values is None))


TRACKERS: Registry[Callable[[], Any]] = Registry(
    "trackers", {"tensorboard": _TensorBoard, "mlflow": _MLflow, "wandb": _WandB}
)


def _need(module: str, tracker: str) -> Any:
    """Import a module of an optional package, or raise InputError."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise InputError(
            f"trackers=[{tracker}] needs a package that is not installed ({error}); "
            f"pip install 'twotower-jax[track]', or leave {tracker} out"
        ) from None


def make_trackers(config: Config) -> dict[str, Any]:
    """Return a new tracker per name in ``trackers``; InputError for an unknown one."""
    return {name: TRACKERS[name]() for name in config.trackers}


def _allowed(name: str) -> str:
    """Return a name that MLflow allows: "valid/recall_at_20.head".

    A metric is a file of its store, and a metric with slices cannot be a folder too:
    only the split stays a folder.
    """
    split, slash, rest = name.partition("/")
    name = split + slash + rest.replace("/", ".")
    return re.sub(r"[^\w\-. /]", "_", name.replace("@", "_at_"))


class Tracking:
    """Gives the trackers of a run the records of its metrics.jsonl.

    They begin at the first record, or at the end of a run without one, with the
    records that a resumed run has kept, so that they hold the same records as the file.
    A tracker that fails is left out with a warning; the run goes on.
    """

    def __init__(self, config: Config, record: RunFolder, warn: Callable[[str], Any]):
        self._config, self._record, self._warn = config, record, warn
        self._trackers = make_trackers(config) if leads() else {}
        self._begun = False
        record.listeners.append(self._log)

    def _log(self, record: dict[str, Any]) -> None:
        if not self._begun:
            self._begin()  # the record is in the file by now
            return
        values = numbers({k: v for k, v in record.items() if k != "step"})
        self._each(lambda tracker: tracker.log(record["step"], values))

    def _begin(self) -> None:
        self._begun = True
        self._each(lambda tracker: tracker.start(self._config, self._record.path))
        for record in self._record.metrics() if self._trackers else ():
            self._log(record)

    def finish(self, result: dict[str, Any] | None) -> None:
        """Close the trackers; the result of a run that did not finish is None."""
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

    def _each(self, send: Callable[[Any], None]) -> None:
        for name, tracker in list(self._trackers.items()):
            try:
                send(tracker)
            except Exception as error:
                del self._trackers[name]
                self._warn(f"tracker {name} failed, the run goes on without: {error}")


def numbers(values: dict[str, Any]) -> Values:
    """Return the finite numbers of nested values by their joined names."""
    return {
        key: float(value)
        for key, value in leaves(values, "/")
        if isinstance(value, int | float)
        and not isinstance(value, bool)
        and math.isfinite(value)
    }
