"""A comparison of arms on a log, by the sweep of the command line."""

import hashlib
from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

from twotower_jax.config.convert import typed
from twotower_jax.errors import InputError
from twotower_jax.notebook.arms import Arm, Choice, check_once, choices, write_arms
from twotower_jax.notebook.log import Log, check_arguments, read_log
from twotower_jax.notebook.study import Study
from twotower_jax.registry import TURN, Key
from twotower_jax.sweeps.overrides import override

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
    from twotower_jax.sweeps.jobs import SWEEP
    from twotower_jax.training.signals import Stopped

    try:
        train(words)
    except Stopped as stop:
        raise KeyboardInterrupt(stop.reason.replace("command", "call")) from None
    except SystemExit:
        if not SWEEP.failures:
            raise
    if SWEEP.failures:
        raise SWEEP.failures[0]
