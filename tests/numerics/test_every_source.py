"""Every source and every pair of them draws as often as it says, one of a user too."""

import importlib.util
import itertools
import subprocess
import sys
import types
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.contributing import SOURCE, block

from twotower_jax import negatives as neg
from twotower_jax.data.hard_pools import HardPools

ITEMS, ROWS, STEPS = 12, 6, 6_000
CLICKS = np.arange(ITEMS, 0, -1) ** 2
Q_PLUS = CLICKS / CLICKS.sum()
ROOT = Path(__file__).parents[2]


def own_source():
    spec = importlib.util.spec_from_file_location(
        "own_source", ROOT / "examples" / "own_source.py"
    )
    module = importlib.util.module_from_spec(spec)
    sys.modules["own_source"] = module
    spec.loader.exec_module(module)
    return module.SameCategory(np.arange(ITEMS) % 3, 2)


def same_category():
    """Return the hard source of CONTRIBUTING.md, with what it prepares of a log."""
    names = {"__name__": "own_hard"}
    sys.modules["own_hard"] = types.ModuleType("own_hard")
    exec(SOURCE + block("Add a source of negatives", "python"), names)
    hard = names["SameCategory"]()
    del neg.HARD[hard.source]
    feature = types.SimpleNamespace(values=np.arange(ITEMS) % 3 - 1)
    log = types.SimpleNamespace(item_features={"category": feature})
    return hard, jax.tree.map(jnp.asarray, hard.prepare(log, None))


def slots(hard, *inputs, **keys):
    easy = neg.popular_negatives(1, CLICKS).law
    return neg.RowSlots(easy, 1, 2, hard, neg.HardInputs(ITEMS, *inputs), **keys)


def funnel():
    """Return pools of three items for even rows, none for odd ones."""
    rng = np.random.default_rng(0)
    item = np.stack([rng.permutation(ITEMS)[:3] for _ in range(3)]).astype(np.int32)
    law = np.log(np.sort(rng.dirichlet(np.ones(3), 3), axis=1)).astype(np.float32)
    of_row = np.array([0, -1, 1, -1, 2, -1], np.int32)
    pools = HardPools(item, law, np.zeros((3, 3), np.int8), of_row)
    return jax.tree.map(jnp.asarray, pools)


LAW = neg.Counted(jnp.log(jnp.asarray(Q_PLUS, jnp.float32)))
SOURCES = {
    "uniform": neg.uniform_negatives(3, ITEMS),
    "popular": neg.popular_negatives(3, CLICKS),
    "in-batch": neg.InBatch(LAW, ITEMS),
    "bank": neg.CrossBatch(LAW, 12, 2, ITEMS),
    "funnel": slots(neg.Funnel(), funnel()),
    "funnel, half": slots(neg.Funnel(), funnel(), ratio=(neg.HardRatio(0.5, 0.5, 0),)),
    "mined": slots(neg.Mined()),
    "resampled": slots(neg.Resampled(candidate_num=4), (), jnp.float32(0)),
    "dns": slots(neg.BestOf(candidate_num=3, log_q="easy")),
    "of a user": own_source(),
    "of a user, hard": slots(*same_category()),
}
# The best of several draws has no probability that a step could state.
COUNTED = [name for name in SOURCES if name != "dns"]
PAIRS = list(itertools.combinations(COUNTED, 2))


class Users:
    """Queries of rows whose users are their places."""

    user = jnp.arange(ROWS, dtype=jnp.int32)


def counted_and_stated(mixture):
    """Return draws of each item in each row over the steps, and their expectation."""

    @jax.jit
    def of_step(step):
        rng = jax.random.fold_in(jax.random.key(5), step)
        others = jax.random.choice(rng, ITEMS, (2, 12), p=jnp.asarray(Q_PLUS))
        # The first row is looked at; its item is fixed, the others are those of a log.
        items = others[0, :ROWS].at[0].set(4).astype(jnp.int32)

        def score(ids):
            return jnp.cos(ids.astype(jnp.float32)), jnp.zeros(ids.shape, bool)

        batch = neg.Batch(jnp.arange(ROWS), items, Users, step, score)
        memory = mixture.init() | {
            "mined": jnp.tile(jnp.array([[1, 5, 7]], jnp.int32), (ROWS, 1))
        }
        if "bank" in memory:
            bank = memory["bank"]
            log_q = jnp.log(jnp.asarray(Q_PLUS, jnp.float32))[others[1]]
            memory["bank"] = bank._replace(
                item=others[1].astype(jnp.int32), log_q=log_q, step=jnp.zeros(12, int)
            )
        draws = mixture.draw(memory, neg.Keys(1, step), batch)
        columns = draws.columns
        number = columns.log_mult.shape[0]
        own = columns.key == columns.row_key[0]
        log_mult = jnp.where(own, columns.own_log_mult[0], columns.log_mult)
        found = (
            jnp.zeros(ITEMS + 1).at[columns.encode_ids[:number]].add(jnp.exp(log_mult))
        )
        found = found.at[draws.slots.items[0]].add(1)
        for stored in draws.stored:
            found = found.at[stored.items].add(stored.on)
        every = jnp.tile(jnp.arange(ITEMS), (ROWS, 1))
        stated = jnp.exp(mixture.log_count(memory, batch, draws, every))[0]
        return found[:ITEMS], stated

    return map(np.asarray, jax.lax.map(of_step, jnp.arange(STEPS), batch_size=500))


