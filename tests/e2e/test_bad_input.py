"""Wrong input ends at once with status 2 and one message that names the remedy."""

import shutil

import pytest
from helpers import tiny
from helpers.quick import quick

CLICKS = "user,item,at,clicked\n" + "".join(
    f"u{user},i{(user * 7 + step * 3) % 40},{step},1\n"
    for user in range(20)
    for step in range(10)
)


def lines(*rows):
    return "".join(row + "\n" for row in rows)


# Content of the file, further overrides, parts of the message.
TABLES = {
    "empty file": ("", [], ["clicks.csv", "is empty", "give a file with rows"]),
    "header only": ("user,item\n", [], ["clicks.csv", "no rows", "at least one row"]),
    "missing column": (
        lines("usr,item", "a,b", "c,d"),
        [],
        ["clicks.csv", "'user'", "data.columns.user", "usr, item", "did you mean"],
    ),
    "one column": (
        lines("user", "a", "b"),
        [],
        ["clicks.csv", "'item'", "give a table with more columns", "data.separator"],
    ),
    "surplus field": (
        lines("user,item", "a,b", "c,d,e"),
        [],
        ["clicks.csv", "row 2 has 3 fields", "header has 2", "remove"],
    ),
    "text where a number belongs": (
        lines("user,item,stars", "a,b,5", "c,d,five"),
        ["data.columns.rating=stars", "data.min_rating=3"],
        ["clicks.csv", "row 2", "'stars'", "'five'", "give a number"],
    ),
    "neither clicked nor not": (
        lines("user,item,clicked", "a,b,1", "c,d,2"),
        ["data.columns.clicked=clicked"],
        ["clicks.csv", "row 2", "'clicked'", "'2'", "give 1 for a click, else 0"],
    ),
    "null id": (
        lines("user,item", "a,b", ",d"),
        [],
        ["clicks.csv", "row 2", "'user'", "an empty value", "give every row an id"],
    ),
    "time that does not parse": (
        lines("user,item,at", "a,b,2020-01-01", "c,d,yesterday"),
        ["data.columns.time=at"],
        ["clicks.csv", "row 2", "'at'", "'yesterday'", "seconds since 1970, or dates"],
    ),
    "one column for users and items": (
        CLICKS,
        ["data.columns.user=item"],
        ["data.columns.user=item and data.columns.item=item name one column", "set"],
    ),
    "one user only": (
        lines("user,item", "a,b", "a,c", "a,d"),
        [],
        ["all of one user", "at least 2 users", "data.columns.user"],
    ),
    "one item only": (
        lines("user,item", "a,b", "c,b", "d,b"),
        [],
        ["all of one item", "at least 2 items", "data.columns.item"],
    ),
    "no positive": (
        lines("user,item,clicked", "a,b,0", "c,d,0"),
        ["data.columns.clicked=clicked"],
        ["no positive", "data.columns.clicked"],
    ),
    "no item left": (
        CLICKS,
        ["data.min_item_positives=1000"],
        ["data.min_item_positives=1000 leaves no positive", "(the most", "lower it"],
    ),
    "no user left": (
        CLICKS,
        ["data.min_user_positives=11"],
        ["data.min_user_positives=11 leaves no positive", "is 10)", "lower it"],
    ),
    "no positive to test on": (
        lines("user,item", "a,b", "c,d", "e,f"),
        [],
        ["data.split=ratio leaves no positive to test on", "data.test_share=0.2"],
    ),
    "times that are not named": (
        CLICKS,
        ["data.split=temporal"],
        ["data.split=temporal needs times", "set data.columns.time"],
    ),
    "cutoff above the catalogue": (
        CLICKS,
        ["evaluation.k=[10,20,41]"],
        ["evaluation.k=[10, 20, 41]", "41 items", "has 40", "lower evaluation.k"],
    ),
    "batch larger than the data": (
        CLICKS,
        ["training.batch_size=10000"],
        ["training.batch_size=10000 is more than the", "or less"],
    ),
    "unknown feature": (
        CLICKS,
        ["towers.candidate=[id,price]"],
        ["towers.candidate", "'price'", "choose from id"],
    ),
    "feature without its column": (
        CLICKS,
        ["data.candidate_features.price=numeric", "towers.candidate=[id,price]"],
        ["clicks.csv", "'price'", "data.candidate_features.price"],
    ),
    "patience without a validation set": (
        CLICKS,
        ["training.patience=2", "data.valid_share=0"],
        ["training.patience=2 needs a validation set", "set training.patience=0"],
    ),
    "patience that the limit forestalls": (
        CLICKS,
        ["training.patience=2", "training.epochs=3", "training.batch_size=4"],
        [
            "training.patience=2 cannot end a training of",
            "training.min_steps=500",
            "lower that, or set training.patience=0",
        ],
    ),
    "all test positives seen before": (
        lines("user,item,at", *(f"u{u},i0,{t}" for u in range(2) for t in range(9)))
        + lines("u0,i1,0", "u1,i1,0"),
        [
            "data.columns.time=at",
            "training.batch_size=2",
            "evaluation.k=[2]",
            "training.metric=recall@2",
        ],
        ["every positive of the test split", "set data.mask_seen=false"],
    ),
}

