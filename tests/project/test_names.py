"""The names of the tests: short enough to be read in a report."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

pytestmark = pytest.mark.once

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
