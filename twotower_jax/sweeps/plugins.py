"""How Hydra gets to know the launcher and the sweeper of this package.

Hydra takes plugins of the package ``hydra_plugins`` only and imports every file of it,
in every program of the environment. So the plugins get names there, but no file.
"""

import importlib
import sys
from types import ModuleType

from hydra.core.plugins import Plugins
from hydra.plugins.plugin import Plugin
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

PLUGIN = "hydra_plugins.twotower_jax"


class KeepsSetup:
    """The setup of a plugin: it keeps the objects that Hydra hands over."""

    def setup(
        self,
        *,
        hydra_context: HydraContext,
        task_function: TaskFunction,
        config: DictConfig,
    ) -> None:
        """Keep the context, the function that runs a job, and the configuration."""
        self.context, self.function = hydra_context, task_function
        self.sweep_config = config


def register(plugin: type[Plugin]) -> None:
    """Make a plugin known to Hydra under its name in `PLUGIN`."""
    parent, _, name = PLUGIN.partition(".")
    try:
        package = importlib.import_module(parent)
    except ImportError:  # no plugin is installed
        package = sys.modules[parent] = ModuleType(parent)
        package.__path__ = []
    module = sys.modules[PLUGIN] = sys.modules[__name__]
    setattr(package, name, module)
    setattr(module, plugin.__name__, plugin)
    Plugins.instance().register(plugin)
