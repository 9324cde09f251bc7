"""The site loads nothing from elsewhere: the build fails where a page would.

Links to papers and projects are fine, since they load nothing by themselves.
"""

import re
from collections.abc import Iterator
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError

REMOTE = r"(?:https?:)?//[\w.-]+"
LOADS = re.compile(
    rf"<(?:script|img|iframe|source|video|audio|embed|object|image|use)\b[^>]*?"
    rf"\s(?:src|srcset|data|href|xlink:href)\s*=\s*[\"']?({REMOTE})"
    rf"|<link\b(?![^>]*rel=[\"']?canonical)[^>]*?\shref\s*=\s*[\"']?({REMOTE})"
    rf"|url\(\s*[\"']?({REMOTE})"
    rf"|@import\s+[\"']({REMOTE})",
    re.IGNORECASE,
)


def remote_resources(site: Path) -> Iterator[str]:
    """Yield "file: address" of everything that a page or style sheet would load."""
    for path in sorted([*site.rglob("*.html"), *site.rglob("*.css")]):
        for match in LOADS.finditer(path.read_text(encoding="utf-8")):
            yield f"{path.relative_to(site)}: {next(filter(None, match.groups()))}"


def on_post_build(config: MkDocsConfig, **_: object) -> None:
    """Fail where the built site loads something from elsewhere.

    Raises:
      PluginError: naming the files and addresses.
    """
    found = list(remote_resources(Path(config.site_dir)))
    if found:
        raise PluginError("the site loads from elsewhere:\n" + "\n".join(found))
