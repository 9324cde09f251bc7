"""The memory that is planned is that of the real training; machines that lack it."""

from typing import Any

import jax
import numpy as np
import pytest
from helpers.problems import (
    as_loaded,
    configure,
    with_features,
    with_times,
    zipf_clicks,
)
from helpers.quick import quick

from twotower_jax.config import Config
from twotower_jax.data.log import Stage
from twotower_jax.data.memory import GIB
from twotower_jax.data.sizes import given_sizes, sizes_of
from twotower_jax.errors import InputError
from twotower_jax.model.tower import init_tower
from twotower_jax.run.memory import Footprint, check_memory
from twotower_jax.run.positives import trained_part
from twotower_jax.run.problem import make_problem
from twotower_jax.sweeps.compose import compose_config
from twotower_jax.training.checkpoint import Checkpoints
from twotower_jax.training.loop import Hooks, Trainer
from twotower_jax.training.step import run_steps

USERS, ITEMS, CLICKS = 300, 450, 2500
ID = {"towers__query": ["id"], "towers__candidate": ["id"]}
SLOTS = {"negatives__layout": "per_row", "negatives__easy__num": 16}
READER = {"towers__query": ["history"]}
PROGRAMS: dict[str, dict[str, Any]] = {
    "in-batch": {},
    "every feature": {
        "towers__query": ["id", "group", "tags", "size", "text"],
        "towers__candidate": ["id", "group", "tags", "size", "text"],
        "towers__hidden": [24],
    },
    "features of the data": {"towers__query": [], "towers__candidate": []},
    "adam_dense": {"optimizer__name": "adam_dense"},
    "sgd": {"optimizer__name": "sgd"},
    "easy": {"negatives__in_batch": False, "negatives__easy__num": 512},
    "slots": SLOTS,
    "known slots": {**SLOTS, "negatives__available": True},
    "history": READER,
    "attention": READER | {"towers__history_pooling": "attention"},
    "sequences": READER
    | {
        "towers__history_pooling": "transformer",
        "towers__history_length": 5,
        "towers__sequence__longer": "newest",
    },
    "bank": {"negatives__bank__size": 211},
    "streaming": {"loss__logq__frequency": "streaming"},
    "masked": {"negatives__mask": "user_positives"},
    "full": {"loss__name": "full_softmax"},
    "psl at k": {"loss__name": "softmax_at_k"},
    "two ways": {"loss__two_way__weight": 0.5, "loss__two_way__correct": "users"},
    "mined": {"negatives__hard__source": "mined", "negatives__hard__num": 4},
    "dns": {
        "negatives__hard__source": "dns",
        "negatives__hard__num": 4,
        "negatives__hard__log_q": "none",
    },
    "pools": {"negatives__hard__num": 4, "negatives__hard__stages": ["ranked"]},
    "fed": {"training__feed": "host"},
    "fed pools": {
        "training__feed": "host",
        "negatives__hard__num": 4,
        "negatives__hard__stages": ["ranked"],
    },
    "resampled positives": {
        "positives__strategy": "power",
        "positives__reweight": True,
    },
    "in order of time": {"training__order": "time"},
}
# Those whose steps are compiled, which takes seconds.
COMPILED = ("in-batch", "history", "slots", "adam_dense", "pools")


@pytest.fixture(scope="module")
def data():
    """A log of 450 items with times, features, and four ranked items per request."""
    user, item = zipf_clicks(USERS, ITEMS, CLICKS)
    request = np.arange(CLICKS)
    rows = {
        "user": np.repeat(user, 4),
        "item": np.random.default_rng(1).integers(0, ITEMS, 4 * CLICKS),
        "stage": np.full(4 * CLICKS, Stage.RANKED),
        "request": np.repeat(request, 4),
    }
    made = as_loaded(user, item, USERS, ITEMS, rows, request)
    time = np.arange(CLICKS, dtype=float)
    return with_features(with_times(made, time, np.repeat(time, 4)))


