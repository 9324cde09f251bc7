"""The two lines and the figure of resampling."""

import subprocess
import sys

import matplotlib
import numpy as np
import pytest
from helpers.positives import item_weights
from helpers.problems import as_loaded, configure, small_problem, zipf_clicks
from matplotlib.figure import Figure
from matplotlib.image import imread

from twotower_jax.run.positives import resampling_report
from twotower_jax.run.sample_report import format_report, offset_warning, write_figure

COUNTS = (10_000 / np.arange(1, 1_001)).astype(int)
COUNTS[-150:] = 0


def lines(counts, weights):
    return format_report(resampling_report(counts, weights)).splitlines()


def test_two_lines_compare_before_and_after():
    counts, weights = np.array([6_000, 3_000, 1_000, 0]), np.array([1 / 3, 1, 2, 0])
    assert lines(counts, weights) == [
        "positives per epoch: 10,000 -> 7,000 (effective sample size 6,391)",
        "  top 1% of items: 60.0% -> 42.9% of them; Gini 0.500 -> 0.321; "
        "effective items 2.2 -> 2.9",
    ]


def test_an_unchanged_statistic_is_printed_once():
    assert not any("->" in line for line in lines(COUNTS, np.ones(1_000)))


@pytest.fixture
def drawn(monkeypatch):
    """Return the figures that are saved."""
    figures, save = [], Figure.savefig

    def keep(self, *args, **kwargs):
        figures.append(self)
        return save(self, *args, **kwargs)

    monkeypatch.setattr(Figure, "savefig", keep)
    return figures


def test_the_figure_shows_the_shares(tmp_path, drawn):
    weights = item_weights("power", COUNTS, exponent=0)
    write_figure(tmp_path / "positives.png", COUNTS, weights)
    left, right = drawn[0].axes
    before, after = (line.get_xydata() for line in left.lines)
    np.testing.assert_array_equal(before[:, 0], np.arange(1, 851))
    np.testing.assert_allclose(before[:, 1], COUNTS[:850] / COUNTS.sum())
    np.testing.assert_allclose(after[:, 1], 1 / 850)
    assert (left.get_xscale(), left.get_yscale()) == ("log", "log")
    before, after, alike = (line.get_xydata() for line in right.lines)
    np.testing.assert_allclose(before[:, 1], np.cumsum(COUNTS) / COUNTS.sum())
    np.testing.assert_allclose(after[:850, 1], np.arange(1, 851) / 850)
    np.testing.assert_allclose(after[850:, 1], 1)
    np.testing.assert_allclose(alike[:, 0], alike[:, 1])
    np.testing.assert_allclose(before[:, 0], np.arange(1, 1_001) / 1_000)
    for axes in (left, right):
        assert axes.get_xlabel() and axes.get_ylabel() and axes.get_legend()


def test_each_distribution_has_its_own_ranking(tmp_path, drawn):
    """A strong up-sampling turns the order of items around."""
    write_figure(tmp_path / "x.png", np.array([8, 4, 1]), np.array([1, 4, 30]))
    _, after = (line.get_ydata() for line in drawn[0].axes[0].lines)
    np.testing.assert_allclose(after, np.array([30, 16, 8]) / 54)


def test_lines_of_large_catalogues_are_thinned_to_their_ends(tmp_path, drawn):
    counts = np.arange(1, 100_001)
    write_figure(tmp_path / "x.png", counts, item_weights("cap", counts))
    for axes in drawn[0].axes:
        for line in axes.lines:
            at = line.get_xdata()
            assert len(at) <= 2_000 and (np.diff(at) > 0).all()
            assert at[-1] / at[0] == pytest.approx(100_000)


@pytest.mark.parametrize("counts", [[5], [1, 0], [3, 3, 3]])
def test_small_catalogues_have_a_figure(tmp_path, counts):
    counts = np.array(counts)
    write_figure(tmp_path / "x.png", counts, item_weights("none", counts))
    assert imread(tmp_path / "x.png").std() > 0.01


def test_the_file_depends_on_the_numbers_alone(tmp_path):
    weights = item_weights("cap", COUNTS)
    write_figure(tmp_path / "a.png", COUNTS, weights)
    with matplotlib.rc_context({"font.size": 30, "axes.grid": True}):
        before = dict(matplotlib.rcParams)
        write_figure(str(tmp_path / "b.png"), COUNTS, weights)
        assert dict(matplotlib.rcParams) == before
    write_figure(tmp_path / "c.png", COUNTS, np.ones(1_000))
    a, b, c = ((tmp_path / f"{name}.png").read_bytes() for name in "abc")
    assert a == b != c


def test_matplotlib_is_imported_only_to_draw():
    code = (
        "import sys, twotower_jax.run.sample_report\nprint('matplotlib' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "False"


@pytest.mark.parametrize(
    "keys, offset",
    [
        ({"name": "bce", "ratio": None}, "-5.5"),
        ({"name": "gbce"}, "-3.9"),  # beta = .75 (256 / 39 - 1) + 1
        ({"name": "gbce", "calibration": 0.0}, "-5.5"),
        ({"name": "bce", "ratio": 100.0}, "-4.6"),
        ({"name": "bce", "ratio": 3.0}, None),
        ({"name": "bce", "ratio": None, "offset": -5.0}, None),
        ({"name": "sampled_softmax"}, None),
    ],
)
def test_many_negatives_of_a_pointwise_loss_are_said_to_need_an_offset(keys, offset):
    """256 negatives: 241 uniform ones and 15 other rows of the batch."""
    problem_keys = {f"loss__{key}": value for key, value in keys.items()}
    problem_keys |= {"negatives__in_batch": True, "negatives__easy__num": 241}
    data = as_loaded(*zipf_clicks(30, 40, 400), 30, 40)
    config = configure(training__batch_size=16, **problem_keys)
    warning = offset_warning(config, small_problem(data, **problem_keys))
    if offset is None:
        assert warning is None
    else:
        assert f"compare with loss.offset={offset}," in str(warning)
