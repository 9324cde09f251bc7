"""The presets of clusters/: their commands, without a cluster."""

import os
import re
import shlex
import signal
import subprocess
import time
from pathlib import Path

import pytest
import yaml

from twotower_jax.commands.join import without_join
from twotower_jax.run.checks import check_names
from twotower_jax.sweeps.compose import compose_config

CLUSTERS = Path(__file__).parents[2] / "clusters"
SCRIPTS = sorted([*CLUSTERS.glob("*.sh"), *CLUSTERS.glob("*.sbatch")])
MORE = ("data.path=a b.csv", "seed=7")  # of the user
SLURM = {"SLURM_JOB_ID": "1", "SLURM_JOB_NUM_NODES": "2", "SLURM_NTASKS_PER_NODE": "4"}


def check(words: list[str]):
    """Check the words of a `twotower train`; return them, and the value of --join."""
    rest, join = without_join(words)
    check_names(compose_config(rest))
    return rest, join


@pytest.fixture
def programs(tmp_path):
    """Return a function that makes a program, and one that starts a script with all."""

    def make(name, text):
        path = tmp_path / name
        path.write_text(f"#!/usr/bin/env bash\n{text}\n")
        path.chmod(0o755)

    def start(script, *words, **variables):
        env = os.environ | variables
        env["PATH"] = f"{tmp_path}:{env['PATH']}"
        return subprocess.Popen(
            ["bash", CLUSTERS / script, *words],
            cwd=tmp_path,
            env=env,
            stdout=subprocess.PIPE,
            text=True,
        )

    return make, start


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_a_script_is_bash_that_stops_at_errors(path):
    subprocess.run(["bash", "-n", path], check=True)
    assert "\nset -euo pipefail\n" in path.read_text()


@pytest.mark.parametrize("path", sorted(CLUSTERS.iterdir()), ids=lambda path: path.name)
def test_the_keys_of_a_preset_exist(path):
    words = re.findall(r"(?<!\S)(?:\w+(?:\.\w+)+|data)=[^\s\\]+", path.read_text())
    assert len(words) >= 4
    check([re.sub(r'"\$\w+"', "2", word) for word in words])


def test_each_task_of_slurm_gets_the_mesh_and_the_words(programs):
    make, start = programs
    make("srun", 'printf "%s\\n" "$@"; exit 3')
    script = start("slurm.sbatch", *MORE, **SLURM)
    words = script.communicate(timeout=60)[0].splitlines()
    assert script.returncode == 3
    rest, join = check(words[words.index("train") + 1 :])
    assert join == "auto" and tuple(rest[-2:]) == MORE
    assert rest[:2] == ["training.mesh.data=2", "training.mesh.table=4"]


def test_the_end_of_its_time_saves_a_job_of_slurm_and_puts_it_back(programs, tmp_path):
    make, start = programs
    make("srun", "echo $$ > pid; exec sleep 60")
    make("scancel", 'echo "scancel $@"; kill -TERM "$(cat pid)"')
    make("scontrol", 'echo "scontrol $@"')
    script = start("slurm.sbatch", **SLURM)
    while not (tmp_path / "pid").exists() or not (tmp_path / "pid").read_text():
        time.sleep(0.01)
    time.sleep(0.2)  # until the script waits for srun
    script.send_signal(signal.SIGUSR1)
    text = script.communicate(timeout=60)[0]
    assert text.splitlines() == ["scancel --signal=TERM 1", "scontrol requeue 1"]
    assert script.returncode == 128 + signal.SIGTERM


def test_each_host_of_a_tpu_slice_gets_the_words(programs):
    make, start = programs
    make("gcloud", 'printf "%s\\n" "$@"')
    script = start("tpu_pod.sh", "/a b", *MORE, TPU_NAME="t", ZONE="z")
    words = script.communicate(timeout=60)[0].splitlines()
    assert script.returncode == 0
    assert {"t", "--zone=z", "--worker=all"} < set(words)
    (command,) = (word for word in words if word.startswith("--command="))
    words = shlex.split(command.removeprefix("--command="))
    assert words[:3] == ["cd", "/a b", "&&"]
    rest, join = check(words[words.index("train") + 1 :])
    assert join == "auto" and tuple(rest) == MORE


def test_the_job_of_kuberay_runs_the_script_of_ray_on_its_pods():
    (job,) = yaml.safe_load_all((CLUSTERS / "kuberay.yaml").read_text())
    assert (job["apiVersion"], job["kind"]) == ("ray.io/v1", "RayJob")
    words = shlex.split(job["spec"]["entrypoint"])
    options = dict(zip(words[2:10:2], words[3:10:2], strict=True))
    script = (CLUSTERS / "ray_job.py").read_text()
    compile(script, "ray_job.py", "exec")
    assert set(options) == set(re.findall(r'add_argument\("(--\w+)"', script))
    hosts, gpus = int(options["--hosts"]), int(options["--gpus"])
    config = compose_config(words[10:])
    mesh = config.training.mesh
    assert mesh.data * mesh.table == hosts * gpus

    cluster = job["spec"]["rayClusterSpec"]
    (group,) = cluster["workerGroupSpecs"]
    assert group["replicas"] == group["minReplicas"] == group["maxReplicas"] == hosts
    for pods in (cluster["headGroupSpec"], group):
        pod = pods["template"]["spec"]
        (container,) = pod["containers"]
        mounts = {mount["name"]: mount for mount in container["volumeMounts"]}
        assert set(mounts) == {volume["name"] for volume in pod["volumes"]}
        assert mounts["shared"]["mountPath"] == options["--folder"]
    limits = container["resources"]["limits"]
    assert limits["nvidia.com/gpu"] == gpus and limits["cpu"] == options["--cpus"]
    assert words[1].rpartition("/")[2] == "ray_job.py"
