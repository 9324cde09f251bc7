"""Lines of the console beside the result of a run: baselines, and its training."""

from typing import Any

from twotower_jax.config import Config
from twotower_jax.model.towers import BASELINES

POPULARITY = "popularity"
TIED = 0.01  # share of queries whose lists have one score throughout
FEW_STEPS = 200  # fewer hardly change random parameters
ADVICE = (
    "Popularity is the same list for everyone, so nobody would serve this model. Train "
    "longer, tune optimizer.learning_rate and loss.temperature "
    "(hydra/sweeper=select), and correct the log q of in-batch negatives; "
    "`twotower data check` counts the positives per item."
)


def baseline_lines(config: Config, result: dict[str, Any]) -> list[str]:
    """Lines with the metrics of a run beside those of the baselines, and a warning."""
    baselines = result.get("baselines", {})
    if not baselines:
        return []
    split = last_split(result)
    lines, lost = [], []
    for name in _watched(config, result):
        own = result["metrics"][split][name]
        values = {kind: tables.get(split, {}) for kind, tables in baselines.items()}
        texts = [
            f"{BASELINES[kind].label} {metric_text(table.get(name))}"
            for kind, table in values.items()
            if kind in BASELINES and kind != config.towers.kind
        ]
        lines.append("   ".join([f"{split} {name} {metric_text(own)}", *texts]))
        if loses(config, result, name):
            lost.append(name)
    if lost:
        lines.append(
            f"warning: {' and '.join(lost)} does not beat popularity. {ADVICE}"
        )
    return lines


def training_lines(result: dict[str, Any]) -> list[str]:
    """Warnings about a training that was too short, and about a dead model.

    Examples:
      >>> result = {"steps": 50, "best_step": 50, "stopped": "limit"}
      >>> training_lines(result | {"metrics": {"valid": {"recall@20": 0.1}}})[0]
      'warning: only 50 steps; raise training.epochs or training.steps'
    """
    steps, lines = result["steps"], []
    if 0 < steps < FEW_STEPS:
        lines.append(
            f"warning: only {steps} steps; raise training.epochs or training.steps"
        )
    for split, share in result.get("tied", {}).items():
        if share >= TIED:
            new = result.get("data", {}).get(f"users of {split} unseen in train", 0)
            remedy = "lower optimizer.learning_rate or towers.init_scale"
            if new >= share * result["queries"][split]:
                remedy = f"{new} users have no training positive; add features of users"
            lines.append(
                f"warning: {split}: the best items of {share:.0%} of the queries have "
                "one score, so that the model does not tell items apart, and their "
                f"order is random; {remedy}"
            )
    if unmoved := result.get("unmoved"):
        lines.append(
            f"warning: the last {unmoved} validations have the same metrics, for the "
            "training does not change the lists: optimizer.learning_rate is far too "
            "large or too small"
        )
    rising = steps == result["best_step"] and result.get("stopped") == "limit"
    if rising and steps and result["metrics"].get("valid"):
        lines.append(
            "warning: still rising at the last step; raise training.epochs or "
            "training.steps"
        )
    return lines


def popularity_text(config: Config, result: dict[str, Any], metric: str) -> str:
    """The value of popularity for a line of a sweep, with a remark where it wins."""
    value = _popularity(result, metric)
    if value is None or config.towers.kind == POPULARITY:
        return ""
    lost = ": not beaten" if loses(config, result, metric) else ""
    return f"popularity {metric_text(value)}{lost}"


def loses(config: Config, result: dict[str, Any], metric: str) -> bool:
    """Whether a run is not better than popularity in a metric."""
    own = result["metrics"][last_split(result)].get(metric)
    other = _popularity(result, metric)
    if own is None or other is None or config.towers.kind == POPULARITY:
        return False
    return own <= other


def _popularity(result: dict[str, Any], metric: str) -> float | None:
    """The value of popularity on the split that is reported, None without."""
    tables = result.get("baselines", {}).get(POPULARITY, {})
    return tables.get(last_split(result), {}).get(metric)


def _watched(config: Config, result: dict[str, Any]) -> list[str]:
    """The metric of the training, and the same against the truth if known."""
    metric = config.training.metric
    present = result["metrics"][last_split(result)]
    return [name for name in (metric, f"true_{metric}") if name in present]


def last_split(result: dict[str, Any]) -> str:
    """The split that is reported: test, or valid where test was not evaluated."""
    return "test" if "test" in result["metrics"] else "valid"


def metric_text(value: float | None) -> str:
    """A metric with four digits, or "no value"."""
    return "no value" if value is None or value != value else f"{value:.4f}"
