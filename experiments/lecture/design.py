"""The settings, arms and checks of the lecture's claims, written before the runs.

An arm is a list of overrides. A check is two arms that differ in one choice and have
equal numbers of negatives, a metric, and the sign that the claim predicts. `run.py`
trains every arm of a setting in several drawn worlds at several temperatures, and
`verdicts.py` judges the checks.
"""

from collections.abc import Iterator
from typing import NamedTuple

CLAIMS = {
    "L2": "Uniform negatives are unfair to cold items; clicks^.75 is between",
    "L3": "In-batch negatives push popular items down; logQ repairs it",
    "L5": "Hard negatives help when mixed with easy ones; all-hard hurts",
    "L6": "Shown-but-not-clicked items as negatives hurt",
    "L7": "Resampling positives helps cold items",
    "L8": "Log q belongs to training, not to serving",
}
TEMPERATURES = (0.1, 0.2, 0.4)
WORLDS = (1, 2, 3, 4, 5)  # seeds of the drawn worlds; the earlier design had world 0

# Items of a hard slot, by the furthest stage that they reached.
STAGES = {
    "pre-ranking rejects": "[retrieved]",
    "ranking rejects": "[pre_ranked]",
    "both rejects": "[retrieved,pre_ranked]",
    "lower half of ranking rejects": "[pre_ranked:50-100]",
    "end of ranking's list": "[ranked:15-30]",
    "earlier design": "[pre_ranked,ranked]",
    "shown, not clicked": "[exposed]",
}
REJECTS = ("pre-ranking rejects", "ranking rejects", "both rejects")
WINDOWS = ("lower half of ranking rejects", "end of ranking's list")
OLD = "earlier design"  # named control: half of its items came through ranking

# How log q of hard draws is handled: (loss.logq.correct, negatives.hard.log_q).
LOG_Q = {
    "no log q": ("none", "easy"),
    "log q of easy draws": ("negatives", "easy"),
    "log q of the mixture": ("negatives", "mixture"),
    "log q of all logits": ("all", "mixture"),
}

# Strength of the funnel, one change each; the default keeps 400, 150, 50, 20 and 10
# items, with noise of 1.5 in pre-ranking and .75 in ranking.
FUNNELS = {
    "pre-ranking noise .5": ["pre_ranking_noise=0.5"],
    "pre-ranking noise 3": ["pre_ranking_noise=3"],
    "ranking noise .25": ["ranking_noise=0.25"],
    "ranking noise 1.5": ["ranking_noise=1.5"],
    "pre-ranking keeps 75": ["pre_ranked=75"],
    "pre-ranking keeps 300": ["pre_ranked=300"],
    "ranking keeps 25": ["ranked=25"],
    "ranking keeps 100": ["ranked=100"],
    "good funnel": ["pre_ranking_noise=0.5", "ranking_noise=0.25"],
    "bad funnel": ["pre_ranking_noise=3", "ranking_noise=1.5"],
}


class Arm(NamedTuple):
    """A kind of training samples.

    Attributes:
      words: overrides of `twotower train`.
      axis: the key that is tuned, the same number of values for each trained arm.
      values: its values; every arm is tested at each of them.
    """

    words: tuple[str, ...]
    axis: str = "loss.temperature"
    values: tuple[float, ...] = TEMPERATURES


class Check(NamedTuple):
    """Two arms that differ in one choice, and the prediction.

    Attributes:
      claim: L2 to L8.
      statement: the claim about these arms.
      arm, control: names of arms.
      metric: a column of runs.csv without the prefix ``truth`` or ``log``: "" for all
        items, "/head", "/mid" or "/tail"; or "arp", mean log popularity of the lists.
      sign: 1 more, -1 less, 0 equivalent, None no prediction (a cost).
      settings: where it is asked.
    """

    claim: str
    statement: str
    arm: str
    control: str
    metric: str
    sign: int | None
    settings: tuple[str, ...] = ("default",)


