"""Sizes, environments and results that the measures of a benchmark share."""

import sys
from pathlib import Path
from typing import Any

from .environments import Environment, environment
from .processes import Result, Task, interleave, own_job, peer_job
from .settings import Settings

WITHOUT = Environment(None, "the short form runs without peers", {})


class Bench:
    """One benchmark.

    Args:
      settings: its sizes.
      folder: for logs, results of searches and runs; removed at the end.
      peers: folder of the environments of the peers.
    """

    def __init__(self, settings: Settings, folder: Path, peers: Path):
        self.settings, self.folder, self._peers = settings, folder, peers
        self.environments: dict[str, Environment] = {}
        self.results: dict[str, dict[str, list[Result]]] = {}
        self.stopped = False  # by Ctrl-C

    def environment(self, name: str) -> Environment:
        """Return the environment of a peer, installed once."""
        if self.settings.short:
            return WITHOUT
        if name not in self.environments:
            self.environments[name] = environment(name, self._peers)
        return self.environments[name]

    def own(self, kind: str, **arguments: Any) -> Task:
        """Return a job of this package; one process runs all of a short benchmark."""
        job = {"kind": kind, **arguments}
        if not self.settings.short:
            env = {"TWOTOWER_CACHE": str(self.folder / "programs")}
            return lambda _: own_job(job, env)

        def here(_: int) -> Result:
            from .jobs import run_job

            return run_job(job)

        return here

    def peer(self, name: str, script: str, **job: Any) -> Task:
        """Return a job of a peer, whose result is an error where it is missing."""
        found = self.environment(name)
        if found.python is None:
            return lambda _: {"error": found.reason}
        python = found.python
        return lambda _: peer_job(python, script, job)

    def floors(self) -> Task:
        """Return the measurement of the speeds of this machine."""
        return self.own("floors", size=256 if self.settings.short else 2048)

    def run(self, measure: str, tasks: dict[str, Task]) -> dict[str, list[Result]]:
        """Return the results of the tasks of a measure, and keep them."""
        print(f"== {measure}", file=sys.stderr, flush=True)
        results, stopped = interleave(tasks, self.settings.rounds)
        self.results[measure], self.stopped = results, stopped
        return results
