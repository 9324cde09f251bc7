"""Every file of the configuration composes, and every key counts."""

import copy
import dataclasses
import functools
import re
from pathlib import Path

import pytest
import twotower_jax.conf
import twotower_jax.studies
import yaml
from helpers.configs import with_value
from helpers.quick import quick
from hydra import compose, initialize_config_module
from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import ValidationError

from twotower_jax.config import (
    Config,
    fingerprint,
    from_dict,
    from_record,
    to_dict,
)
from twotower_jax.config.convert import all_values
from twotower_jax.config.evaluation import EvaluationConfig
from twotower_jax.config.options import option_values
from twotower_jax.data.simulator.config import SimulatorConfig
from twotower_jax.data.sources import SOURCES
from twotower_jax.errors import InputError
from twotower_jax.model.towers import TwoTower
from twotower_jax.run.checks import check_names
from twotower_jax.run.folder import RunFolder
from twotower_jax.sweeps.compose import CONF, compose_config, to_config

FOLDERS = [
    Path(place)
    for package in (twotower_jax.conf, twotower_jax.studies)
    for place in package.__path__
]
FILES = sorted(
    path.relative_to(folder).with_suffix("").as_posix()
    for folder in FOLDERS
    for path in folder.glob("*/**/*.yaml")
    if path.relative_to(folder).parts[0] != "hydra"
)
SECTIONS = [name for name in FILES if not name.startswith(("arms/", "experiment/"))]
# Of few jobs, which are composed one by one.
SMALL = ("experiment/quickstart", "experiment/lecture/ladder", "experiment/time")
# Other experiments, and arms that one study alone has, are composed by the slow tests.
OWN_ARMS = tuple(f"arms/{own}/" for own in ("papers", "ladder", "one_of_200", "slots"))
QUICK = [n for n in FILES if not n.startswith(("experiment/", *OWN_ARMS))] + [*SMALL]
EXPERIMENTS = [name for name in FILES if name.startswith("experiment/")]


# The key of a section that names its file in Python.
NAME_KEYS = {
    "data": "source",
    "positives": "strategy",
    "loss": "name",
    "towers": "kind",
    "optimizer": "name",
}
# {file: keys whose default on the command line is another one than in Python}
OTHER_DEFAULTS: dict[str, set[str]] = {}


@functools.cache
def composed(name):
    """Return the configuration of a file; a test leaves it as it is."""
    group, choice = name.split("/", 1)
    return compose_config([f"{group}={choice}"])


def test_every_group_has_files():
    groups = {name.split("/")[0] for name in FILES}
    assert groups == {
        "arms",
        "data",
        "evaluation",
        "experiment",
        "negatives",
        "towers",
        "training",
    }
    assert {"data/table", "negatives/mixed", "arms/plain/easy"} <= set(FILES)
    assert len(list(FOLDERS[0].rglob("*.yaml"))) <= 90
    assert {"experiment/quickstart", "experiment/lecture/ladder"} <= set(FILES)


@pytest.mark.parametrize("name", quick(FILES, QUICK))
def test_every_file_composes(name):
    config = composed(name)
    assert isinstance(config, Config)
    check_names(config)
    assert hash(config) == hash(copy.deepcopy(config))
    assert from_dict(to_dict(config)) == from_record(to_dict(config)) == config


@pytest.mark.parametrize("name", quick(FILES, QUICK))
def test_every_key_of_a_file_is_read(name):
    """The configuration holds every value of a file, except hydra.* and defaults."""
    group = name.split("/", 1)[0]
    (file,) = (f for folder in FOLDERS if (f := folder / f"{name}.yaml").exists())
    text = file.read_text()
    values, top = yaml.safe_load(text), "@package _global_" in text
    found = to_dict(composed(name))
    pairs = list(leaves(values))
    assert pairs
    for keys, value in pairs:
        if keys[0] in ("defaults", "hydra"):
            continue
        place = found if top else found[group]
        for key in keys:
            place = place[key]
        if isinstance(value, str):
            value = re.sub(r"\$\{(\w+)\}", lambda key: str(found[key[1]]), value)
        assert place == value, keys


def leaves(values, before=()):
    for key, value in values.items():
        if isinstance(value, dict) and value:
            yield from leaves(value, (*before, key))
        else:
            yield (*before, key), value


@pytest.mark.parametrize("name", quick(EXPERIMENTS, SMALL))
def test_every_job_of_an_experiment_composes(name):
    """Every value that its sweep gives a key is one that the key takes.

    Job n has value n of each key, the first ones again where a key has fewer.
    """
    with initialize_config_module(CONF, version_base="1.3"):
        words = [f"experiment={name.removeprefix('experiment/')}"]
        composed = compose("config", overrides=words, return_hydra_config=True)
        params = composed.hydra.sweeper.params or {}
        choices = {key: split(values) for key, values in params.items()}
        for n in range(max(map(len, choices.values()), default=0)):
            job = [
                f"{key}={values[n % len(values)]}" for key, values in choices.items()
            ]
            config = to_config(compose("config", overrides=[*words, *job]))
            check_names(config)


