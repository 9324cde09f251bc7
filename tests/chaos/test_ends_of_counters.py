"""Ids, times, counts and steps at the ends of their ranges, against whole numbers."""

import math
from collections import Counter
from fractions import Fraction

import jax
import jax.numpy as jnp
import numpy as np
import polars as pl
import pytest
from helpers import tiny
from helpers.chaos import campaign, trials
from helpers.source_steps import BATCH, HARD, RUN, batches_of, go, problem_of, start

from twotower_jax.config.training import MOST_STEPS
from twotower_jax.errors import InputError
from twotower_jax.negatives import frequency as fr
from twotower_jax.negatives.easy import make_proposal
from twotower_jax.run.loader import load_data

ROWS = 3_000
ENDS = (2**31, 2**32, 2**53, 2**63 - 1, 2**63, 2**64 - 1, 10**25)
update, log_count = jax.jit(fr.update), jax.jit(fr.log_count)


def rows_of(rng):
    """Return the columns of a small log as whole numbers from 0."""
    return {
        "user": rng.integers(0, 60, ROWS).tolist(),
        "item": rng.integers(0, 100, ROWS).tolist(),
        "time": rng.permutation(ROWS).tolist(),
        "request": (np.arange(ROWS) // 10).tolist(),
    }


def loaded(path, columns):
    """Return the data of a table with these columns; they are of texts in a CSV."""
    lines = [",".join(columns)]
    lines += [",".join(map(str, row)) for row in zip(*columns.values(), strict=True)]
    path.write_text("\n".join(lines), encoding="utf-8")
    words = ("data=table", f"data.path={path}", "data.columns.request=request")
    return load_data(tiny.make_config(path.parent, *words, "data.columns.time=time"))


def assert_same_log(data, columns, small):
    """Compare ids as whole numbers, and codes and parts with those of small ids."""
    for name in ("user", "item"):
        ids = [int(one) for one in getattr(data.log, f"{name}_ids")]
        codes = getattr(data.log, name)
        # The rows of a log may be in another order than in the file.
        assert Counter(ids[code] for code in codes) == Counter(columns[name])
        np.testing.assert_array_equal(codes, getattr(small.log, name))
    groups = [np.unique(one.log.request, return_inverse=True) for one in (data, small)]
    np.testing.assert_array_equal(groups[0][1], groups[1][1])
    for part in ("train", "valid", "test"):
        one, other = getattr(data.split, part), getattr(small.split, part)
        np.testing.assert_array_equal(one.item, other.item)
        np.testing.assert_array_equal(one.user, other.user)


@pytest.mark.slow
def test_large_ids_are_the_same_log_or_are_refused(tmp_path):
    rng, same, refused = np.random.default_rng(0), 0, 0
    with campaign("ids and times at the ends of their ranges") as counts:
        for number in range(trials(300)):
            columns = rows_of(rng)
            small = loaded(tmp_path / "small.csv", columns)
            name = ("user", "item", "request", "time")[number % 4]
            end = ENDS[rng.integers(len(ENDS))]
            first = end - int(rng.integers(ROWS))
            columns[name] = [first + one for one in columns[name]]
            try:
                data = loaded(tmp_path / "large.csv", columns)
            except InputError as error:
                assert "'time'" in str(error) and end >= 2**53, (name, end, error)
                refused += 1
                continue
            assert_same_log(data, columns, small)
            same += 1
        counts |= {"trials": same + refused, "same log": same, "refused": refused}
    assert same


@pytest.mark.slow
def test_probabilities_of_large_counts_are_those_of_fractions():
    """log q of (c + 1)^1 is within 4 units in the last place of float32."""
    rng, done = np.random.default_rng(1), 0
    with campaign("counts up to 2^62") as counts:
        for _ in range(trials(300)):
            high = int(rng.choice([10**9, 2**31, 2**53, 2**62]))
            given = [int(one) for one in rng.integers(0, high, 1_000)] + [0, high]
            made = make_proposal("popularity", np.array(given), alpha=1.0)
            total = sum(given) + len(given)
            want = [math.log(Fraction(one + 1, total)) for one in given]
            np.testing.assert_allclose(made.log_q, want, rtol=2.0**-21)
            assert float(jnp.exp(made.log_q).sum()) == pytest.approx(1, abs=1e-5)
            assert (np.asarray(made.alias) >= 0).all()
            done += 1
        counts |= {"trials": done}
    assert done


@pytest.mark.slow
def test_the_streaming_estimate_counts_up_to_the_last_step():
    """Gaps and times since a hit as whole numbers, in steps up to 2^31 - 1."""
    rng, done = np.random.default_rng(2), 0
    with campaign("streaming frequencies near step 2^31") as counts:
        for _ in range(trials(2_000)):
            state = fr.init_frequency(1, 1_000_003, 100.0)
            steps = np.sort(rng.integers(0, MOST_STEPS, 4))
            steps[-1] = MOST_STEPS - 1 - rng.integers(3)
            gap, last, alpha = 100.0, 0, float(rng.uniform(0.01, 1))
            for step in steps.tolist():
                state = update(state, jnp.array([7]), step, alpha)
                gap, last = (1 - alpha) * gap + alpha * (step + 1 - last), step + 1
            now = MOST_STEPS - 1
            got = log_count(state, jnp.array([7, 8]), now)
            want = [-math.log(max(gap, now + 1 - last)), -math.log(now + 1)]
            np.testing.assert_allclose(got, want, rtol=1e-6)
            done += 1
        counts |= {"trials": done}
    assert done


@pytest.mark.slow
def test_the_last_steps_that_can_be_counted_are_trained_alike():
    problem = problem_of(
        negatives__bank__size=40,
        negatives__bank__warmup=0.3,
        negatives__easy__num=4,
        negatives__hard_ratio=0.5,
        negatives__hard_start=1.0,
        loss__logq__frequency="streaming",
        **HARD,
    )
    before = MOST_STEPS - 6
    batches = batches_of(problem, 6, before)
    assert batches.shape == (6, BATCH) and (batches >= 0).all()
    first = start(problem)._replace(step=jnp.int32(before))
    one = jax.tree.map(jnp.copy, first)
    for rows in batches:
        one, loss = go(problem, one, rows)
        assert np.isfinite(loss).all()
    many, _ = RUN(problem.program, problem.data, first, batches, 6)
    assert int(one.step) == MOST_STEPS
    jax.tree.map(np.testing.assert_array_equal, one, many)
    assert int(np.max(one.samplers["frequency"].last)) == MOST_STEPS


@pytest.mark.slow
def test_a_column_of_unsigned_numbers_is_read_alike(tmp_path):
    columns = rows_of(np.random.default_rng(3))
    small = loaded(tmp_path / "small.csv", columns)
    for name in ("user", "item", "request"):
        large = {**columns, name: [2**64 - 1 - one for one in columns[name]]}
        kinds = {n: pl.UInt64 if n == name else pl.Int64 for n in large}
        pl.DataFrame(large, schema=kinds).write_parquet(tmp_path / "large.parquet")
        words = ("data=table", f"data.path={tmp_path / 'large.parquet'}")
        words = (*words, "data.columns.request=request", "data.columns.time=time")
        data = load_data(tiny.make_config(tmp_path, *words))
        assert_same_log(data, large, small)
