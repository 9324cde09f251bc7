"""Text of ``twotower data check FILE``: a log as it is understood, and its state."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from twotower_jax.config import Config
from twotower_jax.data.guess.log import ROLES, Guess
from twotower_jax.data.health import (
    COVERED,
    DISCARDED,
    REJECTED,
    SplitHealth,
    anomalies,
    repeated_share,
    repeats_text,
    span,
    studies,
    users_with_one,
)
from twotower_jax.data.log import FunnelLog, Stage
from twotower_jax.data.summary import describe_log
from twotower_jax.run.loader import trains


class Checked(NamedTuple):
    """A log that was read, and its condition."""

    guess: Guess  # the keys and columns that are understood
    config: Config  # the configuration that the log was read with, its split chosen
    log: FunnelLog  # the rows
    splits: dict[str, SplitHealth]  # what each method of splitting makes of it
    why: str  # reason of the choice of the split
    # {"item" or "user": share of the ids that the table of features has}
    coverage: dict[str, float]
    # {baseline: whether the training clicks are within its limit}
    baselines: dict[str, str]
    now: float  # seconds since 1970


def check_lines(checked: Checked) -> Iterator[tuple[str, list[tuple[str, str]]]]:
    """Sections of the text."""
    if checked.guess.columns:
        yield "Columns", _columns(checked)
    yield "Log", _counts(checked)
    if remarks := [*_warnings(checked), *checked.guess.notes]:
        yield "Remarks", [("", text) for text in remarks]
    yield "Splits", _splits(checked)
    yield "Training", [("steps per epoch", _steps(checked))]
    yield "Studies", list(studies(checked.log, checked.config.data.source).items())
    yield "Baselines", list(checked.baselines.items())


def _columns(checked: Checked) -> list[tuple[str, str]]:
    guess, data = checked.guess, checked.config.data
    rows = [
        (role, f"{guess.columns[role].name}  ({guess.columns[role].why})")
        for role in ROLES
        if role in guess.columns
    ]
    for side, kinds in (
        ("item", data.candidate_features),
        ("user", data.query_features),
    ):
        if kinds:
            named = ", ".join(f"{name} ({kind})" for name, kind in kinds.items())
            rows.append((f"features of {side}s", named))
    features = {*data.candidate_features, *data.query_features}
    if unused := [name for name in guess.unused if name not in features]:
        rows.append(("not used", ", ".join(unused)))
    return [*rows, ("positives", _meaning(checked))]


def _meaning(checked: Checked) -> str:
    """Return in words which rows are positives."""
    data, columns = checked.config.data, checked.config.data.columns
    if columns.stage:
        return f"rows with {columns.stage} = clicked"
    if data.clicked_values:
        return f"rows with {columns.clicked} = {' or '.join(data.clicked_values)}"
    if columns.clicked == columns.item and columns.clicked:
        return "items that end with -1"
    if columns.clicked:
        return f"items that {columns.clicked} marks; the other rows were shown"
    if columns.rating and data.min_rating is not None:
        return (
            f"rows with {columns.rating} >= {data.min_rating:g}; data.min_rating=NUMBER"
            " sets another limit"
        )
    return "every row"


def _counts(checked: Checked) -> list[tuple[str, str]]:
    log = checked.log
    counted = describe_log(log)
    stages = counted["stages"]
    rows = [
        ("users", f"{counted['users']:,}"),
        ("items", f"{counted['items']:,}"),
        ("rows", f"{counted['rows']:,}"),
        ("positives", f"{counted['positives']:,}"),
        ("exposures, not clicked", f"{stages['exposed']:,}"),
    ]
    discarded = [f"{s.name.lower()} {stages[s.name.lower()]:,}" for s in DISCARDED]
    if any(stages[s.name.lower()] for s in DISCARDED):
        rows.append(("rows by discarding stage", ", ".join(discarded)))
    if log.time is not None:
        rows.append(("times", span(log.time)))
    rows += [
        ("positives on the top 1 % of items", f"{counted['top 1% share']:.1%}"),
        ("Gini of the items", f"{counted['gini']:.3f}"),
        ("repeated positives", f"{repeated_share(log):.1%}"),
    ]
    one, users = users_with_one(log)
    share = f"{one:,} of {users:,} ({one / users:.1%})"
    rows.append(("users with one positive", share))
    for reason, number in log.dropped.items():
        rows.append((f"left out: {reason}", f"{number:,}"))
    return rows


def _warnings(checked: Checked) -> Iterator[str]:
    log, data = checked.log, checked.config.data
    health = checked.splits[data.split]
    if text := repeats_text(health, data.mask_seen):
        yield text
    for side, share in checked.coverage.items():
        if share < COVERED:
            yield (
                f"only {share:.1%} of the log's {side}s are in --{side}s; the features "
                f"of the others are missing. Add their rows to data.{side}s_path"
            )
        else:
            yield f"{share:.1%} of the log's {side}s are in --{side}s"
    path = Path(data.path or "")
    test = path.with_name(path.name.replace("train", "test")) if path.name else path
    if test != path and test.is_file() and data.test_path is None:
        yield (
            f"{test} stands beside it; data.split=given data.test_path={test} "
            "tests on it"
        )
    if log.time is not None:
        yield from anomalies(log.time, checked.now)


def _splits(checked: Checked) -> list[tuple[str, str]]:
    rows = []
    for name, one in checked.splits.items():
        if name == "given" and not one.sizes:
            continue
        chosen = f"; chosen: {checked.why}" if name == checked.config.data.split else ""
        rows.append((f"data.split={name}", _split(one, checked) + chosen))
    return rows


def _split(one: SplitHealth, checked: Checked) -> str:
    """The sizes of the parts, and what does not count in the test."""
    if not one.sizes:
        return f"not possible: it {one.reason.partition(' ')[2]}"
    sizes = ", ".join(f"{number:,} {part}" for part, number in one.sizes.items())
    lacks = [f"{one.users:,} users in test"]
    if one.cold_users >= 0.005:
        lacks.append(f"{one.cold_users:.0%} of test of users without training")
    if one.cold_items >= 0.005:
        lacks.append(f"{one.cold_items:.0%} of test of items without training")
    if one.repeats >= 0.005 and checked.config.data.mask_seen:
        lacks.append(f"{one.repeats:.0%} of test are repeats, which do not count")
    if one.duplicates:
        lacks.append(f"duplicates dropped: {one.duplicates:,}")
    return f"{sizes} positives; {', '.join(lacks)}"


def _steps(checked: Checked) -> str:
    """The number of steps of an epoch, and whether training has enough."""
    training, batch = checked.config.training, checked.config.training.batch_size
    number = checked.splits[checked.config.data.split].sizes["train"]
    steps = number // batch
    text = f"{steps:,} of {batch:,} positives"
    total = training.steps or steps * training.epochs
    if not trains(checked.config):
        return text
    smaller = train_overrides(checked).get("training.batch_size", batch)
    advice = f"training.batch_size={smaller} has {number // smaller:,} per epoch"
    if not steps:
        return f"{text}: the {number:,} of training are less than one batch; {advice}"
    if total < training.min_steps:
        return (
            f"{text}; {training.epochs} epochs are {total:,} steps, and models often "
            f"need more than {training.min_steps}; {advice}"
        )
    return f"{text}; up to {total:,} steps in {training.epochs} epochs, which is enough"


def train_overrides(checked: Checked) -> dict[str, Any]:
    """Keys that a small log needs beside those of the data."""
    keys: dict[str, Any] = {}
    config = checked.config
    number = checked.splits[config.data.split].sizes["train"]
    if number < 8 * config.training.batch_size:
        # Eight steps per epoch or more, in batches of a power of two.
        batch = 2 ** int(np.log2(max(2, number // 8)))
        keys["training.batch_size"] = min(batch, number, config.training.batch_size)
    items = checked.log.num_items
    if max(config.evaluation.k) > items:
        cutoffs = [k for k in config.evaluation.k if k <= items] or [max(1, items // 2)]
        keys["evaluation.k"] = cutoffs
        name, cutoff = config.training.metric.rsplit("@", 1)
        if int(cutoff) not in cutoffs:
            keys["training.metric"] = f"{name}@{cutoffs[-1]}"
    return keys


def studies_of(log: FunnelLog) -> list[list[str]]:
    """Overrides of the studies that only some logs carry."""
    counts = np.bincount(log.stage, minlength=len(Stage))
    pool = [] if log.request is not None else ["negatives.hard.pool=user"]
    found = []
    stages = [stage.name.lower() for stage in REJECTED if counts[stage]]
    if stages:
        found.append(["negatives=hard", f"negatives.hard.stages=[{','.join(stages)}]"])
    if counts[Stage.EXPOSED]:
        allowed = "negatives.allow_exposed=true"
        found.append(["negatives=hard", "negatives.hard.stages=[exposed]", allowed])
    return [words + pool for words in found]
