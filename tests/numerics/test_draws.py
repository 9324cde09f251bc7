"""The draws of a step against the expected counts that its correction states.

A million draws and more of `draw` are counted as negatives of given rows and compared
by chi-square with exp(log N) of `batch_terms`. The package computes both, the counts
for the whole catalogue, so that a test fails when they differ, whichever is wrong.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.problems import as_loaded, small_problem, with_program, zipf_clicks
from helpers.quick import quick
from scipy import stats

from twotower_jax.data.log import Stage
from twotower_jax.losses.logits import column_terms
from twotower_jax.negatives.columns import catalogue_columns
from twotower_jax.negatives.easy import (
    from_weights,
    log_prob,
    make_proposal,
    sample,
)
from twotower_jax.negatives.samplers import EASY
from twotower_jax.training.batch_loss import batch_terms
from twotower_jax.training.sources import draw
from twotower_jax.training.types import TrainState

pytestmark = pytest.mark.long_programs

ITEMS, USERS = 1_000, 100
USER, ITEM = zipf_clicks(USERS, ITEMS, 20_000)
COUNTS = np.bincount(ITEM, minlength=ITEMS)
# No mask: a draw equal to the row's positive counts, so every item can be compared.
PLAIN = {"negatives__mask": "none", "loss__logq__correct": "all"}


@jax.jit
def stated(program, data, rows):
    """Return log expected counts of the whole catalogue [rows, ITEMS]."""
    state, batch = TrainState(jnp.int32(0), {}, {}, {}), data.batch(rows)
    draws = draw(program, data, state, batch)
    columns = catalogue_columns(batch.items, ITEMS)
    # The row's own item is not an exception here.
    columns = columns._replace(own_log_mult=jnp.zeros(rows.shape))
    draws = draws._replace(columns=columns)
    terms = batch_terms(program, data, state, batch, draws)
    return column_terms(terms.columns, terms.rows).log_count


def every_item(problem, rows):
    """Return expected counts [rows, ITEMS] of the whole catalogue, in float64."""
    log_count = stated(problem.program, problem.data, jnp.asarray(rows))
    return np.exp(np.asarray(log_count, float))


@partial(jax.jit, static_argnames=("looked_at", "together"))
def drawn(program, data, batches, looked_at, together):
    """Return negatives of the first rows of each batch, and the draws of each."""

    def one(step, rows):
        state = TrainState(step, {}, {}, {})
        draws = draw(program, data, state, data.batch(rows))
        columns = draws.columns
        ids = columns.encode_ids[: columns.key.shape[0]]
        own = columns.key[None] == columns.row_key[:looked_at, None]
        log_mult = jnp.where(
            own, columns.own_log_mult[:looked_at, None], columns.log_mult[None]
        )
        counted = jnp.round(jnp.exp(log_mult)).astype(jnp.int32)
        ids = jnp.broadcast_to(ids[None], counted.shape)
        slots = draws.slots.items[:looked_at]
        ids = jnp.concatenate([ids, slots], axis=1)
        on = (slots < ITEMS).astype(jnp.int32)
        counted = jnp.concatenate([counted, on], axis=1)
        return ids, counted

    steps = jnp.arange(len(batches), dtype=jnp.int32)
    return jax.lax.map(lambda x: one(*x), (steps, batches), batch_size=together)


def drawn_counts(problem, batches, looked_at=1, together=None):
    """Return how often each item is a negative, [looked_at, ITEMS], over the steps.

    Args:
      problem: the training problem.
      batches: [steps, B] rows of the batch of each step.
      looked_at: number of the first rows of a batch that are counted.
      together: steps computed at a time, which changes no draw.
    """
    batches = jnp.asarray(batches)
    result = drawn(problem.program, problem.data, batches, looked_at, together)
    ids, counted = (np.asarray(x).swapaxes(0, 1) for x in result)
    return np.stack(
        [
            np.bincount(i.ravel(), c.ravel(), minlength=ITEMS + 1)[:ITEMS]
            for i, c in zip(ids, counted, strict=True)
        ]
    )


def p_value(observed, expected, draws):
    """Return p of counts [ITEMS] of a number of draws, some of which may be off."""
    assert observed[expected == 0].sum() == 0
    possible = expected > 0
    observed = np.append(observed[possible], draws - observed.sum())
    expected = np.append(expected[possible], draws - expected.sum())
    if expected[-1] < 1e-5 * draws:  # No draw is ever off, but for rounding.
        assert observed[-1] == 0
        observed, expected = observed[:-1], expected[:-1]
    return stats.chisquare(observed, expected * draws / expected.sum()).pvalue


# ----------------------------------------------------------------------- easy negatives

SAMPLERS = ["uniform", "popularity", "log_uniform"]


@pytest.mark.parametrize("layout", ["shared", "per_row"])
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_easy_negatives_fit_their_expected_counts(sampler, layout):
    problem = small_problem(
        as_loaded(USER, ITEM, USERS, ITEMS),
        negatives__in_batch=False,
        negatives__layout=layout,
        negatives__easy__num=512,
        negatives__easy__sampler=sampler,
        **PLAIN,
    )
    steps = 2_048  # 1,048,576 draws
    batches = np.full((steps, 1), 7, np.int32)
    [expected] = steps * every_item(problem, [7])
    assert expected.sum() == pytest.approx(512 * steps, rel=1e-6)
    [observed] = drawn_counts(problem, batches)
    assert p_value(observed, expected, 512 * steps) > 0.001


def test_the_fit_would_notice_a_slightly_wrong_exponent():
    data = as_loaded(USER, ITEM, USERS, ITEMS)
    keys = {
        "negatives__in_batch": False,
        "negatives__easy__num": 512,
        "negatives__easy__sampler": "popularity",
    }
    drawn_from = small_problem(data, negatives__easy__alpha=0.75, **keys, **PLAIN)
    stated_by = small_problem(data, negatives__easy__alpha=0.74, **keys, **PLAIN)
    [observed] = drawn_counts(drawn_from, np.full((2_048, 1), 7, np.int32))
    [expected] = 2_048 * every_item(stated_by, [7])
    assert p_value(observed, expected, 2**20) < 1e-6


@pytest.mark.parametrize("name", EASY)
def test_the_probabilities_of_a_proposal_sum_to_one(name):
    alphas = (0.0, 0.75, 2.0)
    popular = [{"alpha": alpha, "smoothing": 0.5} for alpha in alphas]
    for keys in popular if name == "popularity" else [{}]:
        proposal = make_proposal(name, COUNTS, **keys)
        chance = np.exp(np.asarray(log_prob(proposal, jnp.arange(ITEMS)), float))
        assert chance.sum() == pytest.approx(1, abs=1e-6)


WEIGHTS = np.logspace(-12, 0, ITEMS)


def test_log_q_is_exact_over_twelve_decades():
    """No floor: the rarest of 1,000 items has q = 2.7e-14, to the last float32 bit."""
    exact = np.log(WEIGHTS) - np.log(WEIGHTS.sum())
    proposal = from_weights(WEIGHTS)
    np.testing.assert_array_max_ulp(
        np.asarray(proposal.log_q), exact.astype(np.float32), 1
    )
    problem = small_problem(
        as_loaded(USER, ITEM, USERS, ITEMS),
        negatives__in_batch=False,
        negatives__easy__num=512,
        **PLAIN,
    )
    problem = with_program(problem, easy=proposal)
    stated_log = np.log(every_item(problem, [7])[0])
    np.testing.assert_allclose(stated_log, exact + np.log(512), atol=4e-6)


def test_rare_items_are_drawn_as_rarely_as_they_say(key):
    """999 of 1,000 items share a chance of 1e-9: 0.02 of 2e7 draws are theirs."""
    weights = np.full(ITEMS, 1e-9 / (ITEMS - 1))
    weights[0] = 1
    proposal = from_weights(weights)

    @jax.jit
    def rare(key):
        return (sample(key, proposal, (4_000_000,)) > 0).sum()

    number = sum(int(rare(jax.random.fold_in(key, part))) for part in range(5))
    chance = np.exp(np.asarray(proposal.log_q, float))[1:].sum()
    assert stats.poisson.sf(number - 1, 2e7 * chance) > 0.001


def test_an_item_of_probability_zero_is_refused():
    """(0 clicks + 1e-200)^2 is 0 in floating point."""
    with pytest.raises(ValueError, match="finite and above 0, got 0.0 for item"):
        small_problem(
            as_loaded(USER, ITEM, USERS, ITEMS + 1),
            negatives__easy__num=1,
            negatives__easy__sampler="popularity",
            negatives__easy__smoothing=1e-200,
            negatives__easy__alpha=2,
        )


# ------------------------------------------------------------------- in-batch negatives

BATCH = 8


@pytest.mark.parametrize("strategy", ["power", "downsample_hot"])
def test_in_batch_counts_are_those_of_the_resampled_positives(strategy):
    """And not of the clicks: q+ in the correction is the one of the batches."""
    problem = small_problem(
        as_loaded(USER, ITEM, USERS, ITEMS),
        positives__strategy=strategy,
        positives__exponent=0.5,
        training__batch_size=BATCH,
        **PLAIN,
    )
    steps = 150_000  # 1,050,000 negatives of row 0
    batches = problem.order.batches(0, steps)
    [expected] = steps * every_item(problem, batches[0])[:1]
    [observed] = drawn_counts(problem, batches, together=512)
    assert observed.sum() == (BATCH - 1) * steps
    assert expected.sum() == pytest.approx((BATCH - 1) * steps, rel=1e-6)
    assert misfit(strategy, observed, expected) > 0.001
    clicks = steps * (BATCH - 1) * COUNTS / COUNTS.sum()
    assert misfit(strategy, observed, clicks) < 1e-6


def misfit(strategy, observed, expected):
    """Return p of in-batch counts, by the variance of the strategy's draws."""
    variance = expected.copy()
    if strategy == "downsample_hot":
        # A click is kept with probability k an epoch, and is then a negative unless it
        # is in row 0 itself: Bernoulli, not Poisson.
        kept = np.minimum(1, np.sqrt(COUNTS[COUNTS > 0].mean() / np.maximum(COUNTS, 1)))
        variance *= 1 - kept * (BATCH - 1) / BATCH
    some = COUNTS > 0
    assert observed[~some].sum() == 0
    statistic = ((observed - expected)[some] ** 2 / variance[some]).sum()
    return stats.chi2.sf(statistic, some.sum() - 1)


