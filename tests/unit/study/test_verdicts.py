"""The words for a difference."""

import numpy as np
import pytest
from scipy import stats

from twotower_jax.errors import InputError
from twotower_jax.study.description import check_margin
from twotower_jax.study.statistics import Difference, Interval, Spread, compare_all
from twotower_jax.study.verdicts import Rules, equivalent, interval, judge, verdict


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
    assert verdict(one, 0.0001, rules=Rules(withheld="untuned")) == "untuned"
    nan = float("nan")
    bare = one._replace(interval=Interval(0.1, nan, nan, nan))
    assert verdict(bare, nan) == ""


def test_an_increase_is_worse_where_smaller_is_better():
    rise = difference(0.1, 0.05)
    assert verdict(rise, 0.002, larger=True) == "better"
    assert verdict(rise, 0.002, larger=False) == "worse"


@pytest.mark.parametrize("margin", ["0", "1.5", "-0.1", "two", "nan"])
def test_a_margin_that_is_not_a_share_is_refused(margin):
    with pytest.raises(InputError, match=r"--margin.* give "):
        check_margin("--margin", margin)


# --- the word and its interval --------------------------------------------------------


def random_family(rng: np.random.Generator) -> list[Difference]:
    """Return arms around the threshold: effects of a few standard errors, or none."""
    seeds, queries = int(rng.integers(1, 5)), int(rng.integers(2, 40))
    noise = rng.choice([1e-6, 1e-3, 0.1]) * rng.normal(size=(6, seeds, queries))
    noise += rng.choice([0, 1e-3, 0.1]) * rng.normal(size=(6, seeds, 1))
    error = noise.std() / np.sqrt(seeds * queries)
    shift = error * rng.choice([0, 2, 2.5, 3, 4], size=(6, 1, 1))
    arms = 1 + rng.choice([-1, 1], size=(6, 1, 1)) * shift + noise
    pairs = [(arm, np.ones_like(arm)) for arm in arms[: rng.integers(1, 7)]]
    return compare_all(pairs, draws=100, flips=200, seed=int(rng.integers(99)))


@pytest.mark.parametrize("larger", [True, False])
def test_word_and_printed_interval_agree_in_every_study(larger):
    rng, words = np.random.default_rng(int(larger)), set()
    for _ in range(150):
        family = random_family(rng)
        for one, judged in zip(
            family, judge(family, [Rules()] * len(family), larger), strict=True
        ):
            low, high = judged.ends
            row = {"low_verdict": low, "high_verdict": high, "verdict": judged.word}
            text = interval(row)
            shown = [float(end) for end in text.removesuffix(" (90 %)").split(" to ")]
            word = judged.word.partition(" (")[0]
            words.add(word)
            decides = one.seeds > 2 and not text.endswith(" (90 %)")
            rises, falls = min(shown) > 0, max(shown) < 0
            assert (word == "better") == (decides and (rises, falls)[not larger])
            assert (word == "worse") == (decides and (falls, rises)[not larger])
            assert (judged.p_holm < 0.05) == (judged.joint[0] * judged.joint[1] > 0)
            if word == "equivalent":
                assert text.endswith(" (90 %)") and -0.02 < low <= high < 0.02
            if word == "cannot tell":
                assert shown[0] <= 0 <= shown[1]
            assert np.sign(shown).tolist() == np.sign([low, high]).tolist()
    assert words >= {"better", "worse", "cannot tell", "equivalent"}


def test_an_arm_that_only_the_permutation_test_accepts_has_an_interval_to_0():
    gain = np.tile([0.1, 0.2, 0.1, 0.1], (3, 1))
    (one,) = compare_all([(gain, np.zeros_like(gain))])
    assert one.interval.low > 0 and one.interval.p < 0.05
    (judged,) = judge([one], [Rules()])
    assert judged.p == 0.125  # 2 of 2**4 flips
    assert judged.ends[0] == 0.0 and judged.word == "cannot tell"
