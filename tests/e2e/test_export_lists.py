"""Lists of exported models are those of the run, also without this package."""

import json
import shutil
from pathlib import Path

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import polars as pl
import pytest
from helpers.exports import CASES, Exports, assert_same_lists, lists, serve, users_of
from helpers.quick import quick

import twotower_jax
from twotower_jax.data.feed import Queries
from twotower_jax.export import write
from twotower_jax.model.two_tower import embed_queries
from twotower_jax.run.evaluate import load_trained
from twotower_jax.run.rank import user_state


@pytest.fixture(scope="module")
def exports(tmp_path_factory):
    return Exports(tmp_path_factory.mktemp("outputs"))


@pytest.mark.parametrize("case", quick(CASES, ["features, cosine"]))
def test_the_lists_are_those_of_the_run(exports, case):
    config, folder, out = exports[case]
    model = twotower_jax.load_model(out)
    users, expected = users_of(folder), lists(folder)
    assert len(users) > 50 and expected["rank"].max() == 100
    table = model.recommend(users=users, k=100, exclude_seen=True)
    assert table.columns == ["user", "rank", "item", "score"]
    assert table["user"].to_list() == expected["user"].to_list()
    assert table["rank"].to_list() == expected["rank"].to_list()
    assert_same_lists(table, expected)
    one = model.recommend(users=users[7:8].to_list(), k=100, exclude_seen=True)
    assert_same_lists(one, expected.filter(pl.col("user") == users[7]))
    lengths = np.linalg.norm(model.item_vectors, axis=1)
    assert np.allclose(lengths, 1, atol=1e-5) == config.towers.normalize


