"""The axes of the arms of a selection: common ones, and those of single arms."""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

from twotower_jax.errors import InputError, closest
from twotower_jax.model.towers import BASELINES
from twotower_jax.study.grid import Axes, grid_size
from twotower_jax.study.naming import NOT_DIFFERENCES
from twotower_jax.sweeps.number import MOST, check_number
from twotower_jax.sweeps.options import Options

# Keys that cannot be tuned: names of runs, held-out data, and the evaluation.
NO_AXES = (*NOT_DIFFERENCES, "arms", "data", "evaluation", "experiment", "hydra")


class Names(NamedTuple):
    """The names under which `hydra.sweeper.arm_tune` finds an arm.

    Attributes:
      kind: its ``towers.kind``.
      label: its label, the key ``arm``; None without one.
      choice: its choice of the group ``arms``; None without one.
    """

    kind: str
    label: str | None
    choice: str | None


class AllAxes(NamedTuple):
    """The axes of a selection.

    Attributes:
      common: the axes of all arms but the baselines, which no training changes.
      own: axes of single arms, by name.
    """

    common: Axes
    own: dict[str, Axes]

    def of(self, names: Names) -> Axes:
        """Return the axes of an arm; its own replace common ones of the same key.

        Examples:
          >>> axes = AllAxes({"rate": ["1", "2"]}, {"ease": {"l2": ["1"]}, "a": {}})
          >>> axes.of(Names("two_tower", "a", None))
          {'rate': ['1', '2']}
        """
        found = {} if names.kind in BASELINES else dict(self.common)
        for name in dict.fromkeys(names):
            found |= self.own.get(name or "", {})
        return found


def read_axes(options: Options) -> AllAxes:
    """Return the axes of the options."""
    own = {
        str(name): _axes(f"hydra.sweeper.arm_tune.{name}", values)
        for name, values in options.arm_tune.items()
    }
    return AllAxes(_axes("hydra.sweeper.tune", options.tune), own)


def check_axes(axes: AllAxes, arms: Iterable[Names]) -> None:
    """Refuse axes of unknown arms, a study without an axis, and too many points.

    Axes of baselines may stay unused: the sweeper has defaults of them.
    """
    arms = list(arms)
    names = {name for one in arms for name in one if name is not None}
    for name in axes.own:
        if name not in names and name not in BASELINES:
            near = closest(name, sorted(names))
            shown = ", ".join(map(repr, sorted(names)))
            raise InputError(
                f"hydra.sweeper.arm_tune.{name}: no arm has this label, this choice of "
                f"arms= or this towers.kind{f' ({near})' if near else ''}; give one of "
                f"{shown}"
            )
    for one in arms:
        if (points := grid_size(axes.of(one))) > MOST:
            listed = " and ".join(axes.of(one))
            raise InputError(
                f"hydra.sweeper.tune and arm_tune give an arm {points:,} points of "
                f"{listed}; an arm has at most {MOST:,}: give fewer values"
            )
    if not any(axes.of(one) for one in arms):
        raise InputError(
            "no arm of this study has an axis to tune; give one, such as hydra.sweeper."
            "tune={optimizer.learning_rate:[0.02,0.05,0.1]}, or leave out "
            "hydra/sweeper"
        )


def _axes(option: str, values: Any) -> Axes:
    """Return the axes that one option holds, {key: values as on the command line}."""
    if not isinstance(values, Mapping) and not OmegaConf.is_dict(values):
        raise InputError(
            f"{option}={values} holds no axes; write {option}={{loss.temperature:"
            "[0.05,0.1]}"
        )
    for key in values:
        check_axis(option, str(key))
    return {str(key): _axis(option, str(key), one) for key, one in values.items()}


def check_axis(option: str, key: str) -> None:
    """Refuse an axis that changes the data or the metric that validation compares.

    Examples:
      >>> check_axis("hydra.sweeper.tune", "loss.temperature")
      >>> check_axis("hydra.sweeper.tune", "data.valid_share")
      Traceback (most recent call last):
        ...
      InputError: hydra.sweeper.tune.data.valid_share cannot be tuned
    """
    if key.partition(".")[0] in NO_AXES:
        raise InputError(
            f"{option}.{key} cannot be tuned: validation compares models of "
            "an arm on the same data by the same metric; put it into "
            "hydra.sweeper.params, or leave it out"
        )


def _axis(option: str, key: str, values: Any) -> list[str]:
    """Return the distinct values of an axis, from `0.05,0.1` or a list."""
    if OmegaConf.is_list(values):
        values = ",".join("null" if one is None else str(one) for one in values)
    if OmegaConf.is_dict(values):
        raise InputError(
            f"{option}.{key} holds keys; write each axis in one, such as "
            f"{key}.{next(iter(values), 'name')}: 0.05,0.1"
        )
    if values is None or not str(values).strip():
        raise InputError(f"{option}.{key} is empty; give its values, such as 0.05,0.1")
    (one,) = OverridesParser.create().parse_overrides([f"{key}={values}"])
    check_number([one])
    if one.is_sweep_override():
        return list(dict.fromkeys(map(str, one.sweep_string_iterator())))
    return [one.get_value_element_as_str()]
