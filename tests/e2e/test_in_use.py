"""Bank and mining act in a run, at the steps that their shares of the training name."""

import io

import pytest
from helpers import tiny
from rich.console import Console

from twotower_jax.errors import InputError
from twotower_jax.run import run
from twotower_jax.run.folder import run_folder
from twotower_jax.training.memories import Mining

BANK = ("negatives=bank", "negatives.bank.size=256")
AT_K = ("loss=softmax_at_k", "loss.at_k.k=5", "loss.at_k.sampled=100")
MINED = (
    "negatives=mined",
    "negatives.hard.mined.range_min=5",
    "negatives.hard.mined.range_max=40",
)


def losses(config):
    records = tiny.read_lines(run_folder(config) / "metrics.jsonl")
    return [record["loss"] for record in records]


@pytest.mark.slow
def test_a_bank_acts_after_its_warm_up(tmp_path):
    """Of 40 steps the first 10 are those without a bank, to the bit, and 30 are not."""
    bank = tiny.make_config(tmp_path, *BANK, "negatives.bank.warmup=0.25")
    result, _ = run(bank), run(plain := tiny.make_config(tmp_path))
    assert losses(bank)[0] == losses(plain)[0]
    for with_bank, without in zip(losses(bank)[1:], losses(plain)[1:], strict=True):
        # About twice as many negatives: a softmax over them has a larger loss.
        assert with_bank > without + 0.2
    best = result["best_step"]
    assert result["samples"]["bank"] == {
        "first step": 10,
        "steps": 30,
        "steps to the best step": best - 10,
    }


@pytest.mark.slow
def test_the_defaults_of_bank_and_mining_act(tmp_path, monkeypatch):
    """Without any setting of theirs, in 40 steps: 36 with a bank, minings at 4, 8..."""
    samples = run(tiny.make_config(tmp_path, *BANK))["samples"]["bank"]
    assert (samples["first step"], samples["steps"]) == (4, 36)
    steps, mine = [], Mining.renew

    def note(mining, structure, data, state):
        steps.append({n: t.copy() for n, t in state.params["tables"].items()})
        return mine(mining, structure, data, state)

    monkeypatch.setattr(Mining, "renew", note)
    config = tiny.make_config(tmp_path, *MINED)
    samples = run(config)["samples"]["mining"]
    assert (samples["first step"], samples["period"], samples["minings"]) == (4, 4, 9)
    assert len(steps) == 9
    # None of random parameters, and each of others.
    tables = [t["candidate.id"].tobytes() for t in steps]
    assert len(set(tables)) == 9


@pytest.mark.slow
def test_the_weights_of_a_loss_at_k_change_with_the_first_estimate(tmp_path):
    """Until step 20 of 40, the k-th best score is 0: k and its sample do not count."""
    half = (*AT_K, "loss.at_k.every=0.5")
    first, second = (
        tiny.make_config(tmp_path, *half, *more) for more in ((), ("loss.at_k.k=50",))
    )
    samples = run(first)["samples"]["loss at k"]
    assert (samples["first step"], samples["estimates"]) == (20, 1)
    run(second)
    assert losses(first)[:2] == losses(second)[:2]
    for high, low in zip(losses(first)[2:], losses(second)[2:], strict=True):
        assert low > high  # the 50th best score is lower: larger weights


@pytest.mark.slow
def test_shares_are_of_the_shortest_training_with_patience(tmp_path):
    """A limit of 4,000 steps that is never reached: warm-up and period still end.

    Without learning the first validation is the best: it is at step 10, the training
    ends at step 30, and the bank begins at step 15.
    """
    stops = (
        "training.patience=2",
        "training.min_steps=0",
        "training.steps=4000",
        "optimizer.learning_rate=1.0e-30",
    )
    config = tiny.make_config(tmp_path, *BANK, "negatives.bank.warmup=0.5", *stops)
    text = io.StringIO()
    result = run(config, console=Console(file=text, width=200))
    assert result["steps"] == 30 and result["best_step"] == 10
    assert result["samples"]["bank"] == {
        "first step": 15,
        "steps": 15,
        "steps to the best step": 0,
    }
    assert (
        "warning: the bank had no effect on the parameters that are evaluated. They "
        "are those of step 10; its first step is 15." in text.getvalue()
    )
    mined = tiny.make_config(tmp_path, *MINED, *stops)
    samples = run(mined)["samples"]["mining"]
    assert samples == {
        "first step": 3,
        "period": 3,
        "minings": 9,
        "minings to the best step": 3,
    }


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            (*BANK, "training.steps=1"),
            r"negatives\.bank\.warmup=0\.1 leaves none of the 1 steps .*set negat.*=0$",
        ),
        (
            (*BANK, "training.steps=3", "negatives.bank.warmup=0.9"),
            r"negatives\.bank\.warmup=0\.9 leaves none of the 3 steps",
        ),
        (
            (*MINED, "training.steps=2"),
            r"mined\.every=0\.1 after .*warmup=0\.1 leaves no second mining in the 2 ",
        ),
        (
            (*AT_K, "training.steps=1"),
            r"loss\.at_k\.every=0\.1 leaves no estimate .* in the 1 steps",
        ),
        ((*BANK, "negatives.bank.warmup=1000"), "is now a share of the training"),
        ((*MINED, "negatives.hard.mined.every=100"), "is now a share of the training"),
    ],
)
def test_a_setting_without_effect_is_refused_before_anything_is_written(
    overrides, message, tmp_path
):
    with pytest.raises(InputError, match=message):
        run(tiny.make_config(tmp_path, *overrides))
    assert not list(tmp_path.rglob("*"))


def test_untrained_parameters_need_no_bank(tmp_path):
    result = run(tiny.make_config(tmp_path, *BANK, "training.steps=0"))
    assert result["samples"]["bank"]["steps"] == 0
