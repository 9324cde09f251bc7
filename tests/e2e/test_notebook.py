"""A log, a study and a model in Python, as a notebook uses them."""

import io
import re
import signal
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from helpers import tiny
from matplotlib.text import Text
from rich import console as rich_console

import twotower_jax
from twotower_jax.commands import train
from twotower_jax.errors import InputError, NonFiniteLossError
from twotower_jax.notebook.compare import choices, write_arms
from twotower_jax.run.folder import stored_config
from twotower_jax.signals import Stopped
from twotower_jax.study.load import load_study
from twotower_jax.study.verdicts import difference_cells
from twotower_jax.sweeps.compose import compose_config
from twotower_jax.sweeps.jobs import SWEEP
from twotower_jax.sweeps.overrides import override

# Studies of several arms; README's lines of Python run in `make test`.
pytestmark = pytest.mark.slow

EXAMPLES = Path(__file__).parents[2] / "examples"
WARM = "in-batch, warm"  # an arm of the first notebook


def example(name: str, **values: Any) -> dict[str, Any]:
    """Run a notebook as a script with other values at its top; return its names."""
    text = (EXAMPLES / f"{name}.py").read_text()
    assert text.startswith("# %% [markdown]\n# # ")
    for key, value in values.items():
        text, number = re.subn(rf"(?m)^{key} = [^#\n]*", f"{key} = {value!r}  ", text)
        assert number == 1, key
    names: dict[str, Any] = {}
    exec(compile(text, f"{name}.py", "exec"), names)
    return names


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("a place")


class Kernel(io.StringIO):
    """The stdout of a notebook's kernel: not a terminal, without a file number."""

    def isatty(self):
        return False


@pytest.fixture(scope="module")
def made(place):
    """Return the names of a notebook that compares three arms, and what it shows."""
    with pytest.MonkeyPatch.context() as patch:
        # As in Jupyter: rich would display HTML, which needs IPython.
        patch.setattr(rich_console, "_is_jupyter", lambda: True)
        patch.setattr(sys, "stdout", out := Kernel())
        sizes = {"CLICKS": 3000, "STEPS": 20, "SEEDS": 2, "OUTPUT": str(place)}
        names = example("compare_negatives", **sizes)
    return names, out.getvalue()


@pytest.fixture(scope="module")
def log(made):
    return made[0]["log"]


@pytest.fixture(scope="module")
def study(made):
    return made[0]["study"]


def clicks(number=3000):
    """Return the log of the notebook."""
    rng = np.random.default_rng(0)
    users, items = rng.integers(0, 120, number), rng.zipf(1.3, number) % 70
    return pl.DataFrame(
        {
            "who": [f"u {u}" for u in users],
            "what": 2 * items + users % 2,
            "at": 1_700_000_000 + 60 * np.arange(number),
        }
    )


def test_a_frame_is_written_once_and_read_as_data_check_reads_it(log, place, capsys):
    assert log.users == 120 and log.positives == log.rows == 3000
    assert log.path.parent == place / "logs"
    again = twotower_jax.read_log(clicks(), output=place)
    assert again == log and len(list(log.path.parent.iterdir())) == 1
    other = twotower_jax.read_log(clicks(2000), output=place)
    assert other.path != log.path
    text = repr(log)
    for part in ("120 users", "user ", "who  (", "what", "2023-11-14", "temporal"):
        assert part in text
    assert tiny.command("data", "check", str(log.path)) == 0
    printed = capsys.readouterr().out.replace("\\\n   ", "")
    for word in log.overrides:
        assert word.replace("'", "") in printed.replace("'", "")
    assert log.config.data.path == str(log.path)
    assert log.config.data.columns.user == "who"


def test_frames_of_other_libraries_are_the_same_log(log, place):
    class Exported:
        """A frame that exports Arrow and nothing else, as that of pandas."""

        def __arrow_c_stream__(self, requested_schema: Any = None) -> Any:
            return clicks().to_arrow().__arrow_c_stream__(requested_schema)

    assert twotower_jax.read_log(Exported(), output=place) == log
    assert twotower_jax.read_log(clicks().lazy(), output=place) == log


