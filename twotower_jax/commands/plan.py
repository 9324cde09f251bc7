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
    see_devices(max(math.prod(c.training.mesh_shape) for c in configs.values()))
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
    if missing := [f"--{name}" for name in SIZES if name not in values]:
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


def see_devices(number: int) -> None:
    """Let a CPU have the devices of a mesh, unless JAX has looked for devices."""
    import jax

    flags = os.environ.get("XLA_FLAGS", "")
    if number > 1 and "xla_force_host_platform_device_count" not in flags:
        with suppress(RuntimeError):
            jax.config.update("jax_num_cpu_devices", number)


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


def _lines(config: "Config", given: "Sizes | None") -> list[str]:
    """Return the plan of one configuration."""
    from twotower_jax.run.memory import (
        TEMPORARIES,
        Footprint,
        Part,
        excess,
        find_memories,
        gib,
    )

    sizes, origin = (given, "as given") if given else _sizes(config)
    batch = config.training.batch_size
    if batch > sizes.positives:
        raise InputError(
            f"training.batch_size={batch} is more than the {sizes.positives} training "
            f"positives; set it to {sizes.positives} or less"
        )
    footprint = Footprint(config, sizes)
    structure, mesh = footprint.structure, footprint.mesh
    query, candidate = (
        ",".join(feature.name for feature in side.features) for side in structure.model
    )
    spread = f"a table over {mesh.table} of them" if mesh.table > 1 else "tables whole"
    devices = f"{mesh.devices} devices ({spread})" if mesh.devices > 1 else "1 device"
    parts = [*footprint.parts(), Part(TEMPORARIES, footprint.temporaries)]
    device = sum(part.size for part in parts if not part.host)
    refused = excess(footprint)
    return [
        f"{sizes.num_users:,} users, {sizes.num_items:,} items, {sizes.positives:,} "
        f"training positives ({origin})",
        f"towers of dimension {config.towers.dim}: query [{query}], candidate "
        f"[{candidate}], hidden {list(config.towers.hidden)}; optimizer "
        f"{structure.optimizer.name}",
        f"a step: {batch:,} rows on {devices}, loss {structure.loss.name}",
        "",
        "memory of each device",
        *(_line(part.name, part.size) for part in parts if not part.host),
        _line("sum of each device", device),
        "memory of the host",
        *(_line(part.name, part.size) for part in parts if part.host),
        "",
        *(
            f"{memory.what} needs {gib(memory.needed(parts))} GiB; {memory.room}"
            for memory in find_memories(mesh.devices)
        ),
        f"does not fit this machine: {refused}" if refused else "fits this machine",
    ]


def _line(name: str, size: int) -> str:
    """Return a line with bytes in GiB, or in MiB below one.

    Examples:
      >>> _line("log", 2**19).split()
      ['log', '0.50', 'MiB']
    """
    value = f"{size / 2**30:,.2f} GiB" if size >= 2**30 else f"{size / 2**20:,.2f} MiB"
    return f"  {name:38}{value:>12}"
