"""Evaluation of a model in training, at its end, and of a finished run; baselines."""

from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from rich.console import Console

from twotower_jax.config import Config
from twotower_jax.config.convert import leaves
from twotower_jax.evaluation import scorers
from twotower_jax.evaluation.metrics import ranking_metrics, summarise
from twotower_jax.evaluation.spread import spread_items
from twotower_jax.model.tower import Model
from twotower_jax.model.towers import BASELINES, Scores, baselines_for
from twotower_jax.model.towers.choice import Clicks
from twotower_jax.model.two_tower import all_candidates, all_queries
from twotower_jax.negatives.easy import log_prob
from twotower_jax.negatives.frequency import log_expected_count
from twotower_jax.run import loader
from twotower_jax.run.folder import RunFolder
from twotower_jax.run.loader import Latest, Loaded
from twotower_jax.run.problem import make_problem
from twotower_jax.run.rank import QuerySet, Ranking, make_query_sets, rank
from twotower_jax.training.checkpoint import Checkpoints
from twotower_jax.training.mesh import MeshShape
from twotower_jax.training.problem import Problem
from twotower_jax.training.sources import easy_draws
from twotower_jax.training.types import TrainState


def embed(
    model: Model, params: dict, queries: QuerySet, num_items: int
) -> scorers.Embeddings:
    """Return the embeddings of the queries and of the catalogue by a model."""
    return scorers.Embeddings(
        all_queries(model, params, queries.entities, queries.queries),
        spread_items(
            all_candidates(model, params, queries.entities, num_items), num_items
        ),
    )


def rank_sets(
    config: Config,
    data: Loaded,
    problem: Problem,
    params: dict,
    sets: Mapping[str, QuerySet],
) -> dict[str, Ranking]:
    """Rank the catalogue for the queries of each split by a model."""
    rankings, batch = {}, config.training.batch_size
    for name, queries in sets.items():
        model = problem.program.model
        embedded = embed(model, params, queries, data.log.num_items)
        if config.evaluation.subtract_log_q:
            embedded = embedded.with_offset(subtracted_log_q(problem, params, batch))
        rankings[name] = rank(config, data, queries, embedded)
    return rankings


def subtracted_log_q(problem: Problem, params: dict, batch: int) -> jax.Array:
    """Return the offset -T log N_i of scores, which orders items as logits do: [items].

    N_i counts in-batch and easy draws; an item never drawn has the smallest one.
    """
    program = problem.program
    end = TrainState(jnp.int32(2**30), params, {}, {})
    easy = easy_draws(program, problem.data, end)
    every = jnp.arange(program.num_items)
    in_batch = batch - 1 if program.negatives.in_batch else 0
    count = log_expected_count(
        (program.log_q_batch, in_batch), (log_prob(program.easy, every), easy)
    )
    drawn = jnp.isfinite(count)
    least = jnp.min(jnp.where(drawn, count, jnp.inf))
    log_t = params.get("log_temperature", program.log_temperature)
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


# --- baselines, whose fits and rankings the next runs of the process share ------------

_fits: Latest[Scores] = Latest(1)  # one EASE model may hold a gigabyte
# Of both splits by every baseline, which the seeds and arms of a sweep share.
_rankings: Latest[Ranking] = Latest(2 * len(BASELINES))


def known_clicks(config: Config, data: Loaded, split: str) -> Clicks:
    """Return the positives that a baseline, as the towers, knows: [users, items]."""
    pairs = data.split.train
    if split == "test" and "history" in config.towers.query:
        pairs = pairs.join(data.split.valid)
    return loader.clicks_of(data, pairs)


def fit_baseline(config: Config, data: Loaded, kind: str) -> Scores:
    """Return the scores of a fitted baseline, which is kept for the next call."""
    baseline, numbers = loader.baseline_of(config, kind)

    def fit() -> Scores:
        return baseline.fit(loader.train_clicks(data), numbers, config.seed)

    return _fits.get(_fit_key(config, data, kind), fit)


def baseline_scorer(
    config: Config, data: Loaded, kind: str, history: Clicks, blank: np.ndarray
) -> scorers.Scorer:
    """Return the scores of a baseline for known positives [queries, items].

    Queries without scores have those of popularity and are marked in ``blank``.
    """
    scores = fit_baseline(config, data, kind)
    number, num_items = history.shape
    if BASELINES[kind].shared:
        return scorers.SharedScores(scores(history[:1])[0], number)
    counts = data.counts.astype(np.float32)

    def score(part: slice) -> np.ndarray:
        values = scores(history[part])
        empty = ~values.any(axis=1)
        values[empty] = counts
        blank[part] = empty
        return values

    return scorers.BlockScores(score, number, num_items)