@pytest.mark.slow
def test_the_script_needs_neither_package_nor_log(exports, tmp_path):
    (tmp_path / "site").mkdir()
    commands, expected = [], []
    for number, (_, folder, out) in enumerate(map(exports.__getitem__, CASES)):
        script = tmp_path / f"{number}" / "serve.py"
        shutil.copytree(out, script.parent)
        users = users_of(folder)
        for user in (users[0], users[len(users) // 2]):
            commands.append([script, "--user", user, "--exclude-seen"])
            mine = lists(folder).filter(pl.col("user") == user)
            expected.append(mine.filter(pl.col("rank") <= 20))
    at, history = (tmp_path / place / "serve.py" for place in "03")
    model = twotower_jax.load_model(history.parent)
    items = model.item_ids[[3, 5, 3, 8]].to_list()
    words = ["--history", ",".join(map(str, [*items, "nobody"])), "--top", "7"]
    commands += [[history, *words], [history, *words, "--exclude-seen"]]
    commands += [[at, *words], [at], [at, "--user", "nobody"]]
    *of_users, free, without, no_history, nothing, nobody = serve(commands, tmp_path)
    for (status, out, _), table in zip(of_users, expected, strict=True):
        assert status == 0
        rows = [line.split("\t") for line in out.splitlines()]
        assert [row[0] for row in rows] == [str(rank) for rank in range(1, 21)]
        assert [row[1] for row in rows] == table["item"].cast(pl.String).to_list()
        scores = [float(row[2]) for row in rows]
        np.testing.assert_allclose(scores, table["score"], rtol=0, atol=1.5e-6)
    for one, exclude in ((free, False), (without, True)):
        table = model.recommend(histories=[items], k=7, exclude_seen=exclude)
        assert [row.split("\t")[1] for row in one[1].splitlines()] == [
            str(item) for item in table["item"]
        ]
        assert "unknown item 'nobody'" in one[2]
    assert no_history[0] == 2 and "reads no history" in no_history[2]
    assert nothing[0] == 2 and "give --user or --history" in nothing[2]
    assert [row.split("\t")[1] for row in nobody[1].splitlines()] == [
        str(item) for item in most_clicked(exports["id, dot"], 20)
    ]
    assert "unknown user 'nobody'" in nobody[2]
    assert "nothing is known of the query: the most clicked items" in nobody[2]
    vectors = at.with_name("item_vectors.npy")
    content = bytearray(vectors.read_bytes())
    content[-1] ^= 1
    vectors.write_bytes(content)
    (tmp_path / "again" / "site").mkdir(parents=True)
    ((status, printed, _),) = serve([[at, "--user", "1"]], tmp_path / "again")
    assert "item_vectors.npy is missing or damaged" in status and not printed


def most_clicked(export, k):
    """Return the ids of the items with the most training clicks, ties by their code."""
    config, folder, _ = export
    data = load_trained(config, folder).data
    most = np.argsort(-np.bincount(data.split.train.item), kind="stable")[:k]
    return data.log.item_ids.gather(most).to_list()


def own_histories(model, config, folder, users):
    """Return the positives of users before the test part, the latest last."""
    data = load_trained(config, folder).data
    histories = []
    for user in users:
        code = data.log.user_ids.to_list().index(user)
        clicks = [
            (part.time[row], model.item_ids[int(part.item[row])])
            for part in (data.split.train, data.split.valid)
            for row in np.flatnonzero(part.user == code)
        ]
        in_time = sorted(clicks, key=lambda click: click[0])
        histories.append([item for _, item in in_time])
    return histories


def test_histories_stand_for_those_of_the_log(exports):
    config, folder, out = exports["history, cosine"]
    model, users = twotower_jax.load_model(out), users_of(folder)[:5]
    histories = own_histories(model, config, folder, users)
    given = model.recommend(histories=histories, k=30)
    assert given.columns == ["history", "rank", "item", "score"]
    assert given["history"].to_list() == [i for i in range(5) for _ in range(30)]
    assert_same_lists(given, model.recommend(users=users, k=30))


@pytest.mark.slow
def test_a_user_with_a_new_history(exports):
    config, folder, out = exports["hidden, dot"]
    model, users = twotower_jax.load_model(out), users_of(folder)[:4]
    histories = own_histories(model, config, folder, users)
    before = model.recommend(users=users, k=30)
    assert_same_lists(model.recommend(users=users, histories=histories, k=30), before)
    items = model.item_ids[:3].to_list()
    new = model.recommend(users=users, histories=[items] * 4, k=30)
    assert new["item"].to_list() != before["item"].to_list()
    strangers = model.recommend(histories=[["unknown", *items]], k=30)
    unknown = model.recommend(users=["nobody"], histories=[items], k=30)
    assert_same_lists(unknown, strangers)


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_an_unknown_user_is_one_that_the_model_does_not_know(exports, case):
    config, folder, out = exports[case]
    model, trained = twotower_jax.load_model(out), load_trained(config, folder)
    state, none = user_state(trained.config, trained.data), jnp.zeros(1, jnp.int32)
    beyond = jnp.array([trained.data.log.num_users], jnp.int32)
    spans = (none, none) if state.entities.history is not None else (None, None)
    params = jax.tree.map(jnp.asarray, trained.params)
    queries = Queries(beyond, *spans)
    expected = embed_queries(trained.model, params, state.entities, queries)
    vector = model.query_tower(model.query_tower.missing(1), 1)
    np.testing.assert_allclose(vector, expected, rtol=0, atol=1e-7)
    assert (not vector.any()) == (case != "hidden, dot")
    with pytest.warns(UserWarning, match="1 of 2 queries are of users that are not in"):
        table = model.recommend(users=["nobody", users_of(folder)[0]], k=10)
    assert table["item"][:10].to_list() == most_clicked(exports[case], 10)
    assert table["score"].is_null().to_list() == [True] * 10 + [False] * 10


def test_similar_items_have_the_largest_cosines(exports):
    for case in ("features, cosine", "hidden, dot"):
        model = twotower_jax.load_model(exports[case][2])
        vectors = model.item_vectors.astype(np.float64)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        table = model.similar([model.item_ids[4], model.item_ids[9]], k=6)
        assert table.columns == ["item", "rank", "similar", "score"]
        for code in (4, 9):
            cosine = vectors @ vectors[code]
            cosine[code] = -2
            best = np.argsort(-cosine)[:6]
            mine = table.filter(pl.col("item") == model.item_ids[code])
            assert mine["similar"].to_list() == model.item_ids[best.tolist()].to_list()
            np.testing.assert_allclose(mine["score"], cosine[best], atol=1e-6)


def test_an_artifact_takes_any_batch_on_both_platforms(exports):
    _, _, out = exports["hidden, dot"]
    manifest = json.loads((out / "manifest.json").read_text())
    for name in ("query_tower", "item_tower"):
        inputs = manifest[name]["inputs"]
        artifact = jax.export.deserialize(
            bytearray((out / manifest[name]["file"]).read_bytes())
        )
        assert set(artifact.platforms) == {"cpu", "cuda"}
        model = twotower_jax.load_model(out)
        tower = getattr(model, name)
        rows = []
        for batch in (1, 3):
            values = {
                one["name"]: np.full(
                    (batch,) if one["width"] is None else (batch, one["width"]),
                    0.5 if one["kind"] == "numeric" else 1,
                    np.float32 if one["kind"] == "numeric" else np.int32,
                )
                for one in inputs
            }
            rows.append(np.asarray(artifact.call(values)))
            np.testing.assert_allclose(tower(values, batch), rows[-1], atol=1e-6)
        np.testing.assert_allclose(rows[1], np.repeat(rows[0], 3, 0), atol=1e-6)


def test_no_file_of_an_export_names_a_path_of_the_machine(exports, tmp_path):
    _, run_dir, _ = exports["features, cosine"]
    name, out = "jax_traceback_in_locations_limit", tmp_path / "out"
    before = getattr(jax.config, name)
    jax.config.update(name, 10)  # as it is where nothing sets it
    try:
        write.export_run(run_dir, out)
    finally:
        jax.config.update(name, before)
    places = (Path(twotower_jax.__file__).parent, Path(__file__).parent, run_dir.parent)
    files = [path for path in out.rglob("*") if path.is_file()]
    assert len(files) > 5
    for path in files:
        content = path.read_bytes()
        for place in places:
            assert str(place).encode() not in content, (path.name, place)
