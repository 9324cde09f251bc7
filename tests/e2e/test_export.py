"""twotower export: the folder it writes, its vocabulary, and what it refuses."""

import json
import shutil
import sys

import numpy as np
import polars as pl
import pytest
from helpers import tiny
from helpers.exports import UNTRAINED, Exports, make, serve

import twotower_jax
from twotower_jax.errors import InputError
from twotower_jax.export import write


@pytest.fixture(scope="module")
def exports(tmp_path_factory):
    return Exports(tmp_path_factory.mktemp("outputs"))


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    """Return the rows and the model of a log of one's own, with text ids."""
    folder = tmp_path_factory.mktemp("shop")
    rng = np.random.default_rng(0)
    clicks = pl.DataFrame(
        {
            "who": [f"u{n:03}" for n in rng.integers(0, 60, 1500)],
            "what": [f"i{n:03}" for n in rng.integers(0, 150, 1500)],
            "at": np.arange(1500),
        }
    )
    ids = clicks["what"].unique().sort()
    items = pl.DataFrame(
        {
            "what": ids,
            "price": [None if n % 7 == 0 else 3.0 * n for n in range(len(ids))],
            "brand": [None if n % 5 == 0 else f"b{n % 4}" for n in range(len(ids))],
            "tags": [
                "" if n % 6 == 0 else f"t{n % 3}|t{n % 5}" for n in range(len(ids))
            ],
            "text": [
                None if n % 8 == 0 else f"{n}.5|-40|{n % 9}" for n in range(len(ids))
            ],
        }
    )
    clicks.write_csv(folder / "clicks.csv")
    items.write_csv(folder / "items.csv")
    _, place = make(
        folder / "outputs",
        "data=table",
        f"data.path={folder / 'clicks.csv'}",
        f"data.items_path={folder / 'items.csv'}",
        "data.columns.user=who",
        "data.columns.item=what",
        "data.columns.time=at",
        "data.candidate_features={price: numeric, brand: categorical, tags: multi, "
        "text: vector}",
        "data.mask_seen=false",
        "towers.query=[history]",
        "towers.history_features=[id,text]",
        "towers.candidate=[price,brand,tags,text]",
        UNTRAINED,
    )
    write.export_run(place, folder / "model")
    return items, folder / "model"


def test_the_vocabulary_turns_raw_values_into_the_vectors(shop):
    """The item tower, fed from the file by vocabulary.json, gives the item vectors."""
    items, out = shop
    model = twotower_jax.load_model(out)
    names = json.loads((out / "vocabulary.json").read_text())
    assert names["items"] == model.item_ids.to_list()
    features = names["item_features"]
    values = model.item_tower.missing(len(items))
    scale = features["price"]
    assert features["text"] == {"width": 3}
    for row, (item, price, brand, tags, text) in enumerate(items.iter_rows()):
        assert item in names["items"]
        if price is not None:
            values["price"][row] = (price - scale["mean"]) / scale["deviation"]
        if brand is not None:
            values["brand"][row] = features["brand"].index(brand)
        for place, tag in enumerate(dict.fromkeys(filter(None, tags.split("|")))):
            values["tags"][row, place] = features["tags"].index(tag)
        if text is not None:
            values["text"][row] = [float(number) for number in text.split("|")]
    codes = [names["items"].index(item) for item in items["what"]]
    vectors = model.item_tower(values, len(items))
    np.testing.assert_allclose(vectors, model.item_vectors[codes], atol=1e-6)
    assert len(np.unique(vectors.round(4), axis=0)) > 50
    raw = items.rename({"what": "item"})
    np.testing.assert_allclose(model.embed_items(raw), vectors, atol=1e-6)
    table = pl.read_parquet(out / "item_vectors.parquet")
    assert table["item"].to_list() == names["items"]
    np.testing.assert_array_equal(table["vector"].to_numpy(), model.item_vectors)


def test_a_run_that_returns_seen_items_lists_none(shop, tmp_path):
    _, out = shop
    model = twotower_jax.load_model(out)
    assert not model.manifest["seen_items"]
    with pytest.raises(InputError, match="lists no seen items.*mask_seen=false"):
        model.recommend(users=["u001"], exclude_seen=True)
    history = model.item_ids[:2].to_list()
    table = model.recommend(histories=[history], k=148, exclude_seen=True)
    assert not set(history) & set(table["item"])
    (tmp_path / "site").mkdir()
    words = [out / "serve.py", "--user", "u001", "--exclude-seen"]
    ((status, printed, _),) = serve([words], tmp_path)
    assert "lists no seen items" in status and not printed


@pytest.mark.slow
def test_the_command_writes_and_names_the_script(exports, tmp_path, capsys):
    folder, out = exports["id, dot"][1], tmp_path / "new" / "model"
    assert tiny.command("export", str(folder), "--out", str(out)) == 0
    printed = capsys.readouterr().out
    assert f"python {out / 'serve.py'}" in printed
    assert "vectors equal the run's to" in printed
    names = {path.name for path in out.iterdir()}
    manifest = json.loads((out / "manifest.json").read_text())
    assert names == {*manifest["files"], "manifest.json"}
    text = (out / "README.md").read_text()
    assert all(f"`{name}`" in text for name in names - {"README.md"})
    assert "{" not in text
    assert not list(out.parent.glob(".*"))


def status_and_error(capsys, *words):
    status = tiny.command("export", *(str(word) for word in words))
    return status, capsys.readouterr().err


