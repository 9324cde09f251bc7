"""`twotower_jax.audit` finds faults of published losses, in small copies of them.

Each copy is the formula of its library, in numpy or in JAX. Faults of the objective
raise alarms, right losses raise none.
"""

import re
import subprocess
import sys
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.quick import quick

import twotower_jax
from twotower_jax.losses import sampled_softmax

TEMPERATURE = 0.1
NAMES = {"head", "mid", "tail", "rare"}


def cross_entropy(logits, positive=0):
    """Return the mean of -log softmax at a column, in numpy."""
    top = logits.max(axis=1, keepdims=True)
    total = np.log(np.exp(logits - top).sum(axis=1)) + top[:, 0]
    return float((total - logits[np.arange(len(logits)), positive]).mean())


def alarms(loss, **options):
    return " | ".join(twotower_jax.audit(loss, **options).alarms)


# ------------------------------------------------------------------------- right losses


def tfrs(scores, ids, log_q):
    """TFRS 0.7.7, without its floor of q: softmax of s / T - log q."""
    return cross_entropy(scores / TEMPERATURE - log_q)


def ours(scores, ids, log_q, *, positive):
    """This library: sampled softmax, draws of the own item masked."""
    logits = scores / TEMPERATURE
    own = logits[:, 0] - log_q[:, 0] if positive else logits[:, 0]
    hit = ids[:, 1:] == ids[:, :1]
    rest = jnp.where(hit, -jnp.inf, logits[:, 1:] - log_q[:, 1:])
    return sampled_softmax(own, rest).mean()


def in_batch(scores, ids, log_q):
    """TFRS in-batch: labels are the identity, other rows' equal items are masked."""
    logits = scores / TEMPERATURE - log_q
    hit = (ids == np.diag(ids)[:, None]) & ~np.eye(len(ids), dtype=bool)
    return cross_entropy(np.where(hit, -1e9, logits), np.arange(len(ids)))


def info_nce(scores, ids, log_q):
    """No correction: right with uniform draws."""
    return float(cross_entropy(scores / TEMPERATURE) * len(scores))  # A sum.


RIGHT = {
    "tfrs": (tfrs, {}),
    "tfrs, few draws": (tfrs, {"draws": 4}),
    "ours, all": (partial(ours, positive=True), {}),
    "ours, negatives": (partial(ours, positive=False), {"log_q": "count"}),
    "in-batch": (in_batch, {"negatives": "in_batch"}),
    "uniform, uncorrected": (info_nce, {"negatives": "uniform"}),
}


@pytest.mark.parametrize("name", quick(RIGHT, ["tfrs", "ours, all", "in-batch"]))
def test_a_right_loss_raises_no_alarm(name):
    loss, options = RIGHT[name]
    card = twotower_jax.audit(loss, temperature=TEMPERATURE, **options)
    assert card.alarms == ()
    assert card.slope == pytest.approx(1, abs=0.05)
    assert max(map(abs, card.drift.values())) < 0.15
    assert card.error < 0.05 and "no alarm" in str(card)


def test_the_forms_of_the_correction_are_told_apart():
    both = twotower_jax.audit(tfrs, temperature=TEMPERATURE)
    own = partial(ours, positive=False)
    one = twotower_jax.audit(own, temperature=TEMPERATURE, log_q="count")
    assert both.response == pytest.approx(-1, abs=0.01)
    assert both.positive_response == pytest.approx(-1, abs=0.01)
    assert both.hits and "positives are corrected" in str(both)
    assert one.positive_response == 0 and not one.hits
    assert "positives are not corrected" in str(one) and "are masked" in str(one)


@pytest.mark.slow
def test_finite_differences_and_jax_agree():
    traced = twotower_jax.audit(
        lambda s, i, q: -jax.nn.log_softmax((s - q) / TEMPERATURE)[:, 0].mean(),
        temperature=TEMPERATURE,
    )
    plain = twotower_jax.audit(
        lambda s, i, q: cross_entropy((s - q) / TEMPERATURE), temperature=TEMPERATURE
    )
    for name in NAMES:
        assert traced.drift[name] == pytest.approx(
            plain.drift[name], rel=0.02, abs=0.05
        )


# ------------------------------------------------------------------- faults of the loss


