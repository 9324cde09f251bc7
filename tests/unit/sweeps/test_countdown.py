"""The time left of a list of runs, some of which had finished before."""

from twotower_jax.run.folder import RunFolder
from twotower_jax.sweeps.jobs import Countdown


def test_runs_that_had_finished_before_take_no_time(tmp_path):
    folders = [tmp_path / name for name in "abcde"]
    before = RunFolder(folders[1])
    before.write("result", {})
    before.set_status("done")
    seconds = iter([0.0, 100.0, 100.0, 400.0])
    count = Countdown(folders, clock=lambda: next(seconds))
    # Three of four are left after 100 s, whether or not the finished one came.
    assert count.ended(folders[0]) == "run 1 of 5, 5 min left"
    assert count.ended(folders[1]) == "run 2 of 5, 5 min left"
    assert count.ended(folders[2]) == "run 3 of 5, 7 min left"


def test_the_last_run_and_finished_runs_leave_no_time(tmp_path):
    folders = [tmp_path / "a", tmp_path / "b"]
    RunFolder(folders[0]).write("result", {})
    RunFolder(folders[0]).set_status("done")
    count = Countdown(folders, clock=lambda: 0.0)
    assert [count.ended(one) for one in folders] == ["run 1 of 2", "run 2 of 2"]
