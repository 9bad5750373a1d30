"""Names: those of tests are short, and a module or class of the package has its name alone."""

import ast
import io
import re
import tokenize
from collections import Counter
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

import pytest

import aiomsi
from aiomsi import inventory, testing

pytestmark = pytest.mark.once

HOME = Path(aiomsi.__file__).parent
QUERIES = HOME / "testing" / "_kql"
"""A language of its own: its tree has the names that KQL's documentation uses."""
FOREIGN = {
    "ConnectEx",
    "Fingerprint",
    "HttpResponseError",
    "IO_REPARSE_TAG_MOUNT_POINT",
    "KilledWorker",
    "StrEnum",
    "all_tasks",
    "await",
    "def",
    "except",
    "fork",
    "get_type_hints",
    "python",
    "tracestate",
    "trust_env",
}
"""Names in docstrings and comments that no statement of the package has."""
TESTS = Path(__file__).parents[1]
LONGEST = 60


def read_names(source: str) -> Iterator[str]:
    """Yield the names of the tests in a source."""
    for found in re.finditer(r"^ *(?:async )?def (test_\w+)", source, re.MULTILINE):
        yield found[1]


def find_long_names(source: str) -> list[str]:
    return [name for name in read_names(source) if len(name) > LONGEST]


def test_names_have_at_most_60_characters() -> None:
    sources = {path: path.read_text(encoding="utf-8") for path in TESTS.rglob("*.py")}
    assert len(list(read_names("".join(sources.values())))) > 1_000
    found = {str(path.relative_to(TESTS)): find_long_names(text) for path, text in sources.items()}
    assert {path: names for path, names in found.items() if names} == {}


def test_name_that_is_too_long_is_found() -> None:
    names = ["test_" + "x" * 55, "test_" + "x" * 56, "helper_" + "x" * 60]
    source = "".join(
        f"class A:\n    async def {name}(self): ...\ndef {name}(): ...\n" for name in names
    )
    assert find_long_names(source) == [names[1]] * 2


def list_classes(source: str) -> list[str]:
    """Return the names of the classes at the top of a module, private ones left out."""
    return [
        node.name
        for node in ast.parse(source).body
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_")
    ]


def test_class_has_its_name_alone() -> None:
    paths = [path for path in HOME.rglob("*.py") if QUERIES not in path.parents]
    counts = Counter(name for path in paths for name in list_classes(path.read_text("utf-8")))
    # A test has the embedded subscription and the row of an inventory in different modules.
    public = set(testing.__all__) & set(inventory.__all__)
    assert {name for name, count in counts.items() if count > 1} <= public


def test_class_of_two_modules_is_counted_twice() -> None:
    source = "class A: ...\nclass _B: ...\ndef f():\n    class C: ...\n"
    assert list_classes(source) == ["A"]


def find_twins(paths: Iterable[Path]) -> set[str]:
    """Return the names of files that occur twice in the library, or twice in the embedded Azure.

    A name in both has one subject: `testing` has the service's side, the library the client's.
    """
    names = Counter(
        (path.stem.strip("_"), path.parts[0] == "testing")
        for path in paths
        if not path.stem.endswith("__")
    )
    return {name for (name, _), count in names.items() if count > 1}


def test_module_has_its_name_alone() -> None:
    assert find_twins(path.relative_to(HOME) for path in HOME.rglob("*.py")) == set()


def test_name_of_two_modules_is_found() -> None:
    client, service = ["_arm/call.py", "_hosts/imds.py"], ["testing/_arm/call.py"]
    assert find_twins(map(Path, client + service)) == set()
    for twin, name in (("_cli/imds.py", "imds"), ("_call.py", "call"), ("testing/call.py", "call")):
        assert find_twins(map(Path, [*client, *service, twin])) == {name}


def read_prose(source: str) -> Iterator[str]:
    """Yield the docstrings and comments of a source."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            yield str(node.value.value)
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            yield token.string


def find_unknown_names(source: str, known: set[str]) -> set[str]:
    """Return the words between backticks in docstrings and comments that are not known."""
    quoted = (
        found
        for text in read_prose(source)
        for found in re.findall(r"(?<!`)`([^`\n]+)`(?!`)", text)
    )
    return {word for text in quoted for word in re.findall(r"[A-Za-z_]\w*", text)} - known


def read_code_names(source: str) -> set[str]:
    """Return the words of a source outside of its docstrings and comments."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            node.value.value = ""
    return set(re.findall(r"[A-Za-z_]\w*", ast.unparse(tree)))


@pytest.mark.slow
def test_names_in_docstrings_and_comments_exist() -> None:
    sources = {path: path.read_text("utf-8") for path in HOME.rglob("*.py")}
    known = FOREIGN | {name for path in sources for name in path.relative_to(HOME).parts}
    known |= {name.removesuffix(".py") for name in known} | {"tests", "conformance", "py"}
    known = known.union(*map(read_code_names, sources.values()))
    found = {
        path.relative_to(HOME).as_posix(): find_unknown_names(text, known)
        for path, text in sources.items()
    }
    assert {path: names for path, names in found.items() if names} == {}


def test_name_that_does_not_exist_is_found() -> None:
    source = '"""See `Slot.get` and `gone`."""\nslot = get = 1  # `was_here` and ``text``\n'
    assert read_code_names(source) == {"slot", "get"}
    assert find_unknown_names(source, {"Slot", "get"}) == {"gone", "was_here"}


ROOT = TESTS.parent
PLACES = "src|tests|docs|benchmarks|examples"


def find_missing_places(text: str) -> set[str]:
    """Return the files and folders of the repository, and the tests, in a text that do not exist.

    A name of a folder of tests without the folder "tests", such as `simulation/profile.py`, is
    found too.
    """
    quoted = re.findall(rf"`((?:{PLACES})/[^\s`]*)`", text)
    quoted += re.findall(r"`((?:pacing_)?simulation/\w+\.py)`", text)
    missing = {
        place
        for place in quoted
        if "…" not in place and not ((ROOT / place).exists() or (TESTS / place).exists())
    }
    return missing | (set(re.findall(r"`(test_\w+)`", text)) - list_test_names())


@cache
def list_test_names() -> frozenset[str]:
    """Return the names of all tests, and of the files that hold them."""
    paths = list(TESTS.rglob("test_*.py"))
    names = read_names("".join(path.read_text("utf-8") for path in paths))
    return frozenset(names) | {path.stem for path in paths}


def test_places_in_pages_exist() -> None:
    pages = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")]
    pages += (ROOT / "docs").rglob("*.md")
    missing = {path.name: find_missing_places(path.read_text("utf-8")) for path in pages}
    assert {page: places for page, places in missing.items() if places} == {}


def test_place_that_does_not_exist_is_found() -> None:
    text = "`tests/gone.py` `docs/` `simulation/seed.py` `test_gone` `test_names` `.ci/run`"
    assert find_missing_places(text) == {"tests/gone.py", "test_gone"}
