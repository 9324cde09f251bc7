"""Samplers against their own probability; columns against the rows they stand for."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.oracles import full_softmax
from scipy import stats

from twotower_jax.errors import InputError
from twotower_jax.negatives import columns as cols
from twotower_jax.negatives.columns import (
    distinct_of_batch,
    merged_size,
    merged_size_of_arms,
)
from twotower_jax.negatives.easy import (
    from_weights,
    log_prob,
    make_proposal,
    sample,
)
from twotower_jax.negatives.frequency import log_expected_count, log_frequency
from twotower_jax.negatives.samplers import EASY

ITEMS = 1_000
COUNTS = (10_000 / np.arange(1, ITEMS + 1)).astype(int)


@pytest.mark.parametrize(
    ("name", "keys"), [*((name, {}) for name in EASY), ("popularity", {"alpha": 1.0})]
)
def test_frequencies_fit_log_prob(name, keys, key):
    proposal = make_proposal(name, COUNTS, **keys)
    drawn = np.asarray(sample(key, proposal, (1_000_000,)))
    expected = 1e6 * np.exp(np.asarray(log_prob(proposal, jnp.arange(ITEMS)), float))
    assert expected.sum() == pytest.approx(1e6, rel=1e-6)
    observed = np.bincount(drawn, minlength=ITEMS)
    expected *= observed.sum() / expected.sum()
    assert stats.chisquare(observed, expected).pvalue > 0.001


def test_chi_square_would_notice_a_wrong_probability(key):
    drawn = np.asarray(sample(key, make_proposal("popularity", COUNTS), (1_000_000,)))
    wrong = np.exp(np.asarray(make_proposal("popularity", COUNTS, alpha=0.74).log_q))
    wrong = wrong.astype(float) * 1e6 / wrong.sum(dtype=float)
    observed = np.bincount(drawn, minlength=ITEMS)
    assert stats.chisquare(observed, wrong).pvalue < 1e-6


def test_popularity_hand_computed():
    proposal = make_proposal("popularity", np.array([0, 15, 80]), alpha=0.75)
    weights = np.array([1.0, 8.0, 27.0])  # (c + 1)^0.75
    np.testing.assert_allclose(np.exp(proposal.log_q), weights / 36, rtol=1e-6)


def test_log_q_spans_twelve_decades_without_clipping():
    weights = np.array([1.0, 1e-6, 1e-9, 1e-12])
    got = np.asarray(from_weights(weights).log_q, float)
    np.testing.assert_allclose(got, np.log(weights / weights.sum()), rtol=1e-6)


@pytest.mark.parametrize("bad", [0.0, -1.0, np.nan, np.inf])
def test_a_weight_that_is_no_chance_is_refused(bad):
    with pytest.raises(ValueError, match="finite and above 0"):
        from_weights(np.array([1.0, bad]))


def test_unknown_proposal_lists_the_known_ones():
    with pytest.raises(InputError, match="popularity, uniform"):
        make_proposal("zipf", COUNTS)


def test_log_expected_count_is_the_log_of_the_sum_of_sources():
    q_batch, q_easy = np.array([0.5, 0.5, 0.0]), np.array([0.2, 0.3, 0.5])
    with np.errstate(divide="ignore"):
        got = log_expected_count(
            (jnp.log(jnp.asarray(q_batch, jnp.float32)), 7),
            (jnp.log(jnp.asarray(q_easy, jnp.float32)), 20),
        )
    np.testing.assert_allclose(np.exp(got), 7 * q_batch + 20 * q_easy, rtol=1e-6)


def test_no_source_has_no_expected_count():
    with pytest.raises(ValueError, match="no source"):
        log_expected_count()


def test_log_frequency_of_an_item_without_clicks_is_minus_infinity():
    got = log_frequency(np.array([3, 0, 1]))
    np.testing.assert_allclose(np.exp(got), [0.75, 0, 0.25], rtol=1e-6)
    assert got[1] == -np.inf


def row_weights(columns: cols.Columns, scores: np.ndarray) -> np.ndarray:
    """Return sum over a row's negatives of e^score, [B], from columns."""
    number = columns.log_mult.shape[0]
    own = np.asarray(columns.key)[None] == np.asarray(columns.row_key)[:, None]
    log_mult = np.where(
        own, np.asarray(columns.own_log_mult)[:, None], np.asarray(columns.log_mult)
    )
    ids = np.minimum(np.asarray(columns.encode_ids)[:number], scores.shape[1] - 1)
    return (np.exp(log_mult) * np.exp(scores[:, ids])).sum(1)


def slow_row_weights(items, drawn, scores, in_batch, mask):
    """Loop over every draw of every row: its negatives by definition."""
    totals = []
    for row, positive in enumerate(items):
        draws = [
            item for other, item in enumerate(items) if in_batch and other != row
        ] + list(drawn)
        kept = [d for d in draws if mask == "none" or d != positive]
        totals.append(sum(np.exp(scores[row, d]) for d in kept))
    return np.array(totals)


