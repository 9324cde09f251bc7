"""The artifacts of an export take the whole numbers of a log, with JAX alone."""

import json
import shutil

import jax
import jax.export
import numpy as np
import polars as pl
import pytest
from helpers.exports import UNTRAINED, Exports, lists, make, users_of
from helpers.quick import quick

import twotower_jax
from twotower_jax.export import write

BIG = 2**31


@pytest.fixture(scope="module")
def exports(tmp_path_factory):
    return Exports(tmp_path_factory.mktemp("outputs"))


def artifact(out, name):
    """Return the function of an artifact, and its inputs by name."""
    entry = json.loads((out / "manifest.json").read_text())[name]
    tower = jax.export.deserialize(bytearray((out / entry["file"]).read_bytes()))
    return tower.call, {one["name"]: one for one in entry["inputs"]}


def scores_of(out, query):
    """Return the ids of the items, and the scores [queries, items] of raw queries."""
    table = pl.read_parquet(out / "item_vectors.parquet")
    call, _ = artifact(out, "query_tower")
    return table["item"], np.asarray(call(query)) @ table["vector"].to_numpy().T


@pytest.mark.parametrize(
    "case", quick(["features, cosine", "hidden, dot"], ["features, cosine"])
)
def test_ids_and_histories_of_the_log_give_the_scores_of_the_run(exports, case):
    _, folder, out = exports[case]
    model = twotower_jax.load_model(out)
    users = users_of(folder)[:30]
    with np.load(out / "users.npz") as file:
        stored = dict(file)
    rows = [model.user_ids.to_list().index(user) for user in users]
    ids = np.append(model.item_ids.to_numpy(), -1).astype(np.int32)
    query = {}
    for name, one in artifact(out, "query_tower")[1].items():
        values = None if name == "id" else stored[f"inputs/{name}"][rows]
        assert one["raw"] == (one["kind"] in ("id", "history"))
        if name == "id":
            values = users.to_numpy().astype(np.int32)
        elif name == "history":
            values = ids[values]
        query[name] = values
    items, scores = scores_of(out, query)
    places = {item: place for place, item in enumerate(items)}
    for row, user in enumerate(users):
        mine = lists(folder).filter(pl.col("user") == user)
        own = scores[row, [places[item] for item in mine["item"]]]
        np.testing.assert_allclose(own, mine["score"], rtol=0, atol=1e-6)


def test_unknown_ids_are_missing_and_leave_no_gap_in_a_history(exports):
    _, _, out = exports["features, cosine"]  # pooled by recency: places count
    model = twotower_jax.load_model(out)
    call, inputs = artifact(out, "query_tower")
    known, width = model.item_ids.to_list(), inputs["history"]["width"]
    strange = [max(known) + 1, -1, -BIG, BIG - 1]
    histories = [
        [known[5], strange[0], known[2], strange[3]],
        [known[5], known[2], -1, -1],
        strange,
        [-1] * width,
    ]
    query = {
        "id": np.full(4, max(model.user_ids) + 1, np.int32),
        "history": np.array(histories, np.int32),
        "activity": np.zeros(4, np.float32),
    }
    assert width == 4
    vectors = np.asarray(call(query))
    np.testing.assert_array_equal(vectors[0], vectors[1])
    np.testing.assert_array_equal(vectors[2], vectors[3])
    assert np.abs(vectors[0]).max() > 0 and not vectors[2].any()
    table = model.recommend(histories=[[known[2], known[5]]], k=5)
    items, scores = scores_of(out, query)
    best = np.argsort(-scores[0], kind="stable")[:5]
    assert items[best.tolist()].to_list() == table["item"].to_list()


