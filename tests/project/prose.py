"""Count habits of prose that make docstrings, comments, error texts and pages hard to read.

Usage: ``python tests/project/prose.py [-v] PATH ...``, with files or folders. Print the rate of
each habit per 1,000 words and its limit; exit with 1 if a rate exceeds its limit. ``-v`` prints
every place.

Each limit is the highest rate in code bases that read well (aiohttp and anyio stay below all of
them). CONTRIBUTING.md has the rule behind the habits. The check needs only the standard library, so
that the lint session and a pre-commit hook run it without the package.
"""

import argparse
import ast
import io
import re
import sys
import tokenize
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Habit:
    """A habit of prose: its pattern, and the highest rate per 1,000 words."""

    name: str
    pattern: re.Pattern[str]
    limit: float


_VERBS = (
    "asks|waits|waited|comes|came|adds|decides|takes|gives|cancels|may|has|had|patches|reads|filters"
    "|sleeps|was|is|changes|gets|makes|overslept|looks|sent|there|calls|wants|needs|knows"
)
_CLAUSES = "is|was|it|they|a|an|the|has|else|we|comes|does|to|may|one|there|follows|such|went"
_PRONOUNS = "nobody|nothing|everybody|anybody|somebody|everyone|anyone"
_INFINITIVES = "be|have|bring|get|go|do|end|find|become|use|wait|ask|send"


HABITS = (
    Habit("who + verb", re.compile(rf"\bwho(ever)?\s+({_VERBS})\b", re.IGNORECASE), 0.1),
    Habit("what + clause", re.compile(rf"\bwhat ({_CLAUSES})\b", re.IGNORECASE), 1.0),
    Habit("pronoun as subject", re.compile(rf"\b({_PRONOUNS})\b", re.IGNORECASE), 1.0),
    Habit("tell, told", re.compile(r"\b(told|tells?)\b", re.IGNORECASE), 0.5),
    Habit("of its own", re.compile(r"\bof (its|their|his|our|my) own\b|\bof ours\b"), 0.6),
    Habit(
        "there is no",
        re.compile(r"\bthere (is|are|was|were) (no|none|nothing|nobody)\b", re.IGNORECASE),
        0.7,
    ),
    Habit("is to + verb", re.compile(rf"\b(is|are|was|were) (not )?to ({_INFINITIVES})\b"), 0.3),
)


@dataclass(frozen=True)
class Place:
    """One occurrence of a habit."""

    path: Path
    line: int
    excerpt: str


def read_texts(path: Path) -> Iterator[tuple[int, str]]:
    """Yield the prose of a file with line numbers: a page without code, or a module's texts."""
    source = path.read_text(encoding="utf-8")
    if path.suffix == ".md":
        yield (
            1,
            re.sub(
                r"`[^`\n]*`", "", re.sub(r"^```.*?^```", "", source, flags=re.DOTALL | re.MULTILINE)
            ),
        )
        return
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield getattr(node, "lineno", 1), ast.get_docstring(node) or ""
        elif isinstance(node, ast.Raise | ast.Assign) and _is_message(node):
            yield from ((node.lineno, text) for text in _iter_strings(node))
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            yield token.start[0], token.string.lstrip("# ")


def _is_message(node: ast.Raise | ast.Assign) -> bool:
    names = node.targets if isinstance(node, ast.Assign) else []
    return isinstance(node, ast.Raise) or any(
        isinstance(name, ast.Name) and name.id == "msg" for name in names
    )


def _iter_strings(node: ast.AST) -> Iterator[str]:
    for part in ast.walk(node):
        if isinstance(part, ast.Constant) and isinstance(part.value, str):
            yield part.value


def find_files(paths: Sequence[Path]) -> Iterator[Path]:
    """Yield the Python and Markdown files below these paths."""
    for path in paths:
        if path.is_file():
            yield path
        else:
            yield from sorted(each for each in path.rglob("*") if each.suffix in (".py", ".md"))


def count(paths: Sequence[Path]) -> tuple[int, dict[Habit, list[Place]]]:
    """Return the number of words below these paths, and every place of each habit."""
    words = 0
    found: dict[Habit, list[Place]] = {habit: [] for habit in HABITS}
    for path in find_files(paths):
        for line, text in read_texts(path):
            words += len(text.split())
            for habit, places in found.items():
                for match in habit.pattern.finditer(text):
                    excerpt = text[max(0, match.start() - 30) : match.end() + 40].replace("\n", " ")
                    places.append(Place(path, line, excerpt))
    return words, found


def main(arguments: Sequence[str]) -> int:
    """Print the rates; return 1 if any of them exceeds its limit, else 0."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("-v", "--verbose", action="store_true", help="print every place")
    parser.add_argument("paths", nargs="+", type=Path)
    options = parser.parse_args(arguments)
    words, found = count(options.paths)
    print(f"{words} words of docstrings, comments, error texts and pages")
    over = False
    for habit, places in found.items():
        rate = 1000 * len(places) / max(words, 1)
        over |= rate > habit.limit
        verdict = "OVER " if rate > habit.limit else "holds"
        print(
            f"{len(places):5d}  {rate:6.2f} per 1,000, limit {habit.limit}  {verdict}  {habit.name}"
        )
        if options.verbose:
            for place in places:
                print(f"       {place.path}:{place.line}: {place.excerpt}")
    return int(over)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
