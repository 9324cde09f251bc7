"""Rank agreement over the arms of the lecture's studies."""

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import yaml
from scipy import stats

LECTURE = Path(__file__).parents[2] / "experiments" / "lecture"
LOG, TRUTH, WEIGHTED, RANDOM = (
    f"{name}@20" for name in ("recall", "true_recall", "ips_recall", "uniform_recall")
)


@pytest.fixture(scope="module")
def agreement():
    """Return the module; its folder is not a package."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(LECTURE))
        import agreement

        yield agreement


@pytest.fixture
def page(agreement, monkeypatch, tmp_path):
    """Return a page with the marks, in a folder in place of the real one."""
    import tables

    page = tmp_path / "README.md"
    page.write_text("before\n<!-- agreement -->\nold\n<!-- /agreement -->\nafter\n")
    for module in (agreement, tables):
        monkeypatch.setattr(module, "HERE", tmp_path)
    monkeypatch.setattr(tables, "PAGES", (page,))
    return page


@pytest.fixture
def measure(agreement, page, monkeypatch):
    """Return a function that runs the script on a folder."""

    def run(folder):
        monkeypatch.setattr("sys.argv", ["agreement.py", str(folder)])
        agreement.main()

    return run


def write_runs(folder, metrics, seeds=(0, 1)):
    """Write a run per arm and seed; the seeds are .01 below and above the means."""
    for arm, values in enumerate(metrics):
        for seed in seeds:
            shift = 0.01 * (2 * seed - 1) if len(seeds) > 1 else 0.0
            test = {name: value + shift for name, value in values.items()}
            path = folder / f"{arm}_{seed}"
            path.mkdir(parents=True)
            config = {"seed": seed, "loss": {"temperature": arm / 100 + 0.01}}
            (path / "config.yaml").write_text(yaml.safe_dump(config))
            for name, content in (
                ("status", {"status": "done"}),
                ("manifest", {"data_fingerprint": folder.name}),
                ("result", {"seed": seed, "metrics": {"test": test}}),
            ):
                (path / f"{name}.json").write_text(json.dumps(content))


def orders(number, swapped=0):
    """Metrics of arms: by truth and random exposures 0, 1, ...; the log swaps pairs."""
    rank = np.arange(number)
    log = rank.copy()
    log[: 2 * swapped] = rank[: 2 * swapped].reshape(-1, 2)[:, ::-1].ravel()
    return [
        {LOG: float(one), TRUTH: float(i), WEIGHTED: float(i), RANDOM: float(i)}
        for i, one in zip(rank, log, strict=True)
    ]


def test_tau_is_that_of_scipy_with_ties_and_repeated_arms(agreement):
    rng = np.random.default_rng(0)
    first, second = rng.integers(0, 6, (2, 25)).astype(float)
    times = agreement.resampled(25)[:40]
    found = agreement.tau_b(times, first, second)
    for row, tau in zip(times.astype(int), found, strict=True):
        drawn = [np.repeat(one, row) for one in (first, second)]
        assert tau == pytest.approx(stats.kendalltau(*drawn).statistic, abs=1e-12)


def test_each_place_has_a_row_in_csv_table_and_figure(
    agreement, measure, page, tmp_path
):
    studies = tmp_path / "outputs"
    write_runs(studies / "default", orders(20, swapped=5))
    write_runs(studies / "weak_position", orders(21), seeds=(0,))
    write_runs(studies / "bad_ranker", orders(19))
    # Another study of the default world, which is left out.
    write_runs(studies / "popularity", orders(22)[::-1])
    measure(studies)
    table = pl.read_csv(tmp_path / "agreement.csv")
    places = ["default", "weak_position", "bad_ranker"]
    assert table["place"].unique(maintain_order=True).to_list() == places
    rows = {(r["place"], r["between"]): r for r in table.iter_rows(named=True)}
    # Five of 190 pairs are swapped.
    default = rows["default", "log and truth"]
    assert (default["arms"], default["tau"]) == (20, pytest.approx(1 - 2 * 5 / 190))
    assert default["low"] < default["tau"] <= default["high"] <= 1
    assert rows["default", "weighted log and truth"]["tau"] == pytest.approx(1)
    gain = rows["default", agreement.GAIN]
    assert gain["tau"] == pytest.approx(2 * 5 / 190) and gain["low"] >= 0
    assert rows["weak_position", "log and truth"]["tau"] == pytest.approx(1)
    assert rows["bad_ranker", "log and truth"]["tau"] is None
    shown = page.read_text()
    assert shown.startswith("before\n<!-- agreement -->\n| place | arms |")
    assert "| default | 20 | .95 (" in shown and "| +.05 (" in shown
    assert "| bad ranker | 19 | too few arms (19) |" in shown
    assert shown.endswith("<!-- /agreement -->\nafter\n")
    svg = (tmp_path / "figure_agreement.svg").read_text()
    assert "</svg>" in svg


def test_a_place_keeps_its_rows_where_its_runs_are_absent(measure, page, tmp_path):
    first, second = tmp_path / "first", tmp_path / "second"
    write_runs(first / "default", orders(20))
    write_runs(second / "good_ranker", orders(20))
    for folder in (first, second):
        measure(folder)
    text = page.read_text()
    assert text.index("| default | 20 |") < text.index("| good ranker | 20 |")


def test_runs_that_are_older_than_a_metric_have_no_value_for_it(agreement):
    arms = pl.DataFrame(orders(20)).with_columns(
        pl.lit(None, pl.Float64).alias(WEIGHTED)
    )
    rows = agreement.agreement("default", arms).rows_by_key("between", named=True)
    assert rows["log and truth"][0]["tau"] == 1
    for name in ("weighted log and truth", "log and weighted log", agreement.GAIN):
        assert rows[name][0]["tau"] is None and rows[name][0]["arms"] == 0


def test_a_folder_without_runs_is_refused(measure, tmp_path):
    (tmp_path / "outputs").mkdir()
    with pytest.raises(SystemExit, match="holds no run of lecture/tuned"):
        measure(tmp_path / "outputs")
    assert not (tmp_path / "agreement.csv").exists()
