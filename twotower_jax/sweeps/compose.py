"""Configurations from overrides, composed by Hydra.

Nothing here imports JAX: wrong input is refused before the libraries are loaded.
"""

import copy
import dataclasses
import functools
import os
import shlex
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from hydra import compose, initialize_config_module
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.config_store import ConfigNode, ConfigStore
from hydra.core.default_element import GroupDefault
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, OverrideType
from hydra.core.plugins import Plugins
from hydra.plugins.search_path_plugin import SearchPathPlugin
from hydra.types import HydraContext
from omegaconf import MISSING, DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from twotower_jax.config import Config, to_dict
from twotower_jax.config.convert import unknown_key
from twotower_jax.config.root import FAMILIES
from twotower_jax.errors import InputError
from twotower_jax.registry import TURN, load_installed
from twotower_jax.study.naming import name_arms
from twotower_jax.sweeps.overrides import check_words
from twotower_jax.sweeps.wrong_words import check_number, quote_places

CONF = "twotower_jax.conf"
KEPT = 64  # compositions


class _Studies(SearchPathPlugin):
    """Finds the arms and experiments of studies, which stand beside their results."""

    def manipulate_search_path(self, search_path: Any) -> None:
        search_path.append("twotower", "pkg://twotower_jax.studies")


Plugins.instance().register(_Studies)


class FilesOnce:
    """Composes overrides; files are composed once for all values of a key.

    Hydra takes a quarter of a second for the files.
    """

    def __init__(self, make: Callable[..., DictConfig]):
        """Prepare the compositions."""
        self._anew, self._kept = make, functools.lru_cache(maxsize=KEPT)(make)

    def compose(self, words: Sequence[str]) -> DictConfig:
        """The composed configuration of overrides, as `make` composes it."""
        parsed = OverridesParser.create().parse_overrides(list(words))
        values = [word for word in parsed if _is_value(word)]
        others = [word.input_line for word in parsed if word not in values]
        # The files of a folder of the user may have changed.
        anew = any("hydra.searchpath" in (word or "") for word in others)
        made = copy.deepcopy((self._anew if anew else self._kept)(*others))
        try:
            for word in values:
                add = word.is_force_add()
                OmegaConf.update(made, word.key_or_group, word.value(), force_add=add)
        except OmegaConfBaseException:
            return self._anew(*words)  # for the message of Hydra
        return made


def _is_value(word: Override) -> bool:
    """Whether an override sets a key, after all files have been read."""
    key, loader = word.key_or_group, GlobalHydra.instance().config_loader()
    return (
        word.type in (OverrideType.CHANGE, OverrideType.FORCE_ADD)
        and word.package is None
        and not word.is_sweep_override()
        and not key.startswith("hydra")
        and not loader.repository.group_exists(key)  # type: ignore[attr-defined]
    )


class _Nodes(dict):
    """Nodes of Hydra's store, which copies each at its use.

    Hydra copies the whole store whenever it opens a repository of configurations, 190
    times for ``--help``.
    """

    def __deepcopy__(self, memo: dict[int, Any]) -> "_Nodes":
        return self


class _ChoiceNode(ConfigNode):
    """Node of a choice, made when Hydra reads it: a command reads few of them."""

    def __init__(self, name: str, group: str, kind: type):
        self.name, self.group, self.kind = f"{name}.yaml", group, kind
        self.package = self.provider = None

    def __getattr__(self, attribute: str) -> Any:
        if attribute != "node":
            raise AttributeError(attribute)
        return OmegaConf.structured(self.kind)


def store_choices() -> None:
    """Give Hydra a node for each choice that is registered by now."""
    load_installed()
    nodes = ConfigStore.instance().repo
    for family in FAMILIES.values():
        of_group = nodes
        for part in family.group.split("/"):
            of_group = of_group.setdefault(part, {})
        of_group |= {
            f"{name}.yaml": _ChoiceNode(name, family.group, kind)
            for name, kind in family.items()
        }


def _store_schema() -> None:
    store = ConfigStore.instance()
    store.repo, schema = _Nodes(store.repo), OmegaConf.structured(Config)
    for section in FAMILIES:  # a default would leave its keys in another choice
        OmegaConf.update(schema, section, MISSING)
    store.repo["schema.yaml"] = ConfigNode("schema.yaml", schema, None, None, None)


_store_schema()
store_choices()
# Dictionaries whose names the user chooses; Hydra adds to them by ++ only.
OPEN_KEYS = (
    "data.query_features",
    "data.candidate_features",
    "hydra.sweeper.tune=",
    "hydra.sweeper.arm_tune=",
)
# Processes that a launcher starts have arguments of their own, but inherit this.
COMMAND = "TWOTOWER_COMMAND"


def compose_all(*words: str) -> DictConfig:
    """The composed configuration of overrides, without ``hydra``."""
    return compose("config", overrides=list(words))


