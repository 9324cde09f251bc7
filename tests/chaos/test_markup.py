"""Markup in the names and texts of a study: text in the report, never an element.

A page is parsed as HTML, and each figure file as XML; no browser opens them.
"""

from html.parser import HTMLParser
from xml.etree import ElementTree

import numpy as np
import pytest
from helpers.chaos import campaign, trials
from helpers.studies import report, write_arm, write_queries

PIECES = (
    *(
        "<script>alert(1)</script>",
        "<img src=x onerror=alert(1)>",
        "</style>",
        "</svg>",
    ),
    *(
        "<svg/onload=alert(1)>",
        "<a href='javascript:alert(1)'>x</a>",
        "</title>",
        "-->",
    ),
    *('" onmouseover="alert(1)', "' onfocus='alert(1)' autofocus '", "<!--", "]]>"),
    *(
        "<![CDATA[",
        "<iframe src=//127.0.0.1>",
        "<style>*{display:none}</style>",
        "&lt;",
    ),
    *("<math><mi xlink:href='javascript:1'>", "&#60;script&#62;", "%3Cscript%3E", "<"),
    *("<foreignObject><body onload=1>", "<use href='#a'/>", 'x" id="y', "url(#z)", ">"),
    *("$x_1$", r"\mathdefault{<b>}", "{{7*7}}", "${7*7}", "[red]b[/red]", "`b`", "&"),
    *("\u202eb", "\u2028", "a\tb", "\U0001d518", "<\x00b>", "<scr\nipt>", "name", "'"),
    *("<meta http-equiv=refresh content=0>", "<base href=//127.0.0.1>", "<plaintext>"),
)
# Texts that a file name cannot hold.
NO_NAME = ("/", "\x00", "\n")


class Elements(HTMLParser):
    """The elements of a page and its texts.

    Attributes:
      kinds: {(tag, names of its attributes)}.
      values: values of the attributes.
      text: everything that a reader may see.
    """

    def __init__(self, text):
        super().__init__()
        self.kinds, self.values, self.text = set(), [], ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.kinds.add((tag, *sorted(name for name, _ in attrs)))
        self.values += [(name, value or "") for name, value in attrs]

    def handle_data(self, data):
        self.text += data

    def handle_comment(self, data):
        self.kinds.add(("comment", data))

    def unknown_decl(self, data):
        self.kinds.add(("declaration", data))

    def handle_pi(self, data):
        self.kinds.add(("instruction", data))


def hostile(rng):
    """Return up to three pieces of markup, joined."""
    return "".join(rng.choice(PIECES, rng.integers(1, 4))).strip() or "<b>"


def study(folder, names, texts):
    """Write a study with these names of arms, and return its page."""
    folder.mkdir()
    for number, name in enumerate(names):
        place = 0.1 * (number + 1)
        write_arm(folder, name, [place, place + 0.01, place + 0.02])
    write_queries(folder)
    skipped = folder / texts["folder"]
    skipped.mkdir()
    (skipped / "config.yaml").write_text("arm: half")
    given = {key: texts[key] for key in ("question", "answer", "source", "tuned")}
    return report(folder, **given)


@pytest.mark.slow
def test_markup_is_text(tmp_path):
    rng, done = np.random.default_rng(0), 0
    plain = dict.fromkeys(("question", "answer", "source", "tuned"), "plain")
    page = study(tmp_path / "plain", ["a", "b", "c"], plain | {"folder": "d"})
    ours = Elements(page.read_text(encoding="utf-8"))
    figures = {path.name: tags(path) for path in page.parent.glob("*.svg")}
    assert ours.kinds and figures
    with campaign("markup in reports") as counts:
        for number in range(trials(1_000)):
            names = [f"{place}{hostile(rng)}" for place in range(3)]
            texts = {key: hostile(rng) for key in plain}
            texts["folder"] = name = "".join(
                one for one in hostile(rng) if one not in NO_NAME
            )
            folder = tmp_path / f"{number}{name[:60]}"
            page = study(folder, names, texts)
            found = Elements(page.read_text(encoding="utf-8"))
            assert found.kinds <= ours.kinds, (names, texts)
            for attribute, value in found.values:
                assert not attribute.startswith("on")
                assert attribute not in ("href", "src") or value.startswith("#")
            for text in (*names, texts["answer"], texts["question"]):
                assert shown(text) in shown(found.text), text
            for path in page.parent.glob("*.svg"):
                assert tags(path) <= figures[path.name], (path.name, names)
            done += 1
        counts |= {"trials": done}
    assert done


def shown(text):
    """Return a text without spaces and characters that HTML cannot hold."""
    text = text.replace("\ufffd", "")  # what is shown in the place of one
    return "".join(one for one in text if one.isprintable() and not one.isspace())


def tags(path):
    """Return {(tag, names of its attributes)} of an XML file."""
    return {(one.tag, *sorted(one.attrib)) for one in ElementTree.parse(path).iter()}
