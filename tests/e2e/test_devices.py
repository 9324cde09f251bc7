"""Many devices are a value of the configuration, not another program."""

import os
import subprocess
import sys
from pathlib import Path

import jax
import pytest
from helpers.problems import as_loaded, small_problem, zipf_clicks

from twotower_jax.errors import InputError

SCRIPT = Path(__file__).parents[1] / "helpers" / "two_devices.py"


@pytest.mark.slow
def test_two_devices_train_what_one_does(tmp_path):
    flags = os.environ.get("XLA_FLAGS", "")
    flags += " --xla_force_host_platform_device_count=2"
    env = os.environ | {"XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"}
    done = subprocess.run(
        [sys.executable, SCRIPT, tmp_path],
        env=env,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert "equal on 1 and 2 devices" in done.stdout


def test_more_devices_than_there_are_is_an_error():
    many = len(jax.devices()) + 1
    data = as_loaded(*zipf_clicks(30, 40, 400), 30, 40)
    problem = small_problem(
        data, training__devices=many, training__batch_size=16 * many
    )
    with pytest.raises(InputError, match=f"training.devices={many}, but jax sees"):
        problem.mesh()


def test_a_batch_that_cannot_be_spread_evenly_is_an_error():
    data = as_loaded(*zipf_clicks(30, 40, 400), 30, 40)
    with pytest.raises(InputError, match="not a multiple of training.devices=3"):
        small_problem(data, training__devices=3)
