"""A file or a folder of a run is a link that leads out: nothing outside is written."""

import shutil

import numpy as np
import pytest
from helpers import tiny
from helpers.chaos import campaign, contents, results, trials


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A finished run, and one that paused, below one folder each."""
    made = {}
    for name, more in (("finished", ()), ("paused", ("pause=30",))):
        made[name] = tmp_path_factory.mktemp(name) / "outputs"
        words = ("train", *tiny.SMALL, *more, f"output={made[name]}")
        assert tiny.command(*words) == 0
    return made


@pytest.mark.slow
def test_links_of_a_run_lead_to_no_write_outside(whole, tmp_path, capfd):
    right, rng = results(whole["finished"]), np.random.default_rng(0)
    ended = {0: 0, 1: 0, 2: 0}
    with campaign("links in the folder of a run") as counts:
        for number in range(trials(500)):
            folder, outside = tmp_path / f"{number}", tmp_path / f"{number}-outside"
            shutil.copytree(whole[("finished", "paused")[number % 2]], folder)
            outside.mkdir()
            (run,) = folder.glob("simulator/*/")
            places = sorted(run.rglob("*"))
            place = places[rng.integers(len(places))]
            # Such a link leads to the content, to another file, to itself, or nowhere.
            kind, target = rng.integers(4), outside / "target"
            shutil.move(place, target)
            if kind == 1:
                (outside / "other").write_text("kept")
            where = (target, outside / "other", place, outside / "none")[kind]
            place.symlink_to(where)
            before, name = contents(outside), f"{place.relative_to(folder)} {kind}"
            status = tiny.command("train", *tiny.SMALL, f"output={folder}")
            shown = capfd.readouterr()
            assert status in ended and "Traceback" not in shown.err, (name, shown)
            assert contents(outside) == before, name
            assert status or results(folder) == right, name
            ended[status] += 1
            shutil.rmtree(folder)
            shutil.rmtree(outside)
        counts |= {"trials": sum(ended.values()), "same result": ended[0]}
        counts |= {"refused": ended[1] + ended[2]}
    assert sum(ended.values()) > 1