def split(values):
    """Split at commas outside brackets."""
    parts, depth = [""], 0
    for letter in str(values):
        depth += (letter in "[({") - (letter in "])}")
        if letter == "," and not depth:
            parts.append("")
        else:
            parts[-1] += letter
    return [part.strip() for part in parts]


def test_a_run_without_any_key_is_the_same_from_python():
    assert compose_config([]) == Config() == from_dict({})
    assert Config().name == "simulator"
    assert composed("data/movielens").name == "movielens"


def test_every_source_has_a_file_of_its_name():
    assert {f"data/{source}" for source in SOURCES} <= set(FILES)


@pytest.mark.parametrize("name", SECTIONS)
def test_python_and_the_command_line_share_all_defaults(name):
    """A named choice is enough in Python; a file without a name is written out."""
    group, choice = name.split("/", 1)
    values = option_values(group, choice)
    key = NAME_KEYS.get(group)
    if key and values[key] == choice:
        values = {key: choice}
    found = all_values(to_dict(from_dict({group: values})))
    expected = all_values(to_dict(composed(name)))
    assert found.keys() == expected.keys()
    different = {key for key in found if found[key] != expected[key]}
    assert different == OTHER_DEFAULTS.get(name, set())


def test_given_keys_win_over_those_of_the_file():
    columns = {"item": "movie"}
    data = from_dict(
        {"data": {"source": "recbole", "columns": columns, "test_share": 0.3}}
    ).data
    assert (data.columns.user, data.columns.item) == ("user_id", "movie")
    assert (data.split, data.valid_share, data.test_share) == ("ratio", 0.1, 0.3)
    every = from_dict({"data": {"source": "movielens", "min_rating": None}}).data
    assert every.min_rating is None and every.min_user_positives == 5


def test_a_record_without_a_key_has_the_default_of_the_schema():
    """A run of an earlier version is read as it was."""
    record = {"data": {"source": "movielens"}, "loss": {"name": "bce"}}
    config = from_record(record)
    assert (config.data.split, config.data.min_rating) == ("temporal", None)
    assert (config.loss.ratio, config.loss.logq.correct) == (3.0, "none")


@pytest.mark.parametrize("name", ["../config", "none of these", "", "simulator_large"])
def test_a_name_without_a_file_of_its_own_has_the_defaults_of_the_schema(name):
    config = from_dict({"data": {"source": name}})
    assert config.data.split == Config().data.split and config.data.source == name


# --- refused input -------------------------------------------------------------------


def test_hydra_reads_defaults_and_types_of_the_declarations():
    schema = OmegaConf.structured(Config)
    assert OmegaConf.to_container(schema, resolve=True) == to_dict(Config())
    with pytest.raises(ValidationError):
        schema.data.simulator.users = "many"


@pytest.mark.parametrize(
    "word", ["sed=1", "loss.logq.corect=all", "data.colums.user=a"]
)
def test_unknown_keys_are_refused_when_composing(word):
    with pytest.raises(HydraException, match="Could not override"):
        compose_config([word])


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"sed": 0}, "unknown key sed;"),
        ({"loss": {"logq": {"corect": "all"}}}, "unknown key loss.logq.corect;"),
        ({"data": {"simulator": {"user": 3}}}, "unknown key data.simulator.user;"),
    ],
)
def test_unknown_keys_of_a_dictionary_are_refused(values, message):
    with pytest.raises(InputError, match=message):
        from_dict(values)


# key, wrong value, two values at the borders of the range (None: no such border)
RANGES = [
    ("seed", (-1, 2**31), (0, 2**31 - 1)),
    ("data.simulator.users", (1,), (2,)),
    ("data.simulator.requests", (0,), (1,)),
    ("data.simulator.latent_dim", (0,), (1,)),
    ("data.simulator.zipf_exponent", (-0.1, 5.1), (0, 5)),
    ("data.simulator.position_bias", (-0.1, 1.1), (0, 1)),
    ("data.simulator.click_rate", (-0.1, 1.1), (0, 1)),
    ("data.min_user_positives", (0,), (1,)),
    ("data.min_item_positives", (0,), (1,)),
    ("data.valid_share", (-0.1, 0.91), (0, 0.8)),
    ("data.test_share", (-0.1, 0.91), (0, 0.8)),
    ("negatives.easy.alpha", (-0.1, 2.1), (0, 2)),
    ("negatives.easy.num", (-1,), (0,)),
    ("negatives.easy.smoothing", (0,), (1e-3,)),
    ("loss.temperature", (0, -1, float("nan")), (1e-3,)),
    ("loss.temperature_rate", (0, -1), (1e-9,)),
    ("loss.temperature_min", (0, -1), (1e-9,)),
    ("loss.temperature_max", (0, -1), (1e-9,)),
    ("towers.dim", (0,), (1,)),
    ("towers.history_length", (0,), (1,)),
    ("towers.history_half_life", (0, -1), (1e-3,)),
    ("towers.init_scale", (0,), (1e-3,)),
    ("towers.hidden", ([0], [8, -1]), ([], [1])),
    ("optimizer.learning_rate", (0, -1), (1e-9,)),
    ("optimizer.initial_accumulator", (-1,), (0,)),
    ("optimizer.eps", (0,), (1e-9,)),
    ("optimizer.b1", (-0.1, 1.1), (0, 0.9)),
    ("optimizer.b2", (-0.1, 1.1), (0, 0.999)),
    ("optimizer.l2", (-1,), (0,)),
    ("training.batch_size", (1,), (2,)),
    ("training.epochs", (-1,), (0,)),
    ("training.steps", (-1, 2**31), (0, 2**31 - 1)),
    ("training.steps_per_dispatch", (0,), (1,)),
    ("training.eval_every", (0,), (1,)),
    ("training.checkpoint_every", (0,), (1,)),
    ("training.patience", (-1,), (0,)),
    ("training.min_steps", (-1,), (0,)),
    ("training.eval_queries", (0,), (1,)),
    ("evaluation.k", ([0], [], [10, 10]), ([1],)),
]


