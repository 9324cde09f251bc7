"""Errors of the streaming estimator over the simulated stream of Yi et al. 2019."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.oracles import slow_update

from twotower_jax.negatives import frequency as fr

# The stream of Yi et al. 2019, section 6.1: item i is drawn with chance ~ i^2, from
# SWITCH on with the reversed chances; a batch is drawn without replacement.
ITEMS, BATCH, SWITCH, STEPS = 1_000, 128, 10_000, 12_000
Q = np.arange(ITEMS) ** 2 / np.sum(np.arange(ITEMS) ** 2.0)
SHIFTS = (0, 1_000)  # the same stream under other ids, so in other buckets
PAPER = -1  # a step before all hits: the gap that is read is the paper's, B alone

log_count, log_q = jax.jit(fr.log_count), jax.jit(fr.log_q)


@pytest.fixture(scope="module")
def batches() -> np.ndarray:
    """Return the batches of the paper's simulation, [STEPS, BATCH] int32.

    Exponential times with rates q, the BATCH earliest: q without replacement.
    """
    rng = np.random.default_rng(0)
    parts = []
    for first in range(0, STEPS, 1_000):
        q = Q if first < SWITCH else Q[::-1]
        time = rng.standard_exponential((1_000, ITEMS), np.float32)
        time /= np.maximum(q, 1e-30).astype(np.float32)
        parts.append(np.argpartition(time, BATCH, axis=1)[:, :BATCH])
    return np.concatenate(parts).astype(np.int32)


@jax.jit
def run_stream(state, batches, first, number, alpha):
    def body(k, state):
        return fr.update(state, batches[k], k, alpha)

    return jax.lax.fori_loop(first, first + number, body, state)


def error_of(probability: np.ndarray, step: int) -> float:
    """Return the paper's error, sum_i |p_i - B q_i| / (2 B)."""
    target = BATCH * (Q if step <= SWITCH else Q[::-1])
    return float(np.abs(probability - target).sum() / (2 * BATCH))


def errors(batches, shift, hashes, buckets, alpha, moments, since=False) -> list[float]:
    """Return the error of the estimator at moments of the stream.

    It is the paper's, B, or with ``since`` max(B, t - A).
    """
    state = fr.init_frequency(hashes, buckets, 100.0)
    errors, done = [], 0
    ids = jnp.arange(ITEMS) + shift
    for moment in moments:
        state = run_stream(state, batches + shift, done, moment - done, alpha)
        done = moment
        count = log_count(state, ids, moment - 1 if since else PAPER)
        errors.append(error_of(np.exp(np.asarray(count)), moment))
    return errors


def slow_error(batches, hashes, buckets, once) -> float:
    """The same in numpy, at the switch and alpha .01, for a shift of 0."""
    cells = np.asarray(fr.bucket_of(jnp.arange(ITEMS), hashes, buckets))
    last, gap = np.zeros((hashes, buckets)), np.full((hashes, buckets), 100.0)
    for t, batch in enumerate(batches[:SWITCH], 1):
        slow_update(last, gap, cells, batch, t, 0.01, once=once)
    return error_of(1 / gap[np.arange(hashes)[:, None], cells].max(axis=0), SWITCH)


# alpha: errors after 1000, 2000, 5000 and 10000 steps, then 500, 1000 and 2000 after
# the switch; H = 5000, one hash, by a literal loop of algorithm 2 over the items.
REFERENCE = {
    0.1: [0.178, 0.179, 0.183, 0.176, 0.277, 0.247, 0.224],
    0.01: [0.329, 0.189, 0.127, 0.127, 0.553, 0.428, 0.224],
    0.001: [0.463, 0.456, 0.416, 0.330, 0.565, 0.553, 0.530],
}
MOMENTS = [1_000, 2_000, 5_000, 10_000, 10_500, 11_000, 12_000]


@pytest.mark.parametrize("alpha", REFERENCE)
def test_errors_over_time_are_those_of_the_simulated_stream(batches, alpha):
    """Within .03, and below: a bucket with two items of a batch is hit once here."""
    got = np.mean([errors(batches, s, 1, 5_000, alpha, MOMENTS) for s in SHIFTS], 0)
    difference = got - REFERENCE[alpha]
    assert (difference < 0.005).all() and (difference > -0.03).all(), got


