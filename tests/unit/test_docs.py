"""The documentation: its commands, keys, functions and numbers, and its build."""

import importlib
import importlib.util
import re
import runpy
import shlex
import statistics
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from twotower_jax.commands.join import without_join
from twotower_jax.config import known_keys
from twotower_jax.losses import LOSSES, sampled_softmax
from twotower_jax.positives import POSITIVES
from twotower_jax.run.checks import check_names
from twotower_jax.sweeps.compose import compose_config

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = sorted(path for path in DOCS.rglob("*.md"))
# Pages whose commands have tests of their own.
OTHERS = {"advise.md", "data.md", "sweeps.md"}
EXTRA = ("mkdocs", "material", "mkdocstrings", "latex2mathml")

needs_extra = pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in EXTRA),
    reason="the extra `docs` is not installed (make docs installs it)",
)


def commands() -> list[str]:
    """Return every `twotower train` and `data check` of the pages."""
    found = []
    for path in PAGES:
        if path.name in OTHERS:
            continue
        blocks = re.findall(r"^```\n(.*?)^```", path.read_text(), re.M | re.S)
        text = "".join(blocks).replace("\\\n", " ")
        found += re.findall(r"^(?:\S*/)?(twotower (?:train|data check).*)", text, re.M)
    return sorted(set(found))


@pytest.mark.parametrize("line", commands())
def test_a_command_of_the_pages_composes(line):
    words, _ = without_join(shlex.split(line, comments=True)[1:])
    if words[0] == "data":  # a file is not an override
        words = [word for word in words[2:] if "=" in word]
    else:
        words = words[1:]
    if "-m" in words:  # the first value of each key that is swept
        words.remove("-m")
        words = [re.sub(r"=([^\[{,]*),.*", r"=\1", word) for word in words]
    check_names(compose_config(words))


def key_exists(key: str) -> bool:
    """Return whether a dotted name is a key or a section of the configuration."""
    return key in known_keys()


def test_every_key_that_a_page_names_exists():
    sections = "data|positives|negatives|loss|towers|optimizer|training|evaluation"
    pattern = rf"`((?:{sections})\.[a-z_.]+)(?:=[^`]*)?`(?!\])"
    named = {
        (path.name, key)
        for path in PAGES
        if path.name != "architecture.md"  # its names are modules
        for key in re.findall(pattern, path.read_text())
    }
    assert len(named) > 50
    assert not {f"{page}: {key}" for page, key in named if not key_exists(key)}


def references() -> list[str]:
    """Return the dotted names of the package that the pages link to."""
    pattern = r"\]\[(twotower_jax[\w.]*)\]"
    return sorted(
        {name for path in PAGES for name in re.findall(pattern, path.read_text())}
    )


@pytest.mark.parametrize("name", references())
def test_a_function_that_a_page_links_to_exists(name):
    parts = name.split(".")
    for cut in range(len(parts), 0, -1):
        try:
            place = importlib.import_module(".".join(parts[:cut]))
        except ModuleNotFoundError:
            continue
        for attribute in parts[cut:]:
            place = getattr(place, attribute)
        return
    pytest.fail(f"{name} does not exist")


def test_the_walk_of_a_clicked_row_goes_from_the_file_to_the_report():
    text = (DOCS / "architecture.md").read_text()
    walk = re.findall(r"^\| \[`([\w.]+)`\]\[twotower_jax\.\1\]", text, re.MULTILINE)
    assert len(walk) >= 20
    rooms = [name.split(".")[0] for name in walk]
    assert rooms[1] == "data" and walk[-1] == "report.html.write_report"
    wanted = {"data", "negatives", "model", "losses", "training", "evaluation"}
    assert wanted | {"run", "study", "report", "positives"} == set(rooms)


def families() -> dict[str, list[str]]:
    """Return {page: sections of its choices} of the pages of families."""
    pages = {path.stem: path.read_text() for path in (DOCS / "choices").glob("*.md")}
    del pages["index"]
    return {name: re.split(r"^## ", text, flags=re.M) for name, text in pages.items()}


