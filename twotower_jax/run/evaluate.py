"""Evaluation of a model in training, at its end, and of a finished run."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from twotower_jax.config import Config
from twotower_jax.errors import InputError
from twotower_jax.evaluation.metrics import ranking_metrics, summarise
from twotower_jax.evaluation.scorers import Embeddings
from twotower_jax.evaluation.spread import spread_items
from twotower_jax.model.tower import Model
from twotower_jax.model.two_tower import all_candidates, all_queries
from twotower_jax.negatives.easy import log_prob
from twotower_jax.negatives.frequency import log_expected_count
from twotower_jax.run.baselines import rank_splits
from twotower_jax.run.folder import RunFolder
from twotower_jax.run.loader import (
    Loaded,
    check_same_data,
    choose_features,
    load_data,
    trains,
)
from twotower_jax.run.problem import make_problem
from twotower_jax.run.rank import QuerySet, Ranking, make_query_sets, rank
from twotower_jax.run.trackers import leaves
from twotower_jax.training.checkpoint import Checkpoints
from twotower_jax.training.mesh import Layout
from twotower_jax.training.problem import Problem
from twotower_jax.training.sources import easy_draws
from twotower_jax.training.types import TrainState


def embed(model: Model, params: dict, queries: QuerySet, num_items: int) -> Embeddings:
    """Return the embeddings of the queries and of the catalogue by a model."""
    return Embeddings(
        all_queries(model, params, queries.entities, queries.queries),
        spread_items(
            all_candidates(model, params, queries.entities, num_items), num_items
        ),
    )


def rank_split(
    config: Config, data: Loaded, problem: Problem, params: dict, queries: QuerySet
) -> Ranking:
    """Rank the catalogue for the queries of a split by a model."""
    model = problem.program.structure.model
    embedded = embed(model, params, queries, data.log.num_items)
    if config.evaluation.subtract_log_q:
        batch = config.training.batch_size
        embedded = embedded.with_offset(subtracted_log_q(problem, params, batch))
    return rank(config, data, queries, embedded)


def subtracted_log_q(problem: Problem, params: dict, batch: int) -> jax.Array:
    """Return the offset -T log N_i of the scores: [num_items] float32.

    A logit of training is s / T - log N_i, so scores with the offset order the items as
    the logits do; serving with it is a mistake. N_i counts in-batch and easy draws, for
    hard draws depend on the query. An item that is never drawn has the smallest N_i.
    """
    structure, hyper = problem.program.structure, problem.program.hyper
    end = TrainState(jnp.int32(2**30), params, {}, {})
    easy = easy_draws(problem.program, problem.data, end)
    every = jnp.arange(structure.num_items)
    in_batch = batch - 1 if structure.negatives.in_batch else 0
    count = log_expected_count(
        (hyper.log_q_batch, in_batch), (log_prob(hyper.easy, every), easy)
    )
    drawn = jnp.isfinite(count)
    least = jnp.min(jnp.where(drawn, count, jnp.inf))
    log_t = params.get("log_temperature", hyper.log_temperature)
    return -jnp.exp(log_t) * jnp.where(drawn, count, least)


def validate(
    cutoffs: Sequence[int],
    num_items: int,
    model: Model,
    queries: QuerySet,
    params: dict,
) -> dict[str, float]:
    """Return the mean ranking metrics, which are watched during training."""
    embedded = embed(model, params, queries, num_items)
    _, items = embedded.top_k(max(cutoffs), queries.seen)
    return summarise(
        ranking_metrics(items, queries.positives, cutoffs, weights=queries.weights)
    )


# --- a finished run -------------------------------------------------------------------


class TrainedRun(NamedTuple):
    """A finished run of towers, read from its folder."""

    config: Config  # with the features of both towers named
    data: Loaded
    model: Model
    params: dict  # of the best validation, on the host
    step: int  # at which they were saved


def evaluate_run(config: Config, folder: Path) -> dict[str, dict[str, float]]:
    """Return {split: {metric: value}} of a finished run, anew from its checkpoint."""
    record = RunFolder(folder)
    step = record.result()["best_step"]
    data = load_same_data(config, record)
    config = choose_features(config, data)
    sets = make_query_sets(config, data)
    if trains(config):
        problem = make_problem(config, data)
        params = _load_params(problem, record, step, problem.layout_here())
        rankings = {
            name: rank_split(config, data, problem, params, queries)
            for name, queries in sets.items()
        }
    else:
        rankings, _ = rank_splits(config, data, sets)
    return {name: ranking.metrics() for name, ranking in rankings.items()}


def load_trained(config: Config, folder: Path) -> TrainedRun:
    """Return the model of a finished run with towers, from its checkpoint."""
    record = RunFolder(folder)
    step = record.result()["best_step"]
    data = load_same_data(config, record)
    config = choose_features(config, data)
    problem = make_problem(config, data)
    params = _load_params(problem, record, step, problem.on_one_device())
    model = problem.program.structure.model
    return TrainedRun(config, data, model, jax.device_get(params), step)


def load_same_data(config: Config, record: RunFolder) -> Loaded:
    """Return the data of a run, refused where it has changed since."""
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
    record.check_seal(f"checkpoints/{step}-params.json")
    return checkpoints.load_params(step, jax.eval_shape(problem.start), layout)


def differences(first: dict, second: dict) -> list[tuple[str, Any, Any]]:
    """Return the metrics in which two results differ by a bit: (name, first, second).

    A metric without a value (NaN, null) equals itself.

    Examples:
      >>> first = {"metrics": {"test": {"mrr@10": 0.5, "map@10": float("nan")}}}
      >>> second = {"metrics": {"test": {"mrr@10": 0.25, "map@10": None}}}
      >>> differences(first, second)
      [('test mrr@10', 0.5, 0.25)]
    """
    before, after = (
        # NaN is no value.
        {k: None if v != v else v for k, v in leaves(result.get("metrics", {}), " ")}
        for result in (first, second)
    )
    return [
        (name, before.get(name), after.get(name))
        for name in sorted(before | after)
        if before.get(name) != after.get(name)
    ]
