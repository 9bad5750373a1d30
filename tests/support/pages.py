"""The code of README and docs: its blocks, and how tests run them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs

ROOT = Path(__file__).parents[2]
MARKER = re.compile(r"<!-- needs (Azure|root)[^>]*-->\s*\Z")
"""A comment before a block that no test can run; the rest of the comment may name the reason."""

_FENCE = re.compile(r"^( *)```(\w*)\n(.*?)^\1```$", re.DOTALL | re.MULTILINE)


@attrs.frozen
class Block:
    """A block of code.

    Attributes:
        page: the page, as a path below the root.
        line: the number of the block's first line.
        language: the word behind the fence; empty without one.
        text: the code.
        marked: whether a comment before the block states that no test can run it.

    """

    page: str
    line: int
    language: str
    text: str
    marked: bool


def list_pages() -> list[str]:
    """Return README and the pages below docs."""
    found = sorted((ROOT / "docs").rglob("*.md"))
    return ["README.md", *(page.relative_to(ROOT).as_posix() for page in found)]


def read_page(page: str) -> str:
    """Return the text of a page."""
    return (ROOT / page).read_text(encoding="utf-8")


def split_page(page: str, text: str) -> Iterator[Block]:
    """Yield the blocks of a page in their order."""
    for match in _FENCE.finditer(text):
        before = text[: match.start()]
        yield Block(
            page=page,
            line=before.count("\n") + 2,
            language=match[2],
            text=re.sub(f"^{match[1]}", "", match[3], flags=re.MULTILINE),
            marked=bool(MARKER.search(before)),
        )


def read_blocks(page: str, language: str = "python") -> list[Block]:
    """Return the blocks of a page in one language."""
    return [each for each in split_page(page, read_page(page)) if each.language == language]


def run_page(page: str, **given: Any) -> dict[str, Any]:
    """Run the unmarked Python blocks of a page, one after the other, and return their names.

    Code of one of the examples is left out: the tests of the examples run it.
    """
    blocks = [each for each in read_blocks(page) if not each.marked and not is_example(each)]
    assert blocks, page
    names: dict[str, Any] = dict(given)
    for block in blocks:
        _run(block, block.text, names)
    return names


def run_block(page: str, word: str, old: str = "", new: str = "", **given: Any) -> dict[str, Any]:
    """Run the block that contains a word, with one text replaced by another; return its names."""
    block = find_block(page, word)
    assert old in block.text
    names: dict[str, Any] = dict(given)
    _run(block, block.text.replace(old, new) if old else block.text, names)
    return names


def find_block(page: str, word: str) -> Block:
    """Return the Python block of a page that contains a word."""
    (block,) = (each for each in read_blocks(page) if word in each.text)
    return block


def is_example(block: Block) -> bool:
    """Return whether the code is a part of a file below examples."""
    return any(block.text in text for text in _EXAMPLES)


def _run(block: Block, text: str, names: dict[str, Any]) -> None:
    # With its line, so that a traceback leads to the page.
    code = compile("\n" * (block.line - 1) + text, str(ROOT / block.page), "exec")
    exec(code, names)  # noqa: S102 (our own)


_EXAMPLES = [each.read_text(encoding="utf-8") for each in sorted((ROOT / "examples").rglob("*.py"))]


def write_files(page: str, folder: Path) -> list[str]:
    """Write the Python blocks of a page whose first line is a comment with a file's name."""
    names = []
    for block in read_blocks(page):
        (name,) = re.findall(r"\A# (\w+\.py)\n", block.text)
        (folder / name).write_text(block.text, encoding="utf-8")
        names.append(name)
    return names
