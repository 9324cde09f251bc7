"""What each claim of the lecture says of two arms, and so what would refute it."""

from typing import Any, NamedTuple

# "recall" stands for true_recall@20 where a world knows its truth, else for recall@20.
RECALL = "recall"
LATE = ["pre_ranked", "ranked"]
CLAIMS = {
    "L2": "uniform negatives are unfair to cold items; clicks^.75 lies between",
    "L3": "in-batch negatives push hot items down; logQ repairs it",
    "L4": "a classifier tells clicks from the catalogue best, from late stages worst",
    "L5": "hard negatives help when mixed with easy ones; all-hard hurts",
    "L6": "exposed, not clicked items as negatives hurt",
    "L7": "resampling positives helps cold items",
    "L8": "log q belongs to training, not to serving",
}


class Check(NamedTuple):
    """Two arms, a metric, and the sign that the claim gives their difference.

    Attributes:
      claim: L2 to L8.
      says: the claim, of these two arms.
      metric: RECALL, with a slice such as /tail, or a metric's whole name.
      arm, base: dotted keys and values that choose the runs.
      sign: 1 more, -1 less, 0 no claim: what it costs.
      arm_metric: the metric of the arm where it is another one.
    """

    claim: str
    says: str
    metric: str
    arm: dict[str, Any]
    base: dict[str, Any]
    sign: int
    arm_metric: str | None = None


def _alpha(value: float) -> dict[str, Any]:
    """Return what chooses uncorrected easy negatives by clicks^alpha."""
    return {
        "negatives.in_batch": False,
        "negatives.hard.num": 0,
        "negatives.easy.sampler": "popularity",
        "negatives.easy.alpha": value,
        "loss.logq.correct": "none",
    }


def _in_batch(
    correct: str, *, positives: str = "none", exponent: float = 0.5, serve: bool = False
) -> dict[str, Any]:
    """Return what chooses in-batch negatives alone; serve: with log q."""
    return {
        "negatives.in_batch": True,
        "negatives.hard.num": 0,
        "loss.logq.correct": correct,
        "positives.strategy": positives,
        "positives.exponent": exponent,
        "evaluation.subtract_log_q": serve,
    }


def _mix(
    ratio: float, slots: int, stages: list[str], loss: str, correct: str, log_q: str
) -> dict[str, Any]:
    """Return what chooses slots of a row that are hard at a ratio."""
    keys = {
        "negatives.hard_ratio": ratio,
        "negatives.hard.num": slots // 2,
        "negatives.hard.stages": stages,
        "negatives.in_batch": False,
        "loss.name": loss,
        "loss.logq.correct": correct,
    }
    # Without a hard slot it is moot which log q it would have.
    return keys | ({"negatives.hard.log_q": log_q} if ratio else {})


def _one(label: str) -> dict[str, Any]:
    return {"arm": label, "loss.name": "sampled_softmax"}


def _ladder(below: str, above: str) -> Check:
    """Return the check that clicks are told from above better than from below."""
    return Check(
        "L4",
        f"clicks are told from {below} items worse than from {above} ones",
        f"auc@{above}",
        {"arm": f"against {below}"},
        {"arm": f"against {above}"},
        -1,
        f"auc@{below}",
    )


def _mixes(text: str, *more: Any) -> list[Check]:
    """Return the checks of hard negatives for a way to weigh them."""
    none, half, every = (_mix(ratio, *more) for ratio in (0, 0.5, 1))
    return [
        Check("L5", f"{text}: half hard finds more than none", RECALL, half, none, 1),
        Check("L5", f"{text}: all hard finds less than none", RECALL, every, none, -1),
    ]


def _resampled(strategy: str, text: str) -> list[Check]:
    """Return the checks of resampled positives, at exponent .5."""
    arm, base = _in_batch("all", positives=strategy), _in_batch("all")
    return [
        Check("L7", f"{text} finds more tail items", f"{RECALL}/tail", arm, base, 1),
        Check("L7", f"head items: {text}", f"{RECALL}/head", arm, base, 0),
        Check("L7", f"all items: {text}", RECALL, arm, base, 0),
    ]


def _shown(ratio: float) -> dict[str, Any]:
    return _mix(ratio, 16, ["exposed"], "sampled_softmax", "negatives", "easy")


CHECKS = (
    Check(
        "L2",
        "alpha .75 finds more tail items than uniform negatives",
        f"{RECALL}/tail",
        _alpha(0.75),
        _alpha(0),
        1,
    ),
    Check(
        "L2",
        "alpha .75 recommends less popular items than uniform negatives",
        "arp@20",
        _alpha(0.75),
        _alpha(0),
        -1,
    ),
    Check(
        "L2",
        "alpha .75 recommends more popular items than alpha 1",
        "arp@20",
        _alpha(0.75),
        _alpha(1),
        1,
    ),
    Check("L2", "all items: alpha .75", RECALL, _alpha(0.75), _alpha(0), 0),
    *(
        Check("L3", says, metric, _in_batch("all"), _in_batch("none"), sign)
        for says, metric, sign in (
            ("logQ finds more than no correction", RECALL, 1),
            ("logQ finds more head items than no correction", f"{RECALL}/head", 1),
            ("tail items: logQ", f"{RECALL}/tail", 0),
        )
    ),
    _ladder("retrieved", "uniform"),
    _ladder("pre_ranked", "retrieved"),
    _ladder("ranked", "pre_ranked"),
    *_mixes("no log q, softmax", 16, LATE, "sampled_softmax", "none", "easy"),
    *_mixes("no log q, bce", 16, LATE, "bce", "none", "easy"),
    *_mixes("log q of the mixture", 8, LATE, "sampled_softmax", "negatives", "mixture"),
    *_mixes("log q of easy ones", 8, LATE, "sampled_softmax", "negatives", "easy"),
    Check(
        "L6",
        "half of the negatives exposed finds less than none",
        RECALL,
        _shown(0.5),
        _shown(0),
        -1,
    ),
    Check(
        "L6",
        "a sixteenth exposed finds less than none",
        RECALL,
        _shown(0.0625),
        _shown(0),
        -1,
    ),
    Check(
        "L6",
        "one exposed of 200, no log q, finds less than none",
        RECALL,
        _one("one exposed"),
        _one("uniform only"),
        -1,
    ),
    Check(
        "L6",
        "one of 200 thrown out by ranking finds more than none (RecFlow's gain)",
        RECALL,
        _one("one pre_ranked"),
        _one("uniform only"),
        1,
    ),
    *_resampled("downsample_hot", "down-sampling hot"),
    *_resampled("upsample_cold", "up-sampling cold"),
    Check(
        "L8",
        "serving by the corrected logit finds less than by the cosine",
        RECALL,
        _in_batch("all", serve=True),
        _in_batch("all"),
        -1,
    ),
)
