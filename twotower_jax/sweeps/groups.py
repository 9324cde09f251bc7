"""Groups of runs that can train as one program, for they differ in numbers only."""

from collections.abc import Callable, Hashable, Sequence

import jax

from twotower_jax.config import Config
from twotower_jax.run.checks import check_names
from twotower_jax.run.folder import RunFolder, run_folder
from twotower_jax.run.loader import Loaded, check_sizes, trains
from twotower_jax.run.plan import finds_length
from twotower_jax.run.problem import make_problem


def group_runs(
    configs: Sequence[Config], read: Callable[[Config], Loaded]
) -> list[list[Config]]:
    """Return the runs in groups of equal programs, in the order of their first runs.

    A run that has nothing to train, is finished or has wrong input is a group of one.
    """
    groups: dict[Hashable, list[Config]] = {}
    for place, config in enumerate(configs):
        key = signature(config, read)
        groups.setdefault(place if key is None else key, []).append(config)
    return list(groups.values())


def signature(config: Config, read: Callable[[Config], Loaded]) -> Hashable | None:
    """Return the key of a run's compiled program, None for a group of one."""
    if not trains(config) or RunFolder(run_folder(config)).is_done():
        return None
    try:
        check_names(config)
        data = read(config)
        check_sizes(config, data)
        if finds_length(config, data.split):
            return None  # the schedule is that of another run
        problem = make_problem(config, data)
    except Exception:
        return None  # the run itself reports the error
    arrays = (problem.program, problem.data, jax.eval_shape(problem.start))
    leaves, tree = jax.tree.flatten(arrays)
    return (
        problem.program.structure,
        tree,
        tuple((leaf.shape, str(leaf.dtype)) for leaf in leaves),
        config.training.batch_size,
        problem.schedule._replace(steps=0),
        tuple((one.name, one.when) for one in problem.renewals()),
    )