def test_a_frame_of_pandas_is_the_same_log(place):
    pandas = pytest.importorskip("pandas", reason="pandas is not installed")
    frame = pandas.DataFrame(
        clicks().cast({"kind": pl.String}).to_dict(as_series=False)
    )
    frame.index = frame.index[::-1]
    frame["kind"] = frame["kind"].astype("category")
    log = twotower_jax.read_log(clicks(), output=place)
    made = twotower_jax.read_log(frame, output=place)
    assert (made.users, made.items, made.positives, made.dates) == (
        *(log.users, log.items, log.positives, log.dates),
    )
    assert made.columns == log.columns


def test_a_frame_of_items_is_written_and_its_features_are_guessed(place):
    what = clicks()["what"].unique().sort()
    items = pl.DataFrame({"what": what, "shop": what % 7, "grams": what * 0.5})
    log = twotower_jax.read_log(
        clicks(), output=place, overrides={"data.items_path": items}
    )
    path = Path(log.config.data.items_path or "")
    assert path.parent == place / "logs" and pl.read_parquet(path).equals(items)
    kinds = log.config.data.candidate_features
    assert kinds == {"shop": "categorical", "grams": "numeric"}
    with pytest.raises(InputError, match=r"data\.items_path is a path or a frame"):
        twotower_jax.read_log(clicks(), output=place, overrides={"data.items_path": 3})


def test_a_path_is_read_where_it_is_and_names_are_taken(tmp_path):
    path = tmp_path / "my log.csv"
    clicks().rename({"who": "a", "what": "b"}).write_csv(path)
    log = twotower_jax.read_log(
        path, user="a", item="b", overrides={"data.columns.time": None}, output=tmp_path
    )
    assert log.path == path and log.dates is None and log.name == "my_log"
    assert log.config.data.columns.item == "b" and log.config.data.columns.time is None
    assert [one.name for one in tmp_path.iterdir()] == ["my log.csv"]


@pytest.mark.parametrize(
    ("source", "words", "text"),
    [
        (3, {}, "a log is a path or a frame of polars or pandas"),
        ("nowhere.csv", {}, "nowhere.csv: does not exist; give an existing file"),
        (clicks().clear(), {}, "the frame has no rows"),
        (clicks().select("who"), {}, "has one column only"),
        (clicks(), {"user": "whom"}, "did you mean 'who'?"),
        (clicks(), {"overrides": {"data.colums.user": "a"}}, "did you mean"),
        (pl.DataFrame({"u": [object()]}), {}, "cannot be read"),
    ],
)
def test_a_log_that_cannot_be_read(source, words, text, tmp_path):
    with pytest.raises(InputError, match="(?s)" + text.replace("?", r"\?")):
        twotower_jax.read_log(source, output=tmp_path, **words)


def test_the_study_is_that_of_the_command_line(study, log):
    assert study.folder.parent == log.path.parents[1]
    loaded = load_study([study.folder])
    assert study.base == loaded.base == "in-batch + logQ"
    assert study.metric == "recall@20" and study.report.is_file()
    assert set(study.table["arm"]) == {"in-batch + logQ", "in-batch", WARM}
    (cells,) = difference_cells(loaded.comparison, "recall@20", [WARM])
    row = study.table.filter(pl.col("arm") == WARM).row(0, named=True)
    assert f"{row['difference']:+.4f}" == cells[2]
    assert f"{row['low']:+.4f} to {row['high']:+.4f}" == cells[3]
    assert row["verdict"] == cells[1] == "fewer than 3 seeds" and row["seeds"] == 2
    base = study.table.filter(pl.col("arm") == study.base).row(0, named=True)
    assert base["verdict"] == "base" and base["difference"] is None
    # Both means are those of result.json.
    for arm in (WARM, "in-batch + logQ"):
        folders = [study.run(arm, seed) for seed in (0, 1)]
        values = [
            tiny.read_json(one / "result.json")["metrics"]["test"]["recall@20"]
            for one in folders
        ]
        mean = study.table.filter(pl.col("arm") == arm)["mean"][0]
        assert mean == pytest.approx(np.mean(values))
    config = stored_config(study.run(WARM))
    assert config.loss.temperature == 0.5 and config.loss.logq.correct == "all"
    assert study.best is None  # fewer than three seeds


def test_a_pair_is_the_arm_that_its_overrides_compose(tmp_path):
    keys = {
        "arms": "in_batch",
        "negatives": "uniform",
        "loss": {"temperature": 0.5},
        "towers.hidden": (16, 8),
        "training.steps": None,
    }
    made = choices([("a name", keys), "uniform"], searched=False)
    folder = write_arms(made, tmp_path / "it's here")
    place = override("hydra.searchpath", [f"file://{folder}"])
    words = ["loss.logq.correct=none", "negatives=uniform", "arm='a name'"]
    words += ["loss.temperature=0.5", "towers.hidden=[16,8]", "training.steps=null"]
    config = compose_config([place, f"arms={made[0].name}"])
    assert config == compose_config(words)
    assert config.loss.logq.correct == "none" and not config.negatives.in_batch


