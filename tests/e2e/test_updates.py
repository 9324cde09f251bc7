"""Updates of a trained model: its start, its data, its order, and what it learns."""

import json
import shutil

import jax
import numpy as np
import polars as pl
import pytest
from helpers import tiny

from twotower_jax.config import fingerprint
from twotower_jax.data.log import Stage
from twotower_jax.data.simulator.facts import truth
from twotower_jax.errors import InputError
from twotower_jax.run import run
from twotower_jax.run.evaluate import load_trained
from twotower_jax.run.folder import run_folder
from twotower_jax.run.loader import load_data
from twotower_jax.run.problem import make_problem
from twotower_jax.run.rank import make_query_set

GROWING = ("data.simulator.growth=3", "data.valid_share=0.05", "data.test_share=0.05")
PASS = "training.steps=null"


def day(number):
    """Return a time of the simulator, whose log has 30 days."""
    return 1_600_000_000 + 86_400 * number


def trained(output, *words):
    """Return the finished run, its folder and its result."""
    config = tiny.make_config(output, *words)
    result = run(config)
    folder = run_folder(config)
    return load_trained(config, folder), folder, result


def rows(model, side, name):
    """Return {id or value: row} of a table."""
    log = model.data.log
    if name == "id":
        values = log.user_ids if side == "query" else log.item_ids
    else:
        values = log.item_features[name].vocabulary
    table = model.params["tables"][f"{side}.{name}"]
    return dict(zip(values.to_list(), table, strict=True))


def write_log(folder, users, items, seed):
    """Write clicks of some users and items, and features of the items."""
    rng = np.random.default_rng(seed)
    clicks = {
        "user": [f"u{users[n]}" for n in rng.integers(0, len(users), 600)],
        "item": [f"i{items[n]}" for n in rng.integers(0, len(items), 600)],
        "time": 1000 * seed + np.arange(600),
    }
    folder.mkdir()
    pl.DataFrame(clicks).write_csv(folder / "clicks.csv")
    brands = [f"b{(n + seed) % (5 + seed)}" for n in items]
    table = {"item": [f"i{n}" for n in items], "brand": brands}
    pl.DataFrame(table).write_csv(folder / "items.csv")
    return (
        "data=table",
        f"data.path={folder / 'clicks.csv'}",
        f"data.items_path={folder / 'items.csv'}",
        "data.columns.time=time",
        "data.candidate_features={brand: categorical}",
        "towers.candidate=[id,brand]",
        "towers.hidden=[12]",
        "training.batch_size=64",
    )


@pytest.mark.slow
def test_known_rows_go_by_id_and_new_ones_start_anew(tmp_path):
    """The second log has its ids and brands in another order, and new ones."""
    old = write_log(tmp_path / "old", range(50), range(80), 1)
    new = write_log(tmp_path / "new", range(69, 19, -1), range(99, 9, -1), 2)
    # Its first parameters, of another seed, stand for trained ones.
    other = ("training.steps=0", "seed=1")
    before, folder, _ = trained(tmp_path / "runs", *old, *other)
    start = f"training.start_from={folder}"
    words = (*new, "training.steps=0")
    fresh, _, _ = trained(tmp_path / "fresh", *words)
    after, _, _ = trained(tmp_path / "runs", *words, start)
    dense = [m.params["dense"] for m in (after, before, fresh)]
    assert jax.tree.all(jax.tree.map(np.array_equal, dense[0], dense[1]))
    assert not jax.tree.all(jax.tree.map(np.array_equal, dense[0], dense[2]))
    for side, name in (("query", "id"), ("candidate", "id"), ("candidate", "brand")):
        known, initial, found = (rows(m, side, name) for m in (before, fresh, after))
        assert set(found) - set(known) and set(found) & set(known)
        for key, row in found.items():
            expected = known.get(key, initial[key])
            np.testing.assert_array_equal(row, expected, err_msg=f"{name} {key}")


