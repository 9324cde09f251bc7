"""docs/sweeps.md: its commands compose, and its lists are complete."""

import re
import shlex
from pathlib import Path

import pytest
import twotower_jax.conf
import yaml
from hydra import compose, initialize_config_module
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException

from twotower_jax.run.checks import check_names
from twotower_jax.sweeps.compose import CONF, open_words, to_config

PAGE = (Path(__file__).parents[2] / "docs" / "sweeps.md").read_text()
FENCES = re.findall(r"^```(\w*)\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
COMMANDS = [
    line
    for kind, block in FENCES
    if not kind
    for line in block.replace("\\\n", " ").splitlines()
    if line.startswith("twotower ")
]
(CONFIGS,) = (Path(place) for place in twotower_jax.conf.__path__)
OWN = {
    kind: {path.stem for path in (CONFIGS / "hydra" / kind).glob("*.yaml")}
    for kind in ("launcher", "sweeper")
}


def words_of(line):
    words = shlex.split(line)
    assert words[:3] == ["twotower", "train", "-m"]
    return words[3:]


def from_plugin(words):
    """Return the launcher and sweeper among the words that a plugin brings."""
    chosen = dict(word.split("=", 1) for word in words if word.startswith("hydra/"))
    ours = {"basic", "fused", "halving", "select"}
    return [name for name in chosen.values() if name not in ours]


@pytest.mark.parametrize("line", COMMANDS)
def test_the_jobs_of_a_command_compose(line):
    parser = OverridesParser.create()
    words = [w for w in words_of(line) if not w.startswith(("hydra/", "hydra."))]
    parsed = parser.parse_overrides(words)
    known = [one for one in parsed if not one.is_sweep_override()]
    swept = [one for one in parsed if one.is_discrete_sweep()]
    (jobs,) = BasicSweeper.split_arguments([*known, *swept], None)
    with initialize_config_module(CONF, version_base="1.3"):
        for job in (jobs[0], jobs[-1]):
            check_names(to_config(compose("config", overrides=list(job))))


@pytest.mark.parametrize("line", COMMANDS)
def test_the_launcher_and_sweeper_of_a_command_compose(line):
    words = words_of(line)
    fixed = [
        word
        for word in words
        if not OverridesParser.create().parse_override(word).is_sweep_override()
    ]
    with initialize_config_module(CONF, version_base="1.3"):
        try:
            made = compose(
                "config", overrides=open_words(fixed), return_hydra_config=True
            )
        except HydraException as error:
            # Without the plugin its options are not there; any other error is ours.
            missing = from_plugin(words_of(line))
            assert missing and f"hydra/{missing[0]}" not in OWN, error
            assert re.search("Could not (find|load)", str(error)), error
            pytest.skip(f"{missing[0]} is not installed: pip extra sweep")
    assert made.hydra.launcher["_target_"] and made.hydra.sweeper["_target_"]


def test_the_example_of_a_selection_is_the_experiment():
    (shown,) = [yaml.safe_load(block) for kind, block in FENCES if kind == "yaml"]
    file = yaml.safe_load((CONFIGS / "experiment" / "select.yaml").read_text())
    assert shown["defaults"] == file["defaults"]
    sweeper = yaml.safe_load((CONFIGS / "hydra/sweeper/select.yaml").read_text())
    told = {**sweeper, **file["hydra"]["sweeper"]}
    assert shown["hydra"]["sweeper"].items() <= told.items()


@pytest.mark.parametrize("kind", OWN)
def test_every_launcher_and_sweeper_has_a_row_and_a_command(kind):
    table = PAGE.split(f"[`hydra/{kind}=`]")[1].split("\n\n")[0]
    rows = re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)
    assert OWN[kind] < set(rows)
    shown = " ".join(COMMANDS)
    for name in set(rows) - {"basic"}:
        assert f"hydra/{kind}={name}" in shown
