"""The words for a difference."""

import pytest
from scipy import stats

from twotower_jax.errors import InputError
from twotower_jax.study.description import check_margin
from twotower_jax.study.intervals import Interval
from twotower_jax.study.spread import Spread
from twotower_jax.study.statistics import Difference
from twotower_jax.study.verdicts import Rules, equivalent, verdict


def difference(gain: float, half: float, *, base=1.0, seeds=3, df=1e9) -> Difference:
    """Return a difference whose 90 % interval is gain - half to gain + half."""
    wide = half * float(stats.t.isf(0.025, df) / stats.t.isf(0.05, df))
    interval = Interval(gain, gain - wide, gain + wide, df)
    error = half / float(stats.t.isf(0.05, df))
    spread = Spread(error, df, 0.0, df)
    return Difference(base + gain, base, interval, 0.5, spread, seeds, queries=9)


@pytest.mark.parametrize(
    ("gain", "half", "p", "word"),
    [
        (0.1, 0.05, 0.049, "better"),
        (-0.1, 0.05, 0.049, "worse"),
        (0.1, 0.05, 0.051, "cannot tell"),
        # Inside the margin of 2 %, whatever p is.
        (0.001, 0.0189, 0.9, "equivalent (within 2 %)"),
        (-0.001, 0.0189, 0.9, "equivalent (within 2 %)"),
        (0.010, 0.0099, 0.04, "better (within 2 %)"),
        (-0.010, 0.0099, 0.04, "worse (within 2 %)"),
        # One end of the 90 % interval is outside.
        (0.001, 0.0191, 0.9, "cannot tell"),
        (-0.001, 0.0191, 0.9, "cannot tell"),
    ],
)
def test_words_of_three_seeds(gain, half, p, word):
    assert verdict(difference(gain, half), p) == word


def test_a_wide_interval_that_holds_0_is_not_equivalent():
    """-.0046 to +.0632 on 1.006 was once "no difference seen"."""
    wide = difference(0.0293, 0.0339, base=1.006)
    assert verdict(wide, 0.08) == "cannot tell"
    assert not equivalent(wide)


def test_the_margin_is_a_share_of_the_size_of_the_reference():
    one = difference(0.0, 0.03, base=-2.0)
    assert equivalent(one) and not equivalent(one, margin=0.014)
    assert verdict(one, 0.9, rules=Rules(margin=0.025)) == "equivalent (within 2.5 %)"
    assert not equivalent(difference(0.0, 0.0, base=0.0))


def test_the_90_percent_interval_counts_the_few_seeds():
    """With two degrees of freedom it is 1.78 times as far as with many."""
    error = 0.012 / 1.645
    for df, word in ((1e9, "equivalent (within 2 %)"), (2, "cannot tell")):
        half = error * float(stats.t.isf(0.05, df))
        assert verdict(difference(0.0, half, df=df), 0.9) == word


@pytest.mark.parametrize("seeds", [1, 2])
def test_fewer_than_three_seeds_have_no_word(seeds):
    for gain, half in ((0.1, 0.01), (0.0, 0.001)):
        one = difference(gain, half, seeds=seeds)
        assert verdict(one, 0.0001) == "fewer than 3 seeds"


def test_untuned_arms_have_no_word_and_means_alone_have_nothing():
    one = difference(0.1, 0.01)
    assert verdict(one, 0.0001, rules=Rules(tuned=False)) == "untuned"
    nan = float("nan")
    bare = one._replace(interval=Interval(0.1, nan, nan, nan))
    assert verdict(bare, nan) == ""


def test_an_increase_is_worse_where_smaller_is_better():
    rise = difference(0.1, 0.05)
    assert verdict(rise, 0.002, larger=True) == "better"
    assert verdict(rise, 0.002, larger=False) == "worse"


@pytest.mark.parametrize("margin", [0, 1, -0.1, "two", "nan", True, [0.1]])
def test_a_margin_that_is_not_a_share_is_refused(margin):
    with pytest.raises(
        InputError, match=r"--margin=.* is not a share of the mean; give"
    ):
        check_margin("--margin", margin)