def test_a_cell_shows_plain_lines_at_a_bounded_rate(made, study):
    _, text = made
    lines = text.splitlines()
    assert "\x1b" not in text and "\r" not in text
    assert sum(line.startswith(f"{WARM}, seed ") for line in lines) == 2
    assert len(lines) < 60 + study.table.height * 3
    assert str(study.report).replace(" ", "") in text.replace("\n", "").replace(" ", "")


def test_a_notebook_shows_the_study(study):
    html, text = study._repr_html_(), repr(study)
    for part in (WARM, "in-batch + logQ", "recall@20", "fewer than 3 seeds"):
        assert part in html and part in text
    figure = study.plot()
    assert figure._repr_svg_().count("<svg") == 1
    shown = " ".join(one.get_text() for one in figure.findobj(Text))
    report = (study.folder / "figure_forest.svg").read_text()
    title = "recall@20, difference to the base arm"
    for text in (title, "difference in recall@20", WARM):
        assert text in shown and text in report
    png = io.BytesIO()
    figure.savefig(png)
    assert png.getvalue().startswith(b"\x89PNG")
    other = study.by("ndcg@20")
    assert other.metric == "ndcg@20" and other.table["mean"][0] < 1
    with pytest.raises(InputError, match="no run has the metric"):
        study.by("ndcg@2")


def test_a_call_that_is_repeated_trains_nothing(made, study, log, place):
    before = {p: p.stat().st_mtime_ns for p in study.folder.glob("*/result.json")}
    arms = ["in_batch_logq", "in_batch", made[0]["warm"]]
    settings = made[0]["settings"]
    again = twotower_jax.compare(log, arms, 2, place, settings)
    assert again.folder == study.folder and again.table.equals(study.table)
    after = {p: p.stat().st_mtime_ns for p in study.folder.glob("*/result.json")}
    assert after == before and len(after) == 6


@pytest.mark.parametrize(
    ("arms", "words", "text"),
    [
        ([], {}, "are fewer than two"),
        ("uniform", {}, "are fewer than two"),
        (["uniform"], {}, "are fewer than two"),
        (["uniform", "in_bach"], {}, "'in_bach' .*did you mean in_batch"),
        (["uniform", ("a", {"arms": "in_bach"})], {}, "did you mean in_batch"),
        (["uniform", 3], {}, "3 is neither a name nor a pair"),
        (["uniform", "in_batch"], {"seeds": 1}, "seeds=1"),
        (["uniform", "in_batch"], {"seeds": "5"}, "seeds='?5"),
        (["uniform", "uniform"], {}, "in the sweep twice"),
        (["uniform", "in_batch"], {"overrides": {"seed": 3}}, "give seeds= instead"),
        (["uniform", "in_batch"], {"overrides": {"loss.temprature": 1}}, "temperature"),
        (["uniform", ("a", {"loss.temprature": 1})], {}, "did you mean loss.temp"),
        (["uniform", ("a", {"loss.temperature": "b"})], {}, "loss.temperature"),
        (["uniform", ("a", {"loss.temperature": -1})], {}, "out of range"),
        (
            ["uniform", ("a", {"loss.temperature": 1})],
            {"overrides": {"loss.temperature": 2}},
            "set by overrides and by the arm 'a'",
        ),
        (["uniform", "in_batch"], {"tune": {"loss.temprature": [1, 2]}}, "temperature"),
    ],
)
def test_wrong_input_is_refused_before_any_training(arms, words, text, log, tmp_path):
    with pytest.raises(InputError, match=text):
        twotower_jax.compare(log, arms, output=tmp_path, **{"seeds": 2, **words})
    assert not list(tmp_path.rglob("status.json"))


