"""``twotower data check FILE``: counts against plain loops, and commands that run."""

import re
import shlex

import numpy as np
import polars as pl
import pytest
from helpers import tiny
from helpers.realdata import data_folder

from twotower_jax.run.loader import load_data
from twotower_jax.sweeps.compose import compose_config


def check(capsys, *words):
    """Return {quantity: value} that is printed, and the train commands as words."""
    assert tiny.command("data", "check", *map(str, words)) == 0
    out = capsys.readouterr().out
    text, commands = out.split("\nCommands\n")
    pairs = re.findall(r"^  (\S.*?)  +(\S.*)$", text, re.MULTILINE)
    lines = [shlex.split(line) for line in commands.replace("\\\n", " ").splitlines()]
    advise, *trains = lines
    assert advise[:2] == ["twotower", "advise"]
    compose_config(advise[2:])
    return dict(pairs), trains, out


def read_by(command):
    """Return the data that a pasted command reads."""
    assert command[:2] == ["twotower", "train"]
    return load_data(compose_config([w for w in command[2:] if w != "-m"]))


def number(text):
    return int(text.split()[0].replace(",", ""))


def counts(shown):
    return tuple(number(shown[name]) for name in ("users", "items", "positives"))


def found(data):
    log = data.log
    return log.num_users, log.num_items, int((log.stage == 5).sum())


@pytest.fixture
def ratings(tmp_path):
    """Write ratings with repeats and a late part, and return the file and its rows."""
    some = np.random.default_rng(0)
    rows = 4_000
    frame = pl.DataFrame(
        {
            "userId": some.integers(0, 50, rows),
            "movieId": some.zipf(1.3, rows) % 90,
            "rating": some.integers(1, 6, rows),
            "timestamp": 1_500_000_000_000 + np.sort(some.integers(0, 10**10, rows)),
        }
    )
    path = tmp_path / "ratings.csv"
    frame.write_csv(path)
    return path, frame


def test_the_numbers_are_those_of_a_plain_loop(ratings, capsys):
    path, frame = ratings
    shown, (train, *_), out = check(capsys, path)
    good = frame.filter(pl.col("rating") >= 4)
    assert counts(shown) == (50, frame["movieId"].n_unique(), len(good))
    assert number(shown["exposures, not clicked"]) == len(frame) - len(good)
    pairs = list(zip(good["userId"], good["movieId"], strict=True))
    repeated = 1 - len(set(pairs)) / len(pairs)
    assert shown["repeated positives"] == f"{repeated:.1%}"
    assert shown["times"].startswith("2017-07-14 to 2017-11-0")
    assert "milliseconds" in shown["times"]
    # The last fifth in time is the test part; the repeats of earlier pairs.
    cut = len(pairs) - round(0.2 * len(pairs))
    first = {}
    for pair in pairs[cut:]:
        first.setdefault(pair, pair in set(pairs[:cut]))
    share = sum(first.values()) / len(first)
    expected = (
        f"{share:.0%} of the test positives are repeats and will not count; "
        "data.repeats=all counts them"
    )
    assert expected in out
    assert found(read_by(train)) == counts(shown)
    assert "data.split=temporal" in train


def test_repeats_count_with_the_key_that_the_remark_names(ratings, capsys):
    path, _ = ratings
    _, (train, *_), out = check(capsys, path, "data.repeats=all")
    assert "which count, and seen items may be recommended" in out
    assert "data.repeats=all" in train
    config = compose_config(train[2:])
    assert config.data.mask_seen is False
    _, (train, *_), out = check(capsys, path, "data.repeats=first")
    assert "are repeats" not in out


@pytest.mark.slow
def test_a_column_that_is_set_to_null_is_left_out(ratings, capsys):
    path, frame = ratings
    shown, (train, *_), _ = check(capsys, path, "data.columns.rating=null")
    assert counts(shown)[2] == len(frame) == found(read_by(train))[2]
    assert shown["positives"] == f"{len(frame):,}"
    shown, (train, *_), _ = check(capsys, path, "data.min_rating=2")
    assert counts(shown)[2] == (frame["rating"] >= 2).sum() == found(read_by(train))[2]


def test_a_source_that_is_named_reads_the_path(tmp_path, capsys):
    lines = [f"{u} {' '.join(map(str, range(u, u + 4)))}" for u in range(20)]
    for name in ("train.txt", "test.txt"):
        (tmp_path / name).write_text("\n".join(lines) + "\n")
    shown, (train, *_), _ = check(capsys, tmp_path, "data=lightgcn")
    assert train[2:4] == [f"data.path={tmp_path}", "data=lightgcn"]
    assert found(read_by(train)) == counts(shown) == (20, 23, 160)


