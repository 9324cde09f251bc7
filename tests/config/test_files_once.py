"""Values set on files that were composed before: what Hydra makes of all at once."""

import pytest
from hydra import initialize_config_module

from twotower_jax.sweeps import compose as module
from twotower_jax.sweeps.compose import (
    CONF,
    FilesOnce,
    compose_all,
    compose_config,
    open_words,
    to_config,
)

WORDS = [
    ["seed=3", "name=other", "output='a/b=c'"],
    ["loss.temperature=0.3", "arms=in_batch_logq", "loss.logq.correct=none"],
    ["experiment=quickstart", "training.steps=7", "towers=history"],
    ["data=table", "data.path=a.csv", "data.columns.user=who"],
    ["data.query_features.age=numeric", "++data.query_features.town=categorical"],
    ["data.query_features={age: numeric}", "data.query_features={town: categorical}"],
    ["towers.hidden=[8,4]", "towers.hidden=[]", "evaluation.k=[5,20]"],
    ["training.steps=5", "training.steps=null"],
    ["name=run_${seed}", "seed=4"],
    ["loss={name: bce, temperature: 0.3}", "+negatives=uniform"],
    ["hydra.verbose=true", "seed=2"],
]


@pytest.mark.parametrize("words", WORDS, ids=" ".join)
def test_the_configuration_is_that_of_hydra(words):
    try:
        with initialize_config_module(CONF, version_base="1.3"):
            expected = to_config(compose_all(*open_words(words)))
    except Exception as error:
        for _ in range(2):
            with pytest.raises(type(error)) as found:
                compose_config(words)
            assert str(found.value) == str(error)
    else:
        assert [compose_config(words) for _ in range(2)] == [expected] * 2


def test_files_are_composed_once_for_all_values_of_a_key(monkeypatch):
    made = []

    def count(*words):
        made.append(words)
        return compose_all(*words)

    monkeypatch.setattr(module, "_FILES", FilesOnce(count))
    rates = [0.01, 0.02, 0.03]
    for rate in rates:
        config = compose_config(["arms=uniform", f"optimizer.learning_rate={rate}"])
        assert config.optimizer.learning_rate == rate
    assert made == [("arms=uniform",)]
    assert compose_config(["arms=uniform"]) != config


def test_files_of_a_folder_are_read_each_time(tmp_path):
    path = tmp_path / "arms" / "mine.yaml"
    path.parent.mkdir()
    words = ["arms=mine", f"hydra.searchpath=[file://{tmp_path}]"]
    for temperature in (0.3, 0.4):
        path.write_text(
            f"# @package _global_\narm: mine\nloss:\n  temperature: {temperature}\n"
        )
        assert compose_config(words).loss.temperature == temperature