# ----------------------------------------------------------------------- hard negatives

POOLED, BARE = 7, 8  # A positive with a pool and one without.
STAGES = ["retrieved", "pre_ranked", "ranked"]
STAGE_WEIGHTS = [0.5, 1.0, 4.0]
LOSERS = np.random.default_rng(1).choice(200, 60)
STAGE = np.random.default_rng(2).integers(0, 3, 60)


def funnel():
    """Return the clicks, with the losers of the request of one of them."""
    rows = {
        "user": np.full(60, USER[POOLED]),
        "item": LOSERS,
        "stage": np.array([Stage[name.upper()] for name in STAGES])[STAGE],
        "request": np.full(60, POOLED),
    }
    return as_loaded(USER, ITEM, USERS, ITEMS, rows, np.arange(len(USER)))


def pool_by_hand():
    """Return the probability of a hard draw, [ITEMS]."""
    weight = np.array(STAGE_WEIGHTS)[STAGE]
    return np.bincount(LOSERS, weight, minlength=ITEMS) / weight.sum()


HARD = {
    "negatives__hard__stages": STAGES,
    "negatives__hard__weights": STAGE_WEIGHTS,
    "negatives__easy__sampler": "popularity",
}


@pytest.mark.parametrize("ratio", quick([None, 0.25, 0.75], [0.25]))
@pytest.mark.parametrize("layout", quick(["shared", "per_row"], ["per_row"]))
def test_mixtures_with_hard_negatives_fit_their_expected_counts(layout, ratio):
    """512 easy and 512 hard slots; a row without a pool draws easy ones instead.

    In the shared layout the ratio switches a third of one kind on, so that 683 draws
    a step remain; a row has all 1,024 otherwise.
    """
    problem = small_problem(
        funnel(),
        negatives__in_batch=False,
        negatives__layout=layout,
        negatives__easy__num=512,
        negatives__hard__num=512,
        negatives__hard_ratio=ratio,
        **HARD,
        **PLAIN,
    )
    steps, share = 2_048, 0.5 if ratio is None else ratio
    on = 1_024 if ratio is None or layout == "per_row" else 512 / max(share, 1 - share)
    batches = np.tile(np.array([POOLED, BARE], np.int32), (steps, 1))
    expected = every_item(problem, batches[0])
    easy = np.exp(np.asarray(problem.program.easy.log_q, float))
    by_hand = on * np.stack([(1 - share) * easy + share * pool_by_hand(), easy])
    np.testing.assert_allclose(expected, by_hand, rtol=2e-5)
    observed = drawn_counts(problem, batches, 2)
    for one, mean in zip(observed, steps * expected, strict=True):
        assert one.sum() > 1e6
        assert p_value(one, mean, 1_024 * steps) > 0.001