def rank_baseline(
    config: Config, data: Loaded, kind: str, split: str, queries: QuerySet
) -> Ranking:
    """Rank the catalogue for the queries of a split by a baseline."""

    def make() -> Ranking:
        blank = np.zeros(len(queries.user), bool)
        history = known_clicks(config, data, split)[queries.user]
        scorer = baseline_scorer(config, data, kind, history, blank)
        ranking = rank(config, data, queries, scorer)
        precision = getattr(fit_baseline(config, data, kind), "precision", None)
        return ranking._replace(by_popularity=int(blank.sum()), precision=precision)

    # Its fit and what else decides its metrics.
    decides = split, "history" in config.towers.query, config.data, config.evaluation
    return _rankings.get((*_fit_key(config, data, kind), repr(decides)), make)


def _fit_key(config: Config, data: Loaded, kind: str) -> tuple[Hashable, ...]:
    baseline, numbers = loader.baseline_of(config, kind)
    seed = config.seed if baseline.seeded else None
    return data.fingerprint, kind, baseline.structure(), numbers, seed


def rank_splits(
    config: Config, data: Loaded, sets: Mapping[str, QuerySet]
) -> tuple[dict[str, Ranking], dict[str, Any]]:
    """Return the rankings by split of a run of a baseline, and counts by split."""
    kind = config.towers.kind
    ranked = {s: rank_baseline(config, data, kind, s, sets[s]) for s in sets}
    numbers = {split: made.by_popularity for split, made in ranked.items()}
    counts: dict[str, Any] = {"queries ranked by popularity": numbers}
    if precision := next(iter(ranked.values())).precision:
        counts["precision"] = precision
    return ranked, counts


def compare_baselines(
    config: Config, data: Loaded, sets: Mapping[str, QuerySet], console: Console
) -> dict[str, dict[str, dict[str, float]]]:
    """Return {baseline: {split: {metric: value}}}: popularity, or all within limits."""
    kinds = ["popularity"]
    if config.baselines:
        kinds = list(baselines_for(config.data.mask_seen))
        clicks = loader.train_clicks(data)
        for kind in tuple(kinds):
            if (excess := loader.excess_of(config, kind, clicks)) is not None:
                kinds.remove(kind)
                line = f"baseline left out: {excess}"
                console.print(line, highlight=False, soft_wrap=True)
    return {
        kind: {s: rank_baseline(config, data, kind, s, sets[s]).metrics() for s in sets}
        for kind in kinds
    }


def add_baselines(
    config: Config, data: Loaded, record: RunFolder, console: Console
) -> dict[str, Any]:
    """Return the result of a finished run; baselines that it lacks are added to it."""
    result = record.result()
    before = result.get("baselines", {})
    if config.baselines and set(before) < set(baselines_for(config.data.mask_seen)):
        sets = make_query_sets(config, data)
        now = compare_baselines(config, data, sets, console)
        if set(now) > set(before):
            result["baselines"] = now
            record.finish(result)
    return result


# --- a finished run -------------------------------------------------------------------


class TrainedRun(NamedTuple):
    """A finished run of towers, read from its folder."""

    config: Config  # with the features of both towers named
    data: Loaded
    problem: Problem
    params: dict  # of the best validation
    step: int  # at which they were saved

    @property
    def model(self) -> Model:
        """The towers."""
        return self.problem.program.model


def evaluate_run(config: Config, folder: Path) -> dict[str, dict[str, float]]:
    """Return {split: {metric: value}} of a finished run, anew from its checkpoint."""
    if loader.trains(config):
        run = _load_trained(config, folder, of_its_mesh=True)
        sets = make_query_sets(run.config, run.data)
        rankings = rank_sets(run.config, run.data, run.problem, run.params, sets)
    else:
        record = RunFolder(folder)
        record.result()
        data = load_same_data(config, record)
        config = loader.choose_features(config, data)
        rankings, _ = rank_splits(config, data, make_query_sets(config, data))
    return {name: ranking.metrics() for name, ranking in rankings.items()}


def load_trained(config: Config, folder: Path) -> TrainedRun:
    """Return the model of a finished run with towers, its parameters on the host."""
    run = _load_trained(config, folder, of_its_mesh=False)
    return run._replace(params=jax.device_get(run.params))


def load_same_data(config: Config, record: RunFolder) -> Loaded:
    """Return the data of a run, refused where it has changed since."""
    data = loader.load_data(config)
    loader.check_same_data(record, data)
    return data


def _load_trained(config: Config, folder: Path, of_its_mesh: bool) -> TrainedRun:
    """Return a finished run, its parameters on its mesh, if it fits, or one device."""
    record = RunFolder(folder)
    step, data = record.result()["best_step"], load_same_data(config, record)
    config = loader.choose_features(config, data)
    problem = make_problem(config, data)
    fits = of_its_mesh and problem.mesh.devices <= len(jax.devices())
    layout = problem.layout(problem.mesh if fits else MeshShape())
    checkpoints = Checkpoints(folder)
    checkpoints.with_params(step)
    record.check_seal(f"checkpoints/{step}-params.json")
    params = checkpoints.load_params(step, jax.eval_shape(problem.start), layout)
    return TrainedRun(config, data, problem, params, step)


def differences(first: dict, second: dict) -> list[tuple[str, Any, Any]]:
    """The metrics in which two results differ by a bit: (name, first, second)."""
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
