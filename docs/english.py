"""Measure the English of the pages: `python docs/english.py [FILE ...]`.

Prints, by page, the sentences, the median words of a sentence, and the sentences that
have more than two numbers or more than one link outside of tables, code and lists of
pages.
"""

import re
import statistics
import sys
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
# Blocks that are no prose, and what stands for a piece of code or a formula.
BLOCKS = re.compile(r"```.*?```|\$\$.*?\$\$|<!--.*?-->|^---\n.*?^---\n", re.S | re.M)
CODE = re.compile(r"`[^`]*`|\$[^$]*\$")
LINK = re.compile(r"!?\[([^\]]*)\]\([^)]*\)")
NUMBER = re.compile(r"(?<![\w.@:^-])[-+\u2212]?(?:\d[\d,]*\.?\d*|\.\d+)\b(?![.:]?\d)")
YEAR = re.compile(r"\b(?:19|20)\d\d\b|\d+\.\d+\.\d+\S*")  # and versions
END = re.compile(r"(?<=[.!?:;])\s+(?=[A-Z*`\[(]|$)")


class Sentence(NamedTuple):
    """A sentence of a page."""

    text: str
    words: int
    numbers: int
    links: int


def sentences(markdown: str) -> list[Sentence]:
    """Return the sentences of the paragraphs and lists of a page.

    Examples:
      >>> text = "# Title\\n\\nOne of [two](a.md) and `x=3`. It has 4 or 5.\\n"
      >>> [(s.words, s.numbers, s.links) for s in sentences(text)]
      [(5, 0, 1), (5, 2, 0)]
    """
    found = []
    for block in re.split(r"\n\s*\n|\n(?=[*-] )", BLOCKS.sub("\n\n", markdown)):
        lines = block.strip().splitlines()
        if not lines or lines[0].startswith(("#", "|", "<", "    ", "!")):
            continue
        text = CODE.sub("Code", " ".join(lines))
        if " · " in text or not re.search(r"[.!?:;]\W*$", text):
            continue  # a list of pages, or of names
        for sentence in END.split(text):
            shown = LINK.sub(r"\1", sentence)
            shown = YEAR.sub("year", shown)
            words = len(re.findall(r"\w+(?:['.,]\w+)*", shown))
            if words:
                numbers = len(NUMBER.findall(shown))
                links = len(LINK.findall(sentence))
                found.append(Sentence(sentence.strip(), words, numbers, links))
    return found


def pages() -> list[Path]:
    """Return README, the pages of the site and those of the studies of papers."""
    own = sorted((ROOT / "docs").rglob("*.md"))
    own += sorted((ROOT / "experiments" / "papers").rglob("README.md"))
    return [ROOT / "README.md", *(p for p in own if p.name != "reference-keys.md")]


def main() -> None:
    """Print a line for each page, and the sentences to rewrite."""
    files, every = [Path(name) for name in sys.argv[1:]] or pages(), []
    for path in files:
        found = sentences(path.read_text(encoding="utf-8"))
        every += found
        if found:
            median = statistics.median(sentence.words for sentence in found)
            print(f"{path}: {len(found)} sentences, median {median:g} words")
        for sentence in found:
            if sentence.numbers > 2 or sentence.links > 1:
                print(f"  {sentence.numbers} numbers, {sentence.links} links:", end=" ")
                print(sentence.text[:700])
    median = statistics.median(sentence.words for sentence in every)
    print(f"all: {len(every):,} sentences, median {median:g} words")
    for name, most in (("numbers", 2), ("links", 1)):
        many = sum(getattr(sentence, name) > most for sentence in every)
        print(f"  {many} sentences with more than {most} {name}")


if __name__ == "__main__":
    main()
