"""Spoiled files of every source, through every command that reads a log."""

import shutil
import time

import pytest
from helpers import tiny
from helpers.chaos import campaign, trials
from helpers.hostile_files import CELLS, LINES, LOGS, spoil
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

SECONDS = 120
SMALL = (
    *("towers.dim=4", "towers.query=[id]", "towers.candidate=[id]"),
    *("training.batch_size=32", "training.steps=2", "training.eval_every=2"),
    *("evaluation.k=[5]", "training.metric=recall@5"),
)
KINDS = ("cell", "cell", "line", "column", "type", "bit", "cut", "zeros", "empty")
CHANGES = st.lists(
    st.tuples(
        st.sampled_from(KINDS),
        st.floats(0, 1),
        st.sampled_from((*CELLS, *LINES)) | st.text(max_size=9),
        st.integers(0, 10**6),
    ),
    min_size=1,
    max_size=3,
)


@pytest.fixture(scope="module")
def logs(tmp_path_factory):
    """Return {source: (folder, its log within the folder, words that read it)}."""
    made = {}
    for name, (write, words) in LOGS.items():
        folder = tmp_path_factory.mktemp(name.replace(" ", "-"))
        made[name] = (folder, write(folder).relative_to(folder), words)
    return made


def commands(path, words, out, file=None):
    """Return the commands that read a log, and one that reads a file of it."""
    read = (*words, f"data.path='{path}'")
    made = (
        ("data", "check", *read),
        ("train", *read, *SMALL, f"output={out}"),
        ("data", "prepare", *read, "--out", str(out / "made")),
        ("audit", *read, *SMALL, f"output={out}"),
        ("plan", *read, *SMALL),
        ("data", "check", str(file)),
    )
    return [one for one in made if "data=prepared" not in read or "prepare" not in one]


@pytest.mark.slow
@pytest.mark.parametrize("name", LOGS)
def test_a_spoiled_log_is_read_or_refused(name, logs, tmp_path, capfd):
    whole, log, words = logs[name]
    for command in commands(whole / log, words, tmp_path / "out")[:-1]:
        assert tiny.command(*command) == 0, capfd.readouterr().err
    number, found, slowest = trials(100), {0: 0, 1: 0, 2: 0}, 0.0
    place = iter(range(10**6))

    @settings(
        max_examples=number,
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(CHANGES)
    def check(changes):
        nonlocal slowest
        turn = next(place)
        folder = tmp_path / f"{turn}" / "data"
        shutil.copytree(whole, folder)
        files = sorted(one for one in folder.rglob("*") if one.is_file())
        for kind, where, cell, which in changes:
            spoil(files[which % len(files)], kind, where, cell)
        file, out = files[changes[0][3] % len(files)], folder.parent / "out"
        some = commands(folder / log, words, out, file)
        command = some[turn % len(some)]
        before = sorted(folder.rglob("*"))
        begin = time.monotonic()
        status = tiny.command(*command)
        slowest = max(slowest, time.monotonic() - begin)
        shown = capfd.readouterr()
        case = (command, changes, shown.err[-3000:])
        assert "Traceback" not in shown.err + shown.out, case
        assert "panicked" not in shown.err, case
        assert status in found and bool(status) == ("error: " in shown.err), case
        assert max(map(len, shown.err.splitlines()), default=0) < 1500, case
        assert sorted(folder.rglob("*")) == before, case
        found[status] += 1
        shutil.rmtree(folder.parent)

    with campaign(f"spoiled files of {name}") as counts:
        check()
        counts |= {"trials": sum(found.values()), "read": found[0]}
        counts |= {"refused": found[1] + found[2], "slowest s": round(slowest, 1)}
    assert slowest < SECONDS
