"""How a page that is written for GitHub becomes a page of the site; pure functions.

A list of links in an index becomes a table of contents, a stub becomes the file of the root that it
links to, and a link to a file outside of the folder becomes one to the repository.
"""

import posixpath
import re
from collections.abc import Callable
from pathlib import Path

DOCS = Path(__file__).parent
ROOT = DOCS.parent
REPOSITORY = "https://github.com/aiomsi/aiomsi/blob/main"

INDEXES = ("index", "api/index", "decisions/README")
"""Pages whose lists of links are the tables of contents."""

STUBS = {"contributing": "CONTRIBUTING.md", "changelog": "CHANGELOG.md", "policy": "SECURITY.md"}
"""Pages that stand for a file of the root."""

FENCE = re.compile(r"(^```.*?^```$)", re.DOTALL | re.MULTILINE)
LINK = re.compile(r"(?<=\]\()(?!https?:|#|mailto:)([^)\s]+)(?=\))")


def adapt(name: str, text: str) -> str:
    """Return the source that Sphinx reads for a page, by its name without a suffix."""
    folder = posixpath.dirname(name)
    if name in STUBS:
        text = (ROOT / STUBS[name]).read_text(encoding="utf-8")
        folder = ".."
    text = map_prose(text, lambda prose: LINK.sub(lambda m: resolve(m[1], folder), prose))
    return text + make_contents(name, text) if name in INDEXES else text


def map_prose(text: str, change: Callable[[str], str]) -> str:
    """Apply a function to the parts of a page that are no code."""
    parts = FENCE.split(text)
    return "".join(part if number % 2 else change(part) for number, part in enumerate(parts))


def resolve(link: str, folder: str) -> str:
    """Return the link of the site for a relative link of a page in a folder below docs."""
    path, mark, anchor = link.partition("#")
    target = posixpath.normpath(posixpath.join("docs", folder, path))
    for page, file in STUBS.items():
        if target == file:
            return f"/{page}.md{mark}{anchor}"
    if target.startswith("docs/") or target.endswith((".svg", ".png")):
        return link if folder != ".." else f"{posixpath.relpath(target, 'docs')}{mark}{anchor}"
    return f"{REPOSITORY}/{target}{mark}{anchor}"


def make_contents(name: str, text: str) -> str:
    """Return the hidden tables of contents of an index: one for each heading with links."""
    made = []
    for section in re.split(r"^## ", text, flags=re.MULTILINE):
        caption = section.partition("\n")[0] if not section.startswith("#") else ""
        found = re.findall(r"^(?:-|\d+\.) \[([^\]]*)\]\(([^)#]+)\.md\)", section, re.MULTILINE)
        pages = [f"{title} <{page}>" for title, page in found]
        if pages:
            lines = ["", "```{toctree}", ":hidden:"]
            lines += [f":caption: {caption}"] if caption and name == "index" else []
            made.append("\n".join([*lines, "", *pages, "```", ""]))
    return "\n".join(made)
