"""Easy negatives first, then hard ones from the checkpoint of the easy run."""

import jax
import numpy as np
import pytest
from helpers import tiny

from twotower_jax.run import run
from twotower_jax.run.evaluate import load_trained
from twotower_jax.run.folder import run_folder

EASY = ("negatives=mixed", "negatives.easy.num=64", "training.steps=40")
HARD = ("negatives=half_hard", "negatives.easy.num=2", "negatives.hard.num=2")
SHORT = ("training.patience=0", "data.valid_share=0", "evaluation.truth=false")


def trained(output, *words):
    config = tiny.make_config(output, *words, *SHORT)
    result = run(config)
    folder = run_folder(config)
    return load_trained(config, folder).params, folder, result


def distance(first, second):
    """Return the mean distance between the rows of the items' tables."""
    tables = (params["tables"]["candidate.id"] for params in (first, second))
    return float(np.linalg.norm(np.subtract(*tables), axis=1).mean())


@pytest.mark.slow
def test_a_hard_run_goes_on_from_the_parameters_of_an_easy_one(tmp_path):
    easy, folder, _ = trained(tmp_path, *EASY)
    start = f"training.start_from={folder}"
    same, _, _ = trained(tmp_path, *HARD, start, "training.steps=0")
    assert jax.tree.all(jax.tree.map(np.array_equal, easy, same))
    after, _, result = trained(tmp_path, *HARD, start, "training.steps=8")
    assert result["steps"] == 8
    fresh, _, _ = trained(tmp_path, *HARD, "training.steps=8")
    assert 0 < distance(after, easy) < 0.5 * distance(fresh, easy)
