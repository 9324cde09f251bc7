"""The example of CONTRIBUTING.md is added and used as it stands there."""

import re
import textwrap
from pathlib import Path

import jax
import numpy as np
import yaml
from scipy import stats

from twotower_jax.config import from_dict
from twotower_jax.registry import Registry
from twotower_jax.sampling import proposals

TEXT = (Path(__file__).parents[2] / "CONTRIBUTING.md").read_text()


def block(language):
    """Return the first block of a language, without its indentation."""
    found = re.search(rf"^ *```{language}\n(.*?)^ *```", TEXT, re.DOTALL | re.MULTILINE)
    assert found
    return textwrap.dedent(found.group(1))


def test_the_sampler_that_is_added_draws_what_it_says(monkeypatch):
    registry = Registry("negatives.easy.sampler", proposals.PROPOSALS)
    monkeypatch.setattr(proposals, "PROPOSALS", registry)
    tree = compile(block("python"), "CONTRIBUTING.md", "exec")
    scope = {"np": np, "PROPOSALS": registry}
    exec(tree, scope)
    values = yaml.safe_load(block("yaml"))
    config = from_dict({"negatives": values})
    counts = np.arange(50)
    proposal = proposals.make_proposal(config.negatives.easy.sampler, counts)
    expected = (counts + 1.0) ** -0.75 / ((counts + 1.0) ** -0.75).sum()
    np.testing.assert_allclose(np.exp(proposal.log_q), expected, rtol=1e-5)
    drawn = proposals.sample(jax.random.key(0), proposal, (100_000,))
    observed = np.bincount(drawn, minlength=50)
    assert stats.chisquare(observed, 100_000 * expected).pvalue > 1e-3