@pytest.mark.parametrize(
    ("key", "wrong", "right"), RANGES, ids=[key for key, _, _ in RANGES]
)
def test_ranges(key, wrong, right):
    for value in wrong:
        with pytest.raises(InputError) as caught:
            from_dict(with_value(key, value))
        assert key in str(caught.value)
    for value in right:
        from_dict(with_value(key, value))


@pytest.mark.parametrize(
    ("key", "known"),
    [
        ("data.split", "temporal"),
        ("negatives.mask", "same_item"),
        ("loss.logq.correct", "negatives"),
        ("loss.logq.frequency", "counts"),
        ("data.query_features.age", "numeric"),
    ],
)
def test_choices(key, known):
    values = with_value("seed", 0)
    place = values
    *sections, last = key.split(".")
    for section in sections:
        place = place[section]
    place[last] = "wrong"
    with pytest.raises(InputError, match=rf"{key}='wrong'.*{known}"):
        from_dict(values)
    place[last] = known
    from_dict(values)


def test_the_world_shows_at_most_all_its_items():
    SimulatorConfig(items=10, exposed=10)
    with pytest.raises(InputError, match=r"exposed=11 .*items=10"):
        SimulatorConfig(items=10, exposed=11)


# --- values --------------------------------------------------------------------------


def test_lists_become_tuples_and_the_configuration_is_hashable():
    config = compose_config(
        ["towers.hidden=[8,4]", "towers.query=[id,history]", "evaluation.k=[5,20]"]
    )
    assert config.towers.hidden == (8, 4)
    assert config.towers.query == ("id", "history")
    assert config.evaluation.k == (5, 20)
    assert len({config, copy.deepcopy(config), Config()}) == 2
    assert hash(TwoTower(hidden=[8])) == hash(TwoTower(hidden=(8,)))
    assert EvaluationConfig(k=[3]) == EvaluationConfig(k=(3,))


def test_features_are_named_with_and_without_a_dictionary():
    whole = compose_config(["data.query_features={age: numeric, town: categorical}"])
    single = compose_config(
        ["data.query_features.age=numeric", "data.query_features.town=categorical"]
    )
    expected = {"age": "numeric", "town": "categorical"}
    assert whole.data.query_features == single.data.query_features == expected
    assert hash(whole) == hash(single) != hash(compose_config([]))


def test_a_stored_configuration_names_the_same_run(tmp_path):
    config = compose_config(
        [
            "data=table",
            "data.path='é a/b=c.csv'",
            "data.candidate_features={shop: multi}",
            "towers.hidden=[]",
            "arm='yes: no'",
            "optimizer.learning_rate=1e-5",
            "seed=3",
        ]
    )
    record = RunFolder(tmp_path)
    record.write_config(config)
    stored = from_dict(record.config())
    assert stored == config
    assert fingerprint(stored) == fingerprint(config)
    assert dataclasses.asdict(stored) == dataclasses.asdict(config)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ("arms=in_batch_logq", "negatives=uniform"),
            "negatives=uniform and arms=in_batch_logq .* is negatives=in_batch; leave",
        ),
        (
            ("loss=bce", "arms=full_softmax"),
            "loss=bce and arms=full_softmax are given, and this arm is loss=full",
        ),
    ],
)
def test_a_group_beside_an_arm_that_sets_it_otherwise_is_refused(words, message):
    """Hydra would let the command line win, under the name of the arm."""
    with pytest.raises(InputError, match=message):
        compose_config(words)


def test_a_group_that_an_arm_does_not_set_or_sets_alike_is_taken():
    config = compose_config(["arms=uniform", "towers=history", "negatives=uniform"])
    assert (config.arm, config.towers.query) == ("uniform", ("history",))
