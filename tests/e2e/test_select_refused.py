"""Wrong selections are refused before any run, with the key and the remedy."""

import pytest
from helpers import tiny
from helpers.quick import quick
from helpers.selections import OWN, STUDY, TUNE

WRONG = {
    "unknown axis": (["hydra.sweeper.tune={loss.temprature:[1]}"], ["loss.temprature"]),
    "value out of range": (
        ["hydra.sweeper.tune={loss.temperature:[0.1,0]}"],
        ["loss.temperature=0"],
    ),
    "no axis": ([], ["no arm of this study has an axis", "give one, such as"]),
    "no axis of any arm": (
        [TUNE, "arms=popularity"],
        ["no arm of this study has an axis", "give one, such as"],
    ),
    "axes of no arm": (
        [
            TUNE,
            "hydra.sweeper.arm_tune={unifrm:{negatives.easy.num:[16]}}",
            "arms=popularity,uniform",
        ],
        ["hydra.sweeper.arm_tune.unifrm", "did you mean uniform?", "'popularity'"],
    ),
    "axis of an arm without a key": (
        [TUNE, "hydra.sweeper.arm_tune={uniform:[16]}"],
        ["hydra.sweeper.arm_tune.uniform=[16] holds no axes"],
    ),
    "unknown axis of an arm": (
        [TUNE, "hydra.sweeper.arm_tune={uniform:{negatives.easy.nun:[16]}}"],
        ["negatives.easy.nun"],
    ),
    "axis of an arm that the arms set": (
        [TUNE, OWN, "negatives.easy.num=16"],
        ["negatives.easy.num is tuned", "leave one out"],
    ),
    "empty axis": (
        ["hydra.sweeper.tune={loss.temperature:[]}"],
        ["hydra.sweeper.tune.loss.temperature is empty", "give its values"],
    ),
    "axis of two keys": (
        ["hydra.sweeper.tune={loss:{temperature:[1]}}"],
        ["write each axis in one", "loss.temperature: 0.05,0.1"],
    ),
    "axis that the arms set": (
        [TUNE, "optimizer.learning_rate=0.1,0.2"],
        ["optimizer.learning_rate is tuned", "leave one out"],
    ),
    "axis of the data": (
        ["hydra.sweeper.tune={data.valid_share:[0.1,0.2]}"],
        ["hydra.sweeper.tune.data.valid_share cannot be tuned", "same data"],
    ),
    "no trials": (
        [TUNE, "hydra.sweeper.trials=0"],
        ["hydra.sweeper.trials=0 is out of range", "at least 1"],
    ),
    "trials of text": (
        [TUNE, "hydra.sweeper.trials=two"],
        ["hydra.sweeper.trials='two' has the wrong type"],
    ),
    "half a trial": (
        [TUNE, "hydra.sweeper.trials=1.5"],
        ["hydra.sweeper.trials=1.5 has the wrong type"],
    ),
    "one seed that chooses and tests": (
        [TUNE, "hydra.sweeper.tune_seeds=100", "seed=0,100"],
        ["tune_seeds=[100]", "seed=[0, 100]"],
    ),
    "unknown metric of the study": (
        [TUNE, "hydra.callbacks.study.metric=recal@20"],
        ["hydra.callbacks.study.metric='recal@20'", "did you mean recall@20?"],
    ),
    "no such base arm": (
        [TUNE, "arms=in_batch,uniform", "hydra.callbacks.study.base=unform"],
        ["hydra.callbacks.study.base='unform' is not an arm", "did you mean uniform?"],
    ),
    "seeds that choose and test": (
        [TUNE, "hydra.sweeper.tune_seeds=[100,101]", "seed=0,100,101"],
        ["tune_seeds=[100, 101]", "seed=[0, 100, 101]", "share [100, 101]"],
    ),
    "no tune seeds": ([TUNE, "hydra.sweeper.tune_seeds=[]"], ["is empty; give one or"]),
    "unknown metric": (
        [TUNE, "hydra.sweeper.metric=recal@20"],
        ["hydra.sweeper.metric='recal@20' is unknown", "recall@20"],
    ),
    "no validation set": (
        [TUNE, "data.valid_share=0"],
        ["data.valid_share=0 makes none", "set data.valid_share above 0"],
    ),
    "trained on validation": (
        [TUNE, "data.fit_valid=true"],
        ["evaluation.test=false", "set data.fit_valid=false"],
    ),
    "one arm twice": (
        [TUNE, "arms=in_batch", "arm=first,second"],
        ["'first'", "'second'", "one configuration", "leave one of them out"],
    ),
    "two folders": ([TUNE, "name=study,other"], ["kept in one folder", "one name="]),
}


# Variants of another case, here or in test_sweep_refused.py.
VARIANTS = {
    "no axis of any arm",
    "empty axis",
    "trials of text",
    "half a trial",
    "seeds that choose and test",
    "unknown metric of the study",
    "no such base arm",
    "no tune seeds",
    "one arm twice",
}


@pytest.mark.parametrize("case", quick(WRONG, WRONG.keys() - VARIANTS))
def test_wrong_selections_end_before_any_run(case, tmp_path, capsys):
    words, parts = WRONG[case]
    if not any(word.startswith("arms=") for word in words):
        words = [*words, "arms=uniform"]
    study = [word for word in STUDY if not word.startswith("arms=")]
    assert tiny.command(*study, f"output={tmp_path}", *words) == 2
    error = capsys.readouterr().err
    assert error.count("error: ") == 1 and "Traceback" not in error
    assert all(part in error for part in parts), error
    assert not list(tmp_path.rglob("config.yaml"))


def test_a_single_run_is_not_a_selection(tmp_path, capsys):
    words = (*tiny.SMALL, f"output={tmp_path}", "hydra/sweeper=select", TUNE)
    assert tiny.command("train", *words) == 2
    error = capsys.readouterr().err
    assert "hydra/sweeper=select tunes and tests by a sweep" in error
    assert "add -m" in error and "Traceback" not in error
    assert not list(tmp_path.rglob("config.yaml"))