def both(name, data, folder):
    """Return the footprint, and the arguments of the first real dispatch."""
    config = configure(**ID | {"training__batch_size": 64} | PROGRAMS[name])
    part = trained_part(config, data)
    problem = make_problem(config, data)
    hooks = Hooks(lambda start: None, print)
    trainer = Trainer(problem, Checkpoints(folder), hooks)
    fed, rows = trainer.feed(problem.order.batches(0, 8))
    arguments = trainer.program, fed, trainer.state, rows, np.int32(8)
    return Footprint(config, sizes_of(data.log, part.split)), arguments


@pytest.mark.parametrize("name", PROGRAMS)
def test_planned_arrays_are_those_of_the_training(name, data, tmp_path):
    footprint, arguments = both(name, data, tmp_path)
    planned = jax.tree_util.tree_leaves_with_path(footprint.arguments)
    made = jax.tree_util.tree_leaves_with_path(arguments)
    assert len(planned) == len(made)
    for (path, expected), (_, actual) in zip(planned, made, strict=True):
        name = jax.tree_util.keystr(path)
        assert expected.dtype == actual.dtype, name
        # A pool may be of fewer positives and items than a plan knows of.
        if "pools" in name or "positives.item" in name:
            pairs = zip(expected.shape, np.shape(actual), strict=True)
            assert all(most >= size for most, size in pairs), name
        else:
            assert expected.shape == np.shape(actual), name
    assert footprint.structure == arguments[0].structure


@pytest.mark.parametrize("name", quick(COMPILED, ["history", "pools"]))
def test_temporaries_are_those_that_xla_allocates(name, data, tmp_path):
    footprint, arguments = both(name, data, tmp_path)
    measured: Any = run_steps.lower(*arguments).compile().memory_analysis()
    planned = footprint.temporaries
    assert planned == pytest.approx(measured.temp_size_in_bytes, rel=0.02)
    assert planned <= footprint.computed_bytes()
    held = sum(leaf.nbytes for leaf in jax.tree.leaves(arguments[:4]))
    parts = sum(part.size for part in footprint.parts() if not part.host)
    assert parts == pytest.approx(held + arguments[3].nbytes, rel=0.25)


def test_a_training_runs_the_program_that_was_planned(data, tmp_path):
    """The trace and the program of the check are not made again."""
    footprint, arguments = both("easy", data, tmp_path)
    assert footprint.temporaries > 0
    with jax.set_mesh(jax.tree.leaves(arguments[2])[0].sharding.mesh):
        before = run_steps._cache_size()
        traced = run_steps.trace(*arguments)
        assert traced.jaxpr is footprint._traced().jaxpr
        assert run_steps._cache_size() == before


@pytest.mark.parametrize("kind", ["mlp", "attention", "transformer"])
def test_layers_are_those_that_are_made(kind):
    towers = {
        "mlp": {"towers__hidden": [24, 40]},
        "attention": {"towers__history_pooling": "attention"},
        "transformer": {"towers__history_pooling": "transformer"},
    }[kind]
    names = {"towers__query": ["id", "history"], "towers__candidate": ["id"]}
    config = configure(**names, **towers, towers__dim=16)
    footprint = Footprint(config, given_sizes(USERS, ITEMS, CLICKS))
    key = jax.random.key(0)
    made = [
        jax.eval_shape(lambda key, spec=spec: init_tower(spec, key), key)
        for spec in footprint.structure.model
    ]
    layers = {part.name: part.size for part in footprint.parts()}["layers"]
    assert layers == 4 * sum(leaf.size for leaf in jax.tree.leaves(made))


def test_tables_are_spread_over_the_devices_of_a_mesh_that_is_not_there():
    sizes = given_sizes(10**6, 10**6, 10**7)
    whole, copied, spread = (
        {part.name: part.size for part in Footprint(config, sizes).parts()}
        for config in (
            configure(**ID, training__batch_size=512),
            configure(**ID, training__batch_size=512, training__mesh__data=64),
            configure(**ID, training__batch_size=512, training__mesh__table=64),
        )
    )
    for name in ("table query.id", "table candidate.id", "positives"):
        assert copied[name] == whole[name] == 64 * spread[name], name
    assert copied["log"] == spread["log"] == whole["log"]


