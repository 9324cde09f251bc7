"""An arm's training problem in a small world, with free scores in place of towers.

The samplers, corrections, masks and the loss are those of the configuration, and the
problem is made by the code that makes it for a run. Sizes are kept up to limits that
keep an audit short; beyond them few draws are many already.
"""

from dataclasses import replace
from typing import Any, NamedTuple, cast

from twotower_jax.cards.world import StageWindow, World, make_world
from twotower_jax.config import Config
from twotower_jax.errors import InputError
from twotower_jax.losses.terms import ItemTerm
from twotower_jax.model.towers import BASELINES, TwoTower
from twotower_jax.negatives import Funnel, Mined
from twotower_jax.negatives.config import NegativesConfig
from twotower_jax.negatives.funnel import parse_stage
from twotower_jax.negatives.mined import MinedConfig
from twotower_jax.run.checks import check_names
from twotower_jax.run.positives import positive_weights
from twotower_jax.run.problem import make_problem
from twotower_jax.training.problem import Problem

# Rows of a batch, shared draws, entries of a bank, and slots per row, at most.
MOST_ROWS = MOST_SHARED = MOST_BANKED = 1024
MOST_SLOTS = 256
# Rows of a batch where frequencies are streamed. They count an item once per batch, and
# a large batch of a small catalogue would hold most items every time.
MOST_STREAMED = 64


class SmallArm(NamedTuple):
    """An arm in a small world."""

    world: World  # the world
    problem: Problem  # the training problem, with free towers
    # keys with another value than that of the arm, as "key=value, here value"
    scaled: tuple[str, ...]


def small_arm(config: Config) -> SmallArm:
    """An arm's training problem in the small world of the audit."""
    check_arm(config)
    world = make_world(_stages(config))
    small = small_config(config, world)
    problem = make_problem(small, world.loaded)
    return SmallArm(world, problem, tuple(_scaled(config, small)))


def check_arm(config: Config) -> None:
    """Refuse a configuration that has no objective."""
    check_names(config)
    if config.towers.kind in BASELINES:
        raise InputError(
            f"towers.kind={config.towers.kind} is a baseline that is not trained by "
            "samples, so it has no objective to audit; choose towers.kind=two_tower"
        )


def small_config(config: Config, world: World) -> Config:
    """The configuration of an arm for a small world."""
    towers = TwoTower(
        query=("id",),
        candidate=("id",),
        dim=len(world.probability),
        hidden=(),
        normalize=False,
    )
    counts = world.loaded.counts
    one = replace(config, training=replace(config.training, batch_size=2, devices=1))
    expected = float(counts @ positive_weights(one, counts))
    streamed = config.loss.logq.frequency == "streaming"
    most = MOST_STREAMED if streamed else MOST_ROWS
    rows = min(config.training.batch_size, most, max(2, int(expected)))
    training = replace(config.training, batch_size=rows, devices=1, merge_columns=False)
    # The items of the small world have one feature.
    of_items = [one for one in config.loss.terms() if isinstance(one, ItemTerm)]
    fixed: dict[str, Any] = {term.name: type(term)() for term in of_items}
    if config.loss.learn_temperature:
        fixed["learn_temperature"] = False
    lists = type(config.positives.lists)()
    return replace(
        config,
        seed=0,
        towers=towers,
        training=training,
        negatives=_small_negatives(config.negatives, len(counts)),
        loss=replace(config.loss, **fixed),
        data=replace(config.data, columns=replace(config.data.columns, weight=None)),
        positives=replace(config.positives, weight=None, lists=lists),
    )


def _stages(config: Config) -> tuple[StageWindow, ...]:
    """The stages whose rejected items the arm draws."""
    hard = config.negatives.hard
    if not hard.num or not isinstance(hard, Funnel):
        return ()
    return tuple(dict.fromkeys(map(parse_stage, hard.stages)))


def _small_negatives(negatives: NegativesConfig, num_items: int) -> NegativesConfig:
    """The negatives with sizes within their limits."""
    most = MOST_SLOTS if negatives.layout == "per_row" else MOST_SHARED
    easy, hard, bank = negatives.easy, negatives.hard, negatives.bank
    if isinstance(hard, Mined):
        hard = replace(hard, mined=_small_window(hard.mined, num_items))
    return replace(
        negatives,
        easy=replace(easy, num=min(easy.num, most)),
        hard=replace(hard, num=min(hard.num, MOST_SLOTS)),
        bank=replace(bank, size=min(bank.size, MOST_BANKED)),
        # Every item of the small world is there from the start.
        available=False,
        # Free scores have no zero, of which gamma could be a share.
        filter=replace(negatives.filter, gamma=None),
    )


def _small_window(mined: MinedConfig, num_items: int) -> MinedConfig:
    """The window of ranks, in the first half of too small a catalogue."""
    if mined.range_max <= num_items:
        return mined
    end = num_items // 2
    first = min(mined.range_min * end // mined.range_max, end - 1)
    return replace(mined, range_min=first, range_max=end)


def _scaled(config: Config, small: Config) -> list[str]:
    """The keys whose values are others in the small world."""
    negatives, ours = config.negatives, small.negatives
    weight, gamma = config.positives.weight, negatives.filter.gamma
    terms = [
        (f"loss.{one.name}.weight", one.weight, getattr(small.loss, one.name).weight)
        for one in config.loss.terms()
    ]
    pairs = [
        *terms,
        ("negatives.filter.gamma", "null" if gamma is None else gamma, "null"),
        ("positives.weight", weight or "null", "null"),
        ("positives.lists.path", config.positives.lists.path or "null", "null"),
        ("training.batch_size", config.training.batch_size, small.training.batch_size),
        ("negatives.easy.num", negatives.easy.num, ours.easy.num),
        ("negatives.hard.num", negatives.hard.num, ours.hard.num),
        ("negatives.bank.size", negatives.bank.size, ours.bank.size),
        ("negatives.available", str(negatives.available).lower(), "false"),
    ]
    if negatives.hard.num and isinstance(negatives.hard, Mined):
        windows = [cast(Mined, each.hard).mined for each in (negatives, ours)]
        for name in ("range_min", "range_max"):
            before, now = (getattr(window, name) for window in windows)
            pairs.append((f"negatives.hard.mined.{name}", before, now))
    if config.loss.whole_catalogue:
        pairs = pairs[: len(terms) + 4]
    return [f"{key}={was}, here {now}" for key, was, now in pairs if was != now]
