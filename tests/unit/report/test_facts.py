"""The facts of all runs of a report."""

import json

from helpers.studies import Page, report, write_arm

from twotower_jax.config import from_dict
from twotower_jax.run.manifest import manifest


def cost(folder):
    return Page(report(folder)).texts["Cost"]


def test_the_rows_that_l2_penalises_are_stated(tmp_path):
    write_arm(tmp_path, "new", [0.3], config={"optimizer": {"l2": 0.2}})
    write_arm(tmp_path, "old", [0.2], config={"optimizer": {"l2": 0.1}})
    write_arm(tmp_path, "plain", [0.1])
    config = from_dict({"optimizer": {"l2": 0.2}})
    path = tmp_path / "000/manifest.json"
    path.write_text(json.dumps(manifest(config, "f1f2f3", "cpu", "a test")))
    old = "every row of the batch, negatives too (version 0.1)"
    assert f"{old} or none or per example, of its query" in cost(tmp_path)
