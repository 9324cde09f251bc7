"""The lines of ``twotower plan``: sizes, memory, work and speed of a training."""

import os
from collections.abc import Iterator

from twotower_jax.cost.accelerators import ACCELERATORS, GB
from twotower_jax.cost.exchange import exchanged_bytes
from twotower_jax.cost.machine import Floors
from twotower_jax.cost.memory import (
    DEVICE,
    HOST,
    Part,
    device_bytes,
    memory_parts,
    shared_bytes,
)
from twotower_jax.cost.shape import Shape
from twotower_jax.cost.speed import Limit, Speed, limit
from twotower_jax.cost.work import Work
from twotower_jax.data.memory import GIB
from twotower_jax.data.shards import MOST_SHARDS

WIDTH = 34
LIMITS = (
    "accelerators: limits computed from data sheets, not measurements; fits: yes, or "
    "the least training.mesh.table whose devices hold it"
)


def size_lines(shape: Shape, origin: str) -> list[str]:
    """Lines about the sizes of a training."""
    structure = shape.structure
    query, candidate = structure.model
    names = (",".join(one.name for one in side.features) for side in (query, candidate))
    features = dict(zip(("query", "candidate"), names, strict=True))
    return [
        f"{shape.users:,} users, {structure.num_items:,} items, {shape.positives:,} "
        f"training positives ({origin})",
        f"towers of dimension {shape.dim}: query [{features['query']}], candidate "
        f"[{features['candidate']}], hidden {list(candidate.hidden)}; "
        f"{structure.optimizer}",
        f"a step: {shape.batch:,} rows on {_devices(shape)}, {shape.columns:,} "
        f"columns, {shape.slots} slots per row, loss {structure.loss}",
    ]


def _devices(shape: Shape) -> str:
    """Return the devices of a training in words."""
    if shape.devices == 1:
        return "1 device"
    tables = "tables whole on each"
    if shape.shards > 1:
        tables = f"a table over {shape.shards} of them"
    return f"{shape.devices} devices ({tables})"


def memory_lines(shape: Shape) -> list[str]:
    """Lines about the memory of each device and of the host."""
    parts = memory_parts(shape)
    whole = Part("sum of each device", device_bytes(parts))
    lines = ["", "memory of each device"]
    lines += [_memory_line(part) for part in parts if part.place == DEVICE]
    lines += [_memory_line(whole), "memory of the host"]
    lines += [_memory_line(part) for part in parts if part.place == HOST]
    both = Part("devices and host together", shared_bytes(parts, shape.devices))
    return [*lines, _memory_line(both)]


def _memory_line(part: Part) -> str:
    return f"  {part.name:{WIDTH}}{_bytes(part.size):>12}"


def work_lines(work: Work, exchanged: float) -> list[str]:
    """Lines about the work of a step on each device.

    Args:
      exchanged: bytes that a device sends to others.
    """
    rows = {
        "FLOP": work.flop,
        "  of layers": work.layer_flop,
        "  of scores": work.score_flop,
        "exponentials and roots": work.exponentials,
        "rows read or written at random": work.row_moves,
    }
    lines = ["", "work of a step on each device"]
    lines += [f"  {name:{WIDTH}}{_number(value):>12}" for name, value in rows.items()]
    lines.append(f"  {'bytes moved':{WIDTH}}{_bytes(work.moved_bytes):>12}")
    if exchanged:
        lines.append(
            f"  {'bytes sent to other devices':{WIDTH}}{_bytes(exchanged):>12}"
        )
    return lines


def speed_lines(speed: Speed, floors: Floors, batch: int) -> list[str]:
    """Lines about the expected speed on this machine."""
    order = sorted(speed.seconds.items(), key=lambda item: -item[1])
    shares = ", ".join(f"{n} {100 * v / speed.step:.0f} %" for n, v in order if v)
    return [
        "",
        f"this machine ({os.cpu_count()} cores, measured now, with its other work)",
        f"  {'products of scores':{WIDTH}}{floors.score_flop / 1e9:>12,.0f} GFLOP/s",
        f"  {'products of layers':{WIDTH}}{floors.layer_flop / 1e9:>12,.0f} GFLOP/s",
        f"  {'exponentials':{WIDTH}}{floors.exponentials / 1e9:>12,.2f} G/s",
        f"  {'bandwidth':{WIDTH}}{floors.bandwidth / 1e9:>12,.1f} GB/s",
        f"  {'rows at random':{WIDTH}}{floors.row_moves / 1e6:>12,.1f} M/s",
        f"  {'ids sorted':{WIDTH}}{floors.sorted_ids / 1e6:>12,.1f} M/s",
        f"bound by {speed.bound}: {shares}",
        f"expected: {1e3 * speed.step:,.2f} ms per step, "
        f"{batch / speed.step:,.0f} examples/s",
    ]


def accelerator_lines(shape: Shape, work: Work) -> Iterator[str]:
    """Yield lines about the limits on accelerators."""
    yield ""
    yield LIMITS
    yield (
        f"  {'':22}{'memory':>8}{'fits':>9}{'float32':>16}{'bfloat16':>16}  bound "
        "(at most examples/s)"
    )
    sent = exchanged_bytes(shape)
    for one in ACCELERATORS:
        limits = [limit(work, one, bf16=bf16, exchanged=sent) for bf16 in (False, True)]
        rates = [_rate(shape, found) for found in limits]
        yield (
            f"  {one.name:22}{f'{one.memory // GB} GB':>8}"
            f"{_fits(shape, one.memory):>9}"
            f"{rates[0]:>16}{rates[1]:>16}  {limits[1].bound if limits[1] else '-'}"
        )


def _fits(shape: Shape, memory: int) -> str:
    """Return "yes", the least spread of the tables that fits, or "no"."""
    if device_bytes(memory_parts(shape)) <= memory:
        return "yes"
    shards = 2 * shape.shards
    while shards <= MOST_SHARDS:
        devices = max(shape.devices, shards)
        spread = shape._replace(shards=shards, devices=devices)
        if device_bytes(memory_parts(spread)) <= memory:
            return f"from {shards}"
        shards *= 2
    return "no"


def _rate(shape: Shape, found: Limit | None) -> str:
    """Return examples per second of all devices at most, - without a rate."""
    return "-" if found is None else f"{shape.batch / found.step:,.0f}"


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
    if size >= GIB:
        return f"{size / GIB:,.2f} GiB"
    return f"{size / 2**20:,.2f} MiB"
