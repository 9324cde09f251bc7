"""Corrected sums are unbiased: every outcome of a small catalogue is enumerated."""

import numpy as np
import pytest
from helpers.expectations import (
    CLICKED,
    ITEMS,
    POOL_ITEM,
    ROW,
    SCORES,
    expectation,
    others,
)

from twotower_jax.negatives import masks

HARD = {
    "negatives__hard__num": 1,
    "negatives__hard__stages": ["ranked"],
    "negatives__easy__num": 1,
}
BANK = {"negatives__bank__size": 2, "negatives__bank__warmup": 0}
EASY = {"negatives__easy__num": 2, "negatives__easy__sampler": "popularity"}
MIXTURES = {
    "in-batch": ({}, {}),
    "easy": ({"negatives__in_batch": False, **EASY}, {}),
    "easy a row": (
        {"negatives__in_batch": False, "negatives__layout": "per_row", **EASY},
        {},
    ),
    "mixed": (EASY, {}),
    "mixed, easy a row": ({"negatives__layout": "per_row", **EASY}, {}),
    "bank": (BANK, {}),
    "bank and easy": (BANK | {"negatives__easy__num": 1}, {}),
    "hard": (HARD, {}),
    "hard only": (HARD | {"negatives__in_batch": False}, {}),
    "hard, no pool": (HARD, {"has_pool": False}),
    "hard a row": (HARD | {"negatives__layout": "per_row"}, {}),
    "hard a row, no pool": (
        HARD | {"negatives__layout": "per_row"},
        {"has_pool": False},
    ),
    "bank and hard": (HARD | BANK, {}),
}
for layout in ("shared", "per_row"):
    for ratio in (0.0, 0.3, 0.75, 1.0):
        for pooled in (True, False):
            MIXTURES[f"ratio {ratio}, {layout}, pool {pooled}"] = (
                HARD | {"negatives__hard_ratio": ratio, "negatives__layout": layout},
                {"ratio": ratio, "has_pool": pooled},
            )


# Columns are merged with in-batch negatives only.
CASES = [
    (name, merged)
    for name, (keys, _) in MIXTURES.items()
    for merged in (False, True)
    if not merged or keys.get("negatives__in_batch", True)
]


def marked(is_slow):
    """Return CASES of which those that ``is_slow`` names are slow tests."""
    slow = [pytest.mark.slow]
    return [
        pytest.param(name, merged, marks=slow if is_slow(name, merged) else [])
        for name, merged in CASES
    ]


def alike(name):
    """One ratio within (0, 1) for shared slots and 1 for those of a row are enough."""
    kept = ("ratio 0.3, shared", "ratio 1.0, per_row")
    return name.startswith("ratio") and not name.startswith(kept)


# Separate columns, where merged ones are tried too, and most ratios are slow ones.
MOST = marked(lambda name, merged: alike(name))
SOME = (
    "easy a row",
    "mixed, easy a row",
    "hard only",
    "bank and hard",
    "ratio 0.3, shared, pool True",
)
FEWER = marked(
    lambda name, merged: name not in SOME or (not merged and (name, True) in CASES)
)


@pytest.mark.parametrize(("name", "merged"), MOST)
def test_the_corrected_sum_is_unbiased(name, merged):
    keys, options = MIXTURES[name]
    mean = expectation(keys, merged=merged, **options)
    assert mean == pytest.approx(others(), rel=1e-5)


@pytest.mark.parametrize(("name", "merged"), FEWER)
def test_it_is_with_the_users_positives_masked(monkeypatch, name, merged):
    """Items 2 and 4 are liked too: they are out of columns, slots and bank."""
    keys, options = MIXTURES[name]
    monkeypatch.setattr(masks, "CHUNK", 4)
    keys = keys | {"negatives__mask": "user_positives"}
    mean = expectation(keys, merged=merged, positives=(2, 4), **options)
    assert mean == pytest.approx(others(2, 4), rel=1e-5)


@pytest.mark.parametrize(("name", "merged"), FEWER)
def test_it_is_over_the_known_items(name, merged):
    """Items 3 and 4 come after the row: one is in its pool, both in other rows."""
    keys, options = MIXTURES[name]
    keys = keys | {"negatives__available": True}
    mean = expectation(keys, merged=merged, **options)
    assert mean == pytest.approx(others(3, 4), rel=1e-5)


@pytest.mark.parametrize("name", ["mixed, easy a row", "bank and hard"])
def test_it_is_over_the_known_items_that_the_user_did_not_click(monkeypatch, name):
    keys, options = MIXTURES[name]
    monkeypatch.setattr(masks, "CHUNK", 4)
    masks_both = {"negatives__available": True, "negatives__mask": "user_positives"}
    mean = expectation(keys | masks_both, positives=(2,), **options)
    assert mean == pytest.approx(others(2, 3, 4), rel=1e-5)


def test_easy_treats_hard_draws_as_if_the_easy_proposal_had_drawn_them():
    """Then the sum overweights pool items: each is worth pi / q^E of its own."""
    keys = HARD | {
        "negatives__in_batch": False,
        "negatives__layout": "per_row",
        "negatives__hard__log_q": "easy",
    }
    pool, easy = np.bincount(POOL_ITEM, minlength=ITEMS) / 4, 1 / ITEMS
    want = sum(
        np.exp(SCORES[j]) * (easy + pool[j]) / (2 * easy)
        for j in range(ITEMS)
        if j != CLICKED[ROW]
    )
    assert expectation(keys) == pytest.approx(want, rel=1e-5)
