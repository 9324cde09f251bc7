"""A byte or the end of any file of a run changes: refused, not used, or harmless."""

import shutil

import numpy as np
import pytest
from helpers import tiny
from helpers.chaos import campaign, trials

WORDS = (*tiny.SMALL, "optimizer.learning_rate=3")


def damaged(path, rng):
    """Flip a bit of a file, cut it, or empty it."""
    content = bytearray(path.read_bytes())
    kind = rng.integers(4)
    if kind == 0 or not content:
        content = bytearray()
    elif kind == 1:
        del content[rng.integers(len(content)) :]
    else:
        content[rng.integers(len(content))] ^= 1 << int(rng.integers(8))
    path.write_bytes(content)


def command(capfd, *words):
    """Return the status and the messages of a command without a traceback."""
    status = tiny.command(*words)
    shown = capfd.readouterr()
    assert "Traceback" not in shown.err + shown.out, shown
    assert status in (0, 1, 2) and (status == 0) == ("error: " not in shown.err), shown
    return status, shown.err


def files(folder):
    return sorted(path for path in folder.rglob("*") if path.is_file())


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A finished run, and one that paused, below one folder each."""
    made = {}
    for name, more in (("finished", ()), ("paused", ("pause=30",))):
        made[name] = tmp_path_factory.mktemp(name) / "outputs"
        words = ("train", *WORDS, *more, f"output={made[name]}")
        assert tiny.command(*words) == 0
    return made


def metrics(folder):
    (path,) = folder.glob("simulator/*/result.json")
    return tiny.read_json(path)["metrics"]


@pytest.mark.slow
@pytest.mark.parametrize("state", ["finished", "paused"])
def test_damage_gives_no_other_result(state, whole, tmp_path, capfd):
    right, rng = metrics(whole["finished"]), np.random.default_rng(0)
    used, refused = 0, 0
    with campaign(f"damaged files of a {state} run") as counts:
        for number in range(trials(500)):
            folder = tmp_path / f"{number}" / "outputs"
            shutil.copytree(whole[state], folder)
            places = files(folder)
            place = places[rng.integers(len(places))]
            damaged(place, rng)
            name = f"{number} {place.relative_to(folder)}"
            status, error = command(capfd, "train", *WORDS, f"output={folder}")
            if status == 0:
                assert metrics(folder) == right, name
                used += 1
            else:
                assert str(place.parent.relative_to(folder)) in error, (name, error)
                refused += 1
            shutil.rmtree(folder.parent)
        counts |= {"trials": used + refused, "same result": used, "refused": refused}
    assert used + refused > 1


@pytest.mark.slow
def test_damage_is_seen_by_evaluate_and_report(whole, tmp_path, capfd):
    rng, refused, same = np.random.default_rng(1), 0, 0
    printed = {}
    with campaign("damaged files, evaluated") as counts:
        for number in range(trials(300)):
            folder = tmp_path / f"{number}" / "outputs"
            shutil.copytree(whole["finished"], folder)
            (run,) = folder.glob("simulator/*/")
            if not printed:
                assert tiny.command("evaluate", str(run)) == 0
                printed["right"] = capfd.readouterr().out
            places = files(run)
            damaged(places[rng.integers(len(places))], rng)
            status = tiny.command("evaluate", str(run))
            shown = capfd.readouterr()
            assert "Traceback" not in shown.err
            if status == 0:
                assert shown.out == printed["right"]
                same += 1
            else:
                refused += 1
            shutil.rmtree(folder.parent)
        counts |= {"trials": same + refused, "same result": same, "refused": refused}
