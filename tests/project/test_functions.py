"""Functions at the top of a module are verbs, and docstrings begin with an imperative."""

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from project.functions import Function, read_functions
from project.verbs import VERBS, WORDS

pytestmark = pytest.mark.once

ROOT = Path(__file__).parents[2]
TREES = ("src", "tests", "benchmarks")
NOUNS = {
    "bearer",
    "dumps",
    "instance_metadata",
    "inventory",
    "loads",
    "main",
    "rows",
    "token_provider",
}
"""Names that other people chose, and public functions named after the value that users get."""
NAMED_BY_DECORATOR = {"command", "fixture", "group", "register_story"}
"""Decorators of functions whose name is that of a command, a value or a story."""
PREDICATES = {"can", "has", "is", "may", "must"}
METHODS = {"DELETE", "GET", "HEAD", "PATCH", "POST", "PUT"}
VALUES = {"cached_property", "fixture", "property", "setter"}
"""Decorators of functions whose docstring describes a value: "The status", "Whether ..."."""
SECTIONS = ["Args", "Returns", "Raises", "Attributes"]
REFERENCES = {"Source", "Sources"}
ENTRY = re.compile(r"    (?:\*{0,2}\w+(?:, \*{0,2}\w+)*|`?[\w.]+`?(?:, `?[\w.]+`?)*): \S")


@cache
def read_tree(tree: str) -> tuple[tuple[str, Function], ...]:
    """Return the functions below a folder, each with its file and line."""
    return tuple(
        (f"{path.relative_to(ROOT).as_posix()}:{function.line}", function)
        for path in sorted((ROOT / tree).rglob("*.py"))
        for function in read_functions(path.read_text(encoding="utf-8"))
    )


def has_decorator(function: Function, names: set[str]) -> bool:
    return any(name.rpartition(".")[2] in names for name in function.decorators)


def is_verb_of_a_bool(word: str) -> bool:
    """Return whether a word is a verb in the third person: `contains`, `matches`, `carries`."""
    bases = {word.removesuffix("s"), word.removesuffix("es"), f"{word.removesuffix('ies')}y"}
    return word in PREDICATES or (word.endswith("s") and bool(bases & (VERBS | STATES)))


STATES = {
    "await",
    "contain",
    "cover",
    "differ",
    "enclose",
    "equal",
    "exceed",
    "lack",
    "lead",
    "need",
    "see",
    "sound",
    "state",
}
"""Verbs of predicates alone."""


def is_named_well(function: Function) -> bool:
    """Return whether a function at the top of a module has a verb as its name.

    A predicate, whose result is a bool, may be a verb in the third person, and a conversion may
    begin with "to". A name such as `size_of` is a noun, even if its first word is a verb as well.
    """
    if function.indent or function.name in NOUNS or has_decorator(function, NAMED_BY_DECORATOR):
        return True
    name = function.name.strip("_")
    word = name.partition("_")[0]
    if function.name.endswith("__") or word in ("test", "pytest", "to"):
        return True
    returns_bool = function.result.split(" | ")[0] == "bool" or function.result.startswith(
        "TypeIs["
    )
    return not name.endswith("_of") and (
        word in VERBS or (returns_bool and is_verb_of_a_bool(word))
    )


def begins_well(function: Function) -> bool:
    """Return whether a docstring begins with an imperative; a test's may state what it proves."""
    if not function.summary or function.name.startswith("test_"):
        return True
    if has_decorator(function, VALUES | {"group"}):
        return True
    word = function.summary.split()[0].rstrip(".,:;")
    return word in METHODS or (word[:1].isupper() and word.lower() in VERBS)


def find_odd_sections(function: Function) -> Iterator[str]:
    """Yield the sections of a docstring in another form, or in another order, than all others."""
    names = [name for name, _ in function.sections if name not in REFERENCES]
    yield from (name for name in names if name not in SECTIONS)
    if names != sorted(names, key=lambda name: (*SECTIONS, name).index(name)):
        yield " before ".join(names)
    for name, entry in function.sections:
        if name in ("Args", "Raises", "Attributes") and not ENTRY.match(entry):
            yield f"{name}: {entry}"


@pytest.mark.parametrize("tree", TREES)
def test_functions_of_modules_are_verbs(tree: str) -> None:
    assert [
        f"{place}: {function.name}"
        for place, function in read_tree(tree)
        if not is_named_well(function)
    ] == []


