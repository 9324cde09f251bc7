"""Pools of hard negatives in the files of a prepared folder."""

import errno
import shutil

import numpy as np
import polars as pl
import pytest

from twotower_jax.data.config import ColumnsConfig, DataConfig
from twotower_jax.data.hard_pools import PoolRule
from twotower_jax.data.prepared import made
from twotower_jax.data.prepared.funnel import load_funnel
from twotower_jax.data.prepared.load import load, stored_split
from twotower_jax.data.prepared.prepare import prepare
from twotower_jax.errors import InputError
from twotower_jax.run import problem as module
from twotower_jax.run.loader import Loaded
from twotower_jax.run.problem import stored_pools

RANKED = (("ranked", 0, None),)
CUT, WHOLE = PoolRule(RANKED, pool="user", pool_size=3), PoolRule(RANKED, pool="user")


@pytest.fixture
def folder(tmp_path):
    """A prepared log of 20 users, each with about 20 ranked items."""
    rng, number = np.random.default_rng(0), 800
    columns = {
        "user": rng.integers(0, 20, number),
        "item": rng.integers(0, 60, number),
        "stage": rng.choice(["ranked", "clicked"], number),
    }
    pl.DataFrame(columns).write_csv(tmp_path / "log.csv")
    config = DataConfig(
        source="table",
        path=str(tmp_path / "log.csv"),
        split="ratio",
        columns=ColumnsConfig(stage="stage"),
    )
    prepare(config, tmp_path / "out", lambda *words: None)
    return tmp_path / "out"


@pytest.fixture
def built(monkeypatch):
    """A list that grows with each making of pools."""
    calls, make = [], module.make_pools

    def counted(*words):
        calls.append(words)
        return make(*words)

    monkeypatch.setattr(module, "make_pools", counted)
    return calls


def pools(folder, rule, seed=0):
    config = DataConfig(source="prepared", path=str(folder), split="given")
    log, (split, fingerprint) = load(config), stored_split(config)
    counts = np.bincount(split.train.item, minlength=log.num_items)
    rows, data = load_funnel(folder), Loaded(log, split, counts, fingerprint)
    return stored_pools(folder, rows, rule, data, seed)[0]


def test_pools_are_made_once_and_mapped(folder, built):
    first, second = pools(folder, WHOLE), pools(folder, WHOLE)
    assert len(built) == 1
    for one, other in zip(first, second, strict=True):
        assert isinstance(one, np.memmap) and isinstance(other, np.memmap)
        np.testing.assert_array_equal(one, other)


def test_pools_that_are_not_cut_serve_every_seed_and_cut_ones_their_own(folder, built):
    pools(folder, WHOLE, seed=0), pools(folder, WHOLE, seed=1)
    assert len(built) == 1
    first, second = pools(folder, CUT, seed=0), pools(folder, CUT, seed=1)
    assert len(built) == 3 and (first.item != second.item).any()
    np.testing.assert_array_equal(pools(folder, CUT, seed=1).item, second.item)
    assert len(built) == 3


def test_other_rules_have_other_pools(folder, built):
    pools(folder, WHOLE), pools(folder, WHOLE._replace(pool_size=2))
    pools(folder, CUT), pools(folder, WHOLE._replace(weights=(2.0,)))
    assert len(built) == 4


def test_damaged_pools_are_named(folder):
    pools(folder, WHOLE)
    (path,) = folder.glob("made/*/item.npy")
    with path.open("r+b") as file:
        file.seek(-4, 2)
        file.write(b"\1\2\3\4")
    with pytest.raises(InputError, match=r"item\.npy is damaged; remove its folder"):
        pools(folder, WHOLE)
    index = path.parent / "made.json"
    index.write_text(index.read_text().replace('"item"', '"other"'))
    with pytest.raises(InputError, match=r"made\.json is damaged"):
        pools(folder, WHOLE)
    index.write_text("{")
    with pytest.raises(InputError, match=r"made\.json is damaged"):
        pools(folder, WHOLE)


def test_a_full_disk_keeps_pools_in_memory_and_leaves_nothing(folder, monkeypatch):
    right = pools(folder, WHOLE)
    for path in folder.glob("made/*"):
        shutil.rmtree(path)

    def full(path, shape, kind):
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    monkeypatch.setattr(made, "new_map", full)
    found = pools(folder, WHOLE)
    assert not list(folder.glob("made/*"))
    for one, other in zip(right, found, strict=True):
        assert not isinstance(other, np.memmap)
        np.testing.assert_array_equal(one, other)
