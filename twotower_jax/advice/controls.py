"""The tested arms, and controls of the choice that differ from it in samples alone."""

from collections.abc import Callable, Sequence
from dataclasses import replace

from twotower_jax.advice.progress import Choice, Progress
from twotower_jax.advice.runs import final_words
from twotower_jax.study.grid import Point

KEY = "loss.temperature"


def words_to_test(
    found: Progress, arms: Sequence[Choice], steps: Callable[[Choice], int]
) -> dict[str, list[str]]:
    """Overrides of the runs on training and validation together, by name of the arm.

    Tuned alone, an arm and its control may differ in two things, the samples and the
    temperature. So each kind of samples that was tuned to another temperature than the
    choice is tested at that of the choice too; `Progress.controls` gets its name.
    """
    words = {one.label: final_words(one.grid, one.point, steps(one)) for one in arms}
    best = found.best
    if best is None or best in found.baselines:
        return words
    value = temperature(best)
    for one in arms:
        if one in found.samples and temperature(one) != value:
            moved = _at_temperature(one, value)
            found.controls[one.label] = moved.label
            length = steps(_trained_at(one, moved.point))
            words[moved.label] = final_words(moved.grid, moved.point, length)
    return words


def temperature(one: Choice) -> float:
    """The temperature of a choice."""
    return one.grid.configs[one.place].loss.temperature


def _trained_at(one: Choice, point: Point) -> Choice:
    """Return a choice at a point that was trained to its end; as it is without one."""
    for place, trial in enumerate(one.trials):
        ended = trial.values and trial.left_at is None
        if ended and one.grid.points[place] == point:
            return one._replace(place=place, fresh=())
    return one


def _at_temperature(one: Choice, value: float) -> Choice:
    """Return a choice at another temperature, with the temperature in its name."""
    grid, point = one.grid, {**one.point, KEY: f"{value:g}"}
    label = f"{one.label} at temperature {value:g}"
    config = grid.configs[one.place]
    config = replace(config, arm=label, loss=replace(config.loss, temperature=value))
    arm = grid.arm._replace(
        words=(*grid.arm.words, f"arm='{label}'"),
        config=replace(grid.arm.config, arm=label),
    )
    return Choice(
        grid._replace(arm=arm, points=[point], configs=[config]), one.trials[:1], 0
    )
