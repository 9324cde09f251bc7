"""Names that a configuration chooses, checked against the registries."""

from collections.abc import Collection
from operator import attrgetter

from twotower_jax.config import Config
from twotower_jax.data import sources
from twotower_jax.errors import unknown
from twotower_jax.evaluation.metrics import of_scope
from twotower_jax.model.baselines import BASELINES
from twotower_jax.model.tower import TOWERS
from twotower_jax.sampling.proposals import PROPOSALS


def registered_names() -> dict[str, Collection[str]]:
    """Return {dotted key: names} of the keys that choose from a registry.

    Examples:
      >>> list(registered_names()["negatives.easy.sampler"])
      ['uniform', 'popularity', 'log_uniform']
    """
    return {
        "data.source": sources.SOURCES,
        "negatives.easy.sampler": PROPOSALS,
        "towers.kind": [*TOWERS, *BASELINES],
    }


def check_names(config: Config) -> None:
    """Refuse unknown names and metrics, and towers that do not fit the loss.

    Raises:
      InputError: naming the key, the value and the known names.
    """
    for key, choices in registered_names().items():
        if (name := attrgetter(key)(config)) not in choices:
            raise unknown(key, name, choices)
    config.loss.check_towers(config.towers)
    check_watched("training.metric", config.training.metric, config)


def check_watched(key: str, metric: str, config: Config) -> None:
    """Refuse a metric that is not a ranking metric at a cutoff of the evaluation.

    Args:
      key: the key that names the metric.
      metric: its value, such as ``recall@20``.
      config: the run; its cutoffs.

    Raises:
      InputError: naming all metrics that validation computes.
    """
    watched = [n for n, m in of_scope("query").items() if m.larger_is_better]
    metrics = [f"{name}@{k}" for name in watched for k in config.evaluation.k]
    if metric not in metrics:
        raise unknown(key, metric, metrics)
