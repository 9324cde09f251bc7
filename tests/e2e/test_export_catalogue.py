"""Items of an exported model: added, removed, saved, and searched by an index."""

import numpy as np
import polars as pl
import pytest
from helpers import tiny
from helpers.exports import Exports, serve, users_of

import twotower_jax
from twotower_jax.errors import InputError
from twotower_jax.export import save
from twotower_jax.export.index import INDEXES, build_index


@pytest.fixture(scope="module")
def exports(tmp_path_factory):
    return Exports(tmp_path_factory.mktemp("outputs"))


def oracle(model, query, gone, more):
    """Return the ids of the best ten items, item by item."""
    vectors = dict(zip(model.item_ids, model.item_vectors, strict=True)) | more
    scores = {i: float(v @ query) for i, v in vectors.items() if i not in gone}
    return sorted(scores, key=lambda item: -scores[item])[:10]


@pytest.mark.slow
def test_a_changed_catalogue_is_served_and_saved(exports, tmp_path):
    """Without some of the best items, with two new ones, and one that came back."""
    _, folder, out = exports["features, cosine"]
    user, fresh = users_of(folder)[3], twotower_jax.load_model(out)
    before = fresh.recommend(users=[user], k=10)["item"].to_list()
    query = fresh.query_tower(
        fresh._users.inputs(
            fresh.query_tower, 1, fresh._users.codes([user]), clicks=None
        ),
        1,
    )[0]
    best = query / np.linalg.norm(query)
    top = max(fresh.item_ids.to_list()) + 5
    more = {top: best, top + 1: -best, before[0]: fresh.item_vectors[7]}
    expected = oracle(fresh, query, before[1:4], more)
    assert expected[0] == top and before[0] not in expected[:2]

    model = twotower_jax.load_model(out)
    model.index.remove(before[:4])
    model.index.add(list(more), np.stack(list(more.values())))
    assert model.recommend(users=[user], k=10)["item"].to_list() == expected
    seen = model.recommend(users=[user], k=len(model.index), exclude_seen=True)
    assert top in seen["item"] and not set(before[1:4]) & set(seen["item"])
    model.save(tmp_path / "new")
    again = twotower_jax.load_model(tmp_path / "new")
    assert again.recommend(users=[user], k=10)["item"].to_list() == expected
    assert again.similar([top], 5).equals(model.similar([top], 5))
    assert not set(before[1:4]) & set(again.similar([top], 200)["similar"])
    with pytest.raises(InputError, match=f"{before[1]} is not in the catalogue"):
        again.similar([before[1]])
    again.index.add([before[1]], fresh.item_vectors[:1])  # a saved one comes back

    (tmp_path / "site").mkdir()
    script = tmp_path / "new" / "serve.py"
    words = [script, "--user", user, "--top", "10"]
    history = [script, "--history", f"{before[1]},{top},{before[5]}", "--top", "10"]
    ((_, printed, _), (status, _, _)) = serve([words, history], tmp_path)
    assert [row.split("\t")[1] for row in printed.splitlines()] == [
        str(item) for item in expected
    ]
    assert status == 0
    table = pl.read_parquet(tmp_path / "new" / "item_vectors.parquet")
    gone = table.filter(pl.col("vector").is_null())["item"]
    assert sorted(gone) == sorted(before[1:4])
    text = (tmp_path / "new" / "README.md").read_text()
    assert f"{len(model.index)} items" in text and "removed_items" in text
    unchanged = twotower_jax.load_model(out).recommend(users=[user], k=10)
    assert unchanged["item"].to_list() == before
    with pytest.raises(InputError, match="is not empty; give a new folder"):
        model.save(tmp_path / "new")


@pytest.mark.slow
def test_a_new_item_in_a_history_is_left_out(exports):
    model = twotower_jax.load_model(exports["features, cosine"][2])
    known, new = model.item_ids[:3].to_list(), max(model.item_ids.to_list()) + 1
    expected = model.recommend(histories=[known], k=20)
    model.index.add([new], model.item_vectors[:1] * 0)
    mixed = model.recommend(histories=[[*known, new, new]], k=20)
    assert mixed["item"].to_list() == expected["item"].to_list()
    every = model.recommend(
        histories=[[*known, new]], k=len(model.index), exclude_seen=True
    )
    assert new not in every["item"].to_list()


@pytest.mark.slow
def test_a_save_that_fails_leaves_nothing_behind(exports, tmp_path, monkeypatch):
    def fail(*_: object) -> str:
        raise KeyboardInterrupt

    monkeypatch.setattr(save, "readme", fail)
    with pytest.raises(KeyboardInterrupt):
        twotower_jax.load_model(exports["id, dot"][2]).save(tmp_path / "out")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("library", ["faiss", "usearch"])
def test_an_index_finds_the_exact_lists(exports, tmp_path, library, capsys):
    pytest.importorskip(library, reason=f"the extra {library} is not installed")
    _, folder, _ = exports["features, cosine"]
    out = tmp_path / "model"
    words = ("export", str(folder), "--out", str(out), "--index", library)
    assert tiny.command(*words) == 0
    model = twotower_jax.load_model(out)
    entry = model.manifest["index"]
    assert f"recall@100 {entry['recall']:.4f} against the exact" in (
        capsys.readouterr().out
    )
    users, k = users_of(folder)[:20], 30
    exact = model.recommend(users=users, k=k, exclude_seen=True)
    near = model.recommend(users=users, k=k, exclude_seen=True, exact=False)
    assert len(near.join(exact, on=["user", "item"])) > 0.98 * len(exact)
    index, queries = model.open_index(), model.item_vectors[:40]
    near = index.search(queries, 100)
    near = np.asarray(near[1] if library == "faiss" else near.keys)
    exact = np.argsort(-queries @ model.item_vectors.T, kind="stable")[:, :100]
    found = [len(set(a) & set(b)) for a, b in zip(near, exact, strict=True)]
    assert np.mean(found) > 95 and 0.95 < entry["recall"] <= 1
    assert entry["milliseconds"] > 0 and f"items.{library}" in model.manifest["files"]
    other = tmp_path / "other"
    narrow = build_index(library, model.item_vectors[:, :3])
    INDEXES[library].write(narrow, str(other))
    with pytest.raises(
        InputError, match="dimension 3, the model has 300 of dimension 8"
    ):
        model.open_index(other)
    lost = model.item_ids.gather(np.unique(near).tolist()[:100])
    model.index.remove(lost)
    model.index.add(lost[:9], model.item_vectors[:9])
    model.save(tmp_path / "saved")
    again = twotower_jax.load_model(tmp_path / "saved")
    assert 0.95 < again.manifest["index"]["recall"] <= 1
    exact = again.recommend(users=users, k=k)
    near = again.recommend(users=users, k=k, exact=False)
    assert len(near.join(exact, on=["user", "item"])) > 0.98 * len(exact)
    assert not set(lost[9:]) & set(near["item"])
