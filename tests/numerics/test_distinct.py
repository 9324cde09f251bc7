"""In-batch items that count once: every batch of a small catalogue is enumerated."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.problems import as_loaded, configure, small_problem, with_structure
from helpers.quick import quick

from twotower_jax.cards.arm import small_config
from twotower_jax.cards.optimum import find_optimum
from twotower_jax.cards.world import retrieved_items, world_of, zipf_counts
from twotower_jax.errors import InputError
from twotower_jax.losses.logits import column_terms
from twotower_jax.negatives.easy import Easy
from twotower_jax.negatives.frequency import Frequency
from twotower_jax.negatives.source import Keys, Shared
from twotower_jax.run.problem import make_problem
from twotower_jax.training.batch_loss import batch_terms
from twotower_jax.training.sources import mixture_of
from twotower_jax.training.step import run_steps
from twotower_jax.training.types import TrainState

ITEMS = 4
# q+ is 1/2, 1/4, 1/8, 1/8; a row of each item.
CLICKED = np.array([0, 0, 0, 0, 1, 1, 2, 3])
PLACE = np.array([0, 4, 6, 7])
SCORES = np.array([0.3, -1.0, 0.9, 0.1])


def problem_of(**keys):
    keys = {"negatives__distinct": True, "training__batch_size": 3} | keys
    return small_problem(as_loaded(np.arange(8), CLICKED, 8, ITEMS), **keys)


def mean_sum(problem, own, counted=None):
    """Return E sum_d exp(s_d - log N_d) of a row of item ``own`` among three rows.

    ``counted`` is the problem whose expected counts correct, another one or the same.
    """
    counts = counted or problem
    structure, hyper = problem.program.structure, problem.program.hyper
    easy = structure.negatives.easy_num
    q_plus = np.bincount(CLICKED) / len(CLICKED)
    q_easy = np.exp(np.asarray(hyper.easy.log_q, float))
    laws = [q_plus] * 2 + [q_easy] * easy
    values = np.array(list(itertools.product(range(ITEMS), repeat=len(laws))))
    chance = np.prod([law[values[:, i]] for i, law in enumerate(laws)], axis=0)

    @jax.vmap
    def estimate(value):
        rows = jnp.asarray(PLACE)[jnp.concatenate([jnp.array([own]), value[:2]])]
        batch = problem.data.batch(rows)
        state = TrainState(jnp.int32(0), {}, {}, {})
        mixture = mixture_of(problem.program, problem.data, state)
        drawn = tuple(
            Shared(value[2:])
            if isinstance(source, Easy)
            else source.draw({}, Keys(0), batch)
            for source in mixture.sources
        )
        draws = mixture.collect(batch, drawn)
        columns = draws.columns
        terms = batch_terms(counts.program, problem.data, state, batch, draws)
        pairs = column_terms(terms.columns, terms.rows)
        scores = jnp.asarray(SCORES)[columns.encode_ids.clip(0, ITEMS - 1)]
        return jnp.exp(scores + pairs.log_mult[0] - pairs.log_count[0]).sum()

    sums = estimate(jnp.asarray(values, jnp.int32))
    return float(chance @ np.asarray(sums, float))


@pytest.mark.parametrize("easy", quick([0, 1], [1]))
@pytest.mark.parametrize("own", [0, 2])
def test_the_corrected_sum_over_distinct_items_is_unbiased(own, easy):
    problem = problem_of(negatives__easy__num=easy, negatives__mask="same_item")
    others = np.exp(SCORES).sum() - np.exp(SCORES[own])
    assert mean_sum(problem, own) == pytest.approx(others, rel=1e-5)


@pytest.mark.parametrize("easy", [0, 1])
def test_without_a_mask_it_is_over_the_whole_catalogue(easy):
    problem = problem_of(negatives__easy__num=easy, negatives__mask="none")
    assert mean_sum(problem, 0) == pytest.approx(np.exp(SCORES).sum(), rel=1e-5)


def test_the_correction_of_draws_is_another_one():
    """Counted once, but corrected by the number of draws: popular items are lost."""
    problem = problem_of(negatives__mask="same_item")
    negatives = problem.program.structure.negatives._replace(distinct=False)
    wrong = with_structure(problem, negatives=negatives)
    others = np.exp(SCORES).sum() - np.exp(SCORES[2])
    assert mean_sum(problem, 2, wrong) < 0.95 * others


@pytest.mark.slow
def test_steps_are_the_same_with_cut_columns_and_with_all():
    """Rows of a batch share few items: the columns are cut to the distinct ones."""
    rng = np.random.default_rng(0)
    data = as_loaded(
        rng.integers(0, 40, 900), rng.integers(0, 30, 900) ** 2 // 30, 40, 30
    )
    keys = {
        "negatives__distinct": True,
        "negatives__easy__num": 8,
        "training__batch_size": 300,
        "loss__logq__correct": "all",
    }
    problem = small_problem(data, **keys)
    structure = problem.program.structure
    assert 30 + 8 <= structure.merged_size < 308
    results = []
    for one in (problem, with_structure(problem, merged_size=0)):
        rows = one.order.batches(0, 3)
        arguments = one.program, one.data, one.start(), rows, np.int32(3)
        results.append(run_steps(*arguments))
    (state, losses), (other, other_losses) = results
    np.testing.assert_allclose(losses, other_losses, rtol=1e-5)
    jax.tree.map(
        lambda x, y: np.testing.assert_allclose(x, y, atol=1e-5),
        state.params,
        other.params,
    )


def test_a_streaming_frequency_estimates_the_inclusion_itself():
    """An item in every batch is among the other rows too, however large the batch."""
    problem = problem_of(loss__logq__frequency="streaming")
    gap = jnp.array([[1.0, 2.0, 1e6]])
    buckets = Frequency(jnp.zeros((1, 3), jnp.int32), gap)
    state = TrainState(jnp.int32(0), {}, {}, {"frequency": buckets})
    batch = problem.data.batch(jnp.arange(3))
    mixture = mixture_of(problem.program, problem.data, state)
    memory, every = state.samplers, jnp.arange(64)
    log_once = mixture.positives.log_once(memory, batch, 2, every)
    found = {float(x) for x in jnp.exp(log_once)}
    want = sorted(1 - (1 - 1 / np.asarray(gap, float)[0]) ** (2 / 3))
    np.testing.assert_allclose(sorted(found), want, rtol=1e-2)


def test_the_optimum_is_log_p_with_all_corrected():
    counts = zipf_counts(60, 2, 2048)
    world = world_of(counts, retrieved_items(counts))
    slopes = {}
    for correct in ("all", "none"):
        keys = {
            "negatives__distinct": True,
            "negatives__mask": "none",
            "training__batch_size": 64,
            "loss__logq__correct": correct,
        }
        config = small_config(configure(**keys), world)
        scores = find_optimum(make_problem(config, world.loaded), world).scores
        x = np.log(world.probability)
        x, y = (v - v.mean(axis=1, keepdims=True) for v in (x, scores))
        slopes[correct] = float((x * y).sum() / (x * x).sum())
    assert slopes["all"] == pytest.approx(1, abs=0.03)
    assert slopes["none"] < 0.8


def test_distinct_items_of_no_batch_are_refused():
    with pytest.raises(
        InputError, match="negatives.distinct=true .*in_batch=false; set"
    ):
        configure(
            negatives__distinct=True,
            negatives__in_batch=False,
            negatives__easy__num=8,
        )
