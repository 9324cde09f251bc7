"""Pages that are made at build time: the reference, and files of the repository.

The reference has one page per room of the package, found by listing the folders, so a
module that moves needs no change here. CONTRIBUTING.md, CHANGELOG.md and the READMEs
become pages of the site; links between files of the repository become links between
pages, or plain text where the site has no such page.
"""

import os
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "twotower_jax"

# Pages of the site by the file of the repository that they show.
SHOWN = {
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "twotower_jax/data/simulator/README.md": "simulator.md",
    "experiments/lecture/README.md": "results/lecture.md",
}
# The studies of papers, to which the board of published cells links.
STUDIES = {
    f"experiments/papers/{path.parent.name}/README.md": (
        f"results/papers/{path.parent.name}.md"
    )
    for path in sorted((ROOT / "experiments" / "papers").glob("*/README.md"))
}
SHOWN |= STUDIES
# Figures of the site by the file of the repository.
FIGURES = {
    f"experiments/lecture/{path.name}": f"results/{path.name}"
    for path in sorted((ROOT / "experiments" / "lecture").glob("figure_*.svg"))
}
# Files of the repository that a page of docs/ stands for.
STANDS_FOR = {
    **FIGURES,
    "README.md": "start.md",
    "experiments/papers/README.md": "results/papers.md",
    **{
        f"experiments/{path.parent.name}/README.md": "results/studies.md"
        for path in (ROOT / "experiments").glob("*/README.md")
        if path.parent.name not in ("lecture", "papers")
    },
}
LINK = re.compile(r"(!?)\[([^\]]*)\]\(([^)\s]+)\)")


def rooms() -> dict[str, list[str]]:
    """Return the modules of every room by the room's dotted name.

    The modules at the top of the package are the room `twotower_jax`.
    """
    found: dict[str, list[str]] = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        room = ".".join(parts[:-1])
        if parts[-1] == "__init__":
            found.setdefault(room, [])
        elif parts[-1] != "__main__":
            found.setdefault(room, []).append(".".join(parts))
    return found


def reference_page(room: str) -> str:
    """Return the address of a room's page within the site's sources."""
    name = room.removeprefix("twotower_jax").removeprefix(".") or "index"
    return f"reference/{name.replace('.', '_')}.md"


def reference_text(room: str, modules: list[str]) -> str:
    """Return the Markdown of a room's page: its docstring, then every module."""
    blocks = [
        # A search lists the pages with explanations first.
        "---\nsearch:\n  boost: 0.3\n---\n",
        f"# {room}\n",
        f"::: {room}\n    options:\n      members: false\n"
        "      show_root_heading: false\n      show_root_toc_entry: false\n",
    ]
    return "\n".join([*blocks, *(f"::: {module}\n" for module in modules)])


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Put the rooms' pages into the navigation."""
    pages = [
        {room.removeprefix("twotower_jax."): reference_page(room)}
        for room in sorted(rooms(), key=lambda name: (name != "twotower_jax", name))
    ]
    pages.insert(1, {"Configuration keys": "reference-keys.md"})
    for entry in config.nav or []:
        for part in entry.get("Reference", []):
            if part.get("Code") == "reference/":
                part["Code"] = pages
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the made pages to the files of the site."""
    for room, modules in rooms().items():
        text = reference_text(room, modules)
        files.append(File.generated(config, reference_page(room), content=text))
    for source, page in SHOWN.items():
        text = (ROOT / source).read_text(encoding="utf-8")
        files.append(File.generated(config, page, content=text))
    for source, figure in FIGURES.items():
        place = str(ROOT / source)
        files.append(File.generated(config, figure, abs_src_path=place))
    return files


def on_page_markdown(
    markdown: str, page: Page, config: MkDocsConfig, **_: object
) -> str:
    """Turn links to files of the repository into links to pages."""
    shown = {page: source for source, page in SHOWN.items()}
    uri = page.file.src_uri
    source = shown.get(uri, f"docs/{uri}")
    in_docs = {path.name for path in Path(config.docs_dir).iterdir()}

    def link(match: re.Match[str]) -> str:
        image, text, address = match.groups()
        path, mark, anchor = address.partition("#")
        if not path or re.match(r"[a-z]+:", address):
            return match.group()
        target = os.path.normpath(os.path.join(os.path.dirname(source), path))
        wanted = SHOWN.get(target) or STANDS_FOR.get(target)
        if target.startswith("docs/") and target.split("/")[1] in in_docs:
            wanted = target.removeprefix("docs/")
        if wanted:
            relative = os.path.relpath(wanted, os.path.dirname(uri) or ".")
            return f"{image}[{text}]({relative}{mark}{anchor})"
        if target.startswith("docs/") or not (ROOT / target).exists():
            return match.group()  # A dead link stays one, and ends the build.
        return text

    return LINK.sub(link, markdown)