def same_params(first, second):
    return jax.tree.all(jax.tree.map(np.array_equal, first.params, second.params))


@pytest.fixture(scope="module")
def parent(tmp_path_factory):
    """Return the folder of a run on the first 20 days, and words of the five after."""
    output = tmp_path_factory.mktemp("parent")
    before, folder, _ = trained(output, *GROWING, f"data.until={day(20)}")
    words = (
        *GROWING,
        PASS,
        f"data.since={day(19.5)}",
        f"data.until={day(25)}",
        f"training.start_from={folder}",
    )
    return before, folder, words


@pytest.mark.slow
@pytest.mark.parametrize(
    ("update", "order"),
    [
        pytest.param("full", "shuffled", marks=pytest.mark.slow),
        ("incremental", "time"),
    ],
)
def test_an_update_is_one_pass(parent, tmp_path, update, order):
    """Without hidden layers nothing but ids learns, so the keys alone do the same."""
    _, _, words = parent
    first, _, _ = trained(tmp_path / "a", *words, f"training.update={update}")
    plain = (f"training.order={order}", "training.epochs=1")
    second, _, result = trained(tmp_path / "b", *words, *plain)
    positives = len(first.data.split.train)
    assert result["steps"] == -(-positives // 256) >= 2
    assert same_params(first, second)
    # The start counts: another parent, another model.
    other, _, _ = trained(tmp_path / "c", *words[:-1], *plain)
    assert not same_params(first, other)


@pytest.mark.slow
def test_incremental_updates_leave_all_but_ids(tmp_path):
    words = write_log(tmp_path / "log", range(50), range(80), 1)
    learned = ("loss.learn_temperature=true",)
    before, folder, _ = trained(tmp_path / "runs", *words, *learned)
    start = (*words, *learned, PASS, f"training.start_from={folder}")
    after, _, _ = trained(tmp_path / "runs", *start, "training.update=incremental")
    whole, _, _ = trained(tmp_path / "runs", *start, "training.update=full")
    for model, same in ((after, True), (whole, False)):
        equal = jax.tree.map(np.array_equal, model.params, before.params)
        frozen = [equal["dense"], equal["log_temperature"]]
        frozen.append(equal["tables"]["candidate.brand"])
        assert {bool(x) for x in jax.tree.leaves(frozen)} == {same}
        assert not equal["tables"]["query.id"] and not equal["tables"]["candidate.id"]


@pytest.mark.slow
def test_an_update_that_pauses_goes_on_to_the_same_bits(parent, tmp_path):
    _, _, words = parent
    words = (*words, "training.update=incremental", "training.eval_every=1")
    once, _, result = trained(tmp_path / "once", *words)
    paused = run(tiny.make_config(tmp_path / "twice", *words, "pause=1"))
    assert paused["stopped"] == "pause" and paused["steps"] < result["steps"]
    twice, _, again = trained(tmp_path / "twice", *words)
    assert same_params(once, twice) and again["metrics"] == result["metrics"]


def test_the_new_days_decide_frequencies_and_all_days_the_history(parent, tmp_path):
    """From the rows of the whole log, without the code of windows and splits."""
    _, _, words = parent
    config = tiny.make_config(tmp_path, *words, "towers.query=[history]")
    data = load_data(config)
    whole = load_data(tiny.make_config(tmp_path, GROWING[0])).log
    assert whole.time is not None
    clicks = pl.DataFrame(
        {
            "user": whole.user_ids.gather(whole.user),
            "item": whole.item_ids.gather(whole.item),
            "time": whole.time,
            "row": whole.time < day(25),
            "click": whole.stage == Stage.CLICKED,
        }
    ).filter("row")
    shown = set(whole.item_ids.gather(whole.item))
    rowless = set(whole.item_ids) - shown  # part of the catalogue at any time
    assert set(data.log.item_ids) == set(clicks["item"]) | rowless
    assert set(clicks["item"]) < shown
    clicks = clicks.filter("click").sort("time")
    shares = round(0.05 * len(clicks))
    train = clicks[: len(clicks) - 2 * shares].filter(pl.col("time") >= day(19.5))
    assert abs(len(train) - len(data.split.train)) <= 10  # clicks of one page
    last = float(np.asarray(data.split.train.time).max())
    train = clicks.filter(pl.col("time").is_between(day(19.5), last))
    counts = dict(train["item"].value_counts().iter_rows())
    expected = [counts.get(item, 0) for item in data.log.item_ids]
    assert data.counts.tolist() == expected
    known = clicks.filter(pl.col("time") <= last)
    all_counts = dict(known["item"].value_counts().iter_rows())
    assert data.popularity.tolist() == [all_counts.get(i, 0) for i in data.log.item_ids]

    program = make_problem(config, data).program
    share = np.exp(np.asarray(program.log_q_batch, np.float64))
    np.testing.assert_allclose(share, data.counts / data.counts.sum(), atol=1e-6)
    queries = make_query_set(config, data, "valid")
    assert queries is not None and queries.seen is not None
    assert queries.queries.begin is not None and queries.queries.end is not None
    for place in (0, 7, 20):
        mine = known.filter(
            pl.col("user") == data.log.user_ids[int(queries.user[place])]
        )
        span = slice(queries.seen.offsets[place], queries.seen.offsets[place + 1])
        seen = data.log.item_ids.gather(queries.seen.items[span])
        assert set(seen) == set(mine["item"])
        span = slice(int(queries.queries.begin[place]), int(queries.queries.end[place]))
        history = np.asarray(queries.entities.history)[span]
        assert data.log.item_ids.gather(history).to_list() == mine["item"].to_list()


def test_the_truth_is_that_of_the_end_of_the_data(parent, tmp_path):
    _, _, words = parent
    config = tiny.make_config(tmp_path, *words, "data.simulator.drift=3")
    data = load_data(config)
    queries = make_query_set(config, data, "test")
    assert queries is not None and queries.truth is not None
    assert queries.seen is not None
    ids, world = data.log.item_ids.to_numpy(), config.data.simulator
    for row in (0, 5, 11):
        user = np.full(len(ids), data.log.user_ids[int(queries.user[row])])
        probability = truth(world, user, ids, 25 / 30)
        later = truth(world, user, ids, 1.0)
        assert np.abs(probability - later).max() > 0.05
        seen = queries.seen.items[queries.seen.rows == row]
        probability[seen] = -1
        best = np.argsort(-probability, kind="stable")[:10]
        np.testing.assert_array_equal(queries.truth.best[row, :10], best)


@pytest.mark.slow
def test_new_items_are_found_after_an_update_alone(parent, tmp_path):
    """The control is the same model on the same data without the update."""
    _, _, words = parent
    more = ("negatives=mixed", "negatives.easy.num=64", "optimizer.learning_rate=0.2")
    _, _, before = trained(tmp_path, *words, *more, "training.steps=0")
    for update in ("full", "incremental"):
        _, _, after = trained(tmp_path, *words, *more, f"training.update={update}")
        first, second = (r["metrics"]["test"]["recall@20"] for r in (before, after))
        assert second > 1.15 * first, (update, first, second)


def test_the_parent_is_part_of_hash_and_manifest(parent, tmp_path, monkeypatch):
    before, folder, words = parent
    words = (*words[:-1], "training.update=full")
    monkeypatch.chdir(folder.parent)
    near, far, other = (
        tiny.make_config(tmp_path, *words, f"training.start_from={place}")
        for place in (folder.name, folder, tmp_path / "another")
    )
    assert fingerprint(near) == fingerprint(far) != fingerprint(other)
    run(near)
    manifest = json.loads((run_folder(far) / "manifest.json").read_text())
    mine = json.loads((folder / "manifest.json").read_text())
    assert manifest["parent"] == {
        "folder": folder.name,
        "config_fingerprint": folder.name,
        "data_fingerprint": mine["data_fingerprint"],
        "step": before.step,
    }
    # A finished run needs its parent no more; one that goes on needs the same.
    gone = tmp_path / "gone" / folder.name
    moved = tiny.make_config(tmp_path, *words, f"training.start_from={gone}")
    assert run(moved)["metrics"] == run(far)["metrics"]
    shutil.copytree(folder, gone)
    mine["data_fingerprint"] = "0" * 12
    (gone / "manifest.json").write_text(json.dumps(mine))
    tiny.unseal(gone)
    status = {"status": "running", "reason": None}
    (run_folder(moved) / "status.json").write_text(json.dumps(status))
    with pytest.raises(InputError, match=r"began from .* but training.start_from now"):
        run(moved)


@pytest.mark.slow
def test_what_cannot_be_updated_is_refused(parent, tmp_path):
    _, folder, words = parent
    words, output = words[:-1], tmp_path / "runs"
    start = f"training.start_from={folder}"
    copies = {}
    for name in ("unfinished", "renamed", "old", "bare"):
        copies[name] = tmp_path / name / folder.name
        shutil.copytree(folder, copies[name])
    renamed = copies["renamed"].rename(tmp_path / "yesterday")
    status = {"status": "running", "reason": None}
    (copies["unfinished"] / "status.json").write_text(json.dumps(status))
    (copies["old"] / "vocabulary.json").unlink()
    tiny.unseal(copies["old"])
    shutil.rmtree(copies["bare"] / "checkpoints")
    from_copy = {
        name: f"training.start_from={path}"
        for name, path in (copies | {"renamed": renamed}).items()
    }
    for more, message in (
        (("training.update=incremental",), "update=incremental starts with the param"),
        (
            ("training.update=full", start, "training.steps=9"),
            "steps=9 with training.",
        ),
        (("training.start_from=nowhere",), "nowhere is not a folder; give that of a"),
        ((f"training.start_from={tmp_path}",), "has no config.yaml; give the folder"),
        ((from_copy["unfinished"],), "holds no finished run .*; run its command again"),
        ((from_copy["old"],), "vocabulary.json is missing: an earlier version of"),
        ((from_copy["bare"],), "/checkpoints lacks the parameters of step"),
        ((from_copy["renamed"],), f"is the run {folder.name} under another name"),
        ((start, "towers.dim=16"), "towers.dim=8, and this run has towers.dim=16; set"),
        ((start, "towers.hidden=[9]"), r"has towers.hidden=\[\], and this run has .*9"),
        (
            (start, "towers.query=[id,history]"),
            r"query=\[id\], and this run has towers.query=\[id,history\]; set",
        ),
        ((start, "towers=popularity"), "towers.kind=popularity is a baseline, which"),
        (("data.until=soon",), "data.until='soon' is not a time; give a number as"),
        (("data.until=5",), "data.until=5 leaves no positive: the times of the log"),
        ((f"data.since={day(29)}",), "leaves no positive to train on: the last one is"),
    ):
        with pytest.raises(InputError, match=message):
            run(tiny.make_config(output, *words, *more))
        assert not output.exists()


@pytest.mark.slow
def test_features_alone_have_no_incremental_update(tmp_path):
    towers = ("towers.query=[segment]", "towers.candidate=[category]")
    _, folder, _ = trained(tmp_path, *towers, "training.steps=0")
    words = (*towers, PASS, f"training.start_from={folder}")
    with pytest.raises(InputError, match=r"read neither id nor history; use training"):
        run(tiny.make_config(tmp_path / "new", *words, "training.update=incremental"))
    assert not (tmp_path / "new").exists()


def test_a_log_without_times_has_no_window(tmp_path):
    words = write_log(tmp_path / "log", range(50), range(80), 1)
    words = (*words, "data.columns.time=null", "data.split=ratio")
    for key in ("data.since", "data.until"):
        with pytest.raises(InputError, match=f"{key}=7 is a time, but the log has"):
            run(tiny.make_config(tmp_path / "runs", *words, f"{key}=7"))
