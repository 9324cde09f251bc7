"""The control of each arm: another arm of the study that differs in one choice.

A difference between two arms shows the effect of a choice only if the arms differ in
that choice alone. Keys without an effect do not count. A key that has an effect in one
of the two arms only is part of the choice that turned it on: hard negatives bring their
stages and their log q.
"""

from collections.abc import Collection, Iterable, Mapping
from typing import Any, NamedTuple

from twotower_jax.config.convert import all_values, idle_keys
from twotower_jax.negatives.config import whole_catalogue
from twotower_jax.negatives.hard import hard_negatives
from twotower_jax.negatives.samplers import explicit_slots
from twotower_jax.study.naming import flatten, is_baseline

SIZES = ("negatives.easy.num", "negatives.hard.num", "slots")
MIXED = ("negatives.easy.num", "negatives.hard.num", "negatives.hard_ratio")
SAMPLES = ("positives.", "negatives.")  # sections that choose the samples


class Contrast(NamedTuple):
    """The differences of two arms."""

    choices: int  # in which they differ; 0 where they train alike
    values: int  # in which they differ: replaced in-batch negatives are one choice, two
    # {dotted key: its two values}, of the keys that have an effect in both arms
    keys: dict[str, tuple[str, str]]
    following: tuple[str, ...] = ()  # keys with an effect in one arm, after the others

    @property
    def text(self) -> str:
        """The keys with both values, then those that follow."""
        if not self.keys:
            return "no key that has an effect"
        pairs = ", ".join(f"{k}={a} against {b}" for k, (a, b) in self.keys.items())
        return (
            f"{pairs}; with it {', '.join(self.following)}" if self.following else pairs
        )


class Control(NamedTuple):
    """The control of an arm."""

    arm: str
    control: str | None  # its name
    nearest: str | None  # the control, or else the arm with the fewest differences
    contrast: Contrast  # with the nearest arm
    declared: bool = False  # whether the study names it

    @property
    def warning(self) -> str:
        """The sentence about a missing control, or about one that is not one choice."""
        number, text = self.contrast.choices, self.contrast.text
        if self.nearest is None:
            return f"{self.arm} has no control: it is the only trained arm."
        if self.control is None:
            return (
                f"{self.arm} has no control: it differs from the nearest arm, "
                f"{self.nearest}, in {number} choices ({text})."
            )
        if number == 0:
            return f"{self.arm} and {self.nearest} train alike: they differ in {text}."
        if number > 1:
            return (
                f"{self.arm} differs from its declared control, {self.control}, in "
                f"{number} choices ({text})."
            )
        return ""


def contrast(
    arm: Mapping[str, Any], other: Mapping[str, Any], tuned: Collection[str] = ()
) -> Contrast:
    """The differences of two configurations in keys and in choices.

    Their number of choices is the smaller one of two counts: by the numbers of easy and
    of hard draws, or by the number of all draws and the share of hard ones. In-batch
    negatives and the draws that replace them are one choice.

    Examples:
      >>> mixed = {"negatives": {"easy": {"num": 8}}}
      >>> hard = {"num": 4, "pool": "user"}
      >>> half = {"negatives": {"easy": {"num": 4}, "hard": hard}}
      >>> contrast(half, mixed).choices  # 8 draws, half of them hard
      1
      >>> contrast(half, {}).choices  # in-batch negatives alone
      2
    """
    return _contrast(_views(arm), _views(other), tuned)


def negatives_of_a_row(config: Mapping[str, Any]) -> int:
    """The number of negatives that each row of a training has, masked ones included."""
    values = all_values(config)
    if is_baseline(config) or whole_catalogue(values):
        return 0
    others = (values["training.batch_size"] - 1) * values["negatives.in_batch"]
    return others + explicit_slots(values) + values["negatives.bank.size"]


class _Views(NamedTuple):
    """The values of an arm that have an effect, as text."""

    keys: dict[str, str]
    # With draws as their number and the share of hard ones; None without such numbers.
    shares: dict[str, str] | None


def _contrast(arm: _Views, other: _Views, tuned: Collection[str]) -> Contrast:
    ours, theirs = arm.keys, other.keys
    different = [
        key
        for key in dict.fromkeys([*ours, *theirs])
        if ours.get(key) != theirs.get(key)
    ]
    keys = {k: (ours[k], theirs[k]) for k in different if k in ours and k in theirs}
    counts = [
        _count(first, second, tuned)
        for first, second in zip(arm, other, strict=True)
        if first is not None and second is not None
    ]
    following = tuple(key for key in different if key not in keys)
    return Contrast(*min(counts), keys, following)


