"""The streaming estimator against slow loops, its exact bias and a simulated stream."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.oracles import slow_update
from scipy import stats

from twotower_jax.negatives import frequency as fr

run_update = jax.jit(fr.update)
log_count, log_q = jax.jit(fr.log_count), jax.jit(fr.log_q)


def cube_root_bits(prime: int) -> int:
    """Return the first 32 bits of the fractional part of a cube root, in integers."""
    low, high = 0, prime << 32
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if middle**3 <= prime << 96 else (low, middle)
    return low % 2**32


def test_multipliers_are_those_of_their_origin():
    primes = [2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47, 53]
    assert list(fr.MULTIPLIERS) == [cube_root_bits(p) | 1 for p in primes]


def slow_bucket(item: int, multiplier: int, buckets: int) -> int:
    """Hash with unbounded integers, cut to 32 bits by hand."""

    def mix(word):
        word = ((word ^ (word >> 16)) * 0x85EBCA6B) % 2**32
        word = ((word ^ (word >> 13)) * 0xC2B2AE35) % 2**32
        return word ^ (word >> 16)

    return mix(mix(item) * multiplier % 2**32) % buckets


@pytest.mark.parametrize("buckets", [1, 1_000, 50_000_000])
def test_buckets_fit_a_hash_of_python_integers(buckets):
    ids = [0, 1, 2, 77, 123_456, 2**31 - 1]
    got = jax.jit(fr.bucket_of, static_argnums=(1, 2))(jnp.array(ids), 16, buckets)
    want = [[slow_bucket(i, c, buckets) for i in ids] for c in fr.MULTIPLIERS]
    np.testing.assert_array_equal(got, want)


ID_SETS = {
    "in a row": np.arange(20_000),
    "every 4096th": np.arange(20_000) * 4_096,
    "anywhere": np.random.default_rng(0).choice(2**31 - 1, 20_000, replace=False),
}


def pairs_in_one_cell(cells: np.ndarray) -> int:
    count = np.unique(cells, return_counts=True)[1]
    return int((count * (count - 1) // 2).sum())


@pytest.mark.parametrize("name", ID_SETS)
def test_collisions_are_as_many_as_birthdays(name):
    ids = ID_SETS[name]
    pairs = len(ids) * (len(ids) - 1) / 2
    for buckets in (65_536, 100_003):
        cells = np.asarray(fr.bucket_of(jnp.asarray(ids), 16, buckets))
        meetings = np.array([pairs_in_one_cell(row) for row in cells])
        expected = pairs / buckets
        assert (np.abs(meetings - expected) < 4.5 * np.sqrt(expected)).all()


@pytest.mark.parametrize("name", ID_SETS)
def test_two_hashes_are_independent(name):
    """Pairs of items that meet under two hashes: 1 / H^2 of all, for all 120 pairs."""
    ids = ID_SETS[name]
    buckets = 512
    cells = np.asarray(fr.bucket_of(jnp.asarray(ids), 16, buckets))
    expected = len(ids) * (len(ids) - 1) / 2 / buckets**2
    for i in range(16):
        observed = np.bincount(cells[i], minlength=buckets)
        assert stats.chisquare(observed).pvalue > 1e-4
        for j in range(i):
            meetings = pairs_in_one_cell(cells[i] * buckets + cells[j])
            assert abs(meetings - expected) < 4.5 * np.sqrt(expected)


@pytest.mark.parametrize("jitted", [True, False])
def test_update_fits_a_loop_with_repeats_collisions_and_padding(jitted):
    rng = np.random.default_rng(0)
    state = fr.init_frequency(3, 17, 10.0)
    last, gap = np.zeros((3, 17), int), np.full((3, 17), 10.0)
    cells = np.asarray(fr.bucket_of(jnp.arange(40), 3, 17))
    for step in range(60 if jitted else 15):
        ids = rng.integers(-3, 40, 12) if step % 7 else np.full(12, -1)
        call = run_update if jitted else fr.update
        state = call(state, jnp.asarray(ids, jnp.int32), step, 0.1)
        slow_update(last, gap, cells, ids, step + 1, 0.1)
    np.testing.assert_array_equal(state.last, last)
    np.testing.assert_allclose(state.gap, gap, rtol=1e-5)
    ids = jnp.arange(40).reshape(8, 5)
    for later in (0, 7, 500):
        want = [
            max(
                max(gap[i, c], step + 1 + later - last[i, c]) for i, c in enumerate(row)
            )
            for row in cells.T
        ]
        got = log_count(state, ids, step + later)
        assert got.dtype == jnp.float32
        np.testing.assert_allclose(got, -np.log(want).reshape(8, 5), rtol=1e-5)


def test_order_and_repeats_within_a_batch_do_not_matter():
    start = fr.init_frequency(2, 50, 10.0)
    one = run_update(start, jnp.array([3, 9, 4]), 6, 0.3)
    other = run_update(start, jnp.array([4, 4, 3, 9, 3, 4]), 6, 0.3)
    jax.tree.map(np.testing.assert_array_equal, one, other)


def test_step_zero_is_a_hit_with_gap_one():
    got = run_update(fr.init_frequency(1, 1, 11.0), jnp.array([5]), 0, 0.1)
    assert int(got.last[0, 0]) == 1
    assert float(got.gap[0, 0]) == pytest.approx(0.9 * 11 + 0.1 * 1)


@pytest.mark.parametrize("padding", [-1, -7])
def test_padding_changes_nothing(padding):
    call = run_update
    start = call(fr.init_frequency(2, 8, 10.0), jnp.arange(5), 0, 0.1)
    same = call(start, jnp.full(6, padding, jnp.int32), 1, 0.1)
    jax.tree.map(np.testing.assert_array_equal, start, same)
    some = call(start, jnp.array([7, padding, 2, padding]), 1, 0.1)
    pure = call(start, jnp.array([7, 2]), 1, 0.1)
    jax.tree.map(np.testing.assert_array_equal, some, pure)


def test_numbers_are_arguments_of_one_program():
    traces = []

    @jax.jit
    def step(state, ids, step, alpha):
        traces.append(1)
        return fr.update(state, ids, step, alpha)

    state = fr.init_frequency(2, 8, 10.0)
    for k, alpha in enumerate((0.01, 0.1, 0.5)):
        state = step(state, jnp.arange(4), k, alpha)
    assert len(traces) == 1


def test_work_does_not_depend_on_the_number_of_buckets():
    """Donated arrays are changed in place: no second copy, the same small scratch."""

    def step(state, ids):
        state = fr.update(state, ids, 0, 0.1)
        return state, fr.log_count(state, ids, 0)

    scratch = []
    for buckets in (1_000, 1_000_000):
        state = fr.init_frequency(2, buckets, 10.0)
        program = jax.jit(step, donate_argnums=0).lower(state, jnp.arange(64))
        memory = program.compile().memory_analysis()
        assert memory.alias_size_in_bytes == 2 * 2 * buckets * 4
        scratch.append(memory.temp_size_in_bytes)
    assert scratch[0] == scratch[1] < 20_000


GAPS = {
    "fixed": lambda rng, size: np.full(size, 50),
    "geometric": lambda rng, size: rng.geometric(0.02, size),
    "uniform": lambda rng, size: rng.integers(1, 100, size),
}


def many_streams(gaps: np.ndarray, alpha: float, initial_gap: float) -> np.ndarray:
    """Return B after each hit, [hits, streams], of streams with gaps [hits, streams].

    Each stream is an estimator of one bucket whose item is in every batch that is
    given, at steps of its own.
    """
    update = jax.vmap(fr.update, in_axes=(0, None, 0, None))
    start = jax.vmap(lambda _: fr.init_frequency(1, 1, initial_gap))(gaps[0])

    def body(state, step):
        state = update(state, jnp.array([0]), step, alpha)
        return state, state.gap[:, 0, 0]

    steps = jnp.asarray(np.cumsum(gaps, axis=0) - 1, jnp.int32)
    return np.asarray(jax.lax.scan(body, start, steps)[1], float)


@pytest.mark.parametrize("name", GAPS)
def test_bias_is_exact_and_the_printed_formula_is_not(name):
    """Proposition 4.1: (1 - a)^t (d0 - d); printed (7) has d with one factor less."""
    alpha, start, mean, hits, streams = 0.1, 100.0, 50.0, 12, 40_000
    gaps = GAPS[name](np.random.default_rng(0), (hits, streams))
    gap = many_streams(gaps, alpha, start)
    t = np.arange(1, hits + 1)
    exact = (1 - alpha) ** t * (start - mean)
    printed = (1 - alpha) ** t * start - (1 - alpha) ** (t - 1) * mean
    error = np.maximum(gap.std(axis=1) / np.sqrt(streams), 1e-4)
    bias = gap.mean(axis=1) - mean
    assert (np.abs(bias - exact) < 4 * error).all()
    assert (np.abs(bias - printed) > 15 * error).all()
    assert exact[4] == pytest.approx(29.52, abs=0.01)
    assert printed[4] == pytest.approx(26.25, abs=0.01)


@pytest.mark.parametrize("alpha", [0.1, 0.02])
def test_variance_and_jensen_bias_of_geometric_gaps(alpha):
    """Var B = a / (2 - a) Var gap, and E[1/B] = p (1 + a (1 - p) / (2 - a))."""
    p, hits, streams = 0.02, int(6 / alpha), 40_000
    gaps = np.random.default_rng(0).geometric(p, (hits, streams))
    last = many_streams(gaps, alpha, 1 / p)[-1]
    want = alpha / (2 - alpha) * (1 - p) / p**2
    assert last.var() == pytest.approx(want, rel=0.03)
    inverse = 1 / last / p
    error = inverse.std() / np.sqrt(streams)
    theory = alpha * (1 - p) / (2 - alpha)
    assert inverse.mean() - 1 == pytest.approx(theory, abs=4 * error + theory**2)
    assert inverse.mean() - 1 > 10 * error


def test_counts_above_one_a_batch_cannot_be_seen():
    """The documented limit: 60 of 64 draws and 1 of 64 look alike."""
    state = fr.init_frequency(1, 10_000, 1.0)
    batch = jnp.array([7] * 60 + [8, 9, 10, 11])
    for step in range(50):
        state = run_update(state, batch, step, 0.1)
    hot, once = log_q(state, jnp.array([7, 8]), 64, 49)
    assert float(hot) == float(once) == pytest.approx(-np.log(64))


def test_log_q_is_the_count_over_the_batch():
    state = run_update(fr.init_frequency(2, 100, 50.0), jnp.arange(9), 30, 0.5)
    ids = jnp.arange(20)
    count = np.exp(log_count(state, ids, 40))
    np.testing.assert_allclose(np.exp(log_q(state, ids, 9, 40)), count / 9, rtol=1e-6)
    unseen = log_count(fr.init_frequency(2, 100, 50.0), ids, 0)
    np.testing.assert_allclose(unseen, -np.log(50), rtol=1e-6)


@pytest.mark.parametrize(
    ("hashes", "buckets", "gap", "text"),
    [
        (0, 10, 5.0, "hashes must be in 1..16, got 0"),
        (17, 10, 5.0, "hashes must be in 1..16, got 17"),
        (1, 0, 5.0, "buckets must be at least 1, got 0"),
        (1, 10, 0.5, "initial_gap must be at least 1 step, got 0.5"),
        (1, 10, np.nan, "initial_gap must be at least 1 step, got nan"),
    ],
)
def test_arrays_that_cannot_work_are_refused(hashes, buckets, gap, text):
    with pytest.raises(ValueError, match=text):
        fr.init_frequency(hashes, buckets, gap)
