"""One run of ``twotower train`` on several hosts of a Ray cluster.

All hosts need the same environment, with Ray and the package, and see ``--folder``,
where outputs/ is written. Words of ``twotower train`` follow the options:

  python clusters/ray_job.py --hosts 2 --gpus 8 --folder FOLDER \\
    training.mesh.data=2 training.mesh.table=8 data=table data.path=clicks.parquet

A Ray task on each host starts one process, which takes all GPUs of the task. Ray's own
JaxTrainer does not do: it calls jax.distributed.initialize, as ``--join`` does.
"""

import argparse
import os
import socket
import subprocess
import sys

import ray
from ray.util.placement_group import placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy


def address() -> str:
    """Return HOST:PORT of this host, with a port that is free now."""
    with socket.socket() as free:
        free.bind(("", 0))
        return f"{ray.util.get_node_ip_address()}:{free.getsockname()[1]}"


def train(join: str, words: list[str], folder: str) -> int:
    """Run one process of the training, and return its exit status."""
    command = [sys.executable, "-m", "twotower_jax", "train", "--join", join, *words]
    return subprocess.run(command, cwd=folder, check=False).returncode


def main() -> int:
    """Run the training on all hosts, and return the first status that is not 0."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--hosts", type=int, default=2)
    parser.add_argument("--cpus", type=int, default=1, help="of each host")
    parser.add_argument("--gpus", type=int, default=0, help="of each host")
    parser.add_argument("--folder", default=os.getcwd(), help="that all hosts see")
    options, words = parser.parse_known_args()
    ray.init()  # of RAY_ADDRESS, which `ray job submit` sets

    # All hosts or none: a process waits five minutes for the others.
    bundle = {"CPU": options.cpus, "GPU": options.gpus}
    bundle = {name: number for name, number in bundle.items() if number}
    group = placement_group([bundle] * options.hosts, strategy="STRICT_SPREAD")
    ray.get(group.ready())

    def on_host(place: int, function, *args):
        """Return the future of a function on a host."""
        # Not tried again alone: the others have ended too.
        task = ray.remote(max_retries=0)(function).options(
            num_cpus=options.cpus,
            num_gpus=options.gpus,
            scheduling_strategy=PlacementGroupSchedulingStrategy(group, place),
        )
        return task.remote(*args)

    where = ray.get(on_host(0, address))
    joins = [f"{where},{options.hosts},{place}" for place in range(options.hosts)]
    runs = [
        on_host(place, train, join, words, options.folder)
        for place, join in enumerate(joins)
    ]
    return next((status for status in ray.get(runs) if status), 0)


if __name__ == "__main__":
    sys.exit(main())
