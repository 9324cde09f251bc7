"""The files of an advice: advice.json, recipe.yaml, and the report."""

import shlex
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import yaml
from rich.console import Console

from twotower_jax.advice.decision import (
    Decision,
    arm_values,
    control_values,
    decide,
    rival_values,
    run_of,
    tests,
)
from twotower_jax.advice.progress import Choice, Progress
from twotower_jax.advice.runs import final_words
from twotower_jax.config import LABELS
from twotower_jax.data.parse_text import parse_json
from twotower_jax.data.text_files import write_json, write_text
from twotower_jax.errors import InputError
from twotower_jax.study.description import write_description
from twotower_jax.study.selection import Point
from twotower_jax.sweeps.arm_points import point_words
from twotower_jax.sweeps.compose import split_words
from twotower_jax.sweeps.reports import write_reports

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
    """A choice at a point that was trained to its end; as it is without one."""
    for index, trial in enumerate(choice.trials):
        ended = trial.values and trial.left_at is None
        if ended and choice.grid.points[index] == point:
            return choice._replace(place=index, fresh=())
    return choice


def _at_temperature(choice: Choice, value: float) -> Choice:
    """A choice at another temperature, with the temperature in its name."""
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


FILE = "advice.json"


def check_folder(folder: Path, data: str) -> None:
    """Refuse a folder that holds an advice on other data: it would be overwritten."""
    file = folder / FILE
    if not file.is_file():
        return
    try:
        before = parse_json(file.read_text(encoding="utf-8"))["data"]
    except (ValueError, KeyError, TypeError):
        before = "unreadable"
    if before != data:
        raise InputError(
            f"{folder} holds an advice on other data or another split ({before}; this "
            f"is {data}); give another name=, or remove that folder"
        )


def write_advice(
    progress: Progress, metric: str, minutes: float, console: Console
) -> Decision | None:
    """Write what was found, and print the decision."""
    decision = decide(progress, metric, minutes)
    if decision is None:
        return None
    folder, label = progress.folder, decision.choice.label
    if decision.study is not None:
        answer = " ".join(decision.sentences)
        described = replace(decision.study.description, answer=answer)
        write_reports([tests(progress)], described, folder)
        write_description(described, tests(progress))
        write_text(folder / "recipe.yaml", recipe(progress, decision))
    values = arm_values(progress, decision.study)
    baselines = {choice.label for choice in progress.baselines}
    write_json(
        folder / FILE,
        {
            "data": progress.data,
            "choice": choice_words(progress, decision),
            "decision": decision.sentences,
            "incomplete": progress.incomplete,
            "rival": rival_values(decision.study),
            "metrics": {"valid": decision.choice.value, "test": values[label]["test"]}
            if label in values
            else {"valid": decision.choice.value, "test": None},
            "baselines": {k: v for k, v in values.items() if k in baselines},
            "arms": {k: v for k, v in values.items() if k not in baselines},
            "controls": control_values(progress, decision.study),
            "split": {"value": progress.split[0], "reason": progress.split[1]},
            "run": run_of(decision.study, label),
        },
    )
    # The report has printed the decision of a tested study.
    for line in decision.sentences if decision.study is None else ():
        console.print(line, highlight=False, markup=False, soft_wrap=True)
    return decision


def choice_words(progress: Progress, decision: Decision) -> list[str]:
    """Overrides of the choice, as it was tested; as it was tuned where nothing was."""
    choice = decision.choice
    tuned = [*choice.grid.arm.words, *point_words(choice.point)]
    words = progress.tested.get(choice.label, tuned)
    kept = [word for word in words if not word.startswith(("name=", "output="))]
    # The last value of a key holds.
    return list({word.partition("=")[0]: word for word in kept}.values())


def next_commands(progress: Progress, decision: Decision) -> list[str]:
    """Commands that train a tested choice on the whole log and take it."""
    run = run_of(decision.study, decision.choice.label)
    if run is None:
        return []
    folder = shlex.quote(str(progress.folder))
    return [
        f"next: twotower export {shlex.quote(run)} --out model",
        f"on the whole log: twotower train --config-dir {folder} --config-name recipe",
    ]


def recipe(progress: Progress, decision: Decision) -> str:
    """The choice as a file of Hydra, which trains it on the whole log.

    It holds what differs from the defaults: the files that the choice reads, in Hydra's
    list, and the values of its keys.
    """
    label = decision.choice.label
    words = [word for word in progress.tested[label] if not _of_the_test(word)]
    words += ["data.split=ratio", "data.valid_share=0.0", "data.test_share=0.0"]
    words += ["data.fit_valid=false", "name=recipe"]
    files, values = split_words(words)
    for key in ("path", "valid_path", "test_path", "users_path", "items_path"):
        if (path := values["data"].get(key)) is not None:
            values["data"][key] = str(Path(path).absolute())
    head = (
        f"# {label}, the choice of twotower advise, trained on the whole log:\n"
        "# no part is left to test it on.\n"
        f"# Command:  twotower train --config-dir {progress.folder} "
        "--config-name recipe\n"
    )
    chosen = [{f"override /{group}": name} for group, name in files.items()]
    body = {"defaults": ["config", "_self_", *chosen], **values}
    return head + yaml.safe_dump(body, sort_keys=False)


def _of_the_test(word: str) -> bool:
    """Whether a word names or judges the tested run, and is none of the choice."""
    return word.partition("=")[0].partition(".")[0] in (*LABELS, "evaluation")