def _views(config: Mapping[str, Any]) -> _Views:
    """The values of a configuration that have an effect."""
    idle, values = idle_keys(config), all_values(config)
    keys = {key: text for key, text in flatten(values).items() if key not in idle}
    shares = {key: text for key, text in keys.items() if key not in MIXED}
    if whole_catalogue(values):
        return _Views(keys, shares)
    try:
        return _Views(keys, shares | _shares(values))
    except TypeError:
        return _Views(keys, None)


def _shares(values: Mapping[str, Any]) -> dict[str, str]:
    """Return the number of draws beside the batch and the share of hard ones."""
    slots, ratio = explicit_slots(values), values["negatives.hard_ratio"]
    share = "0"
    if hard_negatives(values):
        fixed = f"{values['negatives.hard.num'] / slots:.6g}, fixed"
        share = fixed if ratio is None else f"{ratio:.6g}"
    return {"slots": str(slots), "hard": share}


def _count(
    ours: dict[str, str], theirs: dict[str, str], tuned: Collection[str]
) -> tuple[int, int]:
    """Return the numbers of choices and of values in which two arms differ."""
    both = {key for key in ours.keys() & theirs.keys() if ours[key] != theirs[key]}
    both = (both - set(tuned)) or both
    sizes = both.intersection(SIZES)
    from_none = any(ours[key] == "0" or theirs[key] == "0" for key in sizes)
    # Without in-batch negatives there must be others.
    replaced = "negatives.in_batch" in both and from_none
    return len(both) - replaced, len(both)


def choose_controls(
    arms: Mapping[str, Mapping[str, Any]],
    base: str,
    *,
    tuned: Collection[str] = (),
    declared: Mapping[str, str] | None = None,
) -> dict[str, Control]:
    """The control of each arm except the base.

    The arms that differ in one choice form a graph. It is searched from the base, and
    an arm's control is the arm from which the search reaches it: first along choices of
    samples, then along few keys. An arm that is not reached has its own nearest
    neighbour as control. A declared control may have no run.
    """
    if not arms:
        return {}
    named = (declared or {}).items()
    declared = {a: one for a, one in named if a in arms and one in arms}
    root = base if base in arms else next(iter(arms))
    views = {arm: _views(config) for arm, config in arms.items()}
    contrasts = {
        (arm, other): _contrast(views[arm], views[other], tuned)
        for arm in arms
        for other in arms
        if arm != other
    }
    parents = _parents(list(arms), root, contrasts)
    controls = {}
    for arm in arms:
        if arm in declared:
            known = contrasts[arm, declared[arm]]
            controls[arm] = Control(arm, declared[arm], declared[arm], known, True)
        elif arm != root:
            parent = parents.get(arm)
            near = parent or _nearest(arm, arms, contrasts)
            known = contrasts[arm, near] if near else Contrast(0, 0, {})
            controls[arm] = Control(arm, parent, near, known)
    return controls


Contrasts = Mapping[tuple[str, str], Contrast]


def _parents(arms: list[str], root: str, contrasts: Contrasts) -> dict[str, str]:
    """{arm: its control} of the arms that have one: a tree from the root."""
    parents: dict[str, str] = {}
    depth, left = {root: 0}, [arm for arm in arms if arm != root]

    def cheapest(reached: list[str]) -> tuple[str, str] | None:
        """The arm that is reached next and its control."""
        edges = {
            (arm, other): _cost(contrasts[arm, other], depth.get(other, 0))
            for other in reached
            for arm in left
            if arm != other and contrasts[arm, other].choices <= 1
        }
        return min(edges, key=lambda edge: edges[edge], default=None)

    # A group apart from the base: its first two arms are each other's control.
    while left and (edge := cheapest(list(depth)) or cheapest(left)):
        arm, parents[arm] = edge[0], edge[1]
        depth[arm] = depth.get(edge[1], 0) + 1
        left.remove(arm)
    return parents


def _cost(contrast: Contrast, depth: int) -> tuple[bool, int, int, int]:
    """The order of the ways to an arm; the smallest is taken."""
    of_samples = all(key.startswith(SAMPLES) for key in contrast.keys)
    return not of_samples, contrast.values, depth, len(contrast.following)


def _nearest(arm: str, arms: Iterable[str], contrasts: Contrasts) -> str | None:
    """The other arm with the fewest differences."""
    others = (other for other in arms if other != arm)
    return min(others, key=lambda other: contrasts[arm, other][:2], default=None)
