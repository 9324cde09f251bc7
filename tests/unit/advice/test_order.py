"""Points are tried from the defaults outwards, near ones before far ones."""

from typing import Any

from twotower_jax.advice.runs import Runs
from twotower_jax.advice.space import Arm

AXES = {
    "loss.temperature": ["0.07", "0.1", "0.14", "0.2", "0.3"],
    "optimizer.learning_rate": ["0.003", "0.01", "0.03"],
    "towers": ["default", "history", "factors"],
}
FIRST = {
    "loss.temperature": "0.14",
    "optimizer.learning_rate": "0.01",
    "towers": "default",
}


def test_few_points_are_the_neighbours_of_the_defaults(monkeypatch):
    def points(self: Runs, choice: str, given: list, *words: str) -> Any:
        return given

    monkeypatch.setattr(Runs, "points", points)
    nothing: Any = None
    runs = Runs([], nothing, nothing, "")
    order: Any = runs.grid(Arm("in_batch_logq", AXES, FIRST))
    assert len(order) == 45 and order[0] == FIRST
    changed = [{k: v for k, v in p.items() if v != FIRST[k]} for p in order]
    near = [
        {"loss.temperature": "0.1"},
        {"loss.temperature": "0.2"},
        {"optimizer.learning_rate": "0.003"},
        {"optimizer.learning_rate": "0.03"},
    ]
    far = [{"loss.temperature": "0.07"}, {"loss.temperature": "0.3"}]
    names = [{"towers": "history"}, {"towers": "factors"}]

    def same(some, expected):
        return sorted(map(repr, some)) == sorted(map(repr, expected))

    # The kinds of towers differ most in speed and in recall.
    assert same(changed[1:3], names)
    assert same(changed[3:7], near) and same(changed[7:9], far)
    assert all(len(one) == 2 for one in changed[9:29])
    assert all(len(one) == 3 for one in changed[29:])
