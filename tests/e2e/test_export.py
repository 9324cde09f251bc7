"""Exported models: their lists are those of the run, also without this package."""

import importlib.util
import json
import shutil
import subprocess
import sys
from pathlib import Path

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import polars as pl
import pytest
from helpers import tiny

import twotower_jax
from twotower_jax.data.feed import Queries
from twotower_jax.errors import InputError
from twotower_jax.export import save, write
from twotower_jax.export.index import INDEXES, build_index
from twotower_jax.model.two_tower import embed_queries
from twotower_jax.run import run
from twotower_jax.run.queries import user_state
from twotower_jax.run.records import run_folder
from twotower_jax.run.reproduce import load_trained

CASES = {
    "id, dot": (
        "towers.query=[id]",
        "towers.candidate=[id]",
        "towers.normalize=false",
    ),
    # Eight categories: many items have equal vectors, so ties decide.
    "history, cosine": ("towers.query=[history]", "towers.candidate=[category]"),
    "features, cosine": (
        "towers.query=[id,history,activity]",
        "towers.candidate=[id,price,tags]",
        "towers.history_length=4",
        "towers.history_pooling=recency",
        "towers.history_features=[id,category,price,tags]",
    ),
    "hidden, dot": (
        "towers.query=[history,segment]",
        "towers.candidate=[id,category]",
        "towers.history_pooling=attention",
        "towers.history_table=shared",
        "towers.history_features=[id,category,price]",
        "towers.hidden=[16]",
        "towers.normalize=false",
    ),
}
# Lists of 100, and steps that compile fast.
QUICK = (
    "evaluation.k=[20,100]",
    "evaluation.save_topk=true",
    "training.metric=recall@20",
    "training.steps=20",
    "training.steps_per_dispatch=1",
    "training.merge_columns=false",
)
NEEDED = ("numpy", "jax", "jaxlib", "ml_dtypes", "opt_einsum", "scipy", "flatbuffers")
# Runs serve.py once per line of stdin where nothing but NEEDED can be imported.
ISOLATED = """
import contextlib, io, json, runpy, sys
sys.path.append(sys.argv.pop(1))
for name in ("twotower_jax", "polars", "pyarrow", "flax"):
    try:
        __import__(name)
    except ModuleNotFoundError:
        continue
    raise SystemExit(f"{name} can be imported")
for line in sys.stdin:
    script, *sys.argv[1:] = json.loads(line)
    out, err, status = io.StringIO(), io.StringIO(), 0
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            runpy.run_path(script, run_name="__main__")
        except SystemExit as end:
            status = end.code
    print(json.dumps([status, out.getvalue(), err.getvalue()]))
"""


def make(output, *words):
    """Return the configuration and the folder of a finished run with its lists."""
    config = tiny.make_config(output, *QUICK, *words)
    run(config)
    return config, run_folder(config)


@pytest.fixture(scope="module")
def exports(tmp_path_factory):
    """Return {case: (configuration, folder of the run, folder of the export)}."""
    output, made = tmp_path_factory.mktemp("outputs"), {}
    for case, words in CASES.items():
        config, folder = make(output, *words)
        out = output / case
        write.export_run(folder, out)
        made[case] = config, folder, out
    return made


def lists(folder):
    """Return the lists of a run, in its own order of users."""
    return pl.read_parquet(folder / "topk.parquet")


def users_of(folder):
    return lists(folder)["user"].unique(maintain_order=True)


def assert_same_lists(table, expected):
    assert table["item"].to_list() == expected["item"].to_list()
    np.testing.assert_allclose(table["score"], expected["score"], rtol=0, atol=1e-6)


@pytest.mark.parametrize("case", CASES)
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


def site(tmp_path):
    """Return a folder with links to the packages that serve.py needs."""
    for name in NEEDED:
        spec = importlib.util.find_spec(name)
        assert spec is not None and spec.origin is not None
        place = Path(spec.origin).parent
        (tmp_path / name).symlink_to(place)
        libraries = place.with_name(f"{name}.libs")
        if libraries.is_dir():
            (tmp_path / libraries.name).symlink_to(libraries)
    return tmp_path


