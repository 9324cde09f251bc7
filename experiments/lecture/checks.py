"""What each claim of the lecture says of two arms, and so what would refute it."""

from typing import Any, NamedTuple

# "recall" stands for true_recall@20 where a world knows its truth, else for recall@20.
RECALL = "recall"


class Check(NamedTuple):
    """Two arms of a study, a metric, and the sign that the claim gives the difference.

    Attributes:
      claim: L2 to L8.
      says: the claim, of these two arms.
      study: its folder's name.
      metric: RECALL, with a slice such as /tail, or a metric's whole name.
      arm, base: dotted keys and values that choose the runs.
      sign: 1 more, -1 less, 0 no claim: what it costs.
      arm_metric: the metric of the arm where it is another one.
    """

    claim: str
    says: str
    study: str
    metric: str
    arm: dict[str, Any]
    base: dict[str, Any]
    sign: int
    arm_metric: str | None = None


def _alpha(value: float) -> dict[str, Any]:
    return {"negatives.easy.alpha": value}


def _logq(value: str) -> dict[str, Any]:
    return {"loss.logq.correct": value}


def _ratio(value: float, **more: Any) -> dict[str, Any]:
    names = {"loss": "loss.name", "log_q": "negatives.hard.log_q"}
    chosen = {names[name]: one for name, one in more.items()}
    # At ratio 0 there are no hard slots: the runs of all kinds of log q are the same.
    if value == 0:
        chosen.pop("negatives.hard.log_q", None)
    return {"negatives.hard_ratio": value} | chosen


def _arm(label: str, **more: Any) -> dict[str, Any]:
    return {"arm": label} | {f"loss.{key}": value for key, value in more.items()}


def _resampled(strategy: str, exponent: float) -> dict[str, Any]:
    # Exponent 0 resamples nothing, whatever the strategy's name.
    return {"positives.exponent": exponent, "positives.strategy": strategy}


def _ladder(below: str, above: str) -> Check:
    """Return the check that clicks are told from above better than from below."""
    return Check(
        "L4",
        f"clicks are told from {below} items worse than from {above} ones",
        "ladder",
        f"auc@{above}",
        _arm(f"against {below}"),
        _arm(f"against {above}"),
        -1,
        f"auc@{below}",
    )


SOFTMAX, BCE = {"loss": "sampled_softmax"}, {"loss": "bce"}
CHECKS = (
    Check(
        "L2",
        "alpha .75 finds more tail items than uniform negatives",
        "popularity",
        f"{RECALL}/tail",
        _alpha(0.75),
        _alpha(0),
        1,
    ),
    Check(
        "L2",
        "alpha .75 recommends less popular items than uniform negatives",
        "popularity",
        "arp@20",
        _alpha(0.75),
        _alpha(0),
        -1,
    ),
    Check(
        "L2",
        "alpha .75 recommends more popular items than alpha 1",
        "popularity",
        "arp@20",
        _alpha(0.75),
        _alpha(1),
        1,
    ),
    Check(
        "L2",
        "all items: alpha .75 against uniform",
        "popularity",
        RECALL,
        _alpha(0.75),
        _alpha(0),
        0,
    ),
    Check(
        "L3",
        "logQ finds more than no correction",
        "logq",
        RECALL,
        _logq("all"),
        _logq("none"),
        1,
    ),
    Check(
        "L3",
        "logQ finds more head items than no correction",
        "logq",
        f"{RECALL}/head",
        _logq("all"),
        _logq("none"),
        1,
    ),
    Check(
        "L3",
        "tail items: logQ against no correction",
        "logq",
        f"{RECALL}/tail",
        _logq("all"),
        _logq("none"),
        0,
    ),
    _ladder("retrieved", "uniform"),
    _ladder("pre_ranked", "retrieved"),
    _ladder("ranked", "pre_ranked"),
    *(
        Check("L5", f"{text}: {says}", study, RECALL, arm, base, sign)
        for text, study, more in (
            ("no log q, softmax", "half_hard", SOFTMAX),
            ("no log q, bce", "half_hard", BCE),
            ("log q of the mixture", "hard_ratio", {"log_q": "mixture"}),
            ("log q of easy ones", "hard_ratio", {"log_q": "easy"}),
        )
        for says, arm, base, sign in (
            (
                "half hard finds more than none",
                _ratio(0.5, **more),
                _ratio(0, **more),
                1,
            ),
            ("all hard finds less than none", _ratio(1, **more), _ratio(0, **more), -1),
        )
    ),
    Check(
        "L6",
        "half of the negatives exposed finds less than none",
        "exposed",
        RECALL,
        _ratio(0.5, log_q="easy"),
        _ratio(0),
        -1,
    ),
    Check(
        "L6",
        "a sixteenth exposed finds less than none",
        "exposed",
        RECALL,
        _ratio(0.0625, log_q="easy"),
        _ratio(0),
        -1,
    ),
    Check(
        "L6",
        "one exposed of 200 finds less than none",
        "one_of_200",
        RECALL,
        _arm("one exposed", name="sampled_softmax"),
        _arm("uniform only", name="sampled_softmax"),
        -1,
    ),
    Check(
        "L6",
        "one of 200 thrown out by ranking finds more than none (RecFlow's gain)",
        "one_of_200",
        RECALL,
        _arm("one pre_ranked", name="sampled_softmax"),
        _arm("uniform only", name="sampled_softmax"),
        1,
    ),
    *(
        Check(
            "L7",
            f"{text} .5 {says}",
            "resampling",
            f"{RECALL}/{part}",
            _resampled(strategy, 0.5),
            _resampled(strategy, 0),
            sign,
        )
        for strategy, text in (
            ("downsample_hot", "down-sampling hot"),
            ("upsample_cold", "up-sampling cold"),
        )
        for part, says, sign in (
            ("tail", "finds more tail items", 1),
            ("head", "against none on head items", 0),
        )
    ),
    Check(
        "L8",
        "serving by the corrected logit finds less than by the cosine",
        "serving",
        RECALL,
        _logq("all") | {"evaluation.subtract_log_q": True},
        _logq("all") | {"evaluation.subtract_log_q": False},
        -1,
    ),
)
