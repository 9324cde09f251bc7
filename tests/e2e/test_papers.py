"""Published tables made again: a short form of each study, up to its table of cells."""

import json
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from helpers import tiny
from helpers.kuaishou import write_recflow

EXPERIMENTS = Path(__file__).parents[2] / "experiments"
SHORT = (
    "towers.dim=8",
    "training.batch_size=64",
    "training.steps=40",
    "training.eval_every=10",
    "training.patience=0",
    "training.min_steps=0",
    "seed=0,1",
    "baselines=false",
)
PAGES = 320  # of Wikispeedia; more than the largest k
ALL = None  # arms of the published table
PRINTED = {"BPR", "SL", "PSL", "SL@20"}  # BSL at its printed settings is SL
FEW = ("negatives.easy.num=20",)
SELECT = ("hydra.sweeper.trials=2", "hydra.sweeper.rungs=[]")
# Of the simulator; more items than the last rank of the windows.
WORLD = (
    "data.simulator.users=200",
    "data.simulator.items=1100",
    "data.simulator.requests=3000",
    "optimizer=adagrad",
    "optimizer.learning_rate=0.1",
    "hydra/launcher=fused",  # in this process, which imports JAX already
)
MODULES = ("cells", "collect", "minutes", "khrylchenko", "yi_frequency")
MODULES += ("exchange_parts", "stopped_on_test", "bank_drift", "finished")


@pytest.fixture
def scripts(monkeypatch):
    """The scripts that make tables, which are no package."""
    for folder in (EXPERIMENTS, EXPERIMENTS / "papers"):
        monkeypatch.syspath_prepend(str(folder))
    import cells
    import collect
    import minutes

    yield collect, cells, minutes
    for name in MODULES:
        sys.modules.pop(name, None)


def write_parts(folder):
    """Write train.tsv and test.tsv of 80 users and 60 items; return their words."""
    rng = np.random.default_rng(0)
    near = (np.arange(80)[:, None] + rng.integers(0, 15, (80, 16))) % 60
    lines = [f"{u}\t{i}" for u, row in enumerate(near) for i in np.unique(row)]
    head = "user_procid\titem_procid"
    for name in ("train", "test"):
        kept = [
            line for k, line in enumerate(lines) if (k % 5 == 0) == (name == "test")
        ]
        (folder / f"{name}.tsv").write_text("\n".join([head, *kept]) + "\n")
    return f"data.path={folder}/train.tsv", f"data.test_path={folder}/test.tsv"


def write_lines(folder):
    """Write the parts of LightGCN's format, of 80 users and 60 items."""
    rng = np.random.default_rng(0)
    parts = {"train": range(10), "valid": range(10, 12), "test": range(12, 15)}
    near = [(user + rng.permutation(15)) % 60 for user in range(80)]
    for name, places in parts.items():
        lines = [" ".join(map(str, [u, *near[u][list(places)]])) for u in range(80)]
        (folder / f"{name}.txt").write_text("\n".join(lines) + "\n")
    return (f"data.path={folder}",)


def write_two_parts(folder):
    """Write LightGCN's format without a valid part, as Yelp2018 has it."""
    words = write_lines(folder)
    (folder / "valid.txt").unlink()
    return words


def write_sequences(folder):
    """Write a file with a line of items for each of 80 users."""
    rng = np.random.default_rng(0)
    lines = [
        " ".join(map(str, [u, *(u + rng.permutation(15)) % 60])) for u in range(80)
    ]
    (folder / "sequences.txt").write_text("\n".join(lines) + "\n")
    return (f"data.path={folder / 'sequences.txt'}",)


