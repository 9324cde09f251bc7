"""Trackers: TensorBoard, MLflow and W&B get the records of metrics.jsonl as well.

A tracker is a new object per attempt at a run: ``start(config, folder)`` replaces the
records of an earlier attempt; ``log(step, values)`` takes values by name, such as
"valid/recall@20"; ``finish(step, values)`` logs the final ones, None for a run that
stopped or failed, and closes. It writes below the output folder alone.
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
        self._events = _need("tensorboard.compat.proto.event_pb2", "tensorboard")
        self._summary = _need("tensorboard.compat.proto.summary_pb2", "tensorboard")
        self._writers = _need(
            "tensorboard.summary.writer.event_file_writer", "tensorboard"
        )

    def start(self, config: Config, folder: Path) -> None:
        shutil.rmtree(folder / "tensorboard", ignore_errors=True)
        self._writer = self._writers.EventFileWriter(str(folder / "tensorboard"))

    def log(self, step: int, values: Values) -> None:
        scalars = [{"tag": tag, "simple_value": value} for tag, value in values.items()]
        summary = self._summary.Summary(value=scalars)
        event = self._events.Event(wall_time=time.time(), step=step, summary=summary)
        self._writer.add_event(event)
        self._writer.flush()

    def finish(self, step: int, values: Values | None) -> None:
        if values:
            self.log(step, values)
        self._writer.close()


class _MLflow:
    """A run of the file store `mlruns/` in the output folder."""

    _creating = threading.Lock()  # of experiments, when runs share a process

    def __init__(self) -> None:
        # The file store is off by default; telemetry is on.
        os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        self._tracking = _need("mlflow.tracking", "mlflow")

    def start(self, config: Config, folder: Path) -> None:
        store = Path(config.output).resolve() / "mlruns"
        self._client = client = self._tracking.MlflowClient(store.as_uri())
        note = folder / "mlflow.json"
        if note.is_file():
            client.delete_run(json.loads(note.read_text("utf-8"))["run_id"])
        with self._creating:
            same = client.get_experiment_by_name(config.name)
            number = (
                same.experiment_id if same else client.create_experiment(config.name)
            )
        tags = {"folder": str(folder), "fingerprint": fingerprint(config)}
        run = client.create_run(number, tags=tags, run_name=_name(config, folder))
        self._run = run.info.run_id
        note.write_text(json.dumps({"run_id": self._run}) + "\n", encoding="utf-8")
        for key, value in leaves(to_dict(config)):
            client.log_param(self._run, _allowed(key), str(value))

    def log(self, step: int, values: Values) -> None:
        for name, value in values.items():
            self._client.log_metric(self._run, _allowed(name), value, step=step)

    def finish(self, step: int, values: Values | None) -> None:
        self.log(step, values or {})
        status = "FAILED" if values is None else "FINISHED"
        self._client.set_terminated(self._run, status)


class _WandB:
    """An offline run in `wandb/` of the run's folder; `wandb sync` sends it later."""

    def __init__(self) -> None:
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
        self._wandb = _need("wandb", "wandb")

    def start(self, config: Config, folder: Path) -> None:
        shutil.rmtree(folder / "wandb", ignore_errors=True)
        quiet = {"silent": True, "console": "off", "save_code": False}
        off = {"disable_git": True, "x_disable_stats": True, "x_disable_meta": True}
        self._run = self._wandb.init(
            mode="offline",
            dir=str(folder),
            project=config.name.replace("/", "-"),
            name=_name(config, folder),
            group=config.arm,
            config=to_dict(config),
            reinit="create_new",
            settings=self._wandb.Settings(**quiet, **off),
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


def _name(config: Config, folder: Path) -> str:
    return f"{config.arm or folder.name} seed {config.seed}"


def _allowed(name: str) -> str:
    """Return a name that MLflow allows, each a file: "valid/recall_at_20.head"."""
    split, slash, rest = name.replace("@", "_at_").partition("/")
    return re.sub(r"[^\w\-. /]", "_", split + slash + rest.replace("/", "."))


class Tracking:
    """Gives trackers the records of a run; one that fails is left out."""

    def __init__(self, config: Config, record: RunFolder, warn: Callable[[str], Any]):
        self._config, self._record, self._warn = config, record, warn
        self._trackers: dict[str, Any] = {}

    def start(self) -> None:
        """Begin with the records of the file."""
        self._trackers = make_trackers(self._config) if leads() else {}
        self._each("start", self._config, self._record.path)
        for record in self._record.metrics():
            self.log(record)

    def log(self, record: dict[str, Any]) -> None:
        """Log a record of metrics.jsonl."""
        values = numbers({k: v for k, v in record.items() if k != "step"})
        self._each("log", record["step"], values)

    def finish(self, result: dict[str, Any] | None) -> None:
        """Close the trackers; the result of a run that did not finish is None."""
        if result is None:
            self._each("finish", 0, None)
            return
        costs = {name: result[name] for name in ("seconds", "examples_per_second")}
        self._each("finish", result["steps"], numbers(result["metrics"] | costs))

    def _each(self, method: str, *arguments: Any) -> None:
        for name, tracker in list(self._trackers.items()):
            try:
                getattr(tracker, method)(*arguments)
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
