"""The two lines of resampling, and the offset of pointwise losses."""

import numpy as np
import pytest
from helpers.problems import as_loaded, configure, small_problem, zipf_clicks

from twotower_jax.run.checks import format_report, offset_warning
from twotower_jax.run.positives import resampling_report

COUNTS = (10_000 / np.arange(1, 1_001)).astype(int)
COUNTS[-150:] = 0


def lines(counts, weights):
    return format_report(resampling_report(counts, weights)).splitlines()


def test_two_lines_compare_before_and_after():
    counts, weights = np.array([6_000, 3_000, 1_000, 0]), np.array([1 / 3, 1, 2, 0])
    assert lines(counts, weights) == [
        "positives per epoch: 10,000 -> 7,000 (effective sample size 6,391)",
        "  top 1% of items: 60.0% -> 42.9% of them; Gini 0.500 -> 0.321; "
        "effective items 2.2 -> 2.9",
    ]


def test_an_unchanged_statistic_is_printed_once():
    assert not any("->" in line for line in lines(COUNTS, np.ones(1_000)))


@pytest.mark.parametrize(
    "keys, offset",
    [
        ({"name": "bce", "ratio": None}, "-5.5"),
        ({"name": "gbce"}, "-3.9"),  # beta = .75 (256 / 39 - 1) + 1
        ({"name": "gbce", "calibration": 0.0}, "-5.5"),
        ({"name": "bce", "ratio": 100.0}, "-4.6"),
        ({"name": "bce", "ratio": 3.0}, None),
        ({"name": "bce", "ratio": None, "offset": -5.0}, None),
        ({"name": "sampled_softmax"}, None),
    ],
)
def test_many_negatives_of_a_pointwise_loss_are_said_to_need_an_offset(keys, offset):
    """256 negatives: 241 uniform ones and 15 other rows of the batch."""
    problem_keys = {f"loss__{key}": value for key, value in keys.items()}
    problem_keys |= {"negatives__in_batch": True, "negatives__easy__num": 241}
    data = as_loaded(*zipf_clicks(30, 40, 400), 30, 40)
    config = configure(training__batch_size=16, **problem_keys)
    warning = offset_warning(config, small_problem(data, **problem_keys))
    if offset is None:
        assert warning is None
    else:
        assert f"compare with loss.offset={offset}," in str(warning)
