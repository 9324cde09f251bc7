"""The examples of CONTRIBUTING.md are added and used as they stand there."""

import functools
from dataclasses import dataclass
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import tiny
from helpers.contributing import SOURCE, block
from helpers.loss_cases import make_case, negatives, on_device
from helpers.source_steps import (
    ITEM,
    TEMPERATURE,
    USER,
    batches_of,
    go,
    problem_of,
    start,
    vectors,
)
from hydra.errors import ConfigCompositionException
from scipy import stats

from twotower_jax.config import describe_keys, from_dict, from_record, to_dict
from twotower_jax.evaluation import metrics
from twotower_jax.evaluation.metrics import sliced_metrics
from twotower_jax.evaluation.ragged import from_pairs
from twotower_jax.evaluation.ranking import Hits
from twotower_jax.losses import LOSSES, SampledLoss, SampledSoftmax, Term
from twotower_jax.losses.blockwise import batch_loss
from twotower_jax.losses.loss import weighted_mean
from twotower_jax.model import tower
from twotower_jax.model.embeddings import FeatureSpec
from twotower_jax.model.towers import (
    BASELINES,
    TOWERS,
    Baseline,
    Tower,
    Towers,
    baseline,
)
from twotower_jax.negatives import EASY, easy
from twotower_jax.registry import key, section
from twotower_jax.run import run
from twotower_jax.run.checks import check_names
from twotower_jax.sweeps.compose import compose_config
from twotower_jax.sweeps.planned import evaluated_metrics


@pytest.fixture
def add():
    """Run the code of a section on a registry, and remove its entries afterwards."""
    before = []

    def run(heading, registry, **scope):
        before.append((registry, set(registry)))
        code = compile(block(heading, "python"), "CONTRIBUTING.md", "exec")
        exec(code, {"np": np, "jax": jax, "jnp": jnp, **scope})
        return set(registry) - before[-1][1]

    yield run
    for registry, names in before:
        for name in set(registry) - names:
            del registry[name]


def test_the_law_that_is_added_draws_its_log_q(add):
    names = {}
    exec(SOURCE, names)
    assert add("Add a law of easy negatives", EASY, **names) == {"rare"}
    config = from_dict({"negatives": {"easy": {"sampler": "rare", "num": 4}}})
    counts = np.arange(50)
    assert config.negatives.easy.alpha == 0.75
    proposal = easy.make_proposal("rare", counts)
    expected = (counts + 1.0) ** -0.75 / ((counts + 1.0) ** -0.75).sum()
    np.testing.assert_allclose(np.exp(proposal.log_q), expected, rtol=1e-5)
    drawn = easy.sample(jax.random.key(0), proposal, (100_000,))
    observed = np.bincount(drawn, minlength=50)
    assert stats.chisquare(observed, 100_000 * expected).pvalue > 1e-3


def test_the_loss_that_is_added_is_composed_and_trained_in_blocks(add):
    names = {"LOSSES": LOSSES, "SampledLoss": SampledLoss, "key": key}
    names |= {"dataclass": dataclass, "weighted_mean": weighted_mean}
    assert add("Add a loss", LOSSES, **names) == {"squared_hinge"}
    config = compose_config(["loss=squared_hinge", "loss.margin=0.5"])
    assert (config.loss.margin, config.loss.logq.correct) == (0.5, "none")
    assert from_record(to_dict(config)) == config
    assert {"loss.margin"} <= {
        row.key for row in describe_keys() if "squared" in row.doc
    }
    case = make_case("all")
    loss, (scores, columns, rows) = config.loss, on_device(case)
    got, gradient = jax.value_and_grad(lambda s: batch_loss(loss, s, columns, rows))(
        scores
    )
    want = 0.0
    for i, positive in enumerate(case.scores.positive):
        pairs = negatives(i, case)
        lacks = [max(0, 0.5 - 0.14 * (positive - s + n)) ** 2 for s, n, _ in pairs]
        total = sum(draws for _, _, draws in pairs)
        drawn = sum(
            lack * draws for lack, (_, _, draws) in zip(lacks, pairs, strict=True)
        )
        want += case.rows.weight[i] * drawn / total
    assert float(got) == pytest.approx(want, rel=1e-5)
    assert np.abs(gradient.slots).max() > 0


def test_the_term_that_is_added_is_in_the_loss_times_its_weight(add):
    names = {"LOSSES": LOSSES, "SampledSoftmax": SampledSoftmax, "Term": Term}
    names |= {"ClassVar": ClassVar, "dataclass": dataclass, "key": key}
    names |= {"section": section}
    assert add("Add a term of the loss", LOSSES, **names) == {"penalised"}
    words = ["loss=penalised", "loss.logit_penalty.weight=0.5"]
    assert from_record(to_dict(compose_config(words))).loss.terms()[0].weight == 0.5
    keys = {"loss__name": "penalised", "loss__logit_penalty__weight": 0.5}
    both, plain = problem_of(**keys), problem_of()
    state, (rows,) = start(both), batches_of(both, 1)
    losses = [float(go(one, state, rows)[1][0]) for one in (both, plain)]
    query, item = (np.asarray(x, float) for x in vectors(state.params["tables"]))
    logits = (query[USER[rows]] * item[ITEM[rows]]).sum(axis=1) / TEMPERATURE
    assert losses[0] - losses[1] == pytest.approx(0.5 * (logits**2).mean(), rel=1e-4)
    heavier = problem_of(**(keys | {"loss__logit_penalty__weight": 0.7}))
    assert jax.tree.structure(heavier.program) == jax.tree.structure(both.program)