def slots(
    stages: str,
    share: float,
    number: int = 16,
    log_q: str = "no log q",
    loss: str = "sampled_softmax",
    beside: bool = False,
) -> tuple[str, Arm]:
    """Name and overrides of an arm with explicit slots of each row.

    Args:
      stages: a name of STAGES; of a share of 0 it has no effect.
      share: probability that a slot is hard.
      number: slots of a row.
      log_q: a name of LOG_Q.
      loss: sampled_softmax or bce.
      beside: whether the other items of the batch are negatives too.
    """
    correct, hard = LOG_Q[log_q]
    if not share:
        stages, hard = "both rejects", "easy"
        log_q = {"log q of easy draws": "log q", "log q of the mixture": "log q"}.get(
            log_q, log_q
        )
    what = f"{share:g} {stages}" if share else "uniform"
    where = "beside a batch" if beside else "alone"
    name = f"{number} slots, {what}, {log_q}, {loss}, {where}"
    words = (
        "negatives=half_hard",
        f"loss={loss}",
        f"negatives.in_batch={str(beside).lower()}",
        f"negatives.easy.num={number // 2}",
        f"negatives.hard.num={number // 2}",
        f"negatives.hard_ratio={share}",
        f"negatives.hard.stages={STAGES[stages]}",
        f"negatives.hard.log_q={hard}",
        f"loss.logq.correct={correct}",
        *(["loss.ratio=3"] if loss == "bce" else []),
        *(["negatives.allow_exposed=true"] if "shown" in stages else []),
    )
    return name, Arm(words)


def _hardness() -> Iterator[tuple[str, dict, int | None, tuple[str, ...]]]:
    """Yield (part, arguments of `slots`, predicted sign, settings) of the map."""
    default = ("default",)
    half = {"pre-ranking rejects": 1, "ranking rejects": -1, "both rejects": None}
    half |= dict.fromkeys((*WINDOWS, OLD), -1)
    for stages, sign in half.items():
        for share in (0.5, 1.0) if stages in WINDOWS else (0.25, 0.5, 0.75, 1.0):
            yield (
                "shares",
                {"stages": stages, "share": share},
                (-1 if share == 1 else sign),
                default,
            )
    for stages in REJECTS[:2]:
        for setting in FUNNELS:
            yield (
                "funnels",
                {"stages": stages, "share": 0.5},
                (1 if setting in ("good funnel", "pre-ranking noise .5") else None),
                (setting,),
            )
    four = (*REJECTS, OLD)
    for log_q in list(LOG_Q)[1:]:
        for stages in four:
            sign = 0 if log_q == "log q of the mixture" else half[stages]
            yield (
                "log q",
                {"stages": stages, "share": 0.5, "log_q": log_q},
                sign,
                default,
            )
    for log_q, sign in (("no log q", None), ("log q of all logits", 0)):
        for stages in four:
            more = {"stages": stages, "share": 0.5, "log_q": log_q, "beside": True}
            yield "beside a batch", more, sign, default
    for stages in four:
        more = {"stages": stages, "share": 0.5, "loss": "bce"}
        yield "bce", more, half[stages], default
    for number in (32, 128):
        for stages in four:
            more = {"stages": stages, "share": 0.5, "number": number}
            yield "slots", more, half[stages], default


def _in_batch(*words: str, correct: str = "all") -> Arm:
    return Arm(("negatives=in_batch", f"loss.logq.correct={correct}", *words))


def _easy(alpha: float, number: int) -> Arm:
    words = ("negatives=popularity", f"negatives.easy.alpha={alpha}")
    words += (f"negatives.easy.num={number}", "loss.logq.correct=none")
    return Arm(words)


def references(number: int) -> dict[str, Arm]:
    """The arms of L2, L3, L7 and L8, the oracle and the baselines.

    Args:
      number: easy negatives of a row, as many as the other items of a batch.
    """
    resampled = {
        f"in-batch + logQ, {strategy}": _in_batch(f"positives={strategy}")
        for strategy in ("downsample_hot", "upsample_cold")
    }
    return {
        "uniform, no log q": _easy(0, number),
        "clicks^.75, no log q": _easy(0.75, number),
        "clicks, no log q": _easy(1, number),
        "in-batch, no log q": _in_batch(correct="none"),
        "in-batch + logQ": _in_batch(),
        **resampled,
        "in-batch + logQ, served with log q": _in_batch(
            "evaluation.subtract_log_q=true"
        ),
        "full softmax": Arm(("loss=full_softmax",)),
        "in-batch + logQ, ids only": _in_batch("towers.candidate=[id]"),
        **BASELINES,
    }