_FILES = FilesOnce(compose_all)


def keep_command() -> None:
    """Keep the command that Hydra is started with, for jobs in any process."""
    os.environ[COMMAND] = shlex.join([*sys.argv[:1], "train", *sys.argv[1:]])


def command_line() -> str:
    """The command that Hydra was started with."""
    return os.environ.get(COMMAND, "twotower train")


def open_words(overrides: Sequence[str]) -> list[str]:
    """Return overrides as Hydra reads them.

    Those that add keys of the user's choice get ``++``, and paths quotes where Hydra
    needs them.

    Examples:
      >>> open_words(["data.query_features.age=numeric", "data.path=~/a.csv"])
      ['++data.query_features.age=numeric', "data.path='~/a.csv'"]
    """
    check_words(overrides)
    words = quote_places(overrides)
    return [f"++{word}" if word.startswith(OPEN_KEYS) else word for word in words]


def to_config(composed: DictConfig) -> Config:
    """The validated configuration of a composed one without ``hydra``."""
    if missing := sorted(OmegaConf.missing_keys(composed)):
        raise InputError(f"{missing[0]} has no value; set it: {missing[0]}=...")
    for key in _added(composed):
        raise unknown_key(key)
    config = OmegaConf.to_object(composed)
    if not isinstance(config, Config):
        raise TypeError(f"the schema of the configuration is {type(config)}")
    return config


def _added(section: DictConfig, prefix: str = "") -> Iterator[str]:
    """Yield the keys that ``+key=value`` has added and the schema lacks."""
    kind = OmegaConf.get_type(section)
    known = dataclasses.fields(kind) if dataclasses.is_dataclass(kind) else ()
    for name in map(str, section) if known else ():
        if name not in {item.name for item in known}:
            yield f"{prefix}{name}"
        elif isinstance(part := section._get_node(name), DictConfig):
            yield from _added(part, f"{prefix}{name}.")


def compose_config(overrides: Sequence[str]) -> Config:
    """The configuration that ``twotower train`` makes of overrides."""
    store_choices()
    with TURN, initialize_config_module(CONF, version_base="1.3"):
        check_groups(overrides)
        return to_config(_FILES.compose(open_words(overrides)))


def split_words(overrides: Sequence[str]) -> tuple[dict[str, str], dict[str, Any]]:
    """Divide overrides into the files of groups that they name, and nested values.

    Examples:
      >>> split_words(["loss=psl", "loss.temperature=0.1"])
      ({'loss': 'psl'}, {'loss': {'temperature': 0.1}})
    """
    files, values = {}, OmegaConf.create()
    with TURN, initialize_config_module(CONF, version_base="1.3"):
        for word in OverridesParser.create().parse_overrides(open_words(overrides)):
            if _is_value(word):
                key, value = word.key_or_group, word.value()
                OmegaConf.update(values, key, value, force_add=True)
            else:
                files[word.key_or_group] = word.value()
    return files, OmegaConf.to_container(values)  # type: ignore[return-value]


def compose_configs(overrides: Sequence[str]) -> dict[str, Config]:
    """The configurations of overrides whose values may be lists of choices."""
    parsed = OverridesParser.create().parse_overrides(open_words(overrides))
    check_number(parsed)
    (jobs,) = BasicSweeper.split_arguments(parsed, None)
    configs = [compose_config(job) for job in jobs]
    names = name_arms([to_dict(config) for config in configs])
    return dict(zip(names, configs, strict=True))


def compose_job(
    context: HydraContext, config: DictConfig, overrides: Sequence[str]
) -> DictConfig:
    """The composed configuration of one job of a sweep, with ``hydra``."""
    check_groups(overrides)
    return context.config_loader.load_sweep_config(config, list(overrides))


def job_config(composed: DictConfig) -> Config:
    """The validated configuration of a composed job, which is left as it is."""
    job = copy.deepcopy(composed)
    with open_dict(job):
        del job["hydra"]
    return to_config(job)


def check_groups(words: Iterable[str]) -> None:
    """Refuse a group on the command line that the file of an arm sets otherwise.

    Hydra lets the command line win, and the arm would keep its name with other samples.
    """
    given = {key: value for key, _, value in (word.partition("=") for word in words)}
    arm = given.get("arms")
    if arm in (None, "null"):
        return
    loader: Any = GlobalHydra.instance().config_loader()
    file = loader.repository.load_config(f"arms/{arm}")
    for default in file.defaults_list if file else ():
        if not isinstance(default, GroupDefault) or not default.is_override():
            continue
        group, own = str(default.group).lstrip("/"), str(default.value)
        if given.get(group, own) != own:
            raise InputError(
                f"{group}={given[group]} and arms={arm} are given, and this arm is "
                f"{group}={own}; leave one of them out, or write an arm of its own "
                "(conf/arms, --config-dir)"
            )
