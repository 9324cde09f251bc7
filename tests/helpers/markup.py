"""Studies with markup in their names and texts, and what a page or figure holds."""

import json
from html.parser import HTMLParser
from xml.etree import ElementTree

import yaml

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
# Characters that a file name cannot hold.
NO_NAME = "/\x00\n"
# The texts of a study beside its arms and the name of a folder.
TEXTS = ("question", "answer", "source", "tuned", "key", "value", "machine")


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


def hostile(rng, pieces=PIECES):
    """Return up to three pieces of markup, joined."""
    return "".join(rng.choice(pieces, rng.integers(1, 4))).strip() or "<b>"


def hostile_texts(rng, pieces=PIECES):
    """Return three names of arms, and a text for each of TEXTS."""
    names = [f"{place}{hostile(rng, pieces)}" for place in range(3)]
    texts = {key: hostile(rng, pieces) for key in TEXTS}
    return names, texts | {"folder": file_name(hostile(rng, pieces))}


def file_name(text):
    """Return the part of a text that a file name can hold."""
    kept = "".join(one for one in text if one not in NO_NAME)
    return kept.encode()[:200].decode(errors="ignore")


def study(folder, names, texts):
    """Write a study with these names of arms, and return its page."""
    folder.mkdir()
    for number, name in enumerate(names):
        place = 0.1 * (number + 1)
        value = {"loss": {texts["key"]: f"{number}{texts['value']}"}}
        write_arm(folder, name, [place, place + 0.01, place + 0.02], config=value)
    write_queries(folder)
    for path in folder.glob("*/manifest.json"):
        names = ("data_fingerprint", "device", "processor", "l2_penalty")
        facts = dict.fromkeys(names, texts["machine"])
        versions = {texts["machine"]: texts["machine"]}
        path.write_text(json.dumps({**facts, "versions": versions}))
    skipped = folder / texts["folder"]
    skipped.mkdir()
    (skipped / "config.yaml").write_text(yaml.safe_dump({"arm": "half"}))
    given = {key: texts[key] for key in ("question", "answer", "source", "tuned")}
    return report(folder, **given)


def plain_study(folder):
    """Write a study of the same shape without markup, and return its page."""
    texts = dict.fromkeys(TEXTS, "plain") | {"folder": "d"}
    return study(folder, ["a", "b", "c"], texts)


def assert_text_alone(found, ours, names, texts):
    """Compare a page, as Elements, with that of a plain study."""
    assert found.kinds <= ours.kinds, (found.kinds - ours.kinds, names, texts)
    for attribute, value in found.values:
        assert not attribute.startswith("on")
        assert attribute not in ("href", "src") or value.startswith("#")
    seen = shown(found.text)
    for key, text in (*zip(names, names, strict=True), *texts.items()):
        # A key and its value are shown as JSON, which escapes the end of a line.
        ways = {text, json.dumps(text, ensure_ascii=False)[1:-1], repr(text)[1:-1]}
        ways = ways if key in ("key", "value") else {text}
        assert any(shown(way) in seen for way in ways), (key, text)


def shown(text):
    """Return a text without spaces and characters that HTML cannot hold."""
    text = text.replace("\ufffd", "")  # replaces invalid characters in HTML
    return "".join(one for one in text if one.isprintable() and not one.isspace())


def tags(path):
    """Return {(tag, names of its attributes)} of an XML file."""
    return {(one.tag, *sorted(one.attrib)) for one in ElementTree.parse(path).iter()}