def test_all_sources_together_fit_the_sum_of_their_expected_counts():
    """In-batch of resampled positives, easy columns, hard slots: 175 draws a step."""
    problem = small_problem(
        funnel(),
        positives__strategy="power",
        positives__exponent=0.5,
        training__batch_size=16,
        negatives__easy__num=240,
        negatives__hard__num=40,
        negatives__hard_ratio=0.25,
        **HARD,
        **PLAIN,
    )
    steps = 6_144
    batches = problem.order.batches(0, steps)
    batches[:, 0] = POOLED
    [expected] = steps * every_item(problem, batches[0])[:1]
    # At a ratio of a quarter every hard slot is on, and half of the easy columns.
    assert expected.sum() == pytest.approx(steps * (15 + 120 + 40), rel=1e-6)
    [observed] = drawn_counts(problem, batches)
    assert observed.sum() > 1e6
    assert p_value(observed, expected, steps * (15 + 240 + 40)) > 0.001
    # Without any one of the sources the fit is lost.
    q_plus = np.exp(np.asarray(problem.program.log_q_batch, float))
    easy = np.exp(np.asarray(problem.program.easy.log_q, float))
    for part in (15 * q_plus, 120 * easy, 40 * pool_by_hand()):
        other = np.maximum(expected - steps * part, 1e-9)
        other *= expected.sum() / other.sum()
        assert p_value(observed, other, steps * (15 + 240 + 40)) < 1e-6
