"""Trainings against memories of other machines: several hosts, accelerators."""

import re
from typing import Any

import jax
import pytest

from twotower_jax.config import Config
from twotower_jax.data.memory import GIB
from twotower_jax.data.sizes import given_sizes
from twotower_jax.errors import InputError
from twotower_jax.run.footprint import Footprint
from twotower_jax.run.memory import check_memory, excess
from twotower_jax.sweeps.compose import compose_config

# The example of docs/devices.md: 144.84 GiB on one device, 18.24 on each of 8.
LARGE = (
    "towers=factors",
    "towers.dim=64",
    "optimizer=adam",
    "training.batch_size=65536",
    "training.feed=host",
    "training.order=blocks",
    "data=prepared",
    "data.path=somewhere",
)
SIZES = given_sizes(10**8, 10**8, 10**9)
IDS = ("towers=factors", "optimizer=adam", "training.batch_size=1024")


class FakeDevice:
    """A device of a platform, whose memory is known or not."""

    def __init__(self, platform: str, limit: int | None = None):
        self.platform, self._limit = platform, limit
        self.device_kind = f"fake {platform}"

    def memory_stats(self) -> dict[str, int] | None:
        return None if self._limit is None else {"bytes_limit": self._limit}


@pytest.fixture
def machine(monkeypatch):
    """Return a function that makes this process see other devices and memory."""

    def make(
        platform: str, ram: float, limit: float = 0, own: int = 1, processes: int = 1
    ) -> None:
        size = int(limit * GIB) if limit else None
        devices = [FakeDevice(platform, size) for _ in range(own)]
        monkeypatch.setattr(jax, "local_devices", lambda: devices)
        monkeypatch.setattr(jax, "device_count", lambda: own * processes)
        monkeypatch.setattr(jax, "process_count", lambda: processes)
        monkeypatch.setattr(jax.distributed, "is_initialized", lambda: processes > 1)
        found = int(ram * GIB)
        monkeypatch.setattr("twotower_jax.run.memory.machine_memory", lambda: found)
        # No device: nothing can be compiled for it.
        for name in ("temporaries", "most_temporaries"):
            monkeypatch.setattr(Footprint, name, 2**28)
        monkeypatch.setattr(Footprint, "computed_bytes", lambda _: 2**28)

    return make


def compose(*words: str) -> Config:
    return compose_config(list(words))


def message(config: Config, sizes: Any) -> str:
    """Return the message with which a training is refused."""
    with pytest.raises(InputError) as error:
        check_memory(config, sizes)
    return str(error.value)


def remedies(text: str) -> list[list[str]]:
    """Return the words of each remedy of a message, as on the command line."""
    named = text.partition("=")[0]
    plain = re.sub(r" \([^)]*\)", "", text.rpartition("; ")[2])
    found = []
    for one in re.split(r", or ", plain):
        lowered = re.search(r"lower (\S+) to (.+) or less", one)
        words = re.sub(r"^set |( and )?lower .*", "", one).split()
        if lowered is not None:
            key = named if lowered[1] == "it" else lowered[1]
            words.append(f"{key}={lowered[2].replace(' ', '')}")
        found.append(words)
    return found


def check_remedies(words: tuple[str, ...], sizes: Any) -> list[list[str]]:
    """Check that each remedy fits by itself, and return all of them."""
    found = remedies(message(compose(*words), sizes))
    assert found and all(found)
    for one in found:
        groups = {word.partition("=")[0] for word in one}
        kept = [word for word in words if word.partition("=")[0] not in groups]
        assert excess(Footprint(compose(*kept, *one), sizes)) is None, one
    return found


def test_a_mesh_over_several_hosts_is_compared_by_its_local_part(machine):
    config = compose(*LARGE, "training.mesh.table=8")
    machine("cpu", ram=64)
    assert message(config, SIZES).startswith("towers.dim=64 needs")
    machine("cpu", ram=64, own=2, processes=4)
    check_memory(config, SIZES)
    machine("cpu", ram=36, own=2, processes=4)
    text = message(config, SIZES)
    assert (
        "the part of this process (2 of 8 devices) 36 GiB; this host has 36 GiB" in text
    )


