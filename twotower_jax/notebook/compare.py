"""A comparison of arms on a log, by the sweep of the command line."""

import hashlib
import re
from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from twotower_jax import conf
from twotower_jax.config import Config
from twotower_jax.config.convert import typed
from twotower_jax.data.text_files import write_text
from twotower_jax.errors import InputError, closest
from twotower_jax.notebook.log import Log, check_arguments, read_log
from twotower_jax.notebook.study import Study
from twotower_jax.registry import TURN, Key, sections
from twotower_jax.sweeps.overrides import override

Arm = str | tuple[str, Mapping[str, Any]]


class Choice(NamedTuple):
    """An arm as a file of the group ``arms``."""

    name: str  # value of ``arms=``
    label: str | None  # of the arm in tables; None: that of its file
    # {key: value} that the arm sets beside its file; {} for a file of conf/arms.
    keys: Mapping[str, Any]


def known_arms() -> list[str]:
    """Names of the files in ``conf/arms``, such as ``slots/uniform``."""
    folder = Path(conf.__file__).parent / "arms"
    names = (
        path.relative_to(folder).with_suffix("") for path in folder.rglob("*.yaml")
    )
    return sorted(name.as_posix() for name in names)


def choices(arms: Sequence[Arm], *, searched: bool) -> list[Choice]:
    """The arms of a comparison as files, their names checked."""
    if isinstance(arms, str) or len(arms) < 2:
        raise InputError(
            f"arms={arms!r} are fewer than two; give a list of two arms or more, such "
            "as ['in_batch_logq', 'uniform']"
        )
    made, known = [], known_arms()
    for arm in arms:
        made.append(Choice(arm, None, {}) if isinstance(arm, str) else _pair(arm))
        names = [made[-1].name] if isinstance(arm, str) else []
        names += [str(made[-1].keys["arms"])] if "arms" in made[-1].keys else []
        for name in names:
            if name not in known and not searched:
                raise _unknown(name, known)
    return made


def _unknown(name: str, known: list[str]) -> InputError:
    near = closest(name, known)
    listed = ", ".join(known)
    return InputError(
        f"arms: {name!r} is no file of conf/arms{f' ({near})' if near else ''}; choose "
        f"of {listed}, or give a pair (name, {{key: value}})"
    )


def _pair(arm: Any) -> Choice:
    """Return a pair as a choice, whose name has a hash of its content."""
    if not (
        isinstance(arm, tuple | list)
        and len(arm) == 2
        and isinstance(arm[0], str)
        and isinstance(arm[1], Mapping)
    ):
        raise InputError(
            f"arms: {arm!r} is neither a name nor a pair; give a file of conf/arms, or "
            "(name, {key: value})"
        )
    label, keys = arm
    mark = hashlib.sha256(_text(label, keys).encode()).hexdigest()[:8]
    slug = re.sub(r"\W+", "_", label, flags=re.ASCII).strip("_")
    return Choice(f"{slug}-{mark}".strip("-"), label, keys)


def check_once(made: Sequence[Choice], overrides: Mapping[str, Any]) -> None:
    """Refuse a key that is set for one arm and for all."""
    for choice in made:
        if both := sorted(set(choice.keys) & set(overrides)):
            raise InputError(
                f"{both[0]} is set by overrides and by the arm {choice.label!r}; set "
                "it for each arm, or for all of them"
            )


def write_arms(made: Sequence[Choice], folder: Path) -> Path | None:
    """Write the arms that are pairs as configuration files."""
    pairs = [pair for pair in made if pair.label is not None]
    for pair in pairs:
        path = folder / "arms" / f"{pair.name}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, _text(pair.label or "", pair.keys))
    return folder if pairs else None


def _text(label: str, keys: Mapping[str, Any]) -> str:
    """Return the configuration file of an arm: choices of groups, then keys."""
    groups = set(sections(Config))
    defaults: list[Any] = [str(keys["arms"])] if "arms" in keys else []
    values: dict[str, Any] = {"arm": label}
    for key, value in keys.items():
        if key in groups and isinstance(value, str):
            defaults.append({f"override /{key}": value})
        elif key != "arms":
            _put(values, key.split("."), value)
    content = {"defaults": [*defaults, "_self_"], **values}
    return "# @package _global_\n" + yaml.safe_dump(content, sort_keys=False)


def _put(values: dict[str, Any], path: list[str], value: Any) -> None:
    """Set a nested value."""
    *parents, last = path
    for name in parents:
        values = values.setdefault(name, {})
    plain = dict(value) if isinstance(value, Mapping) else value
    values[last] = list(plain) if isinstance(plain, tuple) else plain


# Keys that are arguments.
ARGUMENTS = {"arms": "arms", "seed": "seeds", "output": "output", "arm": "arms"}
SEARCHPATH, BASE = "hydra.searchpath", "hydra.callbacks.study.base"


