"""Configurations of many values, whose files are composed once."""

import copy
import functools
from collections.abc import Callable, Sequence

from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, OverrideType
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

KEPT = 64  # compositions


class FilesOnce:
    """Composes overrides; files are composed once for all values of a key.

    Hydra takes a quarter of a second for the files.
    """

    def __init__(self, make: Callable[..., DictConfig]):
        """Prepare the compositions."""
        self._anew, self._kept = make, functools.lru_cache(maxsize=KEPT)(make)

    def compose(self, words: Sequence[str]) -> DictConfig:
        """Return the composed configuration of overrides, as `make` composes it."""
        parsed = OverridesParser.create().parse_overrides(list(words))
        values = [one for one in parsed if _is_value(one)]
        others = [one.input_line for one in parsed if one not in values]
        # The files of a folder of the user may have changed.
        anew = any("hydra.searchpath" in (word or "") for word in others)
        made = copy.deepcopy((self._anew if anew else self._kept)(*others))
        try:
            for one in values:
                add = one.is_force_add()
                OmegaConf.update(made, one.key_or_group, one.value(), force_add=add)
        except OmegaConfBaseException:
            return self._anew(*words)  # for the message of Hydra
        return made


def _is_value(one: Override) -> bool:
    """Return whether an override sets a key, after all files have been read."""
    key, loader = one.key_or_group, GlobalHydra.instance().config_loader()
    return (
        one.type in (OverrideType.CHANGE, OverrideType.FORCE_ADD)
        and one.package is None
        and not one.is_sweep_override()
        and not key.startswith("hydra")
        and not loader.repository.group_exists(key)  # type: ignore[attr-defined]
    )
