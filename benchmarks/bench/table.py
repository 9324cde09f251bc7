"""The table of a benchmark, and its JSON."""

import json
import os
import platform
import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

from .context import Bench
from .environments import versions
from .rows import Row

# Packages whose versions stand above the table; the JSON has all.
SHOWN = (
    *("twotower-jax", "jax", "jaxlib", "optax", "numpy", "tensorflow", "tf_keras"),
    *("tensorflow-recommenders", "keras", "keras-rs", "torch", "faiss-cpu", "RecTools"),
)


def machine() -> dict[str, Any]:
    """Return what this machine is, and how busy."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "memory_gib": round(memory / 2**30, 1),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "load": list(os.getloadavg()),
    }


def as_json(bench: Bench, rows: Sequence[Row], about: dict[str, Any]) -> dict[str, Any]:
    """Return everything that a benchmark measured.

    Args:
      bench: with the results of all processes.
      rows: of the table.
      about: `machine()` before the run.
    """
    peers = {
        name: {"reason": one.reason, "versions": one.versions}
        for name, one in bench.environments.items()
    }
    return {
        "short": bench.settings.short,
        "rounds": bench.settings.rounds,
        "stopped": bench.stopped,
        "machine": about | {"load_at_the_end": list(os.getloadavg())},
        "versions": versions(sys.executable),
        "peers": peers,
        "settings": bench.settings._asdict(),
        "results": bench.results,
        "rows": [_row(row) for row in rows],
    }


def write_json(values: dict[str, Any], path: Path) -> None:
    """Write the JSON file; numbers are finite."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(values, indent=1, allow_nan=False) + "\n")


def header(values: dict[str, Any]) -> str:
    """Return the lines above the table: machine, versions and floors."""
    about = values["machine"]
    lines = [
        f"{about['processor']}, {about['cores']} cores, {about['memory_gib']} GiB, "
        f"load {about['load'][0]:.1f} to {about['load_at_the_end'][0]:.1f}; "
        f"medians of {values['rounds']} rounds; huge pages for every process"
    ]
    if values["stopped"]:
        lines.append("ended by Ctrl-C: the rounds of the last measure are fewer")
    environments = {"this package": values["versions"]}
    environments |= {name: one["versions"] for name, one in values["peers"].items()}
    for name, packages in environments.items():
        shown = [f"{x} {packages[x]}" for x in SHOWN if x in packages]
        lines.append(f"{name}: {', '.join(shown) or values['peers'][name]['reason']}")
    speeds = [
        one
        for tasks in values["results"].values()
        for one in tasks.get("floors", [])
        if "error" not in one
    ]
    if speeds:
        sgemm, exp, wide = (
            median(one[name] for one in speeds) / 1e9
            for name in ("sgemm", "exp", "bandwidth")
        )
        lines.append(
            f"floors: sgemm {sgemm:.0f} GFLOP/s, exp {exp:.2f} G/s, "
            f"bandwidth {wide:.0f} GB/s"
        )
    return "\n".join(lines)


def table(rows: Sequence[Row]) -> str:
    """Return the table, one line per ratio."""
    heads = (
        "measure",
        "case",
        "ratio",
        "median",
        "min to max",
        "by CPU",
        "goal",
        "reached",
    )
    lines = [heads, tuple("-" * len(head) for head in heads)]
    lines += [_cells(row) for row in rows]
    sizes = [max(len(line[i]) for line in lines) for i in range(len(heads))]
    return "\n".join(
        "  ".join(cell.ljust(size) for cell, size in zip(line, sizes, strict=True))
        for line in lines
    )


def _cells(row: Row) -> tuple[str, ...]:
    """Return the cells of a line."""
    found = "not measured" if row.median is None else f"{row.median:.3g}"
    span = f"{min(row.values):.3g} to {max(row.values):.3g}" if row.values else ""
    cpu = f"{median(row.cpu):.3g}" if row.cpu else ""
    goal = "" if row.goal is None else str(row.goal)
    reached = {None: "", True: "yes", False: "no"}[row.reached]
    reached = reached if row.values else row.reason[:70]
    return (row.measure, row.case, row.ratio, found, span, cpu, goal, reached)


def _row(row: Row) -> dict[str, Any]:
    """Return a line of the table for JSON."""
    goal = None if row.goal is None else str(row.goal)
    more = {"median": row.median, "goal": goal, "reached": row.reached}
    return row._asdict() | more


def _processor() -> str:
    """Return the name of the processor."""
    path = Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.is_file() else []
    names = [line.split(":")[1].strip() for line in lines if "model name" in line]
    return names[0] if names else platform.processor() or "unknown processor"