def test_temperature_after_the_correction():
    """Merlin 23.12: (s - log q) / T."""
    found = alarms(
        lambda s, i, q: cross_entropy((s - q) / TEMPERATURE), temperature=TEMPERATURE
    )
    assert "not log P" in found and "log q is subtracted 10 times" in found
    assert "temperature divides the corrected logits" in found


def test_wrong_sign_of_the_correction():
    """TFRS up to 0.4.0: s + log q."""
    assert "log q is added" in alarms(lambda s, i, q: cross_entropy(s + q))


def test_a_likelihood_in_place_of_a_loss():
    """Its gradient is 0 at log P too, but there it is the largest."""
    found = alarms(lambda s, i, q: -cross_entropy(s - q))
    assert "the loss is maximised at its optimum" in found
    assert "negative log likelihood" in found


def test_negatives_without_a_gradient():
    """All scores grow alike, so that their drift is 0."""

    def stopped(scores, ids, log_q):
        logits = scores - log_q
        total = jax.nn.logsumexp(jax.lax.stop_gradient(logits), axis=1)
        return (total - logits[:, 0]).mean()

    found = alarms(stopped)
    assert "negatives have no gradient" in found


def test_no_correction():
    found = alarms(lambda s, i, q: cross_entropy(s))
    assert "not log P" in found and "log q has no effect" in found
    assert "not log P" in alarms(
        lambda s, i, q: cross_entropy(s, np.arange(len(s))), negatives="in_batch"
    )


@pytest.mark.parametrize("floor", quick([1e-6, 1e-8, 1e-10], [1e-8]))
def test_a_floor_of_q(floor):
    """TFRS and Keras-RS clip q at 1e-6, LibRecommender at 1e-8, `logq` at 1e-10."""
    card = twotower_jax.audit(
        lambda s, i, q: cross_entropy(s - np.log(np.clip(np.exp(q), floor, 1)))
    )
    assert card.drift["rare"] > 0.5 and abs(card.drift["head"]) < 0.05
    assert card.slope == pytest.approx(1, abs=0.02)
    (_, reason) = card.alarms
    value = float(reason.split("about ")[1].split()[0])
    assert "has a floor" in reason
    assert np.log(floor) - 2.4 < value < np.log(floor)


def test_a_ceiling_of_the_expected_count():
    """GiGL: an expected count above 1 is corrected as 1."""

    def gigl(scores, ids, log_count):
        return cross_entropy(scores - np.minimum(log_count, 0))

    card = twotower_jax.audit(gigl, log_q="count")
    assert card.drift["head"] < -0.5 < 0 < card.drift["tail"]
    assert "has a ceiling" in card.alarms[-1]


@pytest.mark.slow
def test_the_best_draws_alone_are_negatives():
    """TFRS `num_hard_negatives`: log q acts on those that are kept."""

    def kept(scores, ids, log_q):
        logits = scores - log_q
        rest = jax.lax.top_k(logits[:, 1:], 8)[0]
        return sampled_softmax(logits[:, 0], rest).mean()

    card = twotower_jax.audit(kept)
    assert len(card.alarms) == 1 and "not log P" in card.alarms[0]
    assert card.response == pytest.approx(-1, abs=0.01)


def test_a_mask_without_effect():
    """Keras-RS 0.4.0 adds 1.2e-40 where it means to subtract a large number."""

    def keras_rs(scores, ids, log_q):
        hit = (ids == ids[:, :1]).astype(np.float32)
        hit[:, 0] = 0
        return cross_entropy(scores - log_q + hit * np.float32(1.2e-40))

    def masked(scores, ids, log_q):
        hit = ids == ids[:, :1]
        hit[:, 0] = False
        return cross_entropy(scores - log_q - 1e9 * hit)

    assert "the mask has no effect" in alarms(keras_rs, masks_hits=True)
    assert alarms(masked, masks_hits=True) == ""
    assert "negatives of their row" in str(twotower_jax.audit(keras_rs))


@pytest.mark.slow
def test_a_positive_that_counts_twice():
    """Positive uncorrected, draws of its item kept: e^s of popular items is doubled."""

    def unmasked(scores, ids, log_count):
        log_count[:, 0] = 0
        return cross_entropy(scores - log_count)

    card = twotower_jax.audit(unmasked, log_q="count", draws=512)
    right = partial(ours, positive=False)
    other = twotower_jax.audit(right, log_q="count", draws=512, temperature=TEMPERATURE)
    assert card.drift["head"] < other.drift["head"] - 0.02