def write_games(folder):
    """Write a folder of Wikispeedia whose players click on the next page."""
    pages = [f"P{i}" for i in range(PAGES)]
    texts = {
        "articles": pages,
        "links": [f"P{i}\tP{(i + j) % PAGES}" for i in range(PAGES) for j in (1, 2, 3)],
        "categories": [f"P{i}\tsubject.S{i % 4}" for i in range(PAGES)],
        "paths_unfinished": [
            f"player\t{time}\t9\tP{time % PAGES};P{(time + 1) % PAGES}\tP0\ttimeout"
            for time in range(1_000)
        ],
    }
    for name, lines in texts.items():
        (folder / f"{name}.tsv").write_text("# comment\n\n" + "\n".join(lines) + "\n")
    return (f"data.path={folder}",)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name, published, arms, write, words",
    [
        ("sl_at_k", "sl_at_k", PRINTED, write_parts, ()),
        ("sl_at_k_all", "sl_at_k", PRINTED - {"BPR"}, write_parts, ()),
        ("sl_at_k_tuned", "sl_at_k", ALL, write_parts, SELECT),
        ("sl_at_k_gowalla", "sl_at_k_gowalla", PRINTED, write_parts, ()),
        ("sl_at_k_gowalla_all", "sl_at_k_gowalla", PRINTED - {"BPR"}, write_parts, ()),
        ("sl_at_k_gowalla_tuned", "sl_at_k_gowalla", ALL, write_parts, SELECT),
        ("bsl", "bsl", ALL, write_lines, FEW),
        ("bsl_spectral", "bsl", {"BSL"}, write_lines, FEW),
        ("bsl_chosen", "bsl", {"BSL"}, write_lines, FEW),
        ("bsl_yelp", "bsl_yelp", ALL, write_lines, FEW),
        ("bsl_tuned", "bsl", ALL, write_lines, (*FEW, *SELECT)),
        ("bsl_yelp_tuned", "bsl_yelp", ALL, write_two_parts, (*FEW, *SELECT)),
        ("esasrec", "esasrec", ALL, write_sequences, ()),
        ("esasrec_tuned", "esasrec", ALL, write_sequences, SELECT),
        ("yi_temperature", "yi_temperature", ALL, write_games, SELECT),
    ],
)
def test_every_published_cell_has_one_of_ours(
    name, published, arms, write, words, scripts, tmp_path
):
    collect, cells, minutes = scripts
    data = write(tmp_path)
    command = ("train", "-m", f"experiment=papers/{name}", f"output={tmp_path}/out")
    assert tiny.command(*command, *SHORT, *words, *data) == 0
    study = collect.load_study([tmp_path / "out" / name])
    printed = pl.read_csv(EXPERIMENTS / "papers" / published / "published.csv")
    made = cells.cells(printed, collect.results(study))
    assert {(one["arm"], one["metric"]) for one in made} == {
        (one["arm"], one["metric"])
        for one in printed.to_dicts()
        if arms is ALL or one["arm"] in arms
    }
    assert all(one["seeds"] == 2 and 0 <= one["ours"] <= 1 for one in made)
    assert {one["ours"] for one in made} != {0.0}
    found = minutes.costs(tmp_path / "out" / name)
    assert found["towers on test"].steps == 40 * found["towers on test"].runs > 0
    assert ("towers on validation" in found) == (SELECT[0] in words)


@pytest.mark.slow
def test_best_epochs_are_those_of_the_mean_over_seeds(scripts, tmp_path, capsys):
    import best_epochs

    data, out = write_parts(tmp_path), tmp_path / "out"
    command = ("train", "-m", "experiment=papers/sl_at_k", f"output={out}", *SHORT)
    assert tiny.command(*command, "arms=papers/sl", *data) == 0
    capsys.readouterr()
    best_epochs.main(str(out / "sl_at_k"), "recall@20")
    printed = capsys.readouterr().out
    files = sorted((out / "sl_at_k").glob("*/metrics.jsonl"))
    curves = [
        [
            one["valid"]["recall@20"]
            for one in map(json.loads, path.read_text().splitlines())
        ]
        for path in files
    ]
    means = np.mean(curves, axis=0)
    assert len(files) == 2 and means.shape == (4,)
    assert f"{means.max():.4f} on valid, mean of 2 seeds" in printed
    assert f"at step {10 * (1 + means.argmax())}," in printed
    result = json.loads(files[0].with_name("result.json").read_text())
    per_epoch = result["samples"]["positives"]["samples before"] / 64
    epoch = 10 * (1 + np.median(np.argmax(curves, axis=1))) / per_epoch
    assert f"median epoch {epoch:.1f}" in printed


@pytest.mark.slow
def test_both_parts_of_a_setting_stand_side_by_side(scripts, tmp_path, monkeypatch):
    import valid_and_test

    data, out = write_lines(tmp_path), tmp_path / "out"
    words = ("arms=papers/bsl", "negatives.easy.num=20", "data.fit_valid=false")
    command = ("train", "-m", "experiment=papers/bsl", f"output={out}")
    settings = ("towers.query_dropout=0.1,0.9", "hydra.callbacks.study.base=null")
    assert tiny.command(*command, *SHORT, *words, *settings, *data) == 0
    monkeypatch.setattr(valid_and_test, "HERE", tmp_path)
    (tmp_path / "bsl").mkdir()
    page = tmp_path / "bsl" / "README.md"
    page.write_text("<!-- bsl.parts -->\n<!-- /bsl.parts -->\n")
    valid_and_test.main("bsl", str(out / "bsl"))
    made = pl.read_csv(tmp_path / "bsl" / "valid_and_test.csv")
    assert made["split"].value_counts().sort("split")["count"].to_list() == [8, 8]
    rows = page.read_text().splitlines()[3:-1]
    assert [row.split("|")[2].strip() for row in rows] == ["2", "2"]
    shown = [float(row.split("|")[3].split()[0]) for row in rows]
    assert shown == sorted(shown, reverse=True)
    assert min(shown) > 0


