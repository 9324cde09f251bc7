"""Trackers get the records of metrics.jsonl, however the run ends."""

import json
import math
import sys
import time

import pytest

from twotower_jax.config import Config, fingerprint, to_dict
from twotower_jax.errors import InputError
from twotower_jax.run.folder import RunFolder
from twotower_jax.run.trackers import TRACKERS, Tracking, make_trackers, numbers


def valid(step):
    return {"recall@20": step / 100, "recall@20/head": step / 50}


RECORDS = [
    {"step": step, "loss": 1 / step, "valid": valid(step), "note": "x"}
    for step in (10, 20, 30)
]
RESULT = {
    "metrics": {"test": {"recall@20": 0.5, "ndcg@20": math.nan}},
    "steps": 30,
    "best_step": 20,
    "seconds": 2.5,
    "examples_per_second": None,
}
MISSING = "the package is not installed: pip install 'twotower-jax[track]'"


class Memory:
    """A tracker that remembers its calls."""

    calls: list[tuple]

    def __init__(self):
        Memory.calls = []

    def start(self, config, folder):
        self.calls.append(("start", config.name, folder))

    def log(self, step, values):
        self.calls.append((step, values))

    def finish(self, step, values):
        self.calls.append(("finish", step, values))


class Broken(Memory):
    def log(self, step, values):
        raise OSError("disk full")


@pytest.fixture
def registry(monkeypatch):
    monkeypatch.setitem(TRACKERS, "memory", Memory)
    monkeypatch.setitem(TRACKERS, "broken", Broken)


def track(tmp_path, *names, warn=print):
    """Return the record of a run and its tracking."""
    config = Config(name="n", output=str(tmp_path), arm="a b", trackers=names)
    record = RunFolder(tmp_path / "n/run")
    record.path.mkdir(parents=True, exist_ok=True)
    return record, Tracking(config, record, warn)


def logged(record, tracking, records=RECORDS, result=RESULT):
    tracking.start()
    for one in records:
        record.add_metrics(one)
        tracking.log(one)
    tracking.finish(result)


def test_tracker_gets_every_record_and_the_result(tmp_path, registry):
    record, tracking = track(tmp_path, "memory")
    logged(record, tracking)
    assert Memory.calls == [
        ("start", "n", record.path),
        (10, {"loss": 0.1, "valid/recall@20": 0.1, "valid/recall@20/head": 0.2}),
        (20, {"loss": 0.05, "valid/recall@20": 0.2, "valid/recall@20/head": 0.4}),
        (30, {"loss": 1 / 30, "valid/recall@20": 0.3, "valid/recall@20/head": 0.6}),
        ("finish", 30, {"test/recall@20": 0.5, "seconds": 2.5}),
    ]
    assert [one["step"] for one in record.metrics()] == [10, 20, 30]


def test_resumed_run_logs_its_kept_records_first(tmp_path, registry):
    record, tracking = track(tmp_path, "memory")
    logged(record, tracking, RECORDS, None)
    assert Memory.calls[-1] == ("finish", 0, None)
    record, tracking = track(tmp_path, "memory")
    record.keep_metrics(10)
    logged(record, tracking, RECORDS[1:])
    steps = [call[0] for call in Memory.calls]
    assert steps == ["start", 10, 20, 30, "finish"]


def test_run_without_records_logs_its_result_alone(tmp_path, registry):
    record, tracking = track(tmp_path, "memory")
    logged(record, tracking, [])
    assert [call[0] for call in Memory.calls] == ["start", "finish"]
    # One that failed before its training leaves nothing.
    Memory.calls.clear()
    track(tmp_path, "memory")[1].finish(None)
    assert Memory.calls == []


def test_tracker_that_fails_is_left_out_and_the_others_go_on(tmp_path, registry):
    warnings = []
    record, tracking = track(tmp_path, "broken", "memory", warn=warnings.append)
    logged(record, tracking)
    assert len(warnings) == 1 and "tracker broken failed" in warnings[0]
    assert "disk full" in warnings[0]
    assert [call[0] for call in Memory.calls][-4:] == [10, 20, 30, "finish"]
    assert len(record.metrics()) == 3