# --------------------------------------------------------------- faults of the samplers


def softmax(scores, ids, log_q):
    return cross_entropy(scores - log_q)


def unigram(counts):
    share = counts / counts.sum()
    return share, np.log(share)


def test_q_of_one_source_of_a_mixture():
    """`logq` and Merlin: half of the draws are uniform, q is that of the popularity."""

    def mixture(counts, scores, shape, generator):
        share, log_q = unigram(counts)
        popular = generator.choice(len(share), shape, p=share)
        uniform = generator.integers(0, len(share), shape)
        return np.where(generator.random(shape) < 0.5, popular, uniform), log_q

    found = alarms(softmax, negatives=mixture)
    assert "declared log q is not that of the draws" in found


def test_the_chance_of_one_or_more_draws_as_q():
    """InteractRank: 1 - (1 - p)^n, where n independent draws are not deduplicated."""

    def inclusion(counts, scores, shape, generator):
        share = counts / counts.sum()
        drawn = generator.choice(len(share), shape, p=share)
        return drawn, np.log(-np.expm1(shape[1] * np.log1p(-share)))

    assert "declared log q is not that of the draws" in alarms(
        softmax, negatives=inclusion
    )


def test_q_of_one_for_old_items():
    """LibRecommender: after new data came, items that it lacks have q = 1."""

    def old(counts, scores, shape, generator):
        share, log_q = unigram(counts)
        log_q = np.where(np.arange(len(share)) % 2, log_q, 0)
        return generator.choice(len(share), shape, p=share), log_q

    assert "declared log q is not that of the draws" in alarms(softmax, negatives=old)


def test_counts_taken_as_ranks():
    """torch-rechub 0.9.0: P ~ log((k + 2) / (k + 1)) of the count k, not its rank."""

    def rechub(counts, scores, shape, generator):
        weight = np.log((counts + 2) / (counts + 1))
        drawn = generator.choice(len(counts), shape, p=weight / weight.sum())
        return drawn, unigram(counts)[1]

    assert "declared log q is not that of the draws" in alarms(
        softmax, negatives=rechub
    )


def test_best_of_several_draws_with_log_q_of_zero():
    """RecStudio: dynamic negative sampling returns log q = 0."""

    def dns(counts, scores, shape, generator):
        drawn = generator.integers(0, len(counts), (*shape, 8))
        best = scores[drawn].argmax(axis=-1)
        ids = np.take_along_axis(drawn, best[..., None], axis=-1)[..., 0]
        return ids, np.zeros(len(counts))

    found = alarms(softmax, negatives=dns, draws=8)
    assert "not log P" in found and "declared log q is not that of the draws" in found


def test_a_right_sampler_raises_no_alarm():
    def popularity(counts, scores, shape, generator):
        share = counts**0.75 / (counts**0.75).sum()
        return generator.choice(len(share), shape, p=share), np.log(share)

    assert alarms(softmax, negatives=popularity) == ""


# --------------------------------------------------------------------------- other uses


def test_a_loss_may_write_into_its_arguments_and_return_any_scalar():
    class Tensor:
        """A scalar of a library that is not known here."""

        shape = ()

        def __init__(self, value):
            self.value = value

        def __float__(self):
            return float(self.value)

    def loss(scores, ids, log_q):
        scores -= np.asarray(log_q)
        return Tensor(cross_entropy(np.asarray(scores)))

    assert alarms(loss) == ""


def test_the_package_is_imported_without_jax():
    code = "import sys, twotower_jax; print('jax' in sys.modules, 'audit' in dir())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.split() == ["False", "False"]
    with pytest.raises(AttributeError, match="no attribute 'audits'"):
        _ = twotower_jax.audits


def test_the_example_of_the_documentation(capsys):
    page = Path(__file__).parents[2] / "docs" / "audit.md"
    (code,) = re.findall(r"^```python\n(.*?)^```", page.read_text(), re.M | re.S)
    names = {}
    exec(compile(code, "audit.md", "exec"), names)
    first, second = names["card"].alarms
    assert "not log P" in first and "log q is subtracted 10 times" in second
    assert "ALARM" in capsys.readouterr().out
