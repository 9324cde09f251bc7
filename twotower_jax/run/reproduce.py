"""The metrics of a finished run from its checkpoint; the differences of two results."""

from pathlib import Path
from typing import Any, NamedTuple

import jax

from twotower_jax.config import Config
from twotower_jax.errors import InputError
from twotower_jax.model.specs import Model
from twotower_jax.run.baselines import rank_splits
from twotower_jax.run.evaluate import rank_split
from twotower_jax.run.inputs import Loaded, check_same_data, load_data, trains
from twotower_jax.run.problem import make_problem
from twotower_jax.run.queries import make_query_sets
from twotower_jax.run.records import RunFolder
from twotower_jax.run.seal import check_seal
from twotower_jax.run.tower_features import choose_features
from twotower_jax.training.checkpoint import Checkpoints
from twotower_jax.training.mesh import Layout
from twotower_jax.training.problem import Problem


def evaluate_run(config: Config, folder: Path) -> dict[str, dict[str, float]]:
    """Return the metrics of a finished run, computed anew from its checkpoint.

    Args:
      config: the run's configuration.
      folder: the run's folder.

    Returns:
      {split: {metric: value}}, as in result.json.

    Raises:
      InputError: when the run did not finish, or its data has changed.
    """
    record, step = _finished(folder)
    data = load_same_data(config, record)
    config = choose_features(config, data)
    queries = make_query_sets(config, data)
    if trains(config):
        problem = make_problem(config, data)
        params = _load_params(problem, record, step, problem.layout_here())
        rankings = {
            name: rank_split(config, data, problem, params, one)
            for name, one in queries.items()
        }
    else:
        rankings, _ = rank_splits(config, data, queries)
    return {name: ranking.metrics() for name, ranking in rankings.items()}


class TrainedRun(NamedTuple):
    """A finished run of towers, read from its folder.

    Attributes:
      config: with the features of both towers named.
      data: the run's data.
      model: both towers.
      params: of the best validation, on the host.
      step: at which they were saved.
    """

    config: Config
    data: Loaded
    model: Model
    params: dict
    step: int


def load_trained(config: Config, folder: Path) -> TrainedRun:
    """Return the model of a finished run, from its checkpoint.

    Args:
      config: the run's configuration, of a run with towers.
      folder: the run's folder.

    Raises:
      InputError: when the run did not finish, or its data has changed.
    """
    record, step = _finished(folder)
    data = load_same_data(config, record)
    config = choose_features(config, data)
    problem = make_problem(config, data)
    one = problem.on_one_device()
    params = jax.device_get(_load_params(problem, record, step, one))
    return TrainedRun(config, data, problem.program.structure.model, params, step)


def _finished(folder: Path) -> tuple[RunFolder, int]:
    """Return a finished run and the step of its best validation."""
    record = RunFolder(folder)
    return record, record.result()["best_step"]


def load_same_data(config: Config, record: RunFolder) -> Loaded:
    """Return the data of a run, refused where it has changed since.

    Args:
      config: the run's configuration.
      record: its folder.

    Raises:
      InputError: for changed data.
    """
    data = load_data(config)
    check_same_data(record, data)
    return data


def _load_params(
    problem: Problem, record: RunFolder, step: int, layout: Layout
) -> dict:
    """Return the parameters that a run saved at a step, in a layout."""
    checkpoints = Checkpoints(record.path)
    if not checkpoints.has_params(step):
        raise InputError(
            f"{record.path}/checkpoints lacks the parameters of step {step}, which the "
            "runs of a selection on validation do not keep; train again under another "
            "name="
        )
    notes = f"checkpoints/{step}-params.json"
    check_seal(record.path, record.checksums(), notes)
    like = jax.eval_shape(problem.start)
    return checkpoints.load_params(step, like, layout)


def differences(first: dict, second: dict) -> list[tuple[str, Any, Any]]:
    """Return the metrics in which two results differ: (name, first, second).

    The comparison is exact: floats must have the same bits. A metric without a value
    (NaN, null) equals itself.

    Args:
      first: the content of a result.json.
      second: the content of another.

    Examples:
      >>> first = {"metrics": {"test": {"mrr@10": 0.5, "map@10": float("nan")}}}
      >>> second = {"metrics": {"test": {"mrr@10": 0.25, "map@10": None}}}
      >>> differences(first, second)
      [('test mrr@10', 0.5, 0.25)]
      >>> differences(first, first)
      []
    """
    different = []
    flat = [_flat_metrics(one.get("metrics", {})) for one in (first, second)]
    for name in sorted(flat[0] | flat[1]):
        values = [one.get(name) for one in flat]
        if values[0] != values[1]:
            different.append((name, *values))
    return different


def _flat_metrics(metrics: dict[str, dict[str, Any]]) -> dict[str, Any]:
    return {
        f"{split} {name}": None if value is None or value != value else value
        for split, values in metrics.items()
        for name, value in values.items()
    }
