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
