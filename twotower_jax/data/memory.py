"""The memory of the machine."""

import contextlib
import os
import re
from pathlib import Path

GIB = 2**30


def machine_memory() -> int:
    """Return the bytes of memory of this machine."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def available_memory(root: Path = Path("/")) -> int:
    """Return the bytes of memory that programs could still take at this moment.

    The least of what Linux states for the machine and what the limit of the control
    group (of a container, say) leaves; all of the machine's where neither is stated.
    """
    rooms = [machine_memory()]
    with contextlib.suppress(OSError):
        text = (root / "proc/meminfo").read_text()
        rooms += [1024 * int(n) for n in re.findall(r"MemAvailable:\s+(\d+) kB", text)]
    with contextlib.suppress(OSError, ValueError):  # "max": no limit
        group = root / "sys/fs/cgroup"
        limit = int((group / "memory.max").read_text())
        used = int((group / "memory.current").read_text())
        cached = re.findall(
            r"^inactive_file (\d+)", (group / "memory.stat").read_text(), re.M
        )
        rooms.append(limit - used + sum(map(int, cached)))
    return max(min(rooms), 0)
