"""Arms that differ in numbers share every compiled program of a process."""

import pytest
from helpers import tiny
from helpers.quick import quick
from jax import monitoring

from twotower_jax.run import run

# A draw from every source: in-batch columns, easy and hard slots, resampled positives.
BASE = (
    "negatives=half_hard",
    "negatives.in_batch=true",
    "negatives/easy=popularity",
    "positives=downsample_hot",
    "training.steps=4",
    "training.eval_every=2",
)
COMPILES = "/jax/core/compile/backend_compile_duration"
_compiled: list[str] = []


def note(event: str, duration: float, **keys) -> None:
    if event == COMPILES:
        _compiled.append(str(keys.get("fun_name")))


@pytest.fixture(scope="module")
def output(tmp_path_factory):
    """Train the first arm, which may compile; count the compilations of the others."""
    monitoring.register_event_duration_secs_listener(note)
    folder = tmp_path_factory.mktemp("programs")
    # Other shapes than those of other tests, so that this one does compile.
    run(tiny.make_config(folder, *BASE, "towers.dim=9"))
    assert any("run_steps" in name for name in _compiled)
    yield folder
    monitoring.unregister_event_duration_listener(note)


NUMBERS = [
    "seed=1",
    "optimizer.learning_rate=0.01",
    "optimizer.decay=true",
    "loss.temperature=0.2",
    "negatives.easy.alpha=0.25",
    "negatives.easy.smoothing=3",
    "negatives.hard_ratio=0.25",
    "negatives.hard_ramp=0.5",
    "positives.exponent=0.25",
    "training.steps=3",
]
QUICK = ("seed=1", "negatives.hard_ratio=0.25", "training.steps=3")


@pytest.mark.parametrize("number", quick(NUMBERS, QUICK))
def test_another_number_compiles_nothing(number, output):
    _compiled.clear()
    result = run(tiny.make_config(output, *BASE, "towers.dim=9", number))
    assert result["steps"] > 0
    assert _compiled == []