# Overrides of the simulated world, parts of the message.
KEYS = {
    "misspelt key": (
        ["training.batchsize=64"],
        ["training.batchsize", "did you mean training.batch_size?"],
    ),
    "misspelt section": (
        ["negative.in_batch=true"],
        ["unknown key negative;", "did you mean negatives?"],
    ),
    "misspelt group option": (
        ["loss=sampled_sofmax"],
        ["loss/sampled_sofmax", "full_softmax", "sampled_softmax"],
    ),
    "misspelt data set": (
        ["data=movielense"],
        ["data/movielense", "lightgcn", "movielens", "simulator", "table"],
    ),
    "unknown experiment": (
        ["experiment=quickstrat"],
        ["experiment/quickstrat", "quickstart"],
    ),
    "value out of range": (
        ["loss.temperature=0"],
        ["loss.temperature=0.0 is out of range", "above 0"],
    ),
    "share out of range": (
        ["data.valid_share=0.5", "data.test_share=0.5"],
        ["data.valid_share=0.5", "data.test_share=0.5", "below 1"],
    ),
    "negative seed": (["seed=-1"], ["seed=-1 is out of range", "between 0 and"]),
    "wrong type": (
        ["training.batch_size=many"],
        ["training.batch_size", "many", "Integer"],
    ),
    "wrong type of a flag": (
        ["negatives.in_batch=perhaps"],
        ["negatives.in_batch", "perhaps", "bool"],
    ),
    "wrong type in a list": (["evaluation.k=[a]"], ["evaluation.k", "'a'", "Integer"]),
    "table without a file": (
        ["data=table"],
        ["data.path is not set", "give the path of a file"],
    ),
    "movielens without a folder": (
        ["data=movielens"],
        ["data.path is not set", "give the folder with ratings.csv"],
    ),
    "lightgcn without a folder": (
        ["data=lightgcn"],
        ["data.path is not set", "give the folder with train.txt"],
    ),
    "wikispeedia without a folder": (
        ["data=wikispeedia"],
        ["data.path is not set", "give the folder with articles.tsv"],
    ),
    "missing mandatory value": (
        ["data=table", "data.path=???"],
        ["data.path has no value; set it: data.path="],
    ),
    "missing folder": (
        ["data=movielens", "data.path=nowhere"],
        ["data.path='nowhere' does not exist", "ratings.csv"],
    ),
    "no equals sign": (["training"], ["training", "help"]),
    "unknown loss": (
        ["loss.name=softmac"],
        ["loss.name='softmac' is unknown", "full_softmax", "sampled_softmax"],
    ),
    "unknown optimizer": (
        ["optimizer.name=sgdd"],
        ["optimizer.name='sgdd' is unknown", "adagrad", "adam"],
    ),
    "unknown sampler": (
        ["negatives.easy.sampler=zipf"],
        ["negatives.easy.sampler='zipf' is unknown", "popularity", "uniform"],
    ),
    "unknown source": (
        ["data.source=csv"],
        ["data.source='csv'", "simulator", "table"],
    ),
    "unknown split": (["data.split=random"], ["data.split='random'", "temporal"]),
    "unknown metric": (
        ["training.metric=recall@30"],
        ["training.metric='recall@30' is unknown", "recall@20"],
    ),
    "unknown feature": (
        ["towers.query=[id,age]"],
        ["towers.query", "'age'", "choose from id, history"],
    ),
    "unknown kind of feature": (
        ["data.query_features.age=text"],
        ["data.query_features.age='text'", "categorical, multi, numeric"],
    ),
    "history of an item": (
        ["towers.candidate=[history]"],
        ["towers.candidate", "'history'", "move it to towers.query"],
    ),
    "feature twice": (["towers.query=[id,id]"], ["towers.query=['id', 'id']", "once"]),
    "no negatives at all": (
        ["negatives.in_batch=false", "negatives.easy.num=0"],
        ["negatives.in_batch=false", "negatives.easy.num=0", "above 0"],
    ),
    "patience of an update that fits valid": (
        [
            *("training.patience=1", "data.fit_valid=true"),
            *("training.update=full", "training.start_from=run", "training.steps=null"),
        ],
        ["training.patience=1", "data.fit_valid=true", "set training.patience=0"],
    ),
    "a table's key for the simulator": (
        ["data.items_path=x.csv"],
        ["data.items_path=x.csv is not read by data.source=simulator", "table"],
    ),
}


# Further variants of another case.
VARIANTS = {
    "header only",
    "one item only",
    "no user left",
    "neither clicked nor not",
    "time that does not parse",
    "wrong type of a flag",
    "wrong type in a list",
    "lightgcn without a folder",
    "wikispeedia without a folder",
    "unknown optimizer",
    "unknown sampler",
    "unknown split",
    "unknown kind of feature",
    "misspelt data set",
}


def refused(words, parts, capsys):
    """Run a command; it must end with status 2 and one message with all parts."""
    assert tiny.command(*words) == 2
    error = capsys.readouterr().err
    assert "Traceback" not in error
    assert error.count("error: ") == 1 and error.startswith("error: ")
    assert len(error) < 1000
    for part in parts:
        assert part in error, (part, error)


