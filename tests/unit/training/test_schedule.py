"""Lengths, periods and the notes of a training."""

from twotower_jax.training.schedule import Notes, Renewals, Schedule


def schedule(steps, **keys):
    periods = {"eval_every": 30, "checkpoint_every": 30, "patience": 0}
    return Schedule(steps, 8, metric="recall@20", **periods | keys)


def test_the_shortest_training_that_the_patience_allows():
    assert schedule(10_000).shortest == 10_000
    assert schedule(10_000, patience=4).shortest == 150
    assert schedule(10_000, patience=4, min_steps=200).shortest == 210


def test_a_share_above_0_is_a_step_at_least():
    shares = (0.1, 0.001, 0)
    assert [schedule(75).steps_of(share) for share in shares] == [8, 1, 0]


def test_boundaries_are_those_of_all_periods():
    long = schedule(100, checkpoint_every=50)
    assert [long.boundary(step) for step in (0, 30, 50, 90)] == [30, 50, 60, 100]
    assert long.boundary(0, 7) == 7


def test_a_training_pauses_at_validations():
    paused = schedule(100, pause=40)
    assert [step for step in (0, 30, 60, 90) if paused.pauses(step)] == [60, 90]


def test_renewals():
    renewals = Renewals(8, 10)
    assert [step for step in range(30) if renewals.due(step)] == [8, 18, 28]
    assert [renewals.after(step) for step in (0, 7, 8, 17, 18)] == [8, 8, 18, 18, 28]
    assert [renewals.number(steps) for steps in (8, 9, 18, 19)] == [0, 1, 1, 2]


def test_the_patience_ends_a_training():
    notes = Notes()
    for step, value in [(10, 0.2), (20, 0.3), (30, 0.3), (40, 0.1)]:
        notes.judge(step, value, patience=2)
    assert (notes.best_step, notes.worse, notes.stopped) == (20, 2, "patience")


def test_the_rate_is_that_of_timed_steps():
    assert Notes(timed_seconds=2.0, timed_steps=50).rate == 25.0
    assert Notes().rate == 0.0
