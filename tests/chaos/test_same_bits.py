"""The same run elsewhere: another folder, locale, time zone, hash seed, threads."""

import os

import numpy as np
import pytest
from helpers import tiny
from helpers.chaos import campaign, results, trials

LIMIT = 600
FLAGS = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
# Each changes the folder, the environment, the number of cores, or a word.
VARIABLES = {
    "hash seed": {"PYTHONHASHSEED": "123"},
    "locale": {"LC_ALL": "C"},
    "locale of UTF-8": {"LC_ALL": "C.UTF-8"},
    "time zone": {"TZ": "Asia/Kathmandu"},
    "one thread": {"XLA_FLAGS": FLAGS},
}
ELSEWHERE = (*VARIABLES, "folder", "one core", "dispatch")


def run(folder, names, cache):
    """Return the metrics of a run in a process, with some things changed."""
    more = {}
    for name in names:
        more |= VARIABLES.get(name, {})
    if flags := os.environ.get("XLA_FLAGS"):
        more["XLA_FLAGS"] = f"{flags} {more.get('XLA_FLAGS', '')}"
    where = folder / "a folder of ü" if "folder" in names else folder
    where.mkdir(parents=True)
    words = ["train", *tiny.SMALL, "output=outputs"]
    words += ["training.steps_per_dispatch=3"] if "dispatch" in names else []
    log = folder / "log"
    process = tiny.start(words, cwd=where, cache=cache, log=log, more=more)
    if "one core" in names:
        os.sched_setaffinity(process.pid, {min(os.sched_getaffinity(0))})
    assert process.wait(LIMIT) == 0, log.read_text()
    # The folder of a run is named by its configuration, of which dispatches are part.
    return list(results(where / "outputs").values())


@pytest.mark.slow
def test_a_run_has_the_same_bits_elsewhere(tmp_path, tmp_path_factory):
    rng, done = np.random.default_rng(0), 0
    cache = tmp_path_factory.getbasetemp() / "programs"
    here = run(tmp_path / "here", (), cache)
    assert len(here) == 1
    with campaign("the same run elsewhere") as counts:
        for number in range(trials(100)):
            # Each change once at first, alone or with others; then half of them.
            first = min(trials(100), len(ELSEWHERE))
            names = ELSEWHERE[number::first]
            if number >= first:
                names = [one for one in ELSEWHERE if rng.random() < 0.5]
            # Nothing of the first run is read, not even a compiled program.
            other = tmp_path / f"programs{number}"
            assert run(tmp_path / f"{number}", names, other) == here, names
            done += 1
        counts |= {"trials": done, "the same bits": done}
    assert done


@pytest.mark.slow
def test_reproduce_names_the_metric_that_differs(tmp_path, capsys):
    assert tiny.command("train", *tiny.SMALL, f"output={tmp_path}") == 0
    (path,) = tmp_path.glob("*/*/result.json")
    tiny.unseal(path.parent)
    text, before = path.read_text(), tiny.read_json(path)["metrics"]["test"]
    old = before["recall@20"]
    moved = float(np.nextafter(old, 1))
    path.write_text(text.replace(f'"recall@20": {old!r}', f'"recall@20": {moved!r}'))
    capsys.readouterr()
    assert tiny.command("reproduce", str(path.parent)) == 1
    said = capsys.readouterr().out
    assert f"test recall@20: {moved} before, {old} now" in said
    assert "test recall@10: " not in said