# (total buckets, hashes): error at alpha .01 and step 10,000; the same literal loop.
EQUAL_MEMORY = {
    (1_000, 1): 0.525,
    (1_000, 4): 0.784,
    (5_000, 1): 0.125,
    (5_000, 2): 0.073,
    (5_000, 4): 0.051,
}


@pytest.mark.slow
def test_more_hashes_in_equal_memory_help_while_buckets_are_more_than_items(batches):
    got = {}
    for total, m in EQUAL_MEMORY:
        args = (m, total // m, 0.01, [SWITCH])
        got[total, m] = np.mean([errors(batches, s, *args) for s in SHIFTS])
    for m in (1, 2, 4):
        assert -0.025 < got[5_000, m] - EQUAL_MEMORY[5_000, m] < 0.005, got
    assert got[5_000, 4] < got[5_000, 2] < got[5_000, 1]
    # The claim reverses where a hash has fewer buckets than there are items.
    assert got[1_000, 4] > 1.3 * got[1_000, 1]


@pytest.mark.parametrize(
    ("total", "m"),
    [
        pytest.param(1_000, 1, marks=pytest.mark.slow),
        (1_000, 4),
        pytest.param(5_000, 2, marks=pytest.mark.slow),
    ],
)
def test_one_hit_a_batch_explains_the_distance_to_the_reference(batches, total, m):
    """The loop that hits a bucket for each item gives the table, ours is ``once``."""
    got = errors(batches, 0, m, total // m, 0.01, [SWITCH])[0]
    assert got == pytest.approx(slow_error(batches, m, total // m, True), rel=1e-3)
    literal = slow_error(batches, m, total // m, False)
    assert literal == pytest.approx(EQUAL_MEMORY[total, m], abs=0.02)
    assert got < literal


def test_items_never_seen_are_expected_as_often_as_counted():
    """A million items, 50,000 of them clicked; 1,024 uniform negatives beside a batch.

    The expected count N of an item is that of its easy draws, 1,024 / 1,000,000, and
    that of the other rows. Of an item never seen it is at most 1 / t per batch after t
    steps. A gap of 100 for ever gave 10.8 times the counted N.
    """
    items, clicked, batch, gap = 1_000_000, 50_000, 256, 100.0
    rng = np.random.default_rng(0)
    stream = rng.integers(0, clicked, (10_000, batch)).astype(np.int32)
    some = rng.integers(clicked, items, 2_000)
    easy = 1_024 / items
    state, done, ratios = fr.init_frequency(2, 4_000_000, gap), 0, []
    for steps in (100, 1_000, 10_000):
        state = run_stream(state, stream, done, steps - done, 0.01)
        done = steps
        q = np.exp(np.asarray(log_q(state, jnp.asarray(some), batch, steps - 1), float))
        ratios.append(((batch - 1) * q + easy) / easy)
    # Buckets without a hit: all but the 5 % that a clicked item shares.
    np.testing.assert_allclose(
        np.median(ratios, axis=1),
        [1 + 255 / 256 / steps / easy for steps in (100, 1_000, 10_000)],
        rtol=1e-4,
    )
    assert np.mean(ratios[-1]) < 1.15


def test_an_item_that_stops_decays_and_the_others_stay(batches):
    """After the switch the items that left are forgotten sooner, by the time since.

    Before it the two estimates differ by the bias of a steady item alone.
    """
    moments = [SWITCH, SWITCH + 500, SWITCH + 2_000]
    arguments = (batches, 0, 1, 5_000, 0.001, moments)
    paper, since = errors(*arguments), errors(*arguments, since=True)
    assert abs(since[0] - paper[0]) < 0.1
    assert since[1] < paper[1] and since[2] < paper[2]


def test_a_steady_item_is_read_too_low_between_its_hits():
    """Geometric gaps with known mean: .85 of the truth at a step chosen beforehand."""
    p, steps, streams = 0.02, 1_000, 20_000
    rng = np.random.default_rng(0)
    hit = rng.random((steps, streams)) < p
    last = np.where(hit.any(0), steps - hit[::-1].argmax(0), 0)
    state = fr.Frequency(
        jnp.asarray(last)[:, None, None], jnp.full((streams, 1, 1), 50.0)
    )
    read = jax.vmap(fr.log_count, in_axes=(0, None, None))
    count = np.exp(np.asarray(read(state, jnp.array(0), steps - 1)))
    assert count.mean() / p == pytest.approx(0.851, abs=0.01)