@pytest.mark.parametrize("name", quick(TABLES, TABLES.keys() - VARIANTS))
def test_wrong_tables(name, tmp_path, capsys):
    content, overrides, parts = TABLES[name]
    path = tmp_path / "clicks.csv"
    path.write_text(content)
    words = ("data=table", f"data.path={path}", f"output={tmp_path}", "name=run")
    small = ("training.batch_size=64", "evaluation.k=[10,20]", "training.steps=1")
    refused(("train", *words, *small, *overrides), parts, capsys)
    check_left(tmp_path / "run", name)


def check_left(output, name):
    """Nothing is left; where the queries are wrong, a run that failed."""
    if name != "all test positives seen before":
        assert not output.exists()
        return
    (status,) = output.glob("*/status.json")
    assert tiny.read_json(status)["status"] == "failed"
    assert len(list(status.parent.iterdir())) == 3  # configuration and manifest too


@pytest.mark.parametrize("name", quick(KEYS, KEYS.keys() - VARIANTS))
def test_wrong_keys_and_values(name, tmp_path, capsys):
    overrides, parts = KEYS[name]
    words = (*tiny.SMALL, f"output={tmp_path}", *overrides)
    refused(("train", *words), parts, capsys)
    check_left(tmp_path / "simulator", name)


@pytest.mark.parametrize("name", ["missing column", "one user only"])
def test_data_check_refuses_the_same_tables(name, tmp_path, capsys):
    content, overrides, parts = TABLES[name]
    path = tmp_path / "clicks.csv"
    path.write_text(content)
    words = ("data", "check", "data=table", f"data.path={path}", *overrides)
    refused(words, parts, capsys)


def test_data_check_counts_a_right_table(tmp_path, capsys):
    path = tmp_path / "clicks.csv"
    path.write_text(CLICKS)
    assert tiny.command("data", "check", "data=table", f"data.path={path}") == 0
    shown = capsys.readouterr().out
    for name, number in (("users", 20), ("items", 40), ("positives", 200)):
        (line,) = [one for one in shown.splitlines() if one.split()[:1] == [name]]
        assert line.split()[1] == str(number)


def test_a_missing_file(tmp_path, capsys):
    path = tmp_path / "nowhere.csv"
    words = ("train", "data=table", f"data.path={path}", f"output={tmp_path}")
    refused(words, ["data.path=", str(path), "does not exist", "give"], capsys)
    assert not list(tmp_path.iterdir())


def test_folders_without_a_run(tmp_path, capsys):
    for name in ("evaluate", "reproduce"):
        parts = [str(tmp_path), "config.yaml", "give the folder of one run"]
        refused((name, str(tmp_path)), parts, capsys)
        refused((name, str(tmp_path / "nowhere")), ["nowhere"], capsys)


def test_report_of_folders_without_runs(tmp_path, capsys):
    refused(("report", str(tmp_path)), [str(tmp_path), "no finished run"], capsys)
    refused(("report", str(tmp_path / "nowhere")), ["nowhere", "folder"], capsys)


def test_places_that_cannot_be_written_to(tmp_path, capsys):
    file = tmp_path / "file"
    file.write_text("mine")
    words = (*tiny.SMALL, "towers=popularity")
    for one in ((), ("-m", "seed=0,1")):
        refused(("train", *one, *words, f"output={file}"), [str(file)], capsys)
    assert tiny.command("train", *words, f"output={tmp_path}") == 0
    report = ("report", str(tmp_path / "simulator"), "--out")
    refused((*report, str(file / "in")), [str(file), "--out"], capsys)
    (tmp_path / "out" / "report.html").mkdir(parents=True)
    refused((*report, str(tmp_path / "out")), ["report.html", "--out"], capsys)
    assert file.read_text() == "mine"


@pytest.fixture(scope="module")
def baseline(tmp_path_factory):
    """Return the folder of a finished run."""
    output = tmp_path_factory.mktemp("outputs")
    words = (*tiny.SMALL, f"output={output}", "towers=popularity")
    assert tiny.command("train", *words) == 0
    (run,) = (output / "simulator").iterdir()
    return run


@pytest.mark.parametrize(
    ("name", "text", "part"),
    [
        ("config.yaml", "seed: [", "config.yaml"),
        ("config.yaml", "sed: 0", "unknown key sed; did you mean seed?"),
        ("config.yaml", "seed: x", "config.yaml: seed='x' has the wrong type; give"),
        ("config.yaml", "training: 3", "config.yaml: training=3 has the wrong type"),
        ("status.json", "{", "status.json"),
        ("result.json", "[]", "result.json"),
        ("manifest.json", "", "manifest.json"),
    ],
)
def test_broken_files_of_a_run(name, text, part, baseline, tmp_path, capsys):
    run = shutil.copytree(baseline, tmp_path / "simulator" / baseline.name)
    (run / name).write_text(text)
    if name != "status.json":
        refused(("reproduce", str(run)), [name], capsys)
        tiny.unseal(run)
    refused(("reproduce", str(run)), [part], capsys)