@pytest.fixture(scope="module")
def mixed(tmp_path_factory):
    """Return the export of users that are whole numbers and items that are too large.

    An item has a shop (a whole number), a grade (negative) and a brand (text).
    """
    folder = tmp_path_factory.mktemp("mixed")
    rng = np.random.default_rng(0)
    clicks = pl.DataFrame(
        {
            "user": rng.integers(0, 60, 1500) * 7 + 3,
            "item": rng.integers(0, 150, 1500) + BIG,
        }
    )
    ids = clicks["item"].unique().sort()
    items = pl.DataFrame(
        {
            "item": ids,
            "shop": [n % 5 * 11 for n in range(len(ids))],
            "grade": [n % 3 - 1 for n in range(len(ids))],
            "brand": [f"b{n % 4}" for n in range(len(ids))],
        }
    )
    clicks.write_csv(folder / "clicks.csv")
    items.write_parquet(folder / "items.parquet")
    _, place = make(
        folder / "outputs",
        "data=table",
        f"data.path={folder / 'clicks.csv'}",
        f"data.items_path={folder / 'items.parquet'}",
        "data.candidate_features={shop: categorical, grade: categorical, "
        "brand: categorical}",
        "towers.query=[id,history]",
        "towers.candidate=[id,shop,grade,brand]",
        "data.split=ratio",
        UNTRAINED,
    )
    write.export_run(place, folder / "model")
    return items, folder / "model"


def test_each_input_takes_values_or_codes_and_says_which(mixed):
    items, out = mixed
    queries, candidates = (artifact(out, f"{side}_tower") for side in ("query", "item"))
    assert {name: one["raw"] for name, one in queries[1].items()} == {
        "id": True,
        "history": False,
    }
    assert {name: one["raw"] for name, one in candidates[1].items()} == {
        "id": False,
        "shop": True,
        "grade": False,
        "brand": False,
    }
    model = twotower_jax.load_model(out)
    names = json.loads((out / "vocabulary.json").read_text())
    codes = {
        name: [names["item_features"][name].index(value) for value in items[name]]
        for name in ("grade", "brand")
    }
    codes["id"] = [names["items"].index(item) for item in items["item"]]
    values = {name: np.array(one, np.int32) for name, one in codes.items()}
    values["shop"] = items["shop"].to_numpy().astype(np.int32)
    vectors = np.asarray(candidates[0](values))
    np.testing.assert_allclose(vectors, model.item_vectors[codes["id"]], atol=1e-6)
    np.testing.assert_allclose(model.embed_items(items), vectors, atol=1e-6)
    text = (out / "README.md").read_text()
    assert "| query | `id` | id | [batch] int32 | values of the log, 60 known |" in text
    assert "| item | `brand` | categorical | [batch] int32 | codes 0..3 |" in text


def test_a_folder_of_the_first_format_is_read(mixed, tmp_path):
    """Its artifacts take codes, as those of a log whose ids are all text."""
    rng = np.random.default_rng(0)
    pl.DataFrame(
        {
            "user": [f"u{n}" for n in rng.integers(0, 60, 1500)],
            "item": [f"i{n}" for n in rng.integers(0, 150, 1500)],
        }
    ).write_csv(tmp_path / "clicks.csv")
    words = ("data=table", f"data.path={tmp_path / 'clicks.csv'}", "data.split=ratio")
    _, folder = make(tmp_path / "runs", *words, "towers.candidate=[id]", UNTRAINED)
    out = tmp_path / "model"
    write.export_run(folder, out)
    manifest = json.loads((out / "manifest.json").read_text())
    assert manifest["format_version"] == 2
    old = tmp_path / "old"
    shutil.copytree(out, old)
    manifest["format_version"] = 1
    for one in manifest["query_tower"]["inputs"] + manifest["item_tower"]["inputs"]:
        assert one.pop("raw") is False
    (old / "manifest.json").write_text(json.dumps(manifest))
    new, first = twotower_jax.load_model(out), twotower_jax.load_model(old)
    users = new.user_ids[:5].to_list()
    assert first.recommend(users=users).equals(new.recommend(users=users))
    first.index.remove([first.item_ids[0]])
    first.save(tmp_path / "saved")
    again = twotower_jax.load_model(tmp_path / "saved")
    assert again.recommend(users=users).equals(first.recommend(users=users))