def test_every_choice_of_the_configuration_has_a_command_on_a_page():
    pages = families()
    samples = "".join(pages["easy"] + pages["hard"] + pages["masks"])
    for name in (path.stem for path in (ROOT / "conf/negatives").glob("*.yaml")):
        assert re.search(rf"negatives={name}\b", samples), name
    for name in LOSSES:
        assert re.search(rf"loss={name}\b", "".join(pages["losses"])), name
    for name in ("none", "all", "negatives"):
        assert f"loss.logq.correct={name}" in "".join(pages["correction"])
    text = "".join(pages["positives"])
    assert all(f"| `{name}` |" in text for name in POSITIVES)


def test_a_section_of_a_choice_has_the_same_parts():
    sections = {
        name: parts[1:] for name, parts in families().items() if name != "positives"
    }
    assert sum(map(len, sections.values())) > 25
    for name, parts in sections.items():
        for part in parts:
            place = f"{name}: {part[:30]}"
            assert re.search(r"^!\[[^\]]+\]\(\.\./figures/\w+\.svg\)$", part, re.M), (
                place
            )
            for wanted in ("**When to use", "**Keys**", "**Code:**"):
                assert wanted in part, f"{place} lacks {wanted}"
            for figure in re.findall(r"figures/(\w+)\.svg", part):
                assert (DOCS / "figures" / f"{figure}.py").exists()


def test_the_array_example_of_the_first_page_runs():
    blocks = re.findall(
        r"^```python\n(.*?)^```", (DOCS / "start.md").read_text(), re.M | re.S
    )
    names: dict = {}
    (example,) = [block for block in blocks if "log_effective" in block]
    exec(compile(example, "start.md", "exec"), names)
    assert names["log_q"].shape == (1024,) and np.isfinite(names["log_q"]).all()


@pytest.fixture
def figures(monkeypatch):
    """Return a function from the name of a module of docs/figures to the module."""
    monkeypatch.syspath_prepend(str(DOCS))
    yield lambda name: importlib.import_module(f"figures.{name}")
    for name in [name for name in sys.modules if name.split(".")[0] == "figures"]:
        del sys.modules[name]


def test_the_worked_batch_is_what_loops_compute(figures):
    """q+, counts, corrected logits and losses again, without the package."""
    page = figures("worked_batch")
    clicks, positives, drawn = page.CLICKS, page.POSITIVES, page.DRAWN
    count = [3 * c / clicks.sum() + 2 / 6 for c in clicks]
    np.testing.assert_allclose(np.exp(page.batch().log_count), count, rtol=1e-5)
    for correct in ("none", "all", "negatives"):
        losses = []
        for row, own in enumerate(positives):
            shift = [0.0 if correct == "none" else np.log(n) for n in count]
            score = page.COSINES[row] / page.TEMPERATURE
            positive = score[own] - (shift[own] if correct == "all" else 0)
            total = np.exp(positive)
            for item in [*positives, *drawn]:
                if item != own:
                    total += np.exp(score[item] - shift[item])
            losses.append(np.log(total) - positive)
        np.testing.assert_allclose(page.losses(correct), losses, rtol=2e-5)
    values = page.values()
    assert values["n-a"] == "1.833" and values["own"] == "5.39"
    assert f"{page.losses('all')[0]:.3f}" in values["losses"]


@pytest.mark.parametrize(("correct", "mask"), [("all", False), ("negatives", True)])
def test_the_optimum_of_the_pages_has_no_gradient(figures, correct, mask):
    """The gradient of the package's loss over all positives and sets of draws is 0."""
    page = figures("optimum")
    case = page.Case(page.uniform(), 8, correct, mask)
    counts, chance = page.multiplicities(case, 50), page.target()
    scores = np.log(chance)
    for _ in range(300):
        scores = scores + np.log(chance / page.given_share(case, scores, counts))
    log_n = np.log(8 / page.ITEMS)

    def loss_of_set(scores: jax.Array, drawn: jax.Array) -> jax.Array:
        own = scores - log_n if correct == "all" else scores
        weight = jnp.broadcast_to(drawn, (page.ITEMS, page.ITEMS))
        if mask:
            weight = weight * (1 - jnp.eye(page.ITEMS))
        logits = jnp.broadcast_to(scores - log_n, weight.shape)
        loss = sampled_softmax(own, logits, weight)
        return jnp.vdot(jnp.asarray(chance, jnp.float32), loss)

    def expected_loss(scores: jax.Array) -> jax.Array:
        sets = jnp.asarray(counts, jnp.float32)
        return jax.vmap(loss_of_set, (None, 0))(scores, sets).mean()

    at_start, at_optimum = (
        np.abs(jax.grad(expected_loss)(jnp.asarray(point, jnp.float32))).sum()
        for point in (np.log(chance), scores)
    )
    assert at_optimum < 1e-3 < 0.03 < at_start


def test_few_draws_move_the_optimum_under_one_form_only(figures):
    page = figures("optimum")
    slopes = {
        (correct, draws): page.slope(
            page.optimum(page.Case(page.uniform(), draws, correct, mask))
        )
        for correct, mask in (("all", False), ("negatives", True))
        for draws in (4, 64)
    }
    assert slopes["all", 4] == pytest.approx(1, abs=0.03)
    assert slopes["all", 64] == pytest.approx(1, abs=0.03)
    assert slopes["negatives", 4] > 1.5
    assert slopes["negatives", 64] == pytest.approx(1.04, abs=0.03)


@pytest.fixture
def hooks(monkeypatch):
    """Return a function from the name of a module of docs/hooks to the module."""
    monkeypatch.syspath_prepend(str(DOCS / "hooks"))
    yield importlib.import_module
    for path in (DOCS / "hooks").glob("*.py"):
        sys.modules.pop(path.stem, None)


@needs_extra
def test_a_formula_becomes_mathml_and_code_stays(hooks):
    formulas = hooks("formulas")

    class File:
        src_uri = "page.md"

    class Page:
        file = File()

    text = "Costs $5 and $q^+_j$; `$x$` is code.\n\n$$\\sum_j N_j$$\n"
    marked = formulas.on_page_markdown(text, page=Page())
    assert "`$x$`" in marked and "Costs $5 and" in marked and "$q" not in marked
    html = formulas.on_page_content(
        "<p>FORMULA0ALUMROF</p><p>a FORMULA1ALUMROF</p>".replace("0", "1", 1), Page()
    )
    assert html.count("<math") == 2 and '<div class="formula">' in html
    assert formulas.displayed(r"a = b, \qquad c = d").count("<math") == 2


@needs_extra
@pytest.mark.parametrize(
    ("html", "loads"),
    [
        ('<script src="https://cdn.example/x.js"></script>', True),
        ('<img alt="a" src="//cdn.example/x.png">', True),
        ('<link rel="stylesheet" href="https://cdn.example/x.css">', True),
        ("<style>a { background: url(https://cdn.example/x.png) }</style>", True),
        ('<a href="https://paper.example/x.pdf">a paper</a>', False),
        ('<script src="assets/x.js"></script><img src="x.png">', False),
    ],
)
def test_the_build_sees_what_a_page_would_load(hooks, tmp_path, html, loads):
    (tmp_path / "page.html").write_text(html)
    assert bool(list(hooks("offline").remote_resources(tmp_path))) == loads


@needs_extra
def test_every_module_of_the_package_is_in_the_reference(hooks):
    pages = hooks("pages")
    listed = {module for modules in pages.rooms().values() for module in modules}
    assert "twotower_jax.negatives.easy" in listed
    assert {"twotower_jax", "twotower_jax.data.sources"} <= set(pages.rooms())
    number = len([p for p in (ROOT / "twotower_jax").rglob("*.py") if p.stem[0] != "_"])
    assert len(listed) == number


@needs_extra
@pytest.mark.slow
def test_the_site_builds_without_a_warning(tmp_path):
    """Dead links and anchors, pages outside the navigation and remote files fail."""
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet"]
    done = subprocess.run(
        [*command, "--site-dir", str(tmp_path / "site")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    page = (tmp_path / "site" / "choices" / "easy.html").read_text()
    assert "<math" in page and "<svg" in page and "FORMULA" not in page
    for path in (tmp_path / "site").rglob("*.html"):
        assert "<!-- computed" not in path.read_text()


def test_the_pages_are_plain_english():
    """One idea a sentence: few words, at most two numbers and one link."""
    english = runpy.run_path(str(ROOT / "docs" / "english.py"))
    every = [
        (path.name, sentence)
        for path in english["pages"]()
        for sentence in english["sentences"](path.read_text(encoding="utf-8"))
    ]
    assert statistics.median(sentence.words for _, sentence in every) <= 16
    heavy = [one for one in every if one[1].numbers > 2 or one[1].links > 1]
    assert not heavy, heavy
