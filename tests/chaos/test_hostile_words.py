"""Any value for any key: a run, or one message, in bounded time and without a trace."""

import json

import numpy as np
import pytest
from helpers import tiny
from helpers.chaos import campaign, trials

from twotower_jax.config import describe_keys

# Sizes that a machine may hold are left out: they would be used.
VALUES = (
    "-1 0 1 2 7 0.5 -0.5 1e-300 1e300 -1e300 9223372036854775807 nan inf -inf null "
    "true false '' [] [1,2] [-1] [[1]] [null] {} {a:1} {a:{b:1}} a 'a b' ../../a /a "
    "~ . .. <b> 'a;b' '$(a)' '${a}' '${oc.env:HOME}' '%s' '\\n' ü 'ü' \U0001d518 "
    "1,2 range(3) choice(1,2) glob(*) interval(0,1) shuffle(1,2) int(1) '" + "x" * 999
).split(" ")
COMMANDS = (("train",), ("train", "-m"), ("audit",), ("data", "check"))
SMALL = (*tiny.SMALL, "training.steps=3", "training.eval_every=3")


@pytest.mark.slow
def test_hostile_values_end_with_a_message_or_run(tmp_path, capfd, monkeypatch):
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    keys, rng = [row.key for row in describe_keys()], np.random.default_rng(0)
    found: dict[int, int] = {}
    with campaign("hostile values of keys") as counts:
        for number in range(trials(1300)):
            word = (
                f"{keys[rng.integers(len(keys))]}={VALUES[rng.integers(len(VALUES))]}"
            )
            command = COMMANDS[rng.integers(len(COMMANDS))]
            output = f"output={tmp_path}/out{number}"
            status = tiny.command(*command, *SMALL, output, f"{word}")
            shown = capfd.readouterr()
            assert "Traceback" not in shown.err + shown.out, (command, word, shown)
            assert status in (0, 1, 2), (command, word, shown)
            assert bool(status) == ("error: " in shown.err), (command, word, shown)
            assert max(map(len, shown.err.splitlines()), default=0) < 1500, word
            found[status] = found.get(status, 0) + 1
        assert {one.name[:3] for one in tmp_path.iterdir()} <= {"out", "wor"}
        counts |= {"trials": sum(found.values()), "ran": found.get(0, 0)}
        counts |= {"refused": found.get(2, 0), "failed": found.get(1, 0)}


def test_a_word_of_json_is_no_program(tmp_path, capfd):
    word = json.dumps({"_target_": "os.system", "command": f"touch {tmp_path}/made"})
    tiny.command("train", *SMALL, f"output={tmp_path}", f"data.query_features={word}")
    capfd.readouterr()
    assert not (tmp_path / "made").exists()
