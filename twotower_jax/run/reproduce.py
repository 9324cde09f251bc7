"""A finished run again: its metrics from the checkpoint, and two results compared."""

from pathlib import Path
from typing import Any

import jax

from twotower_jax.config import Config
from twotower_jax.errors import InputError
from twotower_jax.run.evaluate import make_query_set
from twotower_jax.run.execute import check_same_data, evaluate_split, splits
from twotower_jax.run.inputs import load_data, trains
from twotower_jax.run.problem import make_problem
from twotower_jax.run.records import RunFolder
from twotower_jax.training.checkpoint import Checkpoints
from twotower_jax.training.loop import Problem


def evaluate_run(config: Config, folder: Path) -> dict[str, dict[str, float]]:
    """Return the metrics of a finished run, computed anew from its checkpoint.

    Raises:
      InputError: when the run did not finish, or its data has changed.
    """
    record = RunFolder(folder)
    if not record.is_done():
        raise InputError(f"{folder} holds no finished run; run its command again first")
    data = load_data(config)
    check_same_data(record, data)
    problem, params = None, {}
    if trains(config):
        problem = make_problem(config, data)
        params = _best_params(problem, record)
    metrics = {}
    for name in splits(config):
        queries = make_query_set(config, data, name)
        if queries is not None:
            ranking = evaluate_split(config, data, problem, params, queries)
            metrics[name] = ranking.metrics()
    return metrics


def _best_params(problem: Problem, record: RunFolder) -> dict:
    result = record.read("result")
    assert result is not None
    like = jax.eval_shape(problem.start)
    checkpoints = Checkpoints(record.path)
    if result["best_step"] not in checkpoints.steps():
        raise InputError(
            f"{record.path}/checkpoints lacks step {result['best_step']}; train again "
            "under another name="
        )
    return checkpoints.load(result["best_step"], like, problem.mesh())[0].params


def differences(first: dict, second: dict) -> list[tuple[str, Any, Any]]:
    """Return the metrics in which two results differ: (name, first, second).

    Exact: floats must have the same bits; a metric without a value (NaN, null) equals
    itself.
    """
    found = []
    flat = [_flat_metrics(one.get("metrics", {})) for one in (first, second)]
    for name in sorted(flat[0] | flat[1]):
        values = [one.get(name) for one in flat]
        if values[0] != values[1]:
            found.append((name, *values))
    return found


def _flat_metrics(metrics: dict[str, dict[str, Any]]) -> dict[str, Any]:
    return {
        f"{split} {name}": None if value is None or value != value else value
        for split, values in metrics.items()
        for name, value in values.items()
    }
