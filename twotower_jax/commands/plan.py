"""``twotower plan``: memory and work of a training, before it."""

import argparse
import math
import os
from collections.abc import Iterator
from contextlib import suppress
from typing import TYPE_CHECKING

from rich.console import Console

from twotower_jax.commands.config_dir import search_words
from twotower_jax.errors import InputError

if TYPE_CHECKING:
    from twotower_jax.config import Config
    from twotower_jax.data.sizes import Sizes
    from twotower_jax.run.footprint import Footprint

SIZES = ("users", "items", "positives")
# Codes and rows are int32.
MOST = 2**31 - 1
WIDTH = 38
# Memory in bytes, by the data sheet of that name.
ACCELERATORS = {
    "NVIDIA L4": 24 * 10**9,
    "NVIDIA A100 80GB SXM": 80 * 10**9,
    "NVIDIA H100 SXM": 80 * 10**9,
    "NVIDIA H200 SXM": 141 * 10**9,
    "Google TPU v5e": 16 * 10**9,
    "Google TPU v5p": 95 * 10**9,
}


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


def see_devices(number: int) -> None:
    """Let a CPU have the devices of a mesh, unless JAX has looked for devices."""
    import jax

    flags = os.environ.get("XLA_FLAGS", "")
    if number > 1 and "xla_force_host_platform_device_count" not in flags:
        with suppress(RuntimeError):
            jax.config.update("jax_num_cpu_devices", number)


def _lines(config: "Config", given: "Sizes | None") -> list[str]:
    """Return the plan of one configuration."""
    from twotower_jax.run.footprint import Footprint
    from twotower_jax.run.memory import excess

    sizes, origin = (given, "as given") if given else _sizes(config)
    batch = config.training.batch_size
    if batch > sizes.positives:
        raise InputError(
            f"training.batch_size={batch} is more than the {sizes.positives} training "
            f"positives; set it to {sizes.positives} or less"
        )
    footprint = Footprint(config, sizes)
    lines = [*_size_lines(footprint, origin), *_memory_lines(footprint)]
    refused = excess(footprint, options=given is not None)
    lines += [
        "",
        f"does not fit this machine: {refused}" if refused else "fits this machine",
    ]
    return [*lines, *_accelerator_lines(footprint)]


def _size_lines(footprint: "Footprint", origin: str) -> list[str]:
    """Return lines about the log, the towers and a step."""
    sizes, structure = footprint.sizes, footprint.structure
    query, candidate = (
        ",".join(feature.name for feature in side.features) for side in structure.model
    )
    towers, mesh = footprint.config.towers, footprint.mesh
    spread = f"a table over {mesh.table} of them" if mesh.table > 1 else "tables whole"
    devices = f"{mesh.devices} devices ({spread})" if mesh.devices > 1 else "1 device"
    return [
        f"{sizes.num_users:,} users, {sizes.num_items:,} items, {sizes.positives:,} "
        f"training positives ({origin})",
        f"towers of dimension {towers.dim}: query [{query}], candidate [{candidate}], "
        f"hidden {list(towers.hidden)}; optimizer {structure.optimizer.name}",
        f"a step: {footprint.config.training.batch_size:,} rows on {devices}, loss "
        f"{structure.loss.name}",
    ]


def _memory_lines(footprint: "Footprint") -> list[str]:
    """Return lines about the memory of each device and of the host, and the work."""
    from twotower_jax.run.footprint import Part

    parts, temporaries = footprint.parts(), footprint.temporaries
    parts.append(Part("temporaries of a step", temporaries))
    device, host = (
        sum(part.size for part in parts if part.host is on_host)
        for on_host in (False, True)
    )
    work, both = footprint.work(), footprint.mesh.devices * device + host
    return [
        "",
        "memory of each device",
        *(_line(part.name, _bytes(part.size)) for part in parts if not part.host),
        _line("sum of each device", _bytes(device)),
        "memory of the host",
        *(_line(part.name, _bytes(part.size)) for part in parts if part.host),
        _line("devices and host together", _bytes(both)),
        "",
        "work of a step",
        _line("FLOP of products, all devices", _number(work.flop)),
        _line("bytes moved on each device", _bytes(work.moved)),
    ]


def _accelerator_lines(footprint: "Footprint") -> Iterator[str]:
    """Yield whether a device of each accelerator holds its part."""
    yield ""
    yield (
        "accelerators: memory of the data sheet; fits: yes, or the least "
        "training.mesh.table whose devices hold it"
    )
    # The tables are spread further only for accelerators that need it.
    needed = {footprint.mesh.table: _spread_bytes(footprint, footprint.mesh.table)}
    for name, memory in ACCELERATORS.items():
        while min(needed.values()) > memory:
            if not (table := _next_table(footprint, max(needed))):
                break
            needed[table] = _spread_bytes(footprint, table)
        fitting = [table for table, size in needed.items() if size <= memory]
        fits = f"from {min(fitting)}" if fitting else "no"
        fits = "yes" if footprint.mesh.table in fitting else fits
        yield f"  {name:{WIDTH}}{f'{memory // 10**9} GB':>8}{fits:>12}"


def _next_table(footprint: "Footprint", table: int) -> int:
    """Return twice as many devices for a table, 0 where they do not divide a batch."""
    devices = 2 * table * footprint.mesh.data
    return 0 if footprint.config.training.batch_size % devices else 2 * table


def _spread_bytes(footprint: "Footprint", table: int) -> int:
    """Return the bytes of a device, with the temporaries of the present mesh."""
    from twotower_jax.run.footprint import Footprint, with_value

    spread = with_value(footprint.config, "training.mesh.table", table)
    parts = Footprint(spread, footprint.sizes).parts()
    device = sum(part.size for part in parts if not part.host)
    return device + footprint.temporaries


def _line(name: str, value: str) -> str:
    return f"  {name:{WIDTH}}{value:>12}"


def _number(value: float) -> str:
    """Return a number with a prefix of 1000.

    Examples:
      >>> _number(2.5e9), _number(12)
      ('2.50 G', '12')
    """
    for prefix, size in (("T", 1e12), ("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if value >= size:
            return f"{value / size:,.2f} {prefix}"
    return f"{value:,.0f}"


def _bytes(size: float) -> str:
    """Return bytes in GiB, or in MiB below one.

    Examples:
      >>> _bytes(3 * 2**30), _bytes(2**19)
      ('3.00 GiB', '0.50 MiB')
    """
    if size >= 2**30:
        return f"{size / 2**30:,.2f} GiB"
    return f"{size / 2**20:,.2f} MiB"


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
