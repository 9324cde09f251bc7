"""A bad row of any format: exit status 2, one message with file and row, no run."""

import pytest
from helpers import tiny

BEHAVIORS = "1\tU1\t11/9/2019 9:05:58 AM\tN1\tN3-1\n2\tU2\t11/9/2019 9:06:00 AM\tN1\t"
ATOMIC = "user_id:token\titem_id:token\n1\t1\n"
ITEM = "1|A (1995)|d||u|" + "|".join("0" * 19) + "\n"
BAD = {
    "mind": (
        {
            "behaviors.tsv": BEHAVIORS + "N3 N4-1\n",
            "news.tsv": "N3\tc\ts\tt\ta\tu\t\t\n",
        },
        "behaviors.tsv: row 2, column 'impressions'",
    ),
    "recbole": (
        {"a.inter": ATOMIC + "2\t2\t2\n"},
        "a.inter: row 2 has 3 fields",
    ),
    "movielens": (
        {"u.data": "1\t1\t5\t881250949\n1\t1\t5\tnever\n", "u.item": ITEM},
        "u.data: row 2, column 'timestamp'",
    ),
    "wikispeedia": (
        {
            "articles.tsv": "A\n",
            "links.tsv": "A\tA\n",
            "categories.tsv": "A\tsubject.B\n",
            "paths_unfinished.tsv": "p\t1\t1\tA;A\tA\tok\np\t1\t1\tA;A\n",
        },
        "paths_unfinished.tsv: line 2 has 4 fields",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_row_ends_before_any_run(tmp_path, capsys, name):
    files, message = BAD[name]
    for file, text in files.items():
        (tmp_path / file).write_text(text)
    words = (f"data={name}", f"data.path={tmp_path}")
    out = tmp_path / "out"
    for command in (("data", "check", *words), ("train", *words, f"output={out}")):
        assert tiny.command(*command) == 2
        errors = capsys.readouterr().err.strip().splitlines()
        assert len(errors) == 1 and errors[0].startswith("error: ")
        assert f"{tmp_path}/{message}" in errors[0]
    assert not list(out.rglob("result.json")) and not list(out.rglob("checkpoints"))


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["data=table", "data.path=http://x/y.csv"], "data.path=http://x/y.csv is an"),
        (
            ["data=table", "data.path=a.csv", "data.items_path=gs://x/y.csv"],
            "data.items_path=gs://x/y.csv is an",
        ),
        (["s3://x/y.csv"], "FILE=s3://x/y.csv is an"),
        (["a.csv", "--items", "https://x/y.csv"], "--items=https://x/y.csv is an"),
    ],
)
def test_an_address_is_to_be_downloaded(words, part, capsys):
    assert tiny.command("data", "check", *words) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1
    assert f"{part} address" in error and "download it, and give the path" in error


@pytest.mark.parametrize("home", ["~", "~nobody-of-this-name"])
def test_a_file_in_the_home_folder(home, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("HOME", str(tmp_path))
    rows = (f"u{row % 20},i{row * 7 % 41}\n" for row in range(180))
    (tmp_path / "clicks.csv").write_text("user,item\n" + "".join(rows))
    shops = "".join(f"i{item},s{item % 3}\n" for item in range(41))
    (tmp_path / "items.csv").write_text(f"item,shop\n{shops}")
    words = (f"{home}/clicks.csv", "--items", f"{home}/items.csv")
    status = tiny.command("data", "check", *words)
    shown = capsys.readouterr()
    assert status == (0 if home == "~" else 2), shown.err
    assert f"{home}/clicks.csv: does not exist" in shown.err or home == "~"