# Baselines know clicks only, no features of items; five values each.
BASELINES = {
    "EASE": Arm(("arms=baseline/ease",), "baseline.ease.l2", (10, 50, 200, 1000, 5000)),
    "iALS": Arm(
        ("arms=baseline/ials",),
        "baseline.ials.unobserved_weight",
        (0.003, 0.01, 0.03, 0.1, 0.3),
    ),
    "item-kNN": Arm(
        ("arms=baseline/item_knn",),
        "baseline.item_knn.neighbours",
        (20, 50, 100, 200, 500),
    ),
    "popularity": Arm(("arms=baseline/popularity",), "seed", ()),
}
SHOWN = "shown, not clicked"
REFERENCES = references(255)
LOGS = ("movielens", "toys", "wikispeedia", "gowalla", "yelp2018")


def _claims() -> Iterator[Check]:
    """Yield the checks of L2, L3, L7 and L8, on the simulator and on logs."""
    where = ("default", *LOGS)
    uniform, middle, clicks = (
        f"{one}, no log q" for one in ("uniform", "clicks^.75", "clicks")
    )
    yield Check(
        "L2",
        "alpha .75 finds more tail items than uniform",
        middle,
        uniform,
        "/tail",
        1,
        where,
    )
    yield Check(
        "L2",
        "alpha .75 recommends less popular items than uniform",
        middle,
        uniform,
        "arp",
        -1,
        where,
    )
    yield Check(
        "L2",
        "alpha .75 recommends more popular items than alpha 1",
        middle,
        clicks,
        "arp",
        1,
        where,
    )
    yield Check(
        "L2", "cost over all items: alpha .75", middle, uniform, "", None, where
    )
    plain, logq = "in-batch, no log q", "in-batch + logQ"
    yield Check("L3", "logQ finds more than no correction", logq, plain, "", 1, where)
    yield Check("L3", "logQ finds more head items", logq, plain, "/head", 1, where)
    yield Check("L3", "cost in the tail: logQ", logq, plain, "/tail", None, where)
    yield Check(
        "L3", "as many uniform negatives, uncorrected", uniform, logq, "", None, where
    )
    for strategy, text in (
        ("downsample_hot", "down-sampling popular positives"),
        ("upsample_cold", "up-sampling cold positives"),
    ):
        arm = f"in-batch + logQ, {strategy}"
        yield Check("L7", f"{text} finds more tail items", arm, logq, "/tail", 1, where)
        yield Check("L7", f"cost in the head: {text}", arm, logq, "/head", None, where)
        yield Check("L7", f"cost over all items: {text}", arm, logq, "", None, where)
    served = "in-batch + logQ, served with log q"
    yield Check("L8", "serving with log q finds less", served, logq, "", -1, where)


def _make() -> tuple[dict[str, Arm], list[Check]]:
    arms, checks = dict(REFERENCES), list(_claims())
    for part, keys, sign, settings in _hardness():
        (name, arm), (control, base) = slots(**keys), slots(**{**keys, "share": 0})
        arms |= {name: arm, control: base}
        checks.append(Check("L5", part, name, control, "", sign, settings))
    for share in (0.0625, 0.25, 0.5):
        for log_q in ("no log q", "log q of easy draws"):
            keys = {"stages": SHOWN, "share": share, "log_q": log_q}
            (name, arm), (control, base) = slots(**keys), slots(**{**keys, "share": 0})
            arms |= {name: arm, control: base}
            where = ("default", "wikispeedia")
            text = f"{share:g} shown, {log_q}"
            checks.append(Check("L6", text, name, control, "", -1, where))
    return arms, checks


ARMS, CHECKS = _make()


def arms_of(setting: str) -> list[str]:
    """Names of the arms that the checks of a setting need, with its references."""
    needed = [
        name
        for check in CHECKS
        if setting in check.settings
        for name in (check.control, check.arm)
    ]
    if setting not in FUNNELS:
        needed += ["full softmax", *BASELINES]
        needed += ["in-batch + logQ, ids only"] if setting == "default" else []
    return list(dict.fromkeys(needed))
