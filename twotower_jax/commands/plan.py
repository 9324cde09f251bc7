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

    texts = {name: getattr(options, name) for name in SIZES}
    given = {n: _read_size(f"--{n}", t) for n, t in texts.items() if t is not None}
    if given and (missing := [f"--{name}" for name in SIZES if name not in given]):
        raise InputError(
            f"{' and '.join(missing)} missing: a log that is not there yet has "
            "--users, --items and --positives"
        )
    words = [*search_words(options.config_dir), *options.words]
    with explained(words):
        configs = compose_configs(words)
    # Imported after the checks, for they import JAX.
    import jax

    from twotower_jax.compiler import set_up
    from twotower_jax.data.sizes import given_sizes
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
        sizes, origin = (given_sizes(**given), "as given") if given else _sizes(config)
        for line in _lines(config, sizes, origin):
            console.print(line, highlight=False, soft_wrap=True)
    return 0


def _read_size(option: str, text: str) -> int:
    """Return a size such as 1e8 as a whole number."""
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


def _lines(config: "Config", sizes: "Sizes", origin: str) -> list[str]:
    """Return the plan of one configuration."""
    from twotower_jax.run import memory

    batch = config.training.batch_size
    if batch > sizes.positives:
        raise InputError(
            f"training.batch_size={batch} is more than the {sizes.positives} training "
            f"positives; set it to {sizes.positives} or less"
        )
    footprint = memory.Footprint(config, sizes)
    structure, mesh = footprint.structure, footprint.mesh
    query, candidate = (
        ",".join(feature.name for feature in side.features) for side in structure.model
    )
    spread = f"a table over {mesh.table} of them" if mesh.table > 1 else "tables whole"
    devices = f"{mesh.devices} devices ({spread})" if mesh.devices > 1 else "1 device"
    parts = [*footprint.parts(), memory.Part(memory.TEMPORARIES, footprint.temporaries)]
    host = [part for part in parts if part.host]
    device = [part for part in parts if not part.host]
    refused = memory.excess(footprint)
    return [
        f"{sizes.num_users:,} users, {sizes.num_items:,} items, {sizes.positives:,} "
        f"training positives ({origin})",
        f"towers of dimension {config.towers.dim}: query [{query}], candidate "
        f"[{candidate}], hidden {list(config.towers.hidden)}; optimizer "
        f"{structure.optimizer.name}",
        f"a step: {batch:,} rows on {devices}, loss {structure.loss.name}",
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
