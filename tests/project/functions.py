"""The functions of a source, read line by line: parsing all sources would take a second."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

_DEFINITION = re.compile(r"( *)(?:async )?def (\w+)")
_END = re.compile(r" *(?:async )?def .*:(?: \.\.\.)?(?:  #.*)?$")


@dataclass(frozen=True)
class Function:
    """A function or method: its name, place, decorators, result and first line of docstring."""

    name: str
    line: int
    indent: int
    decorators: tuple[str, ...]
    result: str
    summary: str
    sections: tuple[tuple[str, str], ...]
    """The headings of the docstring, such as ``Args``, each with the line that follows it."""


def read_functions(source: str) -> Iterator[Function]:
    """Yield the functions of a source that ruff has formatted, but not those within strings."""
    lines = source.splitlines()
    inside = ""
    for number, line in enumerate(lines):
        if not inside and (found := _DEFINITION.match(line)):
            yield _read_function(lines, number, found)
        for quotes in ('"""', "'''"):
            if inside in ("", quotes) and line.count(quotes) % 2:
                inside = "" if inside else quotes


def _read_function(lines: list[str], number: int, found: re.Match[str]) -> Function:
    margin, name = found[1], found[2]
    end = number
    if not _END.match(lines[end]):
        end = next(at for at in range(number + 1, len(lines)) if lines[at].startswith(f"{margin})"))
    decorators = []
    for above in range(number - 1, -1, -1):
        line = lines[above]
        if not line.startswith(margin) or not line.strip():
            break
        if line.startswith(f"{margin}@"):
            decorators.append(line.strip(" @").partition("(")[0])
        elif not line.startswith((f"{margin} ", f"{margin})", f"{margin}]")):
            break
    result = lines[end].rpartition("-> ")[2].partition(":")[0]
    documentation = list(_read_docstring(lines, end + 1))
    return Function(
        name,
        number + 1,
        len(margin),
        tuple(decorators),
        result,
        documentation[0] if documentation else "",
        tuple(_find_sections(documentation, f"{margin}    ")),
    )


def _read_docstring(lines: list[str], start: int) -> Iterator[str]:
    """Yield the lines of the docstring that begins in a line, the first one without its quotes."""
    first = lines[start].strip() if start < len(lines) else ""
    if not first.startswith(('"""', 'r"""')):
        return
    text = first.partition('"""')[2]
    yield text.partition('"""')[0]
    while '"""' not in text:
        start += 1
        text = lines[start]
        yield text.partition('"""')[0]


def _find_sections(documentation: list[str], margin: str) -> Iterator[tuple[str, str]]:
    for line, following in pairwise(documentation):
        if found := re.fullmatch(rf"{margin}([A-Z][a-z]+(?: [A-Z]?[a-z]+)?):", line):
            yield found[1], following.removeprefix(margin)
