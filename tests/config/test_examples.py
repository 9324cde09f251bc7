"""The example of every key: it is valid, sets the key, and the key has an effect."""

import shlex
from operator import attrgetter

import pytest
from helpers.effects import declared_effects
from hydra import compose, initialize_config_module
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

from twotower_jax.commands.advise import advise_rows, read_minutes
from twotower_jax.config import Config, describe_keys, from_record, to_dict
from twotower_jax.config.convert import family_of, idle_keys
from twotower_jax.config.options import option_names, option_values
from twotower_jax.run.checks import check_names
from twotower_jax.study.description import described
from twotower_jax.sweeps.arm_points import read_axes
from twotower_jax.sweeps.compose import CONF, compose_config, open_words
from twotower_jax.sweeps.options import FusedOptions, Options, option_rows

ROWS = describe_keys()
# Permissions, speed and records: no rule about other keys decides their effect.
ALWAYS = {key for key, rule in declared_effects().items() if rule is False}


def with_word(values, one):
    """Set a parsed override in nested dictionaries: a key, or a file of a group."""
    key, value = one.key_or_group, one.value()
    if value in option_names(key):
        place = values
        for section in key.split("/"):
            place = place.setdefault(section, {})
        merge(place, option_values(key, value))
        return
    *sections, last = key.split(".")
    for section in sections:
        values = values.setdefault(section, {})
    values[last] = str(value) if key == "data.recflow.days" else value


def merge(place, new):
    for key, value in new.items():
        if isinstance(value, dict):
            merge(place.setdefault(key, {}), value)
        else:
            place[key] = value


def default(row):
    """Return the default of a key in the choice that its example makes."""
    values, family = {}, family_of(row.key)
    if family is None or row.key == family.key:
        return attrgetter(row.key)(Config())
    for one in OverridesParser.create().parse_overrides(shlex.split(row.example)):
        with_word(values, one)
    made = family[attrgetter(family.key)(from_record(values))]()
    return attrgetter(row.key.removeprefix(f"{family.section}."))(made)


@pytest.mark.parametrize("row", ROWS, ids=[row.key for row in ROWS])
def test_an_example_changes_its_key_with_an_effect(row):
    values = {}
    for one in OverridesParser.create().parse_overrides(shlex.split(row.example)):
        with_word(values, one)
    config = from_record(values)
    check_names(config)
    assert attrgetter(row.key)(config) != default(row)
    assert row.key not in idle_keys(to_dict(config)) - ALWAYS


@pytest.mark.slow
@pytest.mark.parametrize("row", ROWS, ids=[row.key for row in ROWS])
def test_hydra_composes_an_example(row):
    config = compose_config(shlex.split(row.example))
    check_names(config)
    assert attrgetter(row.key)(config) != default(row)


def composed(prefix):
    """Compose the examples of all keys of a prefix at once, and return their values."""
    words = []
    for row in option_rows():
        if row.key.startswith(prefix):
            words += shlex.split(row.example)
    words = [word for word in dict.fromkeys(words) if word != "-m"]
    with initialize_config_module(CONF, version_base="1.3"):
        words = open_words(words)
        found = compose("config", overrides=words, return_hydra_config=True)
    place = OmegaConf.to_container(OmegaConf.select(found, prefix.rstrip(".")))
    return {key: value for key, value in place.items() if key != "_target_"}


def test_the_examples_of_the_sweeper_are_valid():
    options = Options(**composed("hydra.sweeper."))
    read_axes(options)
    defaults = vars(Options())
    assert not [
        name for name, value in vars(options).items() if value == defaults[name]
    ]


def test_the_examples_of_the_launcher_are_valid():
    made = composed("hydra.launcher.")
    assert made == {"workers": 1, "together": True, "processes": True}
    for key, value in made.items():
        FusedOptions(**{key: value})


def test_the_examples_of_a_study_are_valid():
    values = composed("hydra.callbacks.study.")
    assert values.pop("objective") is False
    study = described(values)
    assert study.controls == {"half exposed": "uniform slots"}
    assert study.margin == 0.05 and None not in vars(study).values()


def test_the_example_of_advise_is_valid():
    (row,) = advise_rows()
    minutes, words = read_minutes(shlex.split(row.example))
    assert minutes == 30 and compose_config(words).data.path == "clicks.csv"
