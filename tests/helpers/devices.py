"""Programs that see several devices, which a CPU is cut into."""

import os
import subprocess
import sys
from pathlib import Path


def environment(devices: int) -> dict[str, str]:
    """Return the environment of a process with some devices."""
    flags = os.environ.get("XLA_FLAGS", "")
    flags += f" --xla_force_host_platform_device_count={devices}"
    return os.environ | {"XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"}


def printed(devices: int, *words, cwd: Path | None = None) -> str:
    """Return what Python prints with some words, in a process with some devices."""
    done = subprocess.run(
        [sys.executable, *words],
        cwd=cwd,
        env=environment(devices),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout
