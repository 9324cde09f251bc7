"""The figures of a study: content, ink, and texts that do not overlap."""

import itertools
import json
import re
from xml.etree import ElementTree

import matplotlib
import numpy as np
import pytest
from helpers.studies import HOSTILE, Page, report, write_arm, write_queries
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox
from scipy import stats

from twotower_jax.report.canvas import Drawing
from twotower_jax.report.curves import push_apart, read_records
from twotower_jax.report.figures import half_width, number_points, study_figures
from twotower_jax.study.description import Description
from twotower_jax.study.load import load_study

BASE = Description(base="base")
RECORDS = [
    {"step": step, "loss": 5 - step / 10, "valid": {"recall@20": step / 100}}
    for step in (10, 20, 30)
]


def texts(svg: str) -> str:
    """Return every text of an SVG, one per line."""
    return "\n".join(ElementTree.fromstring(svg).itertext())


@pytest.fixture
def folder(tmp_path):
    """A hostile and two plain arms with queries, curves and popularity."""
    for arm, recall in (("base", 0.2), ("low", 0.1), (HOSTILE, 0.6)):
        metrics = {"recall@20": recall, "coverage@20": recall, "arp@20": 1 / recall}
        metrics |= {f"recall@20/{part}": recall for part in ("head", "mid", "tail")}
        write_arm(tmp_path, arm, [recall] * 2, metrics=metrics, records=RECORDS)
    write_queries(tmp_path)
    return tmp_path


def test_every_figure_names_every_arm_in_the_colour_of_the_page(folder):
    figures = study_figures(load_study([folder], BASE))
    names = ["primary", "forest", "slices", "coverage", "popularity"]
    assert list(figures) == [*names, "learning", "loss"]
    for figure in figures.values():
        shown = texts(figure.svg)
        assert figure.title in shown
        for arm in ("base", "low", HOSTILE):
            assert arm in shown
        assert "currentColor" in figure.svg and "#010203" not in figure.svg


def test_axes_are_labelled(folder):
    figures = study_figures(load_study([folder], BASE))
    labels = {
        "primary": ["recall@20"],
        "forest": ["difference in recall@20"],
        "slices": ["recall@20", "head", "mid", "tail"],
        "coverage": ["recall@20", "share of the catalogue, coverage@20"],
        "popularity": ["recall@20", "arp@20"],
        "learning": ["steps", "validation recall@20"],
        "loss": ["steps", "training loss"],
    }
    for name, expected in labels.items():
        shown = texts(figures[name].svg).splitlines()
        for label in expected:
            assert any(line.endswith(label) for line in shown), (name, label)


def test_figures_stand_in_the_page_and_beside_it_dark_on_white(folder):
    page = Page(report(folder))
    figures = study_figures(load_study([folder]))
    first = figures.pop("primary")  # no arm has a difference with an interval
    titles = [one.title for one in figures.values()]
    assert page.figures == [first.title, "Legend: the arms by rank", *titles]
    for name in ("primary", *figures):
        svg = (folder / f"figure_{name}.svg").read_text()
        ElementTree.fromstring(svg)
        assert 'fill="#ffffff"' in svg and "currentColor" not in svg


def test_figure_that_the_runs_no_longer_have_is_removed(folder):
    (folder / "figure_own.svg").write_text("<svg/>")
    report(folder)
    for path in folder.glob("*/result.json"):
        result = json.loads(path.read_text())
        result["metrics"] = {"test": {"recall@20": 0.5}}
        path.write_text(json.dumps(result))
        (path.parent / "metrics.jsonl").unlink()
        (path.parent / "queries.parquet").unlink()
    report(folder)
    left = {path.name for path in folder.glob("figure_*.svg")}
    assert left == {"figure_primary.svg", "figure_own.svg"}


@pytest.mark.parametrize("arms", [1, pytest.param(30, marks=pytest.mark.slow)])
def test_figure_marks_every_arm(tmp_path, arms):
    for index in range(arms):
        name = f"arm {index} 日本 " + "long " * 20
        write_arm(tmp_path, name, [0.1 * index, 0.2], records=RECORDS)
    figures = study_figures(load_study([tmp_path]))
    for name in ("primary", "coverage", "learning"):
        assert all(f"arm {index} 日本" in figures[name].svg for index in range(arms))


def test_baselines_are_grey_and_no_base_arm(tmp_path):
    """The base arm of a study that names none is in-batch + logQ."""
    kinds = {"EASE": "ease", "b": "two_tower", "c": "two_tower"}
    for arm, kind in kinds.items():
        loss = {"logq": {"correct": {"b": "none", "c": "all"}.get(arm, "negatives")}}
        config = {"towers": {"kind": kind}, "loss": loss}
        write_arm(tmp_path, arm, [0.1, 0.2], config=config)
    write_queries(tmp_path)
    study = load_study([tmp_path])
    assert study.base == "c"
    figures = study_figures(study)
    for name in ("primary", "forest"):
        assert figures[name].caption.endswith("Grey: a baseline.")
        assert "#737373" in figures[name].svg  # 0.45 of white
    for path in tmp_path.glob("*/config.yaml"):
        path.write_text(path.read_text().replace("kind: ease", "kind: two_tower"))
    figures = study_figures(load_study([tmp_path]))
    assert not figures["primary"].caption.endswith("Grey: a baseline.")


def test_figures_ignore_and_keep_the_settings_of_matplotlib(folder):
    study = load_study([folder])
    expected = study_figures(study)
    with matplotlib.rc_context({"font.size": 30, "axes.grid": True}):
        before = dict(matplotlib.rcParams)
        assert study_figures(study) == expected
        assert dict(matplotlib.rcParams) == before


# --- learning curves ------------------------------------------------------------------


def test_batches_of_two_sizes_are_compared_by_examples(tmp_path):
    for size in (64, 128):
        config = {"training": {"batch_size": size}}
        write_arm(tmp_path, f"of {size}", [0.1], config=config, records=RECORDS)
    svg = study_figures(load_study([tmp_path]))["learning"].svg
    assert "examples seen" in texts(svg)
    assert "3000" in texts(svg) and "steps" not in texts(svg)


def test_validation_shows_the_metric_that_is_validated(tmp_path):
    metrics = {"true_recall@20": 0.5, "recall@20": 0.25}
    write_arm(tmp_path, "a", [0.1], metrics=metrics, records=RECORDS)
    (tmp_path / "study.json").write_text('{"metric": "true_recall@20"}')
    figures = study_figures(load_study([tmp_path]))
    assert figures["primary"].title == "true_recall@20 of the arms"
    assert figures["learning"].title == "Validation recall@20 against steps"


@pytest.mark.parametrize(
    "records",
    [[], RECORDS[:1], [{"step": 1, "valid": 3}, {"step": "x"}, {"loss": None}]],
)
def test_runs_without_two_validations_have_no_curve(tmp_path, records):
    write_arm(tmp_path, "a", [0.1], records=records)
    assert not {"learning", "loss"} & set(study_figures(load_study([tmp_path])))


def test_broken_lines_of_a_record_are_left_out(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1}\n{"step": NaN}\n[3]\n{"step": true}\n{"step": 2, "lo')
    assert read_records(path) == [{"step": 1}]
    path.write_bytes(b"\xff\n")
    assert read_records(path) == read_records(tmp_path / "none") == []


def test_places_are_pushed_apart_as_little_as_needed():
    assert push_apart(np.array([0.0, 50.0]), 10, 60).tolist() == [0, 50]
    assert push_apart(np.array([5.0, 5.0]), 10, 60).tolist() == [0, 10]
    assert push_apart(np.array([1.0, 1.0]), 10, 60).tolist() == [0, 10]
    assert push_apart(np.array([58.0, 60.0]), 10, 60).tolist() == [50, 60]
    rng = np.random.default_rng(0)
    places = 200 + np.sort(rng.random(20) * 30)
    moved = push_apart(places, 9.5, 500)
    assert np.diff(moved).min() >= 9.5 - 1e-9
    assert moved.mean() == pytest.approx(places.mean())
    assert push_apart(np.array([]), 9.5, 500).size == 0


# --- trade-off ------------------------------------------------------------------------


@pytest.mark.parametrize("dpi", [72, 200])
def test_numbers_of_near_points_cover_neither_each_other_nor_a_mark(dpi):
    figure = Figure(dpi=dpi)
    canvas = FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    points = [(str(index), 0.5 + index / 500, 0.5) for index in range(8)]
    axes.plot([0, 1], [0, 1])
    number_points(axes, points)
    canvas.draw()
    renderer = canvas.get_renderer()
    boxes = [text.get_window_extent(renderer) for text in axes.texts]
    assert len(boxes) == 8
    radius = 3 * dpi / 72 - 1
    marks = [
        Bbox([at - radius, at + radius])
        for at in axes.transData.transform([(x, y) for _, x, y in points])
    ]
    for index, box in enumerate(boxes):
        assert box.count_overlaps(boxes[index + 1 :]) == 0
        assert box.count_overlaps(marks) == 0


# --- response curves ------------------------------------------------------------------


def write_grid(folder, label=None):
    """Write arms over two numeric keys and one that is not numeric."""
    for temperature in (0.02, 0.1, 1.0):
        for kind in ("a", "b"):
            loss = {"temperature": temperature, "name": kind, "logq": {"on": True}}
            arm = label and f"{label} {temperature} {kind}"
            write_arm(folder, arm, [0.1, 0.2], config={"loss": loss})


@pytest.mark.parametrize("label", [None, "arm"])
def test_response_curve_of_a_numeric_key(tmp_path, label):
    write_grid(tmp_path, label)
    base = f"{label} 0.1 a" if label else "loss=a temperature=0.1"
    study = load_study([tmp_path], Description(base=base))
    figures = study_figures(study)
    responses = [name for name in figures if name.startswith("response")]
    assert responses == ["response_loss_temperature"]
    shown = texts(figures[responses[0]].svg)
    # A line for each value of the other key, and the axis in decades.
    assert "loss=a" in shown and "loss=b" in shown
    assert "loss.temperature" in shown.splitlines()
    assert f"Dotted: the base arm, {study.base}" in figures[responses[0]].caption


def test_arms_that_differ_in_more_than_a_number_have_no_response_curve(tmp_path):
    for number, kind in ((0, "a"), (1024, "b")):
        loss = {"num": number, "kind": kind}
        write_arm(tmp_path, None, [0.1], config={"loss": loss})
    write_arm(tmp_path, None, [0.1], config={"loss": {"num": None, "kind": "c"}})
    figures = study_figures(load_study([tmp_path]))
    assert not [name for name in figures if name.startswith("response")]


def test_interval_of_a_point_is_that_of_scipy():
    values = np.array([0.1, 0.2, 0.6])
    low, high = stats.t.interval(0.95, 2, values.mean(), stats.sem(values))
    assert half_width(values) == pytest.approx((high - low) / 2)
    assert half_width(values[:1]) == 0


def test_ids_of_all_figures_are_apart(folder):
    figures = study_figures(load_study([folder]))
    ids = [one for f in figures.values() for one in re.findall(r' id="(.*?)"', f.svg)]
    assert len(ids) == len(set(ids))


# --- nothing collides -----------------------------------------------------------------


@pytest.fixture
def drawn(monkeypatch):
    """The figures of matplotlib that are drawn from now on."""
    figures = []

    def keep(canvas, *arguments, **options):
        figures.append(canvas.figure)
        return written(canvas, *arguments, **options)

    written = FigureCanvasSVG.print_svg
    monkeypatch.setattr(FigureCanvasSVG, "print_svg", keep)
    return figures


def boxes(figure):
    """Return the boxes of the tick labels of each axis, then that of its label."""
    renderer = FigureCanvasAgg(figure).get_renderer()
    for axes in figure.axes:
        for axis in (axes.xaxis, axes.yaxis):
            low, high = sorted(axis.get_view_interval())
            shown = [
                tick.label1.get_window_extent(renderer)
                for tick in axis.get_major_ticks()
                if tick.label1.get_text() and low <= tick.get_loc() <= high
            ]
            label = axis.label.get_window_extent(renderer)
            yield shown + ([label] if axis.label.get_text() else [])


@pytest.mark.parametrize("temperatures", [(0.02, 0.03, 0.05, 0.14, 0.2), (0.001, 2e6)])
def test_labels_neither_collide_nor_leave_the_figure(tmp_path, drawn, temperatures):
    for place, one in enumerate(temperatures):
        recall = 0.123 + place / 400
        metrics = {"recall@20": recall, "coverage@20": 0.5 + place / 999, "arp@20": 1e3}
        metrics |= dict.fromkeys(("recall@20/head", "recall@20/mid"), recall)
        metrics["recall@20/tail"] = 0.01
        config = {"loss": {"temperature": one}}
        steps = [{**record, "step": 1e5 * record["step"]} for record in RECORDS]
        write_arm(tmp_path, None, [recall] * 2, metrics=metrics, config=config,
                  records=steps)  # fmt: skip
    write_queries(tmp_path)
    study = load_study([tmp_path], Description(base=f"temperature={temperatures[0]}"))
    figures = study_figures(study)
    assert "response_loss_temperature" in figures and len(drawn) == len(figures)
    for figure, (name, one) in zip(drawn, figures.items(), strict=True):
        assert "mathdefault" not in one.svg, name
        for labels in boxes(figure):
            for box in labels:
                assert box.x0 >= 0 and box.x1 <= figure.bbox.x1 + 2, name
            for box, other in itertools.combinations(labels, 2):
                assert not box.padded(1).overlaps(other), name


def test_lines_at_the_ticks_leave_out_the_names_of_the_arms(folder, drawn):
    names = list(study_figures(load_study([folder], BASE)))
    for name, figure in zip(names[:3], drawn[:3], strict=True):
        (axes,) = figure.axes
        renderer = FigureCanvasAgg(figure).get_renderer()
        low, high = axes.get_xlim()
        ticks = [tick for tick in axes.get_xticks() if low <= tick <= high]
        lines = [
            axes.transData.transform(segment)
            for collection in axes.collections
            for segment in collection.get_segments()
        ]
        assert len(lines) == 3 * len(ticks) > 3, name  # of each of the three arms
        assert not any(line.get_visible() for line in axes.get_xgridlines()), name
        assert len(axes.texts) == 3
        for text in axes.texts:
            box = text.get_window_extent(renderer)
            for line in lines:
                below, above = sorted(line[:, 1])
                assert above < box.y0 or below > box.y1, name


def test_the_legend_of_the_page_is_as_wide_as_the_page(folder):
    page = report(folder).read_text()
    legend = page.partition('<figure class="legend">')[2].partition("</figure>")[0]
    keys = legend.split('<svg class="key"')[1:]
    assert len(keys) == 3
    for key, name, colour in zip(
        keys, ("script", "base", "low"), ("#0072b2", "#e69f00", "#009e73"), strict=True
    ):
        assert name in key and colour in key
    assert ".legend { grid-column: 1 / -1; }" in page


def test_the_page_has_one_legend_and_each_file_its_own(folder):
    page, figures = report(folder).read_text(), study_figures(load_study([folder]))
    assert page.count('aria-label="Legend: the arms by rank"') == 1
    for name, one in figures.items():
        assert one.bare in page
        ends = [
            float(re.findall(r'viewBox="0 0 \S+ (\S+)"', svg)[0])
            for svg in (one.svg, one.bare)
        ]
        lines = 3 if name in ("coverage", "popularity", "learning", "loss") else 0
        assert ends[0] - ends[1] == pytest.approx(lines * 72 * 0.21)


def test_a_figure_without_its_legend_ends_above_it():
    svg = '<svg width="3pt" height="90pt" viewBox="0 0 3 90" version="1.1"><g/></svg>'
    assert 'height="60pt" viewBox="0 0 3 60"' in Drawing("a", "b", svg, 30).bare
    assert Drawing("a", "b", svg).bare == svg