def serve(commands, tmp_path):
    """Return (status, stdout, stderr) of lines of arguments, without this package."""
    alone = site(tmp_path / "site")
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", ISOLATED, str(alone)],
        input="".join(
            json.dumps([str(word) for word in one]) + "\n" for one in commands
        ),
        capture_output=True,
        text=True,
        cwd=tmp_path,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr + done.stdout
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_the_script_needs_neither_package_nor_log(exports, tmp_path):
    (tmp_path / "site").mkdir()
    commands, expected = [], []
    for number, (_, folder, out) in enumerate(exports.values()):
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
    # Every score is 0: the catalogue in its order.
    first = twotower_jax.load_model(at.parent).item_ids[:20].cast(pl.String).to_list()
    assert [row.split("\t")[1] for row in nobody[1].splitlines()] == first
    assert "unknown user 'nobody'" in nobody[2]


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
    table = model.recommend(users=["nobody"], k=10)
    scores = model.item_vectors @ vector[0]
    order = np.argsort(-scores, kind="stable")[:10]
    assert table["item"].to_list() == model.item_ids[order.tolist()].to_list()
    assert table["user"].to_list() == ["nobody"] * 10


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
    assert "{" not in text.replace('{"name of the input"', "")
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
    baseline, served = (tmp_path / name for name in ("baseline", "served"))
    for copy, old, new in (
        (baseline, "kind: two_tower", "kind: popularity"),
        (served, "subtract_log_q: false", "subtract_log_q: true"),
    ):
        shutil.copytree(folder, copy)
        text = (copy / "config.yaml").read_text()
        assert text.count(old) == 1
        (copy / "config.yaml").write_text(text.replace(old, new))
    for words, message in (
        ((tmp_path / "unfinished", "--out", out), "holds no finished run"),
        ((tmp_path / "nowhere", "--out", out), "has no config.yaml; give the folder"),
        ((folder, "--out", tmp_path / "full"), "is not empty; give a new folder"),
        ((folder, "--out", tmp_path / "file"), "is a file; give a new folder"),
        ((baseline, "--out", out), "towers.kind=popularity is a baseline, which has"),
        ((served, "--out", out), "evaluation.subtract_log_q=true ranks by"),
    ):
        status, error = status_and_error(capsys, *words)
        assert status == 2 and message in error, error
    assert (tmp_path / "full" / "keep.txt").read_text() == "keep"
    assert not out.exists() and not list(tmp_path.glob(".*"))


def test_a_failure_leaves_nothing_behind(exports, tmp_path, monkeypatch):
    def fail(*_: object) -> str:
        raise KeyboardInterrupt

    monkeypatch.setattr(write, "readme", fail)
    with pytest.raises(KeyboardInterrupt):
        write.export_run(exports["id, dot"][1], tmp_path / "out")
    assert not list(tmp_path.iterdir())


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
        (lambda: model.open_index(), "has no approximate index; export the run again"),
        (lambda: model.recommend(users=[1], exact=False), "has no approximate index"),
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
        (json.dumps(later), "format_version 2, this program reads 1"),
        ("{}", "is not that of an exported model"),
        ("{", "is not that of an exported model"),
    ):
        (copy / "manifest.json").write_text(text)
        with pytest.raises(InputError, match=message):
            twotower_jax.load_model(copy)
    with pytest.raises(InputError, match=r"has no manifest.json; give a folder"):
        twotower_jax.load_model(tmp_path)


def oracle(model, query, gone, more):
    """Return the ids of the best ten items, item by item."""
    vectors = dict(zip(model.item_ids, model.item_vectors, strict=True)) | more
    scores = {i: float(v @ query) for i, v in vectors.items() if i not in gone}
    return sorted(scores, key=lambda item: -scores[item])[:10]


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
