"""``twotower plan``: the memory of a training, before it."""

import argparse
import math
import os
from contextlib import suppress
from typing import TYPE_CHECKING

from rich.console import Console

from twotower_jax.errors import InputError
from twotower_jax.sweeps.overrides import search_words

if TYPE_CHECKING:
    from twotower_jax.config import Config


def add_plan(parser: argparse.ArgumentParser) -> None:
    """Add the overrides and the options of ``plan``."""
    text = "overrides as for twotower train, such as towers.dim=128"
    parser.add_argument("words", nargs="*", metavar="key=value", help=text)


def plan(options: argparse.Namespace) -> int:
    """Print the plan of each configuration."""
    from twotower_jax.sweeps.compose import compose_configs
    from twotower_jax.sweeps.wrong_words import explained

    words = [*search_words(options.config_dir), *options.words]
    with explained(words):
        configs = compose_configs(words)
    # Imported after the checks, for they import JAX.
    import jax

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
    devices = max(math.prod(c.training.mesh_shape) for c in configs.values())
    flags = os.environ.get("XLA_FLAGS", "")
    if devices > 1 and "xla_force_host_platform_device_count" not in flags:
        with suppress(RuntimeError):  # JAX has looked for devices
            jax.config.update("jax_num_cpu_devices", devices)
    console = Console(markup=False)
    for name, config in configs.items():
        if len(configs) > 1:
            console.print(f"\n{name}", style="bold", highlight=False)
        for line in _lines(config):
            console.print(line, highlight=False, soft_wrap=True)
    return 0


def _lines(config: "Config") -> list[str]:
    """Return the plan of one configuration."""
    from twotower_jax.run import loader, memory
    from twotower_jax.run.positives import trained_part
    from twotower_jax.run.problem import make_problem

    data = loader.load_data(config)
    part = trained_part(config, data)
    loader.check_sizes(config, part)
    config = loader.choose_features(config, data)
    problem = make_problem(config, data)
    footprint = memory.Footprint(config, problem, len(data.log.user))
    program, mesh = problem.program, footprint.mesh
    query, candidate = (
        ",".join(feature.name for feature in side.features) for side in program.model
    )
    spread = f"a table over {mesh.table} of them" if mesh.table > 1 else "tables whole"
    devices = f"{mesh.devices} devices ({spread})" if mesh.devices > 1 else "1 device"
    parts = [*footprint.parts(), memory.Part(memory.TEMPORARIES, footprint.temporaries)]
    host = [part for part in parts if part.host]
    device = [part for part in parts if not part.host]
    refused = memory.excess(footprint)
    return [
        f"{data.log.num_users:,} users, {data.log.num_items:,} items, "
        f"{len(part.split.train):,} training positives",
        f"towers of dimension {config.towers.dim}: query [{query}], candidate "
        f"[{candidate}], hidden {list(config.towers.hidden)}; optimizer "
        f"{program.optimizer.name}",
        f"a step: {config.training.batch_size:,} rows on {devices}, "
        f"loss {program.loss.name}",
        "",
        "memory of each device",
        *(_line(part.name, part.size) for part in device),
        _line("sum of each device", sum(part.size for part in device)),
        "memory of the host",
        *(_line(part.name, part.size) for part in host),
        "",
        *(
            f"{room.what} needs {memory.gib(room.needed(parts))} GiB; {room.owner}"
            for room in memory.find_rooms(mesh.devices)
        ),
        f"does not fit this machine: {refused}" if refused else "fits this machine",
    ]


def _line(name: str, size: int) -> str:
    """Return a line with bytes in GiB, or in MiB below one."""
    value = f"{size / 2**30:,.2f} GiB" if size >= 2**30 else f"{size / 2**20:,.2f} MiB"
    return f"  {name:38}{value:>12}"
