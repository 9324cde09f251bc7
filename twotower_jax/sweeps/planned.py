"""What a sweep is about to run: refused where no report could be made of it."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from twotower_jax.config import Config, to_dict
from twotower_jax.data.sources import SOURCES
from twotower_jax.errors import InputError, closest
from twotower_jax.evaluation.metrics import BUCKETS, Scope, metric_names
from twotower_jax.run.records import run_folder
from twotower_jax.study.naming import differing_keys, flatten, identity, name_arms
from twotower_jax.study.runs import read_runs
from twotower_jax.sweeps.jobs import check_label


class Planned(NamedTuple):
    """An arm to be run: its words of the command line but the seed; what they mean."""

    words: tuple[str, ...]
    config: Config


def check_planned(
    arms: Sequence[Planned], metric: str | None = None, base: str | None = None
) -> None:
    """Refuse a sweep that would end without a report, before it trains.

    Args:
      arms: all of the sweep.
      metric, base: what the study asks for, None for nothing.
    Raises:
      InputError: two arms that are one configuration, arms on different data in one
        folder, another label than before, a metric that no arm will have, or a base arm
        that is none of them.
    """
    check_apart(arms)
    folders: dict[Path, list[Config]] = {}
    for arm in arms:
        folders.setdefault(run_folder(arm.config).parent, []).append(arm.config)
    for folder, configs in folders.items():
        before = _finished(folder)
        _check_data(folder, configs, before)
        _check_earlier_labels(folder, configs, before)
        check_metric(metric, configs)
        names = name_arms([*map(to_dict, configs), *before])
        check_base(base, names)


def check_apart(arms: Sequence[Planned]) -> None:
    """Refuse two arms that are one configuration, under one label or two."""
    places: dict[Path, Planned] = {}
    for arm in arms:
        same = places.setdefault(run_folder(arm.config), arm)
        check_label(same.config.arm, arm.config.arm)
        if same.words != arm.words:
            ours = " ".join(word for word in same.words if word not in arm.words)
            theirs = " ".join(word for word in arm.words if word not in same.words)
            raise InputError(
                f"{ours} and {theirs} are one configuration; leave one of them out of "
                "the sweep, or set what differs"
            )


def _finished(folder: Path) -> list[dict]:
    """Return the configurations of the finished runs of a folder, if any."""
    try:
        return [run.config for run in read_runs(folder).finished]
    except InputError:
        return []


def _check_data(folder: Path, configs: Sequence[Config], before: list[dict]) -> None:
    """Refuse arms on different data, and others than the folder has runs on."""
    ours = [{"data": to_dict(config)["data"]} for config in configs]
    remedy = "set name= so that each data set has a folder of its own"
    if keys := differing_keys(ours):
        values = list(dict.fromkeys(flatten(one)[keys[0]] for one in ours))
        raise InputError(
            f"{keys[0]}={','.join(values)}: arms on different data cannot be compared, "
            f"and all of these would be in {folder}; {remedy}"
        )
    mine = flatten(ours[0])
    for config in before:
        theirs = flatten({"data": config.get("data", {})})
        for key, value in mine.items():
            # Where the files are says nothing of what they hold.
            if not key.endswith("path") and theirs.get(key, value) != value:
                raise InputError(
                    f"{key}={value}: {folder} has runs with {theirs[key]}, and arms on "
                    f"different data cannot be compared; {remedy}"
                )


def _check_earlier_labels(
    folder: Path, configs: Sequence[Config], before: list[dict]
) -> None:
    """Refuse an arm that the folder has runs of under another label."""
    labels = {identity(config): config.get("arm") for config in before}
    for config in configs:
        label = labels.get(identity(to_dict(config)), config.arm)
        if label != config.arm:
            raise InputError(
                f"arm={config.arm!r}: {folder} has runs of this configuration as "
                f"arm={label!r}; use that label, or another name="
            )


def evaluated_metrics(config: Config) -> list[str]:
    """Return the metrics that a run of a configuration can have on test."""
    evaluation = config.evaluation
    scopes: set[Scope] = {"query", "catalogue", "rivals"}
    if SOURCES[config.data.source].has_truth and evaluation.truth:
        scopes |= {"best", "clicks"}
        if evaluation.uniform_exposures:
            scopes.add("uniform")
    return metric_names(scopes, evaluation.k, evaluation.auc)


def check_metric(metric: str | None, configs: Sequence[Config]) -> None:
    """Refuse a metric of the study that no arm will have."""
    if metric is None:
        return
    known = list(dict.fromkeys(n for one in configs for n in evaluated_metrics(one)))
    if metric not in known:
        near = closest(metric, known)
        stems = ", ".join(dict.fromkeys(name.partition("@")[0] for name in known))
        whole = [name for name in known if "/" not in name]
        ends = ", @".join(dict.fromkeys(name.partition("@")[2] for name in whole))
        raise InputError(
            f"hydra.callbacks.study.metric={metric!r} is none of the metrics of these "
            f"runs{f' ({near})' if near else ''}; they have {stems} with @{ends} "
            f"(evaluation.k), some of them also /{', /'.join(BUCKETS)}"
        )


def check_base(base: str | None, names: Sequence[str]) -> None:
    """Refuse a base arm that is none of the arms."""
    if base is None or base in names:
        return
    arms = sorted(set(names))
    near = closest(base, arms)
    raise InputError(
        f"hydra.callbacks.study.base={base!r} is no arm of this study"
        f"{f' ({near})' if near else ''}; it has {', '.join(map(repr, arms))}; name "
        "one of them, or null for the first"
    )
