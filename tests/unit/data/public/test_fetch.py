"""Fetching data sets: whole, checked, or not at all; the catalogue and the command."""

import gzip
import re

import pytest
from helpers.downloads import (
    FILES,
    GZ,
    TAR,
    TEXT,
    ZIP,
    refused,
    sha,
    tarred,
    tree,
    zipped,
)

from twotower_jax.cli import main
from twotower_jax.data.public import fetch
from twotower_jax.data.public.catalogue import CATALOGUE
from twotower_jax.data.sources import SOURCES
from twotower_jax.errors import InputError

# --------------------------------------------------------------------- written files


@pytest.mark.parametrize(("name", "pack"), [(ZIP, zipped), (TAR, tarred)])
def test_an_archive_becomes_a_folder(get, tmp_path, name, pack):
    content = pack(FILES | {"__MACOSX/ml/x": b"no", "ml/._ratings.csv": b"no"})
    shown = get({name: content}, sums={name: sha(content)})
    # The folder within the archive is the data set; nothing else is left over.
    assert tree(tmp_path) == {
        "out/tiny/ratings.csv": b"userId,movieId\n1,2\n",
        "out/tiny/more/README": b"read me\n",
    }
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["tiny"]
    assert f"{name}: SHA-256 as expected" in shown
    place = tmp_path / "out" / "tiny"
    assert f"twotower data check data=movielens data.path={place}" in shown


def test_plain_and_packed_files_lie_side_by_side(get, server, tmp_path):
    get({GZ: gzip.compress(b"a,b\n"), "test.txt": b"0 1\n"})
    assert tree(tmp_path / "out" / "tiny") == {TEXT: b"a,b\n", "test.txt": b"0 1\n"}
    assert server.asked == [GZ, "test.txt"]


def test_without_yes_nothing_is_requested_and_nothing_written(get, server, tmp_path):
    shown = get({ZIP: zipped(FILES)}, yes=False)
    assert server.asked == [] and list(tmp_path.iterdir()) == []
    for text in (f"{server.address}/{ZIP}", "some terms", "https://page", "--yes"):
        assert text in shown
    assert str(tmp_path / "out" / "tiny") in shown


def test_an_unknown_sum_is_printed_and_can_be_pinned(get, tmp_path):
    shown = get({TEXT: b"a\n"})
    (found,) = re.findall(r"--sha256 ([0-9a-f]{64})", shown)
    assert found == sha(b"a\n")
    (tmp_path / "out" / "tiny" / TEXT).unlink()
    (tmp_path / "out" / "tiny").rmdir()
    assert "as expected" in get({TEXT: b"a\n"}, sums={TEXT: "0" * 64}, pinned=[found])


def test_another_address_has_to_give_the_same_bytes(get, server, tmp_path):
    server.files["mirror"] = b"a\n"
    there = f"{server.address}/mirror"
    get({TEXT: b"gone"}, sums={TEXT: sha(b"a\n")}, addresses=[there])
    assert server.asked == ["mirror"]
    assert tree(tmp_path / "out" / "tiny") == {TEXT: b"a\n"}


# ----------------------------------------------------------------------- refused input


def test_a_wrong_sum_names_both_and_leaves_nothing(get, tmp_path):
    content, other = zipped(FILES), "ab" * 32
    message = f"is {sha(content)}, and {other} was expected; .*--sha256 {sha(content)}"
    refused(get, tmp_path, message, {ZIP: content}, sums={ZIP: other})


def test_a_wrong_second_file_takes_the_first_with_it(get, tmp_path):
    files = {"train.txt": b"0 1\n", "test.txt": b"0 2\n"}
    refused(get, tmp_path, "was expected", files, sums={"test.txt": "0" * 64})


def test_an_existing_folder_is_never_touched(get, server, tmp_path):
    (tmp_path / "out" / "tiny").mkdir(parents=True)
    with pytest.raises(InputError, match="tiny exists already, and nothing is overw"):
        get({TEXT: b"a"})
    assert server.asked == []