def test_trackers_do_not_change_the_folder():
    assert fingerprint(Config(trackers=("mlflow",))) == fingerprint(Config())
    assert to_dict(Config(trackers=("mlflow",)))["trackers"] == ["mlflow"]


def test_unknown_tracker_is_named():
    with pytest.raises(InputError, match=r"trackers='mlfow' .* mlflow, tensorboard"):
        make_trackers(Config(trackers=("mlfow",)))


@pytest.mark.parametrize("name", TRACKERS)
def test_missing_package_is_named_with_its_extra(monkeypatch, name):
    for module in [*sys.modules]:
        if module.split(".")[0] == name:
            monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, name, None)
    message = rf"trackers=\[{name}\] needs .*{name}.* pip install 'twotower-jax\[track"
    with pytest.raises(InputError, match=message):
        make_trackers(Config(trackers=(name,)))


def test_numbers_are_the_finite_ones():
    values = {"a": 1, "b": {"c": 0.5, "d": {"e": True}}, "f": math.inf, "g": "h"}
    assert numbers(values) == {"a": 1.0, "b/c": 0.5}


# --- the packages themselves ----------------------------------------------------------


def twice(tmp_path, name):
    """Track a run that stopped at step 20 and was resumed from step 10."""
    record, tracking = track(tmp_path, name, warn=pytest.fail)
    logged(record, tracking, RECORDS[:2], None)
    record, tracking = track(tmp_path, name, warn=pytest.fail)
    record.keep_metrics(10)
    logged(record, tracking, RECORDS[1:])
    return record.path


def test_tensorboard_reads_the_records(tmp_path):
    pytest.importorskip("tensorboard", reason=MISSING)
    from tensorboard.backend.event_processing.event_accumulator import (
        EventAccumulator,
    )

    events = EventAccumulator(str(twice(tmp_path, "tensorboard") / "tensorboard"))
    events.Reload()
    shown = [(one.step, one.value) for one in events.Scalars("valid/recall@20")]
    assert shown == [(s, pytest.approx(s / 100)) for s in (10, 20, 30)]
    (final,) = events.Scalars("test/recall@20")
    assert (final.step, final.value) == (30, 0.5)


@pytest.mark.filterwarnings("ignore::FutureWarning:mlflow")
def test_mlflow_reads_the_records(tmp_path):
    pytest.importorskip("mlflow", reason=MISSING)
    folder = twice(tmp_path, "mlflow")
    from mlflow.tracking import MlflowClient

    client = MlflowClient(tracking_uri=(tmp_path / "mlruns").resolve().as_uri())
    experiment = client.get_experiment_by_name("n")
    assert experiment is not None
    # The run that was stopped is replaced.
    (run,) = client.search_runs([experiment.experiment_id])
    noted = json.loads((folder / "mlflow.json").read_text())
    assert run.info.run_id == noted["run_id"] and run.info.status == "FINISHED"
    assert run.info.run_name == "a b seed 0"
    assert run.data.params["loss.name"] == "sampled_softmax"
    assert run.data.metrics["test/recall_at_20"] == 0.5
    assert run.data.metrics["valid/recall_at_20.head"] == 0.6
    history = client.get_metric_history(run.info.run_id, "valid/recall_at_20")
    assert [(one.step, one.value) for one in history] == [
        (s, s / 100) for s in (10, 20, 30)
    ]


def test_wandb_writes_an_offline_run(tmp_path):
    pytest.importorskip("wandb", reason=MISSING)
    folder = twice(tmp_path, "wandb") / "wandb"
    (run,) = folder.glob("offline-run-*")
    (data,) = run.glob("run-*.wandb")
    # Another process writes it, and may do so a little after the run was closed.
    for _ in range(200):
        if b"test/recall@20" in (text := data.read_bytes()):
            break
        time.sleep(0.1)
    assert b"test/recall@20" in text and b"sampled_softmax" in text
