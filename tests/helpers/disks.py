"""A small disk of its own in a file, whose power can be cut.

Needs Linux, root, mkfs.ext4 and loop devices.
"""

import fcntl
import os
import shutil
import struct
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

SHUTDOWN = 0x8004587D  # EXT4_IOC_SHUTDOWN: _IOR('X', 125, __u32)
WITHOUT_FLUSH = struct.pack("I", 2)  # drops the journal in memory


def missing() -> str:
    """Return what such a disk needs and is missing here, or an empty text."""
    if not sys.platform.startswith("linux") or os.geteuid() != 0:
        return "needs Linux and root, which mount a disk in a file"
    if not Path("/dev/loop-control").exists() or shutil.which("mkfs.ext4") is None:
        return "needs loop devices and mkfs.ext4"
    return ""


class Disk:
    """An ext4 file system in a file, mounted at a folder; a context that unmounts it.

    Attributes:
      folder: at which it is mounted.
    """

    def __init__(self, below: Path, megabytes: int):
        self.folder, self._image = below / "disk", below / "disk.img"
        self._megabytes = megabytes

    def __enter__(self) -> "Disk":
        self.folder.mkdir()
        with self._image.open("wb") as file:
            file.truncate(self._megabytes << 20)
        _run("mkfs.ext4", "-q", "-F", str(self._image))
        self._mount()
        return self

    def __exit__(self, *_: object) -> None:
        _run("umount", str(self.folder))
        self._image.unlink()

    def _mount(self) -> None:
        _run("mount", "-o", "loop", str(self._image), str(self.folder))

    def cut_power(self) -> None:
        """Stop all writes to the disk at once, as without power; reads go on."""
        file = os.open(self.folder, os.O_RDONLY)
        try:
            fcntl.ioctl(file, SHUTDOWN, WITHOUT_FLUSH)
        finally:
            os.close(file)

    def start_again(self) -> None:
        """Mount the disk anew, with what reached it before the power was cut."""
        _run("umount", str(self.folder))
        self._mount()

    def fill(self, left: int) -> Path:
        """Write a file that leaves a number of bytes free, and return it."""
        path = self.folder / "fill"
        with path.open("wb", buffering=0) as file, suppress(OSError):
            while True:
                file.write(bytes(4096))
        os.truncate(path, max(0, path.stat().st_size - left))
        os.sync()
        return path

    def read_only(self) -> None:
        """Refuse all writes from now on."""
        _run("mount", "-o", "remount,ro", str(self.folder))


def _run(*words: str) -> None:
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, (words, done.stderr)