def compare(
    log: Any = None,
    arms: Sequence[Arm] = (),
    seeds: int = 5,
    output: str | PathLike[str] = "outputs",
    overrides: Mapping[str, Any] | None = None,
    tune: Mapping[str, Sequence[Any]] | None = None,
) -> Study:
    """Train arms with several seeds on a log, and compare them with the first.

    It runs ``twotower train -m`` with ``hydra/launcher=fused`` in this process: the
    same checks, folders, records and report. Finished runs are reused, and a call that
    was interrupted goes on where it stopped. The runs are in ``output/NAME``, where
    NAME is that of the log with a hash of `overrides` and `tune`, or
    ``overrides["name"]``. Arms that were compared there before are part of the study,
    and count in its correction for several comparisons.

    Args:
      log: result of `read_log`, or what `read_log` takes; None: the data that
        `overrides` name, by default the simulator.
      arms: two or more. A name is that of a file in ``conf/arms``; a pair (name,
        {key: value}) sets keys, with ``"arms"`` as the file that it begins with. The
        first arm that is not a baseline is the base arm of the comparison.
      seeds: number of seeds, 2 or more; a verdict needs 3.
      output: folder of all runs.
      overrides: {key: value} of all arms, such as ``{"training.epochs": 5}``.
      tune: {key: values} of the axes that each arm tunes on validation before its
        test, by ``hydra/sweeper=select``; None: arms are not tuned, and the verdict of
        a difference is "untuned", unless ``overrides`` name the place where the
        settings were tuned as ``hydra.callbacks.study.tuned``.

    Returns:
      The study.

    Raises:
      InputError: wrong input, before any training.
      NonFiniteLossError: the training of an arm diverges; the other runs are kept.
      KeyboardInterrupt: the call was interrupted, and its runs are saved.

    Examples:
      >>> arms = ["in_batch_logq", ("hot", {"loss.temperature": 0.05})]
      >>> study = compare("clicks.csv", arms)  # doctest: +SKIP
      >>> study.best  # doctest: +SKIP
    """
    check_arguments(output, overrides)
    keys = dict(overrides or {})
    for key, argument in ARGUMENTS.items():
        if key in keys:
            raise InputError(f"overrides has {key!r}; give {argument}= instead")
    made = choices(arms, searched=SEARCHPATH in keys)
    check_once(made, keys)
    Key("", low=2).check("seeds", typed("seeds", seeds, int))
    if log is not None and not isinstance(log, Log):
        log = read_log(log, output=output)
    given = _given(keys, tune)
    name = str(keys.get("name", _name(log, given)))
    fixed = {"name": name, "output": str(output), "hydra/launcher": "fused"}
    words = {key: override(key, value) for key, value in fixed.items()}
    words |= {_key(word): word for word in (log.overrides if log else ())} | given
    folder = Path(output) / name
    words |= _arm_words(made, keys, folder / ".arms", words)
    words["seed"] = f"seed={','.join(map(str, range(seeds)))}"
    with TURN:
        _train(["-m", *words.values()])
    return Study(folder)


def _given(
    keys: Mapping[str, Any], tune: Mapping[str, Sequence[Any]] | None
) -> dict[str, str]:
    """Return the overrides of the user by key."""
    given = {key: override(key, value) for key, value in keys.items()}
    if tune:
        axes = {key: list(values) for key, values in tune.items()}
        given["hydra/sweeper"] = "hydra/sweeper=select"
        given["hydra.sweeper.tune"] = override("hydra.sweeper.tune", axes)
    return given


def _name(log: Log | None, given: Mapping[str, str]) -> str:
    """Return the name of the study's folder, with a hash of the overrides."""
    source = given.get("data", "data=simulator").partition("=")[2]
    start = source if log is None else log.name
    words = sorted(word for key, word in given.items() if key != "data")
    if not words:
        return start
    return f"{start}-{hashlib.sha256(repr(words).encode()).hexdigest()[:8]}"


def _key(word: str) -> str:
    return word.lstrip("+~").partition("=")[0]


def _check_arms(made: list[Choice], words: Mapping[str, str]) -> list[str | None]:
    """Return the label of each arm; refuse one that does not compose.

    The arms are composed here as overrides, whose errors name keys and not files.
    """
    from twotower_jax.commands.understand import composed

    labels = []
    for choice in made:
        name = choice.name if choice.label is None else choice.keys.get("arms")
        ours = {} if name is None else {"arms": f"arms={name}"}
        keys = {key: value for key, value in choice.keys.items() if key != "arms"}
        ours |= {key: override(key, value) for key, value in keys.items()}
        label = composed([*(dict(words) | ours).values()]).arm
        labels.append(choice.label or label)
    return labels


def _arm_words(
    made: list[Choice], keys: Mapping[str, Any], folder: Path, words: Mapping[str, str]
) -> dict[str, str]:
    """Return the overrides of the arms; pairs become files in a folder."""
    own: dict[str, str] = {}
    labels = _check_arms(made, words)
    trained = [not choice.name.startswith("baseline/") for choice in made]
    base = labels[trained.index(True) if any(trained) else 0]
    if base is not None and BASE not in words:
        own[BASE] = override(BASE, base)
    if (arms_folder := write_arms(made, folder)) is not None:
        searched = [*keys.get(SEARCHPATH, ()), f"file://{arms_folder.resolve()}"]
        own[SEARCHPATH] = override(SEARCHPATH, searched)
    own["arms"] = f"arms={','.join(choice.name for choice in made)}"
    return own


def _train(words: list[str]) -> None:
    """Run a sweep; raise the first error of its jobs."""
    from twotower_jax.commands.train import train
    from twotower_jax.signals import Stopped
    from twotower_jax.sweeps.jobs import SWEEP

    try:
        train(words)
    except Stopped as stop:
        raise KeyboardInterrupt(stop.reason.replace("command", "call")) from None
    except SystemExit:
        if not SWEEP.failures:
            raise
    if SWEEP.failures:
        raise SWEEP.failures[0]