def test_a_folder_that_comes_meanwhile_is_kept(get, tmp_path, monkeypatch):
    real, mine = fetch.unpack, tmp_path / "out" / "tiny"

    def late(path, folder, limit):
        mine.mkdir()
        (mine / "mine").write_text("mine")
        return real(path, folder, limit)

    monkeypatch.setattr(fetch, "unpack", late)
    with pytest.raises(InputError, match="was created during the fetch"):
        get({TEXT: b"a"})
    assert tree(tmp_path) == {"out/tiny/mine": b"mine"}


# ------------------------------------------------------------------ options, places


def test_options_that_do_not_fit(get, tmp_path):
    files = {"train.txt": b"", "test.txt": b""}
    for keys, message in (
        ({"pinned": ["0" * 64]}, "--sha256 is given 1 times and the data set has 2"),
        ({"addresses": ["a"] * 3}, "--address is given 3 times and the data set has 2"),
        ({"pinned": ["0" * 64, "x"]}, "--sha256='x' is not a SHA-256; give 64 hex"),
    ):
        refused(get, tmp_path, message, files, **keys)


def test_the_folder_must_be_writable(get, tmp_path):
    (tmp_path / "out").write_text("a file")
    with pytest.raises(InputError, match="out cannot be written to .*--out"):
        get({TEXT: b"a"})


# ------------------------------------------------------------- catalogue, command line


@pytest.mark.parametrize("name", CATALOGUE)
def test_an_entry_of_the_catalogue_is_whole(name):
    entry = CATALOGUE[name]
    assert entry.source in SOURCES and entry.terms
    assert entry.page.startswith("https://")
    assert bool(entry.parts) != bool(entry.by_hand)
    for part in entry.parts:
        assert part.address.startswith("https://")
        assert part.address.endswith(f"/{part.name}")
        assert part.sha256 is None or re.fullmatch("[0-9a-f]{64}", part.sha256)
        # who knows the sum has seen the file
        assert (part.sha256 is None) == (part.size is None)
        assert (part.size or 0) < part.limit


def command(*words):
    with pytest.raises(SystemExit) as stop:
        main(["data", "fetch", *words])
    return stop.value.code


def test_the_command_lists_and_shows(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert command() == 0
    shown = capsys.readouterr().out
    assert all(name in shown for name in CATALOGUE)
    assert command("ml-1m") == 0
    shown = capsys.readouterr().out
    part = CATALOGUE["ml-1m"].parts[0]
    assert part.address in shown and str(part.sha256) in shown
    assert "data/ml-1m" in shown and "no redistribution" in shown
    assert command("mind-small") == 0
    shown = capsys.readouterr().out
    assert "by hand" in shown and "data check data=mind" in shown
    assert list(tmp_path.iterdir()) == []


def test_the_command_fetches_and_refuses(server, tmp_path, capsys):
    """ml-1m from here: the known sum refuses it, and a pinned one takes it."""
    content = zipped(
        {
            "ml-1m/ratings.dat": b"1::10::5::978300760\n2::20::3::978302109\n",
            "ml-1m/movies.dat": b"10::A (2001)::Comedy\n20::B (1995)::Drama\n",
        }
    )
    server.files[ZIP] = content
    words = ("ml-1m", "--yes", "--out", str(tmp_path), "--address")
    assert command(*words, f"{server.address}/{ZIP}") == 2
    shown = capsys.readouterr().err
    assert sha(content) in shown and str(CATALOGUE["ml-1m"].parts[0].sha256) in shown
    assert list(tmp_path.iterdir()) == []
    assert command(*words, f"{server.address}/{ZIP}", "--sha256", sha(content)) == 0
    assert len(tree(tmp_path / "ml-1m")) == 2
    assert command("nothing") == 2
    assert "data set='nothing' is unknown; choose one of: " in capsys.readouterr().err
    assert command("recflow", "--yes") == 2
    assert "cannot be fetched by a program" in capsys.readouterr().err