def test_every_command_reads_the_same_and_the_first_one_trains(
    ratings, capsys, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    path, _ = ratings
    shown, commands, _ = check(capsys, path.name)
    assert len(commands) == 3
    for command in commands:
        words = [w for w in command if not w.startswith(("arms=", "seed=", "hydra/"))]
        assert found(read_by(words)) == counts(shown)
    assert "negatives.hard.stages=[exposed]" in commands[2]
    short = ("training.steps=4", "towers.dim=8")
    assert tiny.command(*commands[0][1:], *short) == 0
    assert len(list((tmp_path / "outputs").rglob("result.json"))) == 1


def test_a_name_with_blanks_and_quotes_reaches_the_run(tmp_path, capsys):
    path = tmp_path / "my log's copy; (1).csv"
    some = np.random.default_rng(1)
    names = {"User ID": some.integers(0, 9, 400), "Item, ID": some.integers(0, 30, 400)}
    pl.DataFrame(names).write_csv(path)
    shown, (train, *_), _ = check(capsys, path)
    assert found(read_by(train)) == counts(shown) == (9, 30, 400)


def test_impressions_of_a_json_file(tmp_path, capsys):
    some = np.random.default_rng(2)
    path = tmp_path / "log.jsonl"
    shown = [some.choice(40, 5, replace=False).tolist() for _ in range(600)]
    frame = {
        "session_id": list(range(600)),
        "user": some.integers(0, 30, 600),
        "time": 1_600_000_000 + 60 * np.arange(600),
        "shown": shown,
        "clicked": [one[:1] for one in shown],
    }
    pl.DataFrame(frame).write_ndjson(path)
    values, commands, _ = check(capsys, path)
    assert counts(values) == (30, 40, 600)
    assert number(values["exposures, not clicked"]) == 4 * 600
    assert "negatives.hard.pool=user" not in commands[2]
    data = read_by(commands[2])
    assert found(data) == counts(values)
    assert len(np.unique(data.log.request)) == 600


def test_a_funnel_offers_its_stages(tmp_path, capsys):
    some = np.random.default_rng(3)
    stages = ["retrieved", "ranked", "exposed", "clicked"]
    frame = {
        "request": np.repeat(np.arange(200), 4),
        "who": np.repeat(some.integers(0, 20, 200), 4),
        "what": some.integers(0, 30, 800),
        "stage": stages * 200,
        "position": [0, 1, 2, 3] * 200,
    }
    pl.DataFrame(frame).write_parquet(tmp_path / "a.parquet")
    shown, commands, _ = check(capsys, tmp_path / "a.parquet")
    assert shown["rows by discarding stage"].startswith("retrieved 200, pre_ranked 0")
    assert "negatives.hard.stages=[retrieved]" in commands[2]
    assert "negatives.hard.stages=[exposed]" in commands[3]
    assert counts(shown)[2] == 200


def test_tables_of_features_are_covered_or_a_remark_says_so(tmp_path, capsys):
    some = np.random.default_rng(4)
    log = {"user": some.integers(0, 40, 900), "item": some.integers(0, 50, 900)}
    pl.DataFrame(log).write_csv(tmp_path / "log.csv")
    items = {"sku": np.arange(5, 60), "shop": np.arange(5, 60) % 3}
    pl.DataFrame(items).write_csv(tmp_path / "items.csv")
    users = {"user": np.arange(40), "age": some.normal(size=40)}
    pl.DataFrame(users).write_csv(tmp_path / "users.csv")
    places = (tmp_path / "log.csv", "--items", tmp_path / "items.csv")
    _, (train, *_), out = check(capsys, *places, "--users", tmp_path / "users.csv")
    assert "only 90.0% of the log's items are in --items" in out
    assert "100.0% of the log's users are in --users" in out
    log = read_by(train).log
    assert set(log.item_features) == {"shop"} and set(log.user_features) == {"age"}
    assert (log.item_features["shop"].values < 0).sum() == 5


@pytest.mark.parametrize(
    ("content", "words", "message"),
    [
        (
            "user,item,at\n" + "1,2,1600000000\n3,4,1600000000000\n" * 9,
            [],
            "has times in two units: 9 rows in",
        ),
        (
            "user,item\n1,2\n3,4\n",
            [],
            "is too small for a test part: it has 2 positives of 2 users, at most 1",
        ),
        ("user\n1\n", [], "has one column only"),
        ("user,item\n1,2\n", ["other.csv"], "reads one log, and 2 files are given"),
        ("user,item\n1,2\n", ["data.colums.user=a"], "unknown key data.colums"),
        ("user,item\n1,2\n3,4\n", ["data.split=temporal"], "needs times, and the log"),
    ],
)
def test_bad_input_ends_with_one_message(content, words, message, tmp_path, capsys):
    path = tmp_path / "a.csv"
    path.write_text(content)
    assert tiny.command("data", "check", str(path), *words) == 2
    error = capsys.readouterr().err.strip()
    assert error.startswith("error: ") and message in error
    assert len(error.splitlines()) == 1


def test_a_terminal_of_80_columns_breaks_lines_between_words(
    ratings, capsys, monkeypatch
):
    path, _ = ratings
    _, _, piped = check(capsys, path)
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "80")
    assert tiny.command("data", "check", str(path)) == 0
    shown = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]|\r", "", capsys.readouterr().out)
    shown = shown[shown.index("Columns") :]
    paths = [line for line in shown.splitlines() if str(path) in line]
    assert {len(line) <= 80 for line in shown.splitlines() if line not in paths} == {
        True
    }
    assert shown.split() == piped[piped.index("Columns") :].split()


