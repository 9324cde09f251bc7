"""Cards of arms with a method beside the softmax of a batch: where its optimum is."""

import pytest
from helpers.problems import configure

from twotower_jax.cards.card import audit_arm

BATCH = {"training__batch_size": 64}
DRAWN = BATCH | {"negatives__in_batch": False, "negatives__easy__num": 8}
STAGES = BATCH | {"negatives__hard__source": "log", "negatives__hard__num": 2}


@pytest.mark.parametrize(
    "keys",
    [
        BATCH | {"loss__two_way__weight": 1.0},
        DRAWN | {"negatives__hard__source": "resampled", "negatives__hard__num": 8},
    ],
    ids=["two_way", "resampled"],
)
def test_a_corrected_method_has_log_p_as_optimum(keys):
    assert max(map(abs, audit_arm(configure(**keys)).drift.values())) < 0.04
    without = audit_arm(configure(**keys, loss__logq__correct="none"))
    assert max(map(abs, without.drift.values())) > 0.3


@pytest.mark.slow
def test_pairs_of_stages_move_the_optimum_of_what_they_compare():
    without = audit_arm(configure(**STAGES)).drift
    pairs = audit_arm(configure(**STAGES, loss__stage_pairs__weight=1.0)).drift
    assert max(map(abs, without.values())) < 0.02
    assert pairs["retrieved"] > 0.1


def test_what_the_small_world_lacks_is_left_out_and_named():
    plain = audit_arm(configure(**BATCH))
    for key in ("loss.self_supervised.weight", "negatives.filter.gamma"):
        card = audit_arm(configure(**BATCH, **{key.replace(".", "__"): 0.9}))
        assert card.drift == plain.drift
        (line,) = card.scaled
        assert line.startswith(f"{key}=0.9, here ")