@pytest.mark.parametrize(
    "names",
    [*[(name,) for name in COUNTED], *PAIRS],
)
def test_items_are_drawn_as_often_as_stated(names):
    masks = neg.RowMasks(ITEMS, same_item=False)
    mixture = neg.Mixture(tuple(SOURCES[name] for name in names), ITEMS, masks)
    found, stated = counted_and_stated(mixture)
    apart = found - stated
    error = apart.std(axis=0) / np.sqrt(STEPS) + 1e-6
    assert found.sum() > STEPS
    assert np.abs(apart.mean(axis=0) / error).max() < 4.5


def test_a_source_that_miscounts_is_found():
    """A tenth too much, in one source of two."""
    masks = neg.RowMasks(ITEMS, same_item=False)

    class Wrong(neg.Easy):
        def expected(self):
            return 1.1 * super().expected()

    right = SOURCES["uniform"]
    sources = (Wrong(right.law, right.num), SOURCES["in-batch"])
    found, stated = counted_and_stated(neg.Mixture(sources, ITEMS, masks))
    apart = found - stated
    error = apart.std(axis=0) / np.sqrt(STEPS)
    assert np.abs(apart.mean(axis=0) / error).max() > 4.5


def test_wrong_sources_are_refused_by_name():
    class Silent(neg.Source):
        def draw(self, memory, key, batch):
            return neg.Shared(batch.items)

    batch, masks = neg.Batch(*2 * [jnp.arange(ROWS)]), neg.RowMasks(ITEMS)
    mixture = neg.Mixture((Silent(),), ITEMS, masks)
    draws = mixture.draw({}, neg.Keys(0), batch)
    with pytest.raises(NotImplementedError, match=r"define Silent\.log_count"):
        mixture.bias({}, batch, draws)
    with pytest.raises(ValueError, match=r"Batch\.score=\(\); set it"):
        SOURCES["dns"].draw({}, neg.Keys(0), batch)


def test_the_items_of_a_batch_twice_are_refused():
    sources = SOURCES["in-batch"], SOURCES["in-batch"]
    with pytest.raises(ValueError, match="2 sources are InBatch"):
        neg.Mixture(sources, ITEMS, neg.RowMasks(ITEMS))


@pytest.mark.parametrize(
    "room", ["losses", "negatives", "model", "evaluation", "objective"]
)
def test_a_room_of_the_library_needs_no_application(room):
    """No Hydra, polars or Orbax, and no room of the application."""
    code = f"""if True:
        import sys
        from twotower_jax.{room} import *
        loaded = {{name.split(".")[0] for name in sys.modules}}
        ours = {{n.split(".")[1] for n in sys.modules if n.startswith("twotower_jax.")}}
        print(sorted(loaded & {{"hydra", "omegaconf", "polars", "orbax"}}))
        print(sorted(ours & {{"config", "run", "training", "sweeps", "study"}}))"""
    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert found.stdout.split() == ["[]", "[]"]


def test_a_loop_of_ones_own_gains_by_log_q():
    path = ROOT / "examples" / "own_loop.py"
    assert len(path.read_text().splitlines()) <= 60
    found = subprocess.run(
        [sys.executable, path], capture_output=True, text=True, check=True
    )
    corrected, plain = (float(line.split()[-1]) for line in found.stdout.splitlines())
    assert corrected > 1.5 * plain


def test_every_registered_hard_source_is_tried():
    tried = {
        type(one.hard) for one in SOURCES.values() if isinstance(one, neg.RowSlots)
    }
    assert set(neg.HARD.values()) <= tried
