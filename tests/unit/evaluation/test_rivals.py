"""Rivals of held-out positives: requests, stages, and the items left out."""

import numpy as np
import polars as pl
import pytest

from twotower_jax.data.log import FunnelLog, Pairs, Stage
from twotower_jax.errors import InputError
from twotower_jax.evaluation.rivals import UNIFORM_RIVALS, rivals

# user, request, item, stage: two users whose requests have the same numbers.
ROWS = [
    (0, 7, 1, Stage.CLICKED),
    (0, 7, 2, Stage.RANKED),
    (0, 7, 3, Stage.RETRIEVED),
    (0, 8, 4, Stage.RANKED),
    (1, 7, 5, Stage.RANKED),
    (2, 8, 6, Stage.CLICKED),
    (2, 8, 7, Stage.RANKED),
    (2, 8, 6, Stage.RANKED),
]


def make_log(requests: bool = True) -> FunnelLog:
    user, request, item, stage = (
        np.array(column) for column in zip(*ROWS, strict=True)
    )
    return FunnelLog(
        user=user.astype(np.int32),
        item=item.astype(np.int32),
        stage=stage.astype(np.int8),
        user_ids=pl.Series(range(3)),
        item_ids=pl.Series(range(8)),
        request=request if requests else None,
    )


HELD_OUT = Pairs(
    np.array([0, 2], np.int32), np.array([1, 6], np.int32), None, np.array([7, 8])
)
NONE = Pairs(np.array([], np.int32), np.array([], np.int32))
USERS = np.array([0, 2])


def test_rivals_are_of_the_same_request_of_the_same_user_and_no_positive():
    row, item = rivals(make_log(), HELD_OUT, NONE, USERS, "ranked")
    assert list(zip(row.tolist(), item.tolist(), strict=True)) == [(0, 2), (1, 7)]


def test_a_stage_has_its_own_rivals():
    row, item = rivals(make_log(), HELD_OUT, NONE, USERS, "retrieved")
    assert (row.tolist(), item.tolist()) == ([0], [3])


def test_uniform_rivals_are_the_same_for_every_run_and_cover_the_catalogue():
    row, item = rivals(make_log(requests=False), HELD_OUT, NONE, USERS, "uniform")
    again = rivals(make_log(requests=False), HELD_OUT, NONE, USERS, "uniform")
    np.testing.assert_array_equal(item, again[1])
    assert not ((row == 0) & (item == 1)).any()
    assert set(item[row == 1].tolist()) == set(range(8)) - {6}
    assert len(row) <= 2 * UNIFORM_RIVALS


@pytest.mark.parametrize("kind", ["uniform", "ranked"])
def test_an_earlier_positive_of_the_user_is_no_rival(kind):
    earlier = Pairs(np.array([0], np.int32), np.array([2], np.int32))
    row, item = rivals(make_log(), HELD_OUT, earlier, USERS, kind)
    before = rivals(make_log(), HELD_OUT, NONE, USERS, kind)
    kept = ~((before[0] == 0) & (before[1] == 2))
    assert not kept.all()
    np.testing.assert_array_equal(row, before[0][kept])
    np.testing.assert_array_equal(item, before[1][kept])


def test_a_log_without_requests_is_refused():
    with pytest.raises(InputError, match=r"auc=\[ranked\] needs the request"):
        rivals(make_log(requests=False), HELD_OUT, NONE, USERS, "ranked")


def test_a_stage_that_no_row_has_is_refused_with_those_that_are_there():
    with pytest.raises(InputError, match="retrieved, ranked, clicked"):
        rivals(make_log(), HELD_OUT, NONE, USERS, "exposed")