@pytest.mark.parametrize("tree", TREES)
def test_docstrings_begin_with_an_imperative(tree: str) -> None:
    assert [
        f"{place}: {function.summary}"
        for place, function in read_tree(tree)
        if not begins_well(function)
    ] == []


@pytest.mark.parametrize("tree", TREES)
def test_sections_of_docstrings_have_one_form(tree: str) -> None:
    assert [
        f"{place}: {section}"
        for place, function in read_tree(tree)
        for section in find_odd_sections(function)
    ] == []


def test_verbs_are_sorted_and_in_use() -> None:
    functions = [function for tree in TREES for _, function in read_tree(tree)]
    used = {function.name.strip("_").partition("_")[0] for function in functions}
    used |= {re.split(r"\W", function.summary, maxsplit=1)[0].lower() for function in functions}
    assert used >= VERBS
    assert WORDS.split() == sorted(VERBS)


def read_one(source: str) -> Function:
    (function,) = read_functions(source)
    return function


@pytest.mark.parametrize(
    ("source", "good"),
    [
        ("def make_row(): ...", True),
        ("async def _send(): ...", True),
        ("def is_open() -> bool: ...", True),
        ("def matches(row: Row) -> bool: ...", True),
        ("def carries_token() -> TypeIs[Request]: ...", True),
        ("def to_text(value): ...", True),
        ("def __getattr__(name): ...", True),
        ("def test_row(): ...", True),
        ("@pytest.fixture(\n    scope='session'\n)\ndef rows(): ...", True),
        ("@click.command()\n@options\ndef demo(): ...", True),
        ("class A:\n    def rows(self): ...", True),
        ("def row(): ...", False),
        ("def made_up(\n    row: Row,\n) -> bool:\n    return True", False),
        ("def matches(row: Row) -> list[str]: ...", False),
        ("def matches_of(row: Row) -> bool: ...", False),
        ("def count_of(rows): ...", False),
        ("async def __row(): ...", False),
    ],
)
def test_noun_as_a_name_is_found(source: str, *, good: bool) -> None:
    assert is_named_well(read_one(source)) is good


@pytest.mark.parametrize(
    ("text", "good"),
    [
        ("Return the rows.", True),
        ("GET a list.", True),
        ("Returns the rows.", False),
        ("The rows.", False),
        ("return the rows.", False),
        ("Rows.", False),
    ],
)
def test_docstring_without_an_imperative_is_found(text: str, *, good: bool) -> None:
    for definition in ("def f():", "async def f(\n    a,\n) -> Row:  # noqa: X"):
        assert begins_well(read_one(f'{definition}\n    """{text}"""')) is good
    assert begins_well(read_one(f'def test_f():\n    """{text}"""'))
    for decorator in ("property", "functools.cached_property", "status.setter"):
        assert begins_well(
            read_one(f'class A:\n    @{decorator}\n    def f():\n        """{text}"""')
        )


def read_documented(text: str) -> Function:
    lines = "".join(f"    {line}\n" if line else "\n" for line in text.splitlines())
    return read_one(f'def f():\n    """Return.\n\n{lines}    """\n')


@pytest.mark.parametrize(
    ("text", "odd"),
    [
        ("Args:\n    a: a row.\n    *b: rows.\n\nReturns:\n    A row.\n\nRaises:\n    E: no.", []),
        ("Raises:\n    OSError, ValueError: no file.\n\nSource: https://a", []),
        ("Arguments:\n    a: a row.", ["Arguments"]),
        ("Return:\n    A row.", ["Return"]),
        ("Keyword Args:\n    a: a row.", ["Keyword Args"]),
        ("Raises:\n    E: no.\n\nArgs:\n    a: a row.", ["Raises before Args"]),
        ("Args:\n    a - a row.", ["Args:     a - a row."]),
        ("Raises:\n    If it fails.", ["Raises:     If it fails."]),
    ],
)
def test_section_in_another_form_is_found(text: str, odd: list[str]) -> None:
    assert list(find_odd_sections(read_documented(text))) == odd


def test_code_within_strings_has_no_functions() -> None:
    source = (
        'A = """\ndef row(): ...\n"""\n\ndef make():\n    """Return.\n\n    def x(): ...\n    """\n'
    )
    assert [function.name for function in read_functions(source)] == ["make"]