@pytest.mark.parametrize("mask", ["same_item", "none"])
@pytest.mark.parametrize("layout", ["merged", "in_batch", "easy_only"])
def test_columns_hold_exactly_the_draws_of_each_row(layout, mask):
    rng = np.random.default_rng(0)
    items = np.array([2, 5, 2, 7, 2, 0], np.int32)
    drawn = np.array([5, 5, 9, 2], np.int32)
    scores = rng.normal(size=(6, 10))
    if layout == "merged":
        got = cols.merged_columns(
            jnp.array(items),
            jnp.array(drawn),
            same_item=mask == "same_item",
            num_items=10,
        )
        assert int((got.encode_ids < 10).sum()) == 5
    else:
        got = cols.separate_columns(
            jnp.array(items),
            jnp.array(drawn),
            in_batch=layout == "in_batch",
            same_item=mask == "same_item",
            num_items=10,
        )
    want = slow_row_weights(items, drawn, scores, layout != "easy_only", mask)
    np.testing.assert_allclose(row_weights(got, scores), want, rtol=1e-6)
    found = np.asarray(got.encode_ids)[np.asarray(got.positive)]
    np.testing.assert_array_equal(found, items)


def test_catalogue_columns_are_all_items_but_the_rows_own():
    items = np.array([1, 3], np.int32)
    scores = np.random.default_rng(0).normal(size=(2, 4))
    got = row_weights(cols.catalogue_columns(jnp.array(items), 4), scores)
    want = np.exp(scores).sum(1) - np.exp(scores[[0, 1], items])
    np.testing.assert_allclose(got, want, rtol=1e-6)


def test_first_columns_keep_every_distinct_item():
    items, drawn = jnp.array([4, 4, 1, 4], jnp.int32), jnp.array([1], jnp.int32)
    full = cols.merged_columns(items, drawn, same_item=True, num_items=6)
    some = cols.first_columns(full, 3)
    scores = np.random.default_rng(0).normal(size=(4, 6))
    np.testing.assert_allclose(row_weights(some, scores), row_weights(full, scores))


@pytest.mark.parametrize("batch", [2_048, 16_384, 59_999])
def test_merged_size_covers_shuffled_batches_of_zipf_clicks(batch):
    """Batches of an epoch, of which the larger ones are a large part."""
    rng = np.random.default_rng(0)
    weights = 1 / np.arange(1, 5_001)
    clicks = rng.choice(5_000, 60_000, p=weights / weights.sum())
    counts = np.bincount(clicks, minlength=5_000)
    size = merged_size(counts, batch, 16)
    distinct = [len(np.unique(rng.permutation(clicks)[:batch])) for _ in range(30)]
    assert max(distinct) + 16 <= size < min(max(distinct) + 500, batch)
    mean, variance = distinct_of_batch(counts, batch)
    error = 5 * np.sqrt((variance + 1) / 30)
    assert np.mean(distinct) == pytest.approx(mean, abs=error)
    assert np.std(distinct) < 2 * np.sqrt(variance) + 1


def test_merged_size_covers_resampled_positives_and_keeps_that_of_the_log():
    counts = np.array([30_000, *[3] * 10_000])
    log, cold = np.ones(10_001), np.array([0.1, *[2.0] * 10_000])
    plain = merged_size(counts, 4_096, 0)
    assert merged_size_of_arms(counts, log, 4_096, 0) == plain
    assert merged_size_of_arms(counts, 1 / cold, 4_096, 0) == plain
    assert merged_size_of_arms(counts, cold, 4_096, 0) > plain + 1_000


@pytest.mark.parametrize("mask", ["same_item", "none"])
@pytest.mark.parametrize("sources", ["in_batch", "easy", "mixture"])
def test_corrected_sum_is_an_unbiased_estimate_of_the_other_items(sources, mask):
    """E sum_draws e^(s - log N) = sum over the other items, by exact enumeration.

    Catalogue of 3, batch of 3 (two other rows, independent draws from q+) and two easy
    draws: all 81 outcomes are enumerated with their probabilities.
    """
    q_batch, q_easy = np.array([0.6, 0.3, 0.1]), np.array([0.2, 0.3, 0.5])
    in_batch, easy = sources != "easy", sources != "in_batch"
    scores, positive = np.array([0.4, -1.0, 0.9]), 0
    log_n = np.asarray(
        log_expected_count(
            (jnp.log(jnp.asarray(q_batch, jnp.float32)), 2 if in_batch else 0),
            (jnp.log(jnp.asarray(q_easy, jnp.float32)), 2 if easy else 0),
        ),
        float,
    )
    total = 0.0
    for outcome in np.ndindex(3, 3, 3, 3):
        others, drawn = outcome[:2], outcome[2:]
        chance = np.prod(q_batch[list(others)]) * np.prod(q_easy[list(drawn)])
        items = jnp.array([positive, *others], jnp.int32)
        columns = cols.separate_columns(
            items,
            jnp.array(drawn if easy else (), jnp.int32),
            in_batch=in_batch,
            same_item=mask == "same_item",
            num_items=3,
        )
        total += chance * row_weights(columns, np.tile(scores - log_n, (3, 1)))[0]
    want = np.exp(scores).sum() - (
        np.exp(scores[positive]) if mask == "same_item" else 0
    )
    assert total == pytest.approx(want, rel=1e-6)


def test_temperature_does_not_move_the_optimum():
    """Scores log P + anything constant are the optimum at any temperature."""
    p = np.array([0.5, 0.3, 0.2])
    for temperature in (0.05, 1.0):
        cosine = jnp.asarray(temperature * np.log(p), jnp.float32)

        def expected(cosine, temperature=temperature):
            logits = cosine / temperature
            rows = jnp.tile(logits, (3, 1))
            return (p * full_softmax(rows, jnp.arange(3))).sum()

        np.testing.assert_allclose(jax.grad(expected)(cosine), 0, atol=1e-5)