def test_a_log_on_disk_takes_no_memory_that_grows_with_it():
    mapped = {
        "data__source": "prepared",
        "training__feed": "host",
        "training__order": "blocks",
    }

    def total(positives, **keys):
        config = configure(**ID, **keys)
        sizes = given_sizes(USERS, ITEMS, positives)
        return sum(part.size for part in Footprint(config, sizes).parts())

    small, large = 10**8, 10**9
    assert total(large) - total(small) > 30 * (large - small)
    assert total(large, **mapped) == total(small, **mapped)
    assert total(large, **mapped) < 10**8
    pools = mapped | {"negatives__hard__num": 4, "negatives__hard__stages": ("ranked",)}
    assert total(large, **pools) == total(small, **pools)


# --- the check ------------------------------------------------------------------------

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
        monkeypatch.setattr(Footprint, "temporaries", 2**28)
        monkeypatch.setattr(Footprint, "computed_bytes", lambda _: 2**28)

    return make


def compose(*words: str) -> Config:
    return compose_config(list(words))


def message(config: Config, sizes: Any) -> str:
    """Return the message with which a training is refused."""
    with pytest.raises(InputError) as error:
        check_memory(config, sizes)
    return str(error.value)


def test_a_mesh_over_several_hosts_is_compared_by_its_local_part(machine):
    config = compose(*LARGE, "training.mesh.table=8")
    machine("cpu", ram=64)
    assert message(config, SIZES).startswith("the training needs 145 GiB")
    machine("cpu", ram=64, own=2, processes=4)
    check_memory(config, SIZES)
    machine("cpu", ram=36, own=2, processes=4)
    text = message(config, SIZES)
    part = "the part of this process (2 of 8 devices) needs 36 GiB, and this host has"
    assert text.startswith(part)
    assert "lower towers.dim=64" in text and "training.mesh.table" in text


def test_a_training_that_is_too_large_for_an_accelerator_is_refused(machine):
    machine("gpu", ram=512, limit=60)
    text = message(compose(*LARGE), SIZES)
    assert text.startswith("the training on each device needs 145 GiB, and jax may use")
    assert "jax may use 60 GiB of each device (fake gpu)" in text
    assert "optimizer state of the tables 95 GiB, table candidate.id 24 GiB" in text
    for remedy in ("lower towers.dim=64", "less state", "training.mesh.table"):
        assert remedy in text
    check_memory(compose(*LARGE, "training.mesh.table=4"), SIZES)


def test_an_accelerator_that_holds_it_is_not_refused(machine):
    machine("gpu", ram=8, limit=150)
    check_memory(compose(*LARGE), SIZES)
    machine("gpu", ram=8, limit=19, own=8)
    check_memory(compose(*LARGE, "training.mesh.table=8"), SIZES)


def test_an_accelerator_of_unknown_memory_is_not_refused(machine):
    machine("gpu", ram=8)
    check_memory(compose(*LARGE), SIZES)


def test_positives_that_do_not_fit_a_device_may_stay_on_the_host(machine):
    machine("gpu", ram=512, limit=4)
    sizes = given_sizes(10**5, 10**5, 10**9)
    assert "set training.feed=host" in message(compose(*IDS), sizes)
    check_memory(compose(*IDS, "training.feed=host"), sizes)


def test_the_host_of_an_accelerator_is_compared_with_its_own_parts(machine):
    machine("gpu", ram=12, limit=60)
    sizes = given_sizes(10**5, 10**5, 10**9)
    text = message(compose(*IDS), sizes)
    assert text.startswith("the host's part of the training needs 64 GiB")
    prepared = ["data=prepared", "data.path=FOLDER", "training.order=blocks"]
    assert "set data=prepared" in text and "set training.order=blocks" in text
    check_memory(compose(*IDS, *prepared), sizes)


def test_one_host_of_cpu_devices_holds_all_of_them(machine):
    sizes = given_sizes(10**7, 10**7, 10**7)
    machine("cpu", ram=20, own=4)
    words = (*IDS, "towers.dim=64")
    check_memory(compose(*words), sizes)
    text = message(compose(*words, "training.devices=4"), sizes)
    assert "training.mesh.table" not in text  # spread tables take the same memory
