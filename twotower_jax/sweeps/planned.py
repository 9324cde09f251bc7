"""Checks of the arms of a sweep before its first job."""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from twotower_jax.config import Config, to_dict
from twotower_jax.data.sources import SOURCES
from twotower_jax.errors import InputError, closest
from twotower_jax.evaluation.metrics import BUCKETS, Scope, metric_names
from twotower_jax.run.folder import run_folder
from twotower_jax.study.base import choose_base
from twotower_jax.study.controls import choose_controls
from twotower_jax.study.description import Description
from twotower_jax.study.naming import differing_keys, flatten, identity, name_arms
from twotower_jax.study.runs import read_runs
from twotower_jax.study.trained import trained_arms
from twotower_jax.study.tuning import TUNED_KEYS
from twotower_jax.sweeps.jobs import check_label

# The overrides of an arm, without the seed, and the configuration that they compose.
Planned = tuple[tuple[str, ...], Config]


def check_planned(
    arms: Sequence[Planned], study: Description | None = None, *, whole: bool = True
) -> list[str]:
    """Refuse a sweep that would end without a report, before it trains."""
    study, warnings = study or Description(), []
    check_apart(arms)
    folders: dict[Path, list[Config]] = {}
    for _, config in arms:
        folders.setdefault(run_folder(config).parent, []).append(config)
    for folder, configs in folders.items():
        before = _finished_configs(folder)
        _check_data(folder, configs, before)
        _check_earlier_labels(folder, configs, before)
        check_metric(study.metric, configs)
        dicts = [*map(to_dict, configs), *before]
        names = name_arms(dicts)
        if whole:
            check_base(study.base, names)
            check_controls(study.controls, names)
        named = dict(zip(names, dicts, strict=True))
        tuned = TUNED_KEYS if study.tuned else ()
        warnings += control_warnings(named, study, tuned)
    return warnings


def check_apart(arms: Sequence[Planned]) -> None:
    """Refuse two arms that are one configuration, under one label or two."""
    planned: dict[Path, Planned] = {}
    for words, config in arms:
        earlier, same = planned.setdefault(run_folder(config), (words, config))
        check_label(same.arm, config.arm)
        if earlier != words:
            first = " ".join(word for word in earlier if word not in words)
            second = " ".join(word for word in words if word not in earlier)
            raise InputError(
                f"{first} and {second} are one configuration; leave one of them out of "
                "the sweep, or set what differs"
            )


def _finished_configs(folder: Path) -> list[dict]:
    """The configurations of the finished runs of a folder, if any."""
    try:
        return [run.config for run in read_runs(folder).finished]
    except InputError:
        return []


def _check_data(folder: Path, configs: Sequence[Config], before: list[dict]) -> None:
    """Refuse arms on different data, or on other data than the folder's runs."""
    ours = [{"data": to_dict(config)["data"]} for config in configs]
    remedy = "set name= so that each data set has a folder of its own"
    if keys := differing_keys(ours):
        values = list(
            dict.fromkeys(flatten(keys_of_arm)[keys[0]] for keys_of_arm in ours)
        )
        raise InputError(
            f"{keys[0]}={','.join(values)}: arms on different data cannot be compared, "
            f"and all of these would be in {folder}; {remedy}"
        )
    mine = flatten(ours[0])
    for config in before:
        theirs = flatten({"data": config.get("data", {})})
        for key, value in mine.items():
            # The place of the files does not identify their content.
            if not key.endswith("path") and theirs.get(key, value) != value:
                raise InputError(
                    f"{key}={value}: {folder} has runs with {theirs[key]}, and arms on "
                    f"different data cannot be compared; {remedy}"
                )


def _check_earlier_labels(
    folder: Path, configs: Sequence[Config], before: list[dict]
) -> None:
    """Refuse an arm whose runs in the folder have another label."""
    labels = {identity(config): config.get("arm") for config in before}
    for config in configs:
        label = labels.get(identity(to_dict(config)), config.arm)
        if label != config.arm:
            raise InputError(
                f"arm={config.arm!r}: {folder} has runs of this configuration as "
                f"arm={label!r}; use that label, or another name="
            )


def evaluated_metrics(config: Config) -> list[str]:
    """The metrics that a run of a configuration can have on test."""
    evaluation = config.evaluation
    scopes: set[Scope] = {"query", "catalogue", "rivals"}
    if SOURCES[config.data.source].has_truth and evaluation.truth:
        scopes |= {"best", "clicks"}
        if evaluation.uniform_exposures:
            scopes.add("uniform")
    return metric_names(scopes, evaluation.k, evaluation.auc)


def check_metric(metric: str | None, configs: Sequence[Config]) -> None:
    """Refuse a primary metric that no arm will have."""
    if metric is None:
        return
    metrics = list(
        dict.fromkeys(n for config in configs for n in evaluated_metrics(config))
    )
    if metric not in metrics:
        near = closest(metric, metrics)
        stems = ", ".join(dict.fromkeys(name.partition("@")[0] for name in metrics))
        whole = [name for name in metrics if "/" not in name]
        ends = ", @".join(dict.fromkeys(name.partition("@")[2] for name in whole))
        raise InputError(
            f"hydra.callbacks.study.metric={metric!r} is not among the metrics of "
            f"these runs{f' ({near})' if near else ''}; they have {stems} with @{ends} "
            f"(evaluation.k), some of them also /{', /'.join(BUCKETS)}"
        )


def check_base(base: str | None, names: Sequence[str]) -> None:
    """Refuse a base arm that is not an arm of the study."""
    if base is not None:
        _check_arm(
            "hydra.callbacks.study.base", base, names, "null for in-batch + logQ"
        )


def check_controls(controls: Mapping[str, str] | None, names: Sequence[str]) -> None:
    """Refuse a declared control between arms that the study does not have."""
    key = "hydra.callbacks.study.controls"
    for arm, control in (controls or {}).items():
        for name in (arm, control):
            _check_arm(key, name, names, "leave the pair out")
        if arm == control:
            raise InputError(
                f"{key}: {arm!r} cannot be its own control; name another arm, or leave "
                "the pair out"
            )


def _check_arm(key: str, name: str, names: Sequence[str], remedy: str) -> None:
    """Raise InputError unless a name is one of an arm."""
    if name in names:
        return
    arms = sorted(set(names))
    near = closest(name, arms)
    raise InputError(
        f"{key}={name!r} is not an arm of this study{f' ({near})' if near else ''}; it "
        f"has {', '.join(map(repr, arms))}; name one of them, or {remedy}"
    )


def control_warnings(
    arms: Mapping[str, dict], study: Description, tuned: Collection[str]
) -> list[str]:
    """The sentences about a study without a base arm, and arms without a control."""
    trained = trained_arms(arms)
    base = choose_base(arms, recorded=study.base)
    declared = {
        arm: control
        for arm, control in (study.controls or {}).items()
        if arm in trained and control in trained
    }
    controls = choose_controls(
        dict(sorted(trained.items())), base.arm, tuned=tuned, declared=declared
    )
    missing = [] if base.arm else [base.sentence]
    return missing + [
        control.warning for control in controls.values() if control.warning
    ]
