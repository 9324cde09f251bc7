"""``twotower plan``: memory, work and expected speed of a training, before it."""

import argparse
import math
from typing import TYPE_CHECKING

from rich.console import Console

from twotower_jax.commands.config_dir import search_words
from twotower_jax.errors import InputError

if TYPE_CHECKING:
    from twotower_jax.config import Config
    from twotower_jax.data.sizes import Sizes

SIZES = ("users", "items", "positives")
# Codes and rows are int32.
MOST = 2**31 - 1


def add_plan(parser: argparse.ArgumentParser) -> None:
    """Add the overrides and the options of ``plan``."""
    text = "overrides as for twotower train, such as towers.dim=128"
    parser.add_argument("words", nargs="*", metavar="key=value", help=text)
    for name in SIZES:
        what = {"positives": "training positives"}.get(name, name)
        text = f"{what} of a log that is not there yet, such as 1e8; with the others"
        parser.add_argument(f"--{name}", metavar="N", help=text)


def plan(options: argparse.Namespace) -> int:
    """Print the plan of each configuration."""
    from twotower_jax.sweeps.compose import compose_configs
    from twotower_jax.sweeps.wrong_words import explained

    given = _given(options)
    words = [*search_words(options.config_dir), *options.words]
    with explained(words):
        configs = compose_configs(words)
    # Imported after the checks, for they import JAX.
    from twotower_jax.compiler import set_up
    from twotower_jax.run.checks import check_names
    from twotower_jax.run.loader import trains

    for config in configs.values():
        check_names(config)
        if not trains(config):
            raise InputError(
                f"towers.kind={config.towers.kind} has no steps to plan; plan towers, "
                "such as towers=default"
            )
    set_up()
    console = Console(markup=False)
    for name, config in configs.items():
        if len(configs) > 1:
            console.print(f"\n{name}", style="bold", highlight=False)
        for line in _lines(config, given):
            console.print(line, highlight=False, soft_wrap=True)
    return 0


def _given(options: argparse.Namespace) -> "Sizes | None":
    """Return the sizes that the options give, None where they give none."""
    texts = {name: getattr(options, name) for name in SIZES}
    values = {n: read_size(f"--{n}", t) for n, t in texts.items() if t is not None}
    if not values:
        return None
    missing = [f"--{name}" for name in SIZES if name not in values]
    if missing:
        raise InputError(
            f"{' and '.join(missing)} missing: a log that is not there yet has "
            "--users, --items and --positives"
        )
    from twotower_jax.data.sizes import given_sizes

    return given_sizes(**values)


def read_size(option: str, text: str) -> int:
    """Return a size as a whole number.

    Examples:
      >>> read_size("--items", "1e8")
      100000000
    """
    try:
        value = float(text.replace("_", ""))
    except ValueError:
        value = math.nan
    if not (1 <= value <= MOST and value == int(value)):
        raise InputError(
            f"{option} {text[:40]} is not a whole number from 1 to {MOST:,}; write one "
            "such as 1000000 or 1e6"
        )
    return int(value)


def _lines(config: "Config", given: "Sizes | None") -> list[str]:
    """Return the plan of one configuration."""
    from twotower_jax.cost.exchange import exchanged_bytes
    from twotower_jax.cost.machine import measure_floors
    from twotower_jax.cost.speed import expected_speed
    from twotower_jax.cost.work import step_work
    from twotower_jax.negatives.masks import chunk_here
    from twotower_jax.report import plan as report
    from twotower_jax.run.memory import excess, training_shape

    sizes, origin = (given, "as given") if given else _sizes(config)
    batch = config.training.batch_size
    if batch > sizes.positives:
        raise InputError(
            f"training.batch_size={batch} is more than the {sizes.positives} training "
            f"positives; set it to {sizes.positives} or less"
        )
    shape = training_shape(config, sizes)
    work = step_work(shape)
    lines = report.size_lines(shape, origin)
    lines += report.memory_lines(shape)
    sent = exchanged_bytes(shape, chunk_here())
    lines += report.work_lines(work, sent)
    refused = excess(config, sizes, options=given is not None)
    if refused is not None:
        lines += ["", f"does not fit this machine: {refused}"]
    else:
        floors = measure_floors(shape)
        speed = expected_speed(work, floors)
        lines += report.speed_lines(speed, floors, shape.rows)
    return [*lines, *report.accelerator_lines(shape, work)]


def _sizes(config: "Config") -> "tuple[Sizes, str]":
    """Return the sizes of the data of a configuration, and where they are from."""
    from twotower_jax.data.sizes import simulated_sizes, sizes_of
    from twotower_jax.run.loader import check_sizes, load_data
    from twotower_jax.run.positives import trained_part

    if config.data.source == "simulator":
        return simulated_sizes(config.data), "expected of the simulator"
    data = trained_part(config, load_data(config))
    check_sizes(config, data)
    return sizes_of(data.log, data.split), "read"
