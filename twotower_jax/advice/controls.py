"""The tested arms, and controls of the choice that differ from it in samples alone."""

from collections.abc import Callable, Sequence
from dataclasses import replace

from twotower_jax.advice.progress import Choice, Progress
from twotower_jax.advice.runs import final_words
from twotower_jax.study.grid import Point

KEY = "loss.temperature"


def words_to_test(
    progress: Progress, arms: Sequence[Choice], steps: Callable[[Choice], int]
) -> dict[str, list[str]]:
    """Overrides of the runs on training and validation together, by name of the arm.

    Tuned alone, an arm and its control may differ in two things, the samples and the
    temperature. So each kind of samples that was tuned to another temperature than the
    choice is tested at that of the choice too; `Progress.controls` gets its name.
    """
    words = {
        choice.label: final_words(choice.grid, choice.point, steps(choice))
        for choice in arms
    }
    best = progress.best
    if best is None or best in progress.baselines:
        return words
    value = temperature(best)
    for choice in arms:
        if choice in progress.samples and temperature(choice) != value:
            moved = _at_temperature(choice, value)
            progress.controls[choice.label] = moved.label
            length = steps(_trained_at(choice, moved.point))
            words[moved.label] = final_words(moved.grid, moved.point, length)
    return words


def temperature(choice: Choice) -> float:
    """The temperature of a choice."""
    return choice.grid.configs[choice.place].loss.temperature


def _trained_at(choice: Choice, point: Point) -> Choice:
    """Return a choice at a point that was trained to its end; as it is without one."""
    for index, trial in enumerate(choice.trials):
        ended = trial.values and trial.left_at is None
        if ended and choice.grid.points[index] == point:
            return choice._replace(place=index, fresh=())
    return choice


def _at_temperature(choice: Choice, value: float) -> Choice:
    """Return a choice at another temperature, with the temperature in its name."""
    grid, point = choice.grid, {**choice.point, KEY: f"{value:g}"}
    label = f"{choice.label} at temperature {value:g}"
    config = grid.configs[choice.place]
    config = replace(config, arm=label, loss=replace(config.loss, temperature=value))
    arm = grid.arm._replace(
        words=(*grid.arm.words, f"arm='{label}'"),
        config=replace(grid.arm.config, arm=label),
    )
    return Choice(
        grid._replace(arm=arm, points=[point], configs=[config]), choice.trials[:1], 0
    )