def test_a_column_without_a_role_is_named(tmp_path, capsys):
    some = np.random.default_rng(5)
    log = {"user": some.integers(0, 20, 400), "item": some.integers(0, 30, 400)}
    log |= {"rating": np.where(some.random(400) < 0.5, "good", "bad")}
    log |= {"price": some.random(400)}
    pl.DataFrame(log).write_csv(tmp_path / "a.csv")
    shown, _, _ = check(capsys, tmp_path / "a.csv")
    assert shown["not used"] == "rating, price"
    shown, _, _ = check(
        capsys, tmp_path / "a.csv", "data.candidate_features={price: numeric}"
    )
    assert shown["not used"] == "rating"


@pytest.mark.parametrize("words", [[], ["data=table"]])
def test_ids_of_two_forms_and_times_in_two_units_reach_no_run(words, tmp_path, capsys):
    path = tmp_path / "a.csv"
    path.write_text("user,item,time\n" + "1,2,1600000000\n1.0,4,1600000001\n" * 9)
    place = [f"data.path={path}"] if words else [str(path)]
    assert tiny.command("data", "check", *words, *place) == 2
    assert "ids of two forms, such as '1' and '1.0'" in capsys.readouterr().err
    path.write_text("user,item,at\n" + "1,2,1600000000\n3,4,1600000000000\n" * 9)
    named = [*words, *place, "data.columns.time=at"]
    assert tiny.command("data", "check", *named) == 2
    assert "times in two units: 9 rows in" in capsys.readouterr().err


def test_the_table_of_a_source_is_not_cut_at_80_columns(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    assert tiny.command("data", "check", *tiny.WORLD) == 0
    out = capsys.readouterr().out
    assert "\N{HORIZONTAL ELLIPSIS}" not in out and "negatives=hard" in out


def test_options_without_a_file_are_refused(capsys):
    assert tiny.command("data", "check", "--items", "a.csv", "data=simulator") == 2
    assert "need the FILE of the log before them" in capsys.readouterr().err


@pytest.mark.realdata
def test_movielens_as_a_plain_file(capsys):
    folder = data_folder("ml-latest-small")
    items = folder / "movies.csv"
    shown, (train, *_), _ = check(capsys, folder / "ratings.csv", "--items", items)
    assert counts(shown) == (610, 9_724, 48_580)
    assert shown["times"].startswith("1996-03-29 to 2018-09-24")
    data = read_by(train)
    assert found(data) == counts(shown)
    assert data.log.item_features["genres"].kind == "multi"


@pytest.mark.realdata
@pytest.mark.parametrize(
    ("name", "file", "expected"),
    [
        ("toys", "Toys_and_Games.txt", (19_412, 11_924, 167_597)),
        ("gowalla", "train.txt", (29_858, 40_981, 1_027_370)),
        ("irb-health", "train.tsv", (1_974, 1_200, 37_784)),
    ],
)
def test_other_public_files(name, file, expected, capsys):
    shown, (train, *_), _ = check(capsys, data_folder(name) / file)
    assert counts(shown) == expected
    assert found(read_by(train)) == expected
