"""Hydra's launcher `hydra/launcher=fused` and sweeper `hydra/sweeper=select`.

Hydra takes plugins of the package ``hydra_plugins`` only and imports every file of it,
in every program of the environment. So the plugins get names there, but no file.
"""

import importlib
import sys
from collections.abc import Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn, configure_log, run_job, setup_globals
from hydra.plugins.launcher import Launcher
from hydra.plugins.plugin import Plugin
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from twotower_jax.config import Config
from twotower_jax.config.convert import section_of
from twotower_jax.errors import InputError
from twotower_jax.progress import make_console
from twotower_jax.sweeps.baseline_arms import as_job
from twotower_jax.sweeps.compose import command_line, compose_job, job_config
from twotower_jax.sweeps.jobs import SWEEP
from twotower_jax.sweeps.options import FusedOptions, Options

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


class FusedLauncher(KeepsSetup, Launcher):
    """Runs the jobs of a sweep side by side; each job of Hydra is given its outcome."""

    __module__ = PLUGIN

    def __init__(self, **options: Any):
        self._given = options

    def launch(
        self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int
    ) -> Sequence[JobReturn]:
        """Run the jobs and return their values in order."""
        setup_globals()
        options = section_of(FusedOptions, self._given, "hydra.launcher.")
        hydra = self.sweep_config.hydra
        configure_log(hydra.hydra_logging, hydra.verbose)
        Path(str(hydra.sweep.dir)).mkdir(parents=True, exist_ok=True)
        jobs = [
            self._compose(overrides, number)
            for number, overrides in enumerate(job_overrides, initial_job_idx)
        ]
        configs = list(map(_valid, jobs))
        # Imported after the checks, for they import JAX.
        from twotower_jax.compiler import set_up
        from twotower_jax.sweeps.processes import WorkerPool
        from twotower_jax.sweeps.runner import run_many

        set_up()
        SWEEP.pool = SWEEP.pool or WorkerPool()
        console = make_console()
        outcomes = run_many(
            [config for config in configs if config is not None],
            console=console,
            command=command_line(),
            options=options,
            pool=SWEEP.pool,
        )
        returns = []
        with closing(outcomes):
            for job, config in zip(jobs, configs, strict=True):
                task = self.function
                if config is not None:
                    made = {"outcome": next(outcomes), "console": console}
                    task = partial(self.function, **made)
                returns.append(self._run(job, task))
        return returns

    def _compose(self, overrides: Sequence[str], number: int) -> DictConfig:
        job = compose_job(self.context, self.sweep_config, overrides)
        with open_dict(job):
            job.hydra.job.id = job.hydra.job.num = number
        return job

    def _run(self, job: DictConfig, task: TaskFunction) -> JobReturn:
        return run_job(
            hydra_context=self.context,
            task_function=task,
            config=job,
            job_dir_key="hydra.sweep.dir",
            job_subdir_key="hydra.sweep.subdir",
        )


def _valid(job: DictConfig) -> Config | None:
    """The job's configuration, None where its own task reports the error."""
    try:
        return as_job(job_config(job), job.hydra)
    except (InputError, OmegaConfBaseException):
        return None


class SelectSweeper(KeepsSetup, Sweeper):
    """Tunes the axes of each arm on validation and tests the winners."""

    __module__ = PLUGIN

    def __init__(self, **options: Any):
        self._given = options

    def setup(self, **parts: Any) -> None:
        """Keep the objects of Hydra, and make the launcher of the sweep."""
        super().setup(**parts)
        self._launcher = Plugins.instance().instantiate_launcher(**parts)

    def sweep(self, arguments: list[str]) -> None:
        """Tune, choose, test."""
        # Imported on use: a single run, or a misspelt key, needs none of it.
        from twotower_jax.sweeps.select import Selecting

        given: Any = OmegaConf.to_container(OmegaConf.create(self._given), resolve=True)
        if isinstance(given.get("tune_seeds"), int):  # one seed
            given["tune_seeds"] = [given["tune_seeds"]]
        options = section_of(Options, given, "hydra.sweeper.")
        selecting = Selecting(self.context, self.sweep_config, self._launcher, options)
        selecting.run(arguments)


def _register(*plugins: type[Plugin]) -> None:
    """Make plugins known to Hydra under their names in `PLUGIN`."""
    parent, _, name = PLUGIN.partition(".")
    try:
        package = importlib.import_module(parent)
    except ImportError:  # no plugin is installed
        package = sys.modules[parent] = ModuleType(parent)
        package.__path__ = []
    sys.modules[PLUGIN] = sys.modules[__name__]
    setattr(package, name, sys.modules[__name__])
    for plugin in plugins:
        Plugins.instance().register(plugin)


_register(FusedLauncher, SelectSweeper)
