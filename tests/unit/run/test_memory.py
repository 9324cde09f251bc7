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

from twotower_jax.data.log import Stage
from twotower_jax.data.memory import GIB
from twotower_jax.errors import InputError
from twotower_jax.run.memory import Footprint, check_memory
from twotower_jax.run.problem import make_problem
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
    problem = make_problem(config, data)
    hooks = Hooks(lambda start: None, print)
    trainer = Trainer(problem, Checkpoints(folder), hooks)
    fed, rows = trainer.feed(problem.order.batches(0, 8))
    arguments = trainer.program, fed, trainer.state, rows, np.int32(8)
    return Footprint(config, problem, len(data.log.user)), arguments


@pytest.mark.parametrize("name", PROGRAMS)
def test_planned_arrays_are_those_of_the_training(name, data, tmp_path):
    footprint, arguments = both(name, data, tmp_path)
    planned = jax.tree_util.tree_leaves_with_path(footprint.arguments)
    made = jax.tree_util.tree_leaves_with_path(arguments)
    assert len(planned) == len(made)
    for (path, expected), (_, actual) in zip(planned, made, strict=True):
        name = jax.tree_util.keystr(path)
        assert expected.dtype == actual.dtype, name
        assert expected.shape == np.shape(actual), name


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


def footprint_of(data, **keys):
    config = configure(**ID | keys)
    return Footprint(config, make_problem(config, data), len(data.log.user))


def test_tables_are_spread_over_the_devices_of_a_mesh_that_is_not_there(data):
    rows = {"training__batch_size": 100}
    whole, copied, spread = (
        {part.name: part.size for part in footprint_of(data, **keys).parts()}
        for keys in (
            rows,
            {"training__mesh__data": 50, **rows},
            {"training__mesh__table": 50, **rows},
        )
    )
    for name in ("table query.id", "table candidate.id", "positives"):
        assert copied[name] == whole[name] == 50 * spread[name], name
    assert copied["log"] == spread["log"] == whole["log"]


# --- the check ------------------------------------------------------------------------


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
        monkeypatch.setattr(Footprint, "temporaries", 0)
        monkeypatch.setattr(Footprint, "computed_bytes", lambda _: 0)

    return make


LARGE = {"towers__dim": 4096}


def needed(data, part="device", **keys) -> float:
    """GiB of the parts of each device, or of the host."""
    parts = footprint_of(data, **keys).parts()
    return sum(p.size for p in parts if p.host == (part == "host")) / GIB


def check(data, **keys) -> None:
    config = configure(**ID | keys)
    check_memory(config, make_problem(config, data), len(data.log.user))


def message(data, **keys) -> str:
    """Return the message with which a training is refused."""
    with pytest.raises(InputError) as error:
        check(data, **keys)
    return str(error.value)


def test_a_training_that_is_too_large_for_an_accelerator_is_refused(machine, data):
    size = needed(data, **LARGE)
    machine("gpu", ram=512, limit=0.9 * size)
    text = message(data, **LARGE)
    assert text.startswith("the training on each device needs")
    assert "of each device (fake gpu)" in text and "optimizer state of the t" in text
    for remedy in ("lower towers.dim=4096", "less state", "training.mesh.table"):
        assert remedy in text
    check(data, **LARGE, training__mesh__table=4)
    machine("gpu", ram=512, limit=1.1 * size)
    check(data, **LARGE)
    machine("gpu", ram=512)  # of unknown memory
    check(data, **LARGE)


def test_a_mesh_over_several_hosts_is_compared_by_its_local_part(machine, data):
    keys = LARGE | {"training__mesh__table": 8}
    each = needed(data, **keys)
    machine("cpu", ram=4 * each)
    assert message(data, **keys).startswith("the training needs")
    machine("cpu", ram=4 * each, own=2, processes=4)
    check(data, **keys)
    machine("cpu", ram=1.9 * each, own=2, processes=4)
    text = message(data, **keys)
    assert text.startswith("the part of this process (2 of 8 devices) needs")
    assert "lower towers.dim=4096" in text and "training.mesh.table" in text


def test_positives_that_do_not_fit_a_device_may_stay_on_the_host(machine, data):
    keys = {"towers__dim": 2, "training__batch_size": 16, "optimizer__name": "sgd"}
    machine("gpu", ram=512, limit=0.9 * needed(data, **keys))
    assert "set training.feed=host" in message(data, **keys)
    check(data, **keys, training__feed="host")


def test_the_host_of_an_accelerator_is_compared_with_its_own_parts(machine, data):
    machine("gpu", ram=0.9 * needed(data, "host"), limit=60)
    text = message(data)
    assert text.startswith("the host's part of the training needs")
    assert "set data=prepared" in text and "set training.order=blocks" in text


def test_one_host_of_cpu_devices_holds_all_of_them(machine, data):
    machine("cpu", ram=2 * needed(data, **LARGE), own=4)
    check(data, **LARGE)
    text = message(data, **LARGE, training__mesh__data=4)
    assert "training.mesh.table" not in text  # spread tables take the same memory
