"""Hydra's launcher `hydra/launcher=fused`: a sweep's runs side by side."""

import copy
import importlib
import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn, configure_log, run_job, setup_globals
from hydra.plugins.launcher import Launcher
from hydra.plugins.plugin import Plugin
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException
from rich.console import Console

from twotower_jax.compile_cache import keep_programs
from twotower_jax.config import Config
from twotower_jax.config.checks import whole_number
from twotower_jax.errors import InputError
from twotower_jax.sweeps.fused import SideBySide

PLUGIN = "hydra_plugins.twotower_jax"
# Processes that a launcher starts have arguments of their own, but inherit this.
COMMAND = "TWOTOWER_COMMAND"


def keep_command() -> None:
    """Keep the command that Hydra is started with, for jobs in any process."""
    os.environ[COMMAND] = shlex.join([*sys.argv[:1], "train", *sys.argv[1:]])


def command_line() -> str:
    """Return the command that Hydra was started with."""
    return os.environ.get(COMMAND, "twotower train")


def to_config(composed: DictConfig) -> Config:
    """Return the validated configuration of a composed one.

    Raises:
      InputError: for a value out of range, or one that is missing.
    """
    missing = sorted(OmegaConf.missing_keys(composed))
    if missing:
        raise InputError(f"{missing[0]} has no value; set it: {missing[0]}=...")
    config = OmegaConf.to_object(composed)
    assert isinstance(config, Config)
    return config


class FusedLauncher(Launcher):
    """Runs the jobs of a sweep side by side.

    The jobs of Hydra then follow in their order, and each takes the result of its run
    with `twotower_jax.sweeps.fused.train`.
    """

    __module__ = PLUGIN

    def __init__(self, workers: int | None = None, together: bool | None = None):
        self._options = (workers, together)

    def setup(
        self,
        *,
        hydra_context: HydraContext,
        task_function: TaskFunction,
        config: DictConfig,
    ) -> None:
        """Keep what Hydra hands over."""
        self._context, self._function = hydra_context, task_function
        self._config = config

    def launch(
        self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int
    ) -> Sequence[JobReturn]:
        """Run the jobs and return what each returned, in their order."""
        setup_globals()
        workers, _ = self._options
        if workers is not None:
            whole_number("hydra.launcher.workers", workers, 1)
        keep_programs()
        hydra = self._config.hydra
        configure_log(hydra.hydra_logging, hydra.verbose)
        Path(str(hydra.sweep.dir)).mkdir(parents=True, exist_ok=True)
        jobs = [
            self._compose(overrides, initial_job_idx + place)
            for place, overrides in enumerate(job_overrides)
        ]
        configs = [config for job in jobs if (config := _valid(job))]
        with SideBySide(configs, Console(), command_line(), *self._options):
            return [self._run(job) for job in jobs]

    def _compose(self, overrides: Sequence[str], number: int) -> DictConfig:
        loader = self._context.config_loader
        job = loader.load_sweep_config(self._config, list(overrides))
        with open_dict(job):
            job.hydra.job.id = job.hydra.job.num = number
        return job

    def _run(self, job: DictConfig) -> JobReturn:
        return run_job(
            hydra_context=self._context,
            task_function=self._function,
            config=job,
            job_dir_key="hydra.sweep.dir",
            job_subdir_key="hydra.sweep.subdir",
        )


def _valid(job: DictConfig) -> Config | None:
    """Return the job's configuration, None where its own task will name the error."""
    composed = copy.deepcopy(job)
    with open_dict(composed):
        del composed["hydra"]
    try:
        return to_config(composed)
    except (InputError, OmegaConfBaseException):
        return None


def register(plugin: type[Plugin]) -> None:
    """Make a plugin known to Hydra, which takes those of one package only.

    They get names there, and no file: Hydra would import the file, and with it JAX, in
    every other program of the environment.
    """
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


register(FusedLauncher)
