"""Processes that train one model together, on devices that a CPU is cut into."""

import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

from helpers import tiny
from helpers.devices import environment

SECONDS = 300


class Team:
    """Processes of one training.

    Args:
      folder: Where the processes work, or that of each.
      words: Of the command of all, or of each.
      processes: Number of processes.
      devices: Number of devices of each.
    """

    def __init__(self, folder, words, processes: int, devices: int):
        """Start them."""
        self.folders = [folder] * processes if isinstance(folder, Path) else folder
        each = [words] * processes if isinstance(words[0], str) else words
        env = environment(devices)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            address = f"127.0.0.1:{free.getsockname()[1]}"
        self.processes = []
        for place, (own, folder) in enumerate(zip(each, self.folders, strict=True)):
            join = f"--join={address},{processes},{place}"
            out, err = (folder / f"{place}.{name}" for name in ("out", "err"))
            with out.open("wb") as output, err.open("wb") as errors:
                self.processes.append(
                    subprocess.Popen(
                        [sys.executable, "-m", "twotower_jax", "train", join, *own],
                        cwd=folder,
                        env=env,
                        stdout=output,
                        stderr=errors,
                    )
                )

    def ends(self) -> list[int]:
        """Wait for all; return their statuses. Those that hang are killed."""
        try:
            return [one.wait(SECONDS) for one in self.processes]
        finally:
            for one in self.processes:
                one.kill()
                one.wait()

    def log(self, place: int) -> str:
        """Return what a process has printed: its errors, then its output."""
        return self.errors(place) + self._text(place, "out")

    def errors(self, place: int) -> str:
        """Return what a process has written to its standard error.

        Its standard output has lines of the network, whose parts two threads mix.
        """
        return self._text(place, "err")

    def _text(self, place: int, name: str) -> str:
        """Return the text of a file of a process."""
        return (self.folders[place] / f"{place}.{name}").read_text(errors="replace")

    def after_a_checkpoint(self, place: int, number: signal.Signals) -> None:
        """Send a signal to a process as soon as there is a checkpoint."""
        end = time.monotonic() + SECONDS
        while not list(self.folders[0].glob("outputs/*/*/checkpoints/*.json")):
            assert time.monotonic() < end, self.log(0)
            time.sleep(0.05)
        self.processes[place].send_signal(number)


def outcome(output: Path):
    """Return metrics, samples and records of the only run, without times."""
    (path,) = output.glob("*/*/result.json")
    result, lines = tiny.read_json(path), tiny.read_lines(path.parent / "metrics.jsonl")
    records = [{k: v for k, v in one.items() if k != "seconds"} for one in lines]
    return result["metrics"], result["samples"], records