@pytest.mark.slow
def test_stops_on_valid_and_on_test_are_compared_on_test(
    scripts, tmp_path, monkeypatch
):
    import exchange_parts
    import stopped_on_test

    (data,), out = write_lines(tmp_path), tmp_path / "out"
    exchange_parts.main(f"{tmp_path}/exchanged", "experiment=papers/bsl_tuned", data)
    command = ("train", "-m", "experiment=papers/bsl_tuned", f"output={out}", *SHORT)
    assert tiny.command(*command, *FEW, *SELECT, data) == 0
    words = (f"data.path={tmp_path}/exchanged", "name=exchanged")
    chosen = f"hydra.sweeper.selection={out}/bsl_tuned"
    assert tiny.command(*command, *FEW, *words, chosen) == 0
    monkeypatch.setattr(stopped_on_test, "HERE", tmp_path)
    page = tmp_path / "bsl_tuned" / "README.md"
    page.parent.mkdir()
    page.write_text("<!-- bsl_tuned.stops -->\n<!-- /bsl_tuned.stops -->\n")
    folders = (str(out / "bsl_tuned"), str(out / "exchanged"))
    stopped_on_test.main("bsl_tuned", *folders, "SL", "BSL")
    made = pl.read_csv(page.with_name("stopped_on_test.csv"))
    for path in (out / "bsl_tuned").glob("*/result.json"):
        result = json.loads(path.read_text())
        kept = made.filter(metric="recall@20", stopped="valid", seed=result["seed"])
        own = result["metrics"]["test"]["recall@20"]
        assert any(abs(own - one) < 1e-6 for one in kept["value"])
    assert len(page.read_text().splitlines()) == 2 + 2 + 4


@pytest.mark.slow
def test_lists_of_five_and_of_one_become_positives(scripts, tmp_path):
    import mean_lists

    collect, _, _ = scripts
    data, out = write_lines(tmp_path), tmp_path / "out"
    words = ("negatives.easy.num=20", "positives.lists.length=3", "evaluation.k=[20]")
    command = ("train", "-m", "experiment=papers/bsl_lists", f"output={out}", *SHORT)
    command = (*command, *words, "seed=0,1,2,3,4", *data)
    assert tiny.command(*command, "arms=papers/bsl") == 0
    mean_lists.main("BSL", "1,5", str(out / "bsl_lists"))
    lists = pl.read_parquet(out / "bsl_lists" / "lists_5.parquet")
    assert lists["user"].n_unique() == 80 and lists["rank"].max() == 20
    assert tiny.command(*command) == 0
    made = collect.results(collect.load_study([out / "bsl_lists"]))
    assert made.group_by("arm").agg(pl.col("seed").n_unique()).sort("arm").rows() == [
        ("BSL", 5),
        ("BSL + lists of five", 5),
        ("BSL + lists of one", 5),
    ]
    found = made.filter(metric="recall@20").group_by("arm").agg(pl.col("value").mean())
    assert found["value"].n_unique() == 3


@pytest.mark.slow
def test_recflows_experiment_runs_on_files_of_its_format(scripts, tmp_path):
    collect, _, _ = scripts
    data = (
        "data=recflow",
        f"data.path={write_recflow(tmp_path / 'data', requests=60)}",
    )
    command = ("train", "-m", "experiment=papers/recflow", f"output={tmp_path}/out")
    cut = ("evaluation.k=[20,100]",)
    assert tiny.command(*command, *SHORT, *SELECT, *cut, *data) == 0
    made = collect.results(collect.load_study([tmp_path / "out" / "recflow"]))
    found = made.filter(metric="recall@100")
    assert found["arm"].n_unique() == 8
    assert found["value"].n_unique() > 4


@pytest.mark.slow
@pytest.mark.parametrize(
    "name, arms", [("mns", 6), ("cbns", 10), ("huang", 6)], ids=["mns", "cbns", "huang"]
)
def test_studies_of_the_simulator_run_and_are_judged_by_its_truth(
    name, arms, scripts, tmp_path
):
    collect, _, minutes = scripts
    command = ("train", "-m", f"experiment=papers/{name}", f"output={tmp_path}/out")
    assert tiny.command(*command, *SHORT, *SELECT, *WORLD) == 0
    made = collect.results(collect.load_study([tmp_path / "out" / name]))
    found = made.filter(metric="true_recall@20")
    assert found["arm"].n_unique() == arms and len(found) == 2 * arms
    means = found.group_by("arm").agg(pl.col("value").mean())["value"]
    assert means.n_unique() == arms
    assert means.min() > 2 * 20 / 1100  # of a random order
    costs = minutes.costs(tmp_path / "out" / name)
    assert costs["towers on test"].runs == 2 * arms
    assert costs["towers on validation"].runs == 2 * arms
    if name == "cbns":
        import bank_drift

        moved = bank_drift.moved(str(tmp_path / "out" / name))
        assert moved["arm"].n_unique() == 5  # those with a bank
        assert (moved["drift"] > 0).all() and (moved["cosine"] < 1).all()


