"""Features of a run and of the one it starts with."""

import pytest

from twotower_jax.errors import InputError
from twotower_jax.run.updates import earlier_codes

IDS = {"users": [1], "items": [2, 3], "user_features": {}}
PRICE, TEXT = {"mean": 1.0, "deviation": 2.0}, {"width": 4}


def places(before, now):
    pair = (IDS | {"item_features": {"text": one}} for one in (before, now))
    return earlier_codes(*pair)


@pytest.mark.parametrize(
    ("before", "now", "text"),
    [
        (TEXT, {"width": 5}, "is a vector of 4 in the run .* a vector of 5 in this"),
        (PRICE, TEXT, "is numeric in the run .* and a vector of 4 in this one"),
        (["a"], PRICE, "is a choice of values in the run .* and numeric in this one"),
    ],
)
def test_a_feature_of_another_kind_is_refused(before, now, text):
    with pytest.raises(InputError, match=f"the feature 'text' {text}"):
        places(before, now)


def test_numbers_have_no_rows():
    assert set(places(TEXT, TEXT)) == {"query.id", "query.history", "candidate.id"}
    assert places(["a", "b"], ["b", "c"])["candidate.text"].tolist() == [1, -1]
