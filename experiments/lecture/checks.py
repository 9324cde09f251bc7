"""The checks of each claim of the lecture: two arms, a metric, an expected sign."""

from typing import Any, NamedTuple

# "recall" stands for true_recall@20 where the truth is known, else for recall@20.
RECALL = "recall"
LATE = ["pre_ranked", "ranked"]
CLAIMS = {
    "L1": "Clicks concentrate on few items",
    "L2": "Uniform negatives are unfair to cold items; clicks^.75 is between",
    "L3": "In-batch negatives push popular items down; logQ repairs it",
    "L4": "Items rejected at later stages are harder to distinguish from clicks",
    "L5": "Hard negatives help when mixed with easy ones; all-hard hurts",
    "L6": "Shown-but-not-clicked items as negatives hurt",
    "L7": "Resampling positives helps cold items",
    "L8": "Log q belongs to training, not to serving",
}


class Check(NamedTuple):
    """Two arms, a metric, and the sign of their difference according to the claim.

    Attributes:
      claim: L2 to L8.
      statement: the claim about these two arms.
      metric: RECALL, with a slice such as /tail, or the full name of a metric.
      arm, base: dotted keys and values that select the runs.
      sign: 1 more, -1 less, 0 no claim (a cost).
      arm_metric: the metric of the arm, where it is not that of the base.
      variant: the part of the claim that has its own row in the matrix, if any.
    """

    claim: str
    statement: str
    metric: str
    arm: dict[str, Any]
    base: dict[str, Any]
    sign: int
    arm_metric: str | None = None
    variant: str = ""


def _alpha(value: float) -> dict[str, Any]:
    """Return the keys of uncorrected easy negatives drawn by clicks^alpha."""
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
    """Return the keys of in-batch negatives alone; serve: with log q."""
    return {
        "negatives.in_batch": True,
        "negatives.easy.num": 0,
        "negatives.hard.num": 0,
        "loss.name": "sampled_softmax",
        "loss.logq.correct": correct,
        "positives.strategy": positives,
        "positives.exponent": exponent,
        "evaluation.subtract_log_q": serve,
    }


def _mix(
    ratio: float, slots: int, stages: list[str], loss: str, correct: str, log_q: str
) -> dict[str, Any]:
    """Return the keys of a row's slots, of which a ratio is hard."""
    keys = {
        "negatives.hard_ratio": ratio,
        "negatives.easy.num": slots // 2,
        "negatives.hard.num": slots // 2,
        "negatives.hard.stages": stages,
        "negatives.in_batch": False,
        "loss.name": loss,
        "loss.logq.correct": correct,
    }
    # Without hard slots, their log q has no effect.
    return keys | ({"negatives.hard.log_q": log_q} if ratio else {})


def _one(label: str) -> dict[str, Any]:
    return {"arm": label, "loss.name": "sampled_softmax"}


def _ladder(later: str, earlier: str) -> Check:
    """Return the check that a later stage is harder to distinguish from clicks."""
    return Check(
        "L4",
        f"{later} items are harder to distinguish from clicks than {earlier} items",
        f"auc@{earlier}",
        {"arm": f"against {later}"},
        {"arm": f"against {earlier}"},
        -1,
        f"auc@{later}",
    )


def _mixes(text: str, *more: Any) -> list[Check]:
    """Return the checks of hard negatives for one kind of log q."""
    none, half, every = (_mix(ratio, *more) for ratio in (0, 0.5, 1))
    return [
        Check(
            "L5",
            f"{text}: {mix}",
            RECALL,
            arm,
            none,
            sign,
            variant=text,
        )
        for mix, arm, sign in (
            ("half hard finds more than none", half, 1),
            ("all hard finds less than none", every, -1),
        )
    ]


def _more_slots(easy: int, correct: str) -> Check:
    """Return the check of half hard with other numbers of slots, or in the other form.

    Each of the easy + 4 slots of a row is hard with probability hard_ratio.
    """
    half, none = (
        _mix(ratio, 8, LATE, "sampled_softmax", correct, "mixture")
        | {"negatives.easy.num": easy}
        for ratio in (0.5, 0)
    )
    form = {"negatives": "of the negatives", "all": "of all logits"}[correct]
    text = f"log q {form}, {easy + 4} slots"
    statement = f"{text}: half hard finds more than none"
    return Check("L5", statement, RECALL, half, none, 1, variant=text)


def _beside_in_batch() -> Check:
    """Return the check of half hard slots beside in-batch negatives."""
    half, none = (
        _mix(ratio, 8, LATE, "sampled_softmax", "all", "mixture")
        | {"negatives.in_batch": True}
        for ratio in (0.5, 0)
    )
    text = "beside in-batch negatives"
    statement = f"{text}: half hard finds more than uniform slots"
    return Check("L5", statement, RECALL, half, none, 1, variant=text)


def _resampled(strategy: str, text: str) -> list[Check]:
    """Return the checks of resampled positives, at exponent .5."""
    arms = (_in_batch("all", positives=strategy), _in_batch("all"))
    tail, head = f"{RECALL}/tail", f"{RECALL}/head"
    return [
        Check("L7", f"{text} finds more tail items", tail, *arms, 1, variant=text),
        Check("L7", f"cost in the head: {text}", head, *arms, 0),
        Check("L7", f"cost over all items: {text}", RECALL, *arms, 0),
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
    Check("L2", "cost over all items: alpha .75", RECALL, _alpha(0.75), _alpha(0), 0),
    *(
        Check("L3", statement, metric, _in_batch("all"), _in_batch("none"), sign)
        for statement, metric, sign in (
            ("logQ finds more than no correction", RECALL, 1),
            ("logQ finds more head items than no correction", f"{RECALL}/head", 1),
            ("cost in the tail: logQ", f"{RECALL}/tail", 0),
        )
    ),
    _ladder("retrieved", "uniform"),
    _ladder("pre_ranked", "retrieved"),
    _ladder("ranked", "pre_ranked"),
    *_mixes("no log q, softmax", 16, LATE, "sampled_softmax", "none", "easy"),
    *_mixes("no log q, bce", 16, LATE, "bce", "none", "easy"),
    *_mixes("log q of the mixture", 8, LATE, "sampled_softmax", "negatives", "mixture"),
    *_mixes(
        "log q of the easy negatives", 8, LATE, "sampled_softmax", "negatives", "easy"
    ),
    _beside_in_batch(),
    *(
        _more_slots(easy, correct)
        for correct in ("negatives", "all")
        for easy in (4, 28, 124)
        if (easy, correct) != (4, "negatives")  # among the checks above
    ),
    Check(
        "L6",
        "half exposed finds less than none",
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
        "one of 200 exposed, no log q, finds less than none",
        RECALL,
        _one("one exposed"),
        _one("uniform only"),
        -1,
    ),
    Check(
        "L6",
        "one of 200 rejected by ranking finds more than none",
        RECALL,
        _one("one pre_ranked"),
        _one("uniform only"),
        1,
        variant="RecFlow",
    ),
    *_resampled("downsample_hot", "down-sampling popular positives"),
    *_resampled("upsample_cold", "up-sampling cold positives"),
    Check(
        "L8",
        "serving with the corrected logit finds less than with the cosine",
        RECALL,
        _in_batch("all", serve=True),
        _in_batch("all"),
        -1,
    ),
)