def test_bad_input_names_the_remedy_and_writes_nothing(exports, tmp_path, capsys):
    folder = exports["id, dot"][1]
    out = tmp_path / "out"
    shutil.copytree(folder, tmp_path / "unfinished")
    (tmp_path / "unfinished" / "status.json").write_text(
        '{"status": "running", "reason": null}'
    )
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "keep.txt").write_text("keep")
    (tmp_path / "file").write_text("keep")
    served, old = tmp_path / "served", "subtract_log_q: false"
    shutil.copytree(folder, served)
    text = (served / "config.yaml").read_text()
    assert text.count(old) == 1
    (served / "config.yaml").write_text(text.replace(old, old.replace("false", "true")))
    tiny.unseal(served)
    for words, message in (
        (
            (tmp_path / "unfinished", "--out", out),
            "holds no finished run (status: running)",
        ),
        (
            (tmp_path / "nowhere", "--out", out),
            "is not a folder; give the folder of one run",
        ),
        ((folder, "--out", tmp_path / "full"), "is not empty; give a new folder"),
        ((folder, "--out", tmp_path / "file"), "is a file; give a new folder"),
        ((served, "--out", out), "evaluation.subtract_log_q=true ranks by"),
    ):
        status, error = status_and_error(capsys, *words)
        assert status == 2 and message in error, error
    assert (tmp_path / "full" / "keep.txt").read_text() == "keep"
    assert not out.exists() and not list(tmp_path.glob(".*"))


def test_a_failure_leaves_nothing_behind(exports, tmp_path, monkeypatch):
    def fail(*_: object) -> str:
        raise KeyboardInterrupt

    monkeypatch.setattr(write, "_model_readme", fail)
    with pytest.raises(KeyboardInterrupt):
        write.export_run(exports["id, dot"][1], tmp_path / "out")
    assert not list(tmp_path.iterdir())


def test_a_model_prints_its_sizes_and_what_it_reads(exports):
    folder = exports["history, cosine"][2]
    text = repr(twotower_jax.load_model(folder))
    assert text.startswith(f"ServedModel of {folder}: ")
    manifest = json.loads((folder / "manifest.json").read_text())
    assert f"{manifest['items']:,} items, vectors of {manifest['dim']} numbers" in text
    assert text.endswith("(cosine); a query is made of history")


def test_bad_questions_to_a_model(exports, tmp_path):
    model = twotower_jax.load_model(exports["id, dot"][2])
    known = model.item_ids[0]
    for ask, message in (
        (lambda: model.recommend(), "needs users= or histories="),
        (lambda: model.recommend(users=[1], k=0), "k=0 is out of range; give 1 to"),
        (lambda: model.recommend(users=[1], k=9999), "k=9999 is out of range"),
        (lambda: model.recommend(histories=[[known]]), "reads no history"),
        (lambda: model.recommend(users="ann"), "'ann' is one id; give a list"),
        (lambda: model.similar([known, "x"]), "items: 'x' is not in the catalogue"),
        (lambda: model.similar([known], k=len(model.item_ids)), "out of range"),
        (lambda: model.open_index(), "has no index; export the run again"),
        (
            lambda: model.embed_items(pl.DataFrame({"colour": [1]})),
            r"has a column 'colour', which the item tower does not read; its features",
        ),
    ):
        with pytest.raises(InputError, match=message):
            ask()
    history = twotower_jax.load_model(exports["history, cosine"][2])
    with pytest.raises(InputError, match="users= has 2 ids and histories= 1 lists"):
        history.recommend(users=[1, 2], histories=[[known]])
    assert len(history.recommend(users=[], k=3)) == 0


def test_a_damaged_folder_is_refused(exports, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(exports["id, dot"][2], copy)
    manifest = json.loads((copy / "manifest.json").read_text())
    vectors = bytearray((copy / "item_vectors.npy").read_bytes())
    vectors[-1] ^= 1
    (copy / "item_vectors.npy").write_bytes(vectors)
    with pytest.raises(InputError, match=r"item_vectors.npy has another SHA-256"):
        twotower_jax.load_model(copy)
    (copy / "item_vectors.npy").unlink()
    with pytest.raises(InputError, match=r"item_vectors.npy is missing"):
        twotower_jax.load_model(copy)
    later = manifest | {"format_version": 2}
    for text, message in (
        (json.dumps(later), "format_version 2, this program reads 3"),
        ("{}", "is not that of an exported model"),
        (
            json.dumps(manifest).replace("sha256", "sha257"),
            "is not that of an exported",
        ),
        ("{", "is not that of an exported model"),
    ):
        (copy / "manifest.json").write_text(text)
        with pytest.raises(InputError, match=message):
            twotower_jax.load_model(copy)
    with pytest.raises(InputError, match=r"has no manifest.json; give a folder"):
        twotower_jax.load_model(tmp_path)


def test_a_library_that_is_not_installed_is_named(
    exports, tmp_path, monkeypatch, capsys
):
    folder = exports["id, dot"][1]
    for library, module in (("faiss", "faiss"), ("usearch", "usearch.index")):
        monkeypatch.setitem(sys.modules, module, None)
        status, error = status_and_error(
            capsys, folder, "--out", tmp_path / "out", "--index", library
        )
        assert status == 2 and f"pip install 'twotower-jax[{library}]'" in error
        assert not (tmp_path / "out").exists()
