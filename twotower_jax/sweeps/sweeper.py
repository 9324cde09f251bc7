"""Hydra's sweeper `hydra/sweeper=select`: tune on validation, then test the winners."""

from typing import Any

from hydra.core.plugins import Plugins
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from twotower_jax.sweeps.options import Options
from twotower_jax.sweeps.plugins import PLUGIN, KeepsSetup, register


class SelectSweeper(KeepsSetup, Sweeper):
    """Tunes the axes of each arm on validation and tests the winners."""

    __module__ = PLUGIN

    def __init__(
        self,
        params: dict[str, Any] | None,
        tune: dict[str, Any] | None,
        arm_tune: dict[str, Any] | None,
        **options: Any,
    ):
        self._options = Options(
            dict(params or {}), dict(tune or {}), dict(arm_tune or {}), **options
        )

    def setup(
        self,
        *,
        hydra_context: HydraContext,
        task_function: TaskFunction,
        config: DictConfig,
    ) -> None:
        """Keep the objects of Hydra, and make the launcher of the sweep."""
        parts: dict[str, Any] = {
            "hydra_context": hydra_context,
            "task_function": task_function,
            "config": config,
        }
        super().setup(**parts)
        self._launcher = Plugins.instance().instantiate_launcher(**parts)

    def sweep(self, arguments: list[str]) -> None:
        """Tune, choose, test."""
        # Imported on use: a single run, or a misspelt key, needs none of it.
        from twotower_jax.sweeps.select import Selecting

        selecting = Selecting(
            self.context, self.sweep_config, self._launcher, self._options
        )
        selecting.run(arguments)


register(SelectSweeper)