def test_hosts_that_are_too_small_need_more_devices_or_smaller_vectors(machine):
    machine("cpu", ram=20, own=2, processes=4)
    found = check_remedies((*LARGE, "training.mesh.table=8"), SIZES)
    assert ["training.mesh.data=1", "training.mesh.table=16"] in found


def test_joined_processes_spread_tables_over_devices_that_are_there(machine):
    machine("cpu", ram=40, own=2, processes=4)
    words = (*LARGE, "training.mesh.data=4", "training.mesh.table=2")
    assert ["training.mesh.data=1", "training.mesh.table=8"] in check_remedies(
        words, SIZES
    )


def test_a_training_that_is_too_large_for_an_accelerator_is_refused(machine):
    machine("gpu", ram=512, limit=60)
    text = message(compose(*LARGE), SIZES)
    assert text.startswith("towers.dim=64 needs 141 GiB, and the training on each")
    assert "jax may use 60 GiB of each device (fake gpu)" in text
    assert "training.mesh.table=4 (on 4 devices, of which jax sees 1)" in text
    check_remedies(LARGE, SIZES)


def test_an_accelerator_that_holds_it_is_not_refused(machine):
    machine("gpu", ram=8, limit=150)
    check_memory(compose(*LARGE), SIZES)
    machine("gpu", ram=8, limit=19, own=8)
    check_memory(compose(*LARGE, "training.mesh.table=8"), SIZES)


def test_an_accelerator_of_unknown_memory_is_not_refused(machine):
    machine("gpu", ram=8)
    check_memory(compose(*LARGE), SIZES)


def test_tables_are_spread_over_the_devices_of_one_host(machine):
    machine("gpu", ram=64, limit=40, own=8)
    found = check_remedies((*LARGE, "training.devices=8"), SIZES)
    assert ["training.mesh.data=2", "training.mesh.table=4"] in found


def test_positives_that_do_not_fit_a_device_may_stay_on_the_host(machine):
    machine("gpu", ram=512, limit=4)
    found = check_remedies(IDS, given_sizes(10**5, 10**5, 10**9))
    assert ["training.feed=host"] in found


def test_the_host_of_an_accelerator_is_compared_with_its_own_parts(machine):
    machine("gpu", ram=32, limit=60)
    sizes = given_sizes(10**5, 10**5, 10**9)
    text = message(compose(*IDS), sizes)
    assert text.startswith("the part 'log' needs 49 GiB, and the host's part of the")
    prepared = ["data=prepared", "data.path=FOLDER"]
    assert check_remedies(IDS, sizes) == [prepared]
    machine("gpu", ram=12, limit=60)
    assert check_remedies(IDS, sizes) == [["training.order=blocks", *prepared]]


def test_less_state_of_the_optimizer_is_a_remedy_where_it_is_enough(machine):
    sizes = given_sizes(10**7, 10**7, 10**7)
    machine("gpu", ram=64, limit=12)
    words = (*IDS, "towers.dim=64")
    assert ["optimizer=adagrad"] in check_remedies(words, sizes)
    machine("gpu", ram=64, limit=6)
    assert ["optimizer=adagrad"] not in check_remedies(words, sizes)


def test_one_host_of_cpu_devices_holds_all_of_them(machine):
    sizes = given_sizes(10**7, 10**7, 10**7)
    machine("cpu", ram=20, own=4)
    words = (*IDS, "towers.dim=64")
    check_memory(compose(*words), sizes)
    found = check_remedies((*words, "training.devices=4"), sizes)
    assert ["training.mesh.data=1", "training.mesh.table=4"] in found


def test_what_no_key_makes_fit_is_said(machine):
    machine("cpu", ram=0.01)
    text = message(compose(*LARGE), SIZES)
    assert "lower several keys: no value of one of them would fit" in text