def test_a_run_of_a_study_is_a_model(study):
    folder = study.run("in-batch + logQ", 1)
    model = twotower_jax.load_model(folder)
    with pytest.warns(UserWarning, match="1 of 2 queries are of users"):
        lists = model.recommend(users=["u 3", "nobody"], k=5)
    assert lists.columns == ["user", "rank", "item", "score"] and len(lists) == 10
    made = (folder / "model" / "manifest.json").stat().st_mtime_ns
    again = twotower_jax.load_model(str(folder)).recommend(users=["u 3"], k=5)
    assert again["item"].to_list() == lists["item"][:5].to_list()
    assert (folder / "model" / "manifest.json").stat().st_mtime_ns == made
    with pytest.raises(InputError, match="k=1000 is out of range; give 1 to"):
        model.recommend(users=["u 3"], k=1000)
    with pytest.raises(InputError, match="'none' has no finished run"):
        study.run("none")
    with pytest.raises(InputError, match="has the seeds 0, 1"):
        study.run(WARM, 7)
    with pytest.raises(InputError, match="twotower export"):
        twotower_jax.load_model(study.folder)


@pytest.mark.slow
def test_the_notebook_of_a_model_finds_the_topics(place):
    sizes = {"CLICKS": 3000, "STEPS": 60, "OUTPUT": str(place)}
    names = example("recommend", **sizes)
    assert names["lists"].columns == ["user", "rank", "item", "score"]
    assert names["near"].columns == ["item", "rank", "similar", "score"]
    assert len(names["pairs"]) == 5 * names["log"].items
    assert names["share"] > 0.3  # 0.2 by chance


@pytest.mark.slow
def test_the_notebook_of_the_truth_has_both_orders(place):
    sizes = {"USERS": 200, "ITEMS": 300, "REQUESTS": 3000, "STEPS": 40, "SEEDS": 2}
    names = example("log_and_truth", **sizes, OUTPUT=str(place))
    by_log, by_truth = names["by_log"], names["by_truth"]
    assert by_log.folder == by_truth.folder
    assert (by_log.metric, by_truth.metric) == ("recall@20", "true_recall@20")
    folders = [by_truth.run(by_truth.base, seed) for seed in (0, 1)]
    values = [
        tiny.read_json(one / "result.json")["metrics"]["test"]["true_recall@20"]
        for one in folders
    ]
    row = by_truth.table.filter(pl.col("arm") == by_truth.base)
    assert row["mean"][0] == pytest.approx(np.mean(values))


@pytest.mark.slow
def test_two_threads_take_turns(place, tmp_path):
    """Hydra has one state in a process; calls after these find it free again."""
    clicks = pl.DataFrame({"user": [n % 40 for n in range(900)]})
    clicks = clicks.with_columns(item=pl.Series([7 * n % 31 for n in range(900)]))
    arms = [("cold", {"loss.temperature": 0.1}), ("warm", {"loss.temperature": 0.2})]
    ended = []

    def call(name):
        keys = {"name": name, "training.steps": 2, "training.batch_size": 32}
        log = twotower_jax.read_log(clicks, output=tmp_path)
        twotower_jax.compare(log, arms, seeds=2, output=tmp_path, overrides=keys)
        ended.append(name)

    threads = [threading.Thread(target=call, args=(name,)) for name in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    call("c")
    assert sorted(ended) == ["a", "b", "c"]


@pytest.mark.parametrize("call", [twotower_jax.read_log, twotower_jax.compare])
def test_arguments_of_another_type_are_named(call):
    with pytest.raises(InputError, match="output=5 is no path; give that of a folder"):
        call("clicks.csv", output=5)
    with pytest.raises(InputError, match="overrides=5 has no keys; give a dictionary"):
        call("clicks.csv", overrides=5)


def test_an_interrupted_call_is_a_keyboard_interrupt(tmp_path, monkeypatch):
    def stopped(words):
        assert words[0] == "-m" and "arms=uniform,in_batch" in words
        raise Stopped(signal.SIGINT, 7)

    monkeypatch.setattr(train, "train", stopped)
    text = "stopped by SIGINT at step 7; the same call goes on from there"
    with pytest.raises(KeyboardInterrupt, match=text):
        twotower_jax.compare(arms=["uniform", "in_batch"], output=tmp_path)


def test_the_error_of_a_failed_run_is_raised_at_the_end(tmp_path, monkeypatch):
    error = NonFiniteLossError("the loss is NaN at step 3")
    monkeypatch.setattr(train, "train", lambda words: SWEEP.failures.append(error))
    monkeypatch.setattr(SWEEP, "failures", [])
    with pytest.raises(NonFiniteLossError, match="at step 3"):
        twotower_jax.compare(arms=["uniform", "in_batch"], output=tmp_path)