def small(monkeypatch, folder, module, names, **numbers):
    """Give a script smaller numbers, and a page with the marks of its tables."""
    page = "".join(f"<!-- {name} -->\n<!-- /{name} -->\n" for name in names)
    (folder / "README.md").write_text(page)
    for name, value in {"HERE": folder, **numbers}.items():
        monkeypatch.setattr(module, name, value)


def errors_of(rows, **where):
    """Return the mean error of some rows over the seeds, sorted by the rest."""
    kept = rows.filter(*(pl.col(name) == value for name, value in where.items()))
    rest = [c for c in ("share", "positive", "series") if c in rows.columns]
    return kept.group_by(rest).agg(pl.col("error").mean()).sort(rest)["error"]


@pytest.mark.slow
def test_gradients_of_corrections_and_their_optima(scripts, tmp_path, monkeypatch):
    import khrylchenko

    marks = [f"khrylchenko.{name}" for name in (8, 512, "in_batch", "optimum")]
    numbers = {"COUNTS": (8, 512), "DRAWN": 500, "CHUNKS": 2}
    numbers |= {"CATALOGUE": 200, "POOL": 20, "BEST": 60, "SETS": 200, "MOVES": 40}
    small(monkeypatch, tmp_path, khrylchenko, marks, **numbers)
    khrylchenko.main(seeds=2)
    rows = pl.read_csv(tmp_path / "results.csv")
    assert len(rows) == 2 * 5 * 2 * 4 * 2  # sources, forms, counts, cases, seeds
    for source in khrylchenko.SOURCES:
        few, many = (
            errors_of(rows, source=source, form="negatives", draws=number)
            for number in (8, 512)
        )
        assert len(few) == 4 and (many < few).all() and many.max() < 0.15
        plain = errors_of(rows, source=source, form="all", draws=512)
        assert plain.min() > 0.25 > many.max()
    drawn, shared = (
        errors_of(rows, source=source, form="none", draws=512)
        for source in khrylchenko.SOURCES
    )
    assert (drawn - shared).abs().max() < 0.1
    optima = pl.read_csv(tmp_path / "optimum.csv")
    pool, best, _ = khrylchenko.GROUPS
    mean = optima.group_by("draws", "proposal", "form").agg(pl.col(pool, best).mean())
    row = {tuple(one[:3]): one[3:] for one in mean.rows()}
    exact = [abs(x) for key, both in row.items() if key[2] == "all" for x in both]
    assert len(exact) == 8 and max(exact) < 0.25
    assert row[8, "uniform", "negatives"][1] > 1 > row[512, "uniform", "negatives"][1]
    assert row[8, "half hard", "negatives"][0] < row[8, "uniform", "negatives"][0]
    page = (tmp_path / "README.md").read_text()
    assert page.count("| Khrylchenko |") == 4 and page.count("half hard | all |") == 2


@pytest.mark.slow
def test_a_short_stream_has_the_claims_of_the_long_one(scripts, tmp_path, monkeypatch):
    import yi_frequency

    marks = [f"yi_frequency.{name}" for name in ("rate", "hashes", "bias")]
    moments = (1_000, 5_000, 5_500, 6_000)
    numbers = {"SWITCH": 5_000, "STEPS": 6_000, "MOMENTS": moments, "SEEDS": 2}
    small(monkeypatch, tmp_path, yi_frequency, marks, **numbers)
    yi_frequency.main()
    rows = pl.read_csv(tmp_path / "results.csv")
    rate = rows.filter(figure="rate")
    before, after = (errors_of(rate, step=step) for step in (5_000, 5_500))
    # In the order of the names: alpha .001, .01, .1.
    assert before[1] < before[2] < before[0]
    assert after[2] < after[1] and after[2] < after[0]
    names = pl.col("series")
    hashes = errors_of(rows.filter(names.is_in(["1 x 5000", "2 x 2500", "4 x 1250"])))
    assert hashes[2] < hashes[1] < hashes[0]
    crowded = errors_of(rows.filter(names.is_in(["1 x 1000", "4 x 250"])))
    assert crowded[1] > crowded[0]
    page = (tmp_path / "README.md").read_text()
    assert "| 5,500 |" in page and "| 20 | 6.0" in page
    assert {one.name for one in tmp_path.glob("*.svg")} == {
        "figure_hashes.svg",
        "figure_rate.svg",
    }