def test_the_tower_that_is_added_is_composed_built_and_differentiated(add):
    names = {"TOWERS": TOWERS, "Towers": Towers, "Tower": Tower, "key": key}
    names |= {"dataclass": dataclass, "functools": functools}
    assert add("Add a tower", TOWERS, **names) == {"residual"}
    words = ["towers=residual", "towers.deviation=0.5", "towers.dim=3"]
    config = compose_config(words)
    check_names(config)
    assert from_record(to_dict(config)) == config
    assert from_dict({"towers": {"kind": "residual"}}).towers.structure() != (
        config.towers.structure()
    )
    rows = {row.key: row.doc for row in describe_keys()}
    assert rows["towers.deviation"].startswith("residual: ")
    with pytest.raises(ConfigCompositionException, match="deviation"):
        compose_config(["towers=mlp", "towers.deviation=0.5"])
    # The arm of a baseline replaces it, and keeps the features of the study.
    arm = compose_config([*words, "towers.query=[history]", "arms=baseline/ease"])
    assert (arm.towers.kind, arm.towers.query) == ("ease", ("history",))

    chosen = config.towers.structure()
    spec = tower.TowerSpec((FeatureSpec("id", "id", 9),), 3, (), False, chosen)
    params = tower.init_tower(spec, jax.random.key(0))
    assert 0.2 < np.abs(params["kernel"]).mean() < 0.8
    x = jax.random.normal(jax.random.key(1), (5, 3))
    found = tower.apply_tower(spec, params, {"id": x}, None)
    expected = np.asarray(x) + np.maximum(np.asarray(x) @ params["kernel"], 0)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)

    def total(params):
        return tower.apply_tower(spec, params, {"id": x}, None).sum()

    assert (jax.grad(total)(params)["kernel"] != 0).any()


def test_a_tower_is_trained_and_evaluated(add, tmp_path):
    names = {"TOWERS": TOWERS, "Towers": Towers, "Tower": Tower, "key": key}
    add("Add a tower", TOWERS, dataclass=dataclass, functools=functools, **names)
    words = ("towers=residual", "towers.deviation=0.5", "training.steps=4")
    config = tiny.make_config(tmp_path, *words)
    plain = tiny.make_config(tmp_path, "training.steps=4")
    ours, theirs = run(config)["metrics"]["test"], run(plain)["metrics"]["test"]
    assert ours["recall@20"] > 0 and ours != theirs


def test_a_baseline_of_another_package_is_fitted_with_its_own_keys(tmp_path):
    @dataclass(unsafe_hash=True)
    class Power(Baseline):
        kind: str = "power_baseline"
        label: ClassVar[str] = "power"
        power: float = key(1.0, doc="power of the clicks")

        def fit(self, clicks, numbers, seed):
            counts = (1 + clicks.sum(axis=0)) ** self.power
            row = counts.astype(np.float32)
            return lambda history: np.repeat(row[None], history.shape[0], axis=0)

    baseline(Power)
    try:
        words = ("towers=power_baseline",)
        least = tiny.make_config(tmp_path, *words, "towers.power=-1.0")
        most, known = (
            tiny.make_config(tmp_path, word) for word in (*words, "towers=popularity")
        )
        found = [run(one)["metrics"]["test"]["recall@20"] for one in (least, most)]
        assert found[0] < found[1]
        assert found[1] == run(known)["metrics"]["test"]["recall@20"]
    finally:
        del TOWERS["power_baseline"], BASELINES["power_baseline"]


def test_the_metric_that_is_added_is_evaluated_sliced_and_accepted(add):
    types = {"Hits": Hits, "Metric": metrics.Metric}
    registry = metrics.METRICS
    assert add("Add a metric", registry, METRICS=registry, **types) == {"precision"}
    items, positives = np.array([[3, 1, 2, 0]]), from_pairs([0, 0], [3, 2], 1)
    values = metrics.ranking_metrics(items, positives, [1, 4])
    assert values["precision@1"] == [1.0] and values["precision@4"] == [0.5]
    sliced = sliced_metrics(items, positives, np.array([0, 0, 2, 1]), [4])
    assert sliced["precision@4/tail"] == [0.25]
    config = from_dict({"training": {"metric": "precision@20"}})
    check_names(config)
    assert "precision@20/tail" in evaluated_metrics(config)
    assert "precision" in metrics.of_scope("query", view="study")
