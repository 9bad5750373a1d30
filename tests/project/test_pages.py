"""The pages: every block runs in a test or is marked, every link inside leads somewhere."""

from __future__ import annotations

import ast
import re
import shlex
import tomllib
import types
from collections.abc import Iterator, Mapping
from pathlib import Path

import click
import pytest
from pages import ROOT, Block, is_example, list_pages, read_blocks, read_page, split_page

import aiomsi
from aiomsi import inventory, testing
from aiomsi._cli.main import run_commands
from docs import site_pages

PAGES = list_pages()
ROOT_PAGES = ["CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md", "benchmarks/README.md"]
RUNNERS = {"run_page": 1, "write_files": 1, "run_block": 2, "find_block": 2}
"""The functions of `pages` that a test runs code with, and how many literal arguments name it."""


def find_runs() -> set[tuple[str, str]]:
    """Return the pages, and words of their blocks, that tests pass to a function of `pages`."""
    found = set()
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        source = path.read_text(encoding="utf-8")
        if "from pages import" in source:
            found |= set(read_runs(source))
    return found


def read_runs(source: str) -> Iterator[tuple[str, str]]:
    """Yield the page and the word of each call in a module; the word is empty for a whole page."""
    tree = ast.parse(source)
    texts = {
        target.id: node.value.value
        for node in tree.body
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            count = RUNNERS.get(node.func.id, 0)
            values = [_read_text(each, texts) for each in node.args[:count]]
            if count and len(values) == count and values[0]:
                yield (values[0], values[1] if count == 2 else "")


def _read_text(node: ast.expr, texts: Mapping[str, object]) -> str:
    value = texts.get(node.id) if isinstance(node, ast.Name) else getattr(node, "value", "")
    return value if isinstance(value, str) else ""


def find_idle(blocks: list[Block], runs: set[tuple[str, str]]) -> list[Block]:
    """Return the blocks that are neither run, nor part of an example, nor marked."""
    return [
        block
        for block in blocks
        if not block.marked
        and not is_example(block)
        and not any(page == block.page and word in block.text for page, word in runs)
    ]


def test_every_python_block_runs_or_is_marked() -> None:
    blocks = [block for page in PAGES for block in read_blocks(page)]
    idle = find_idle(blocks, find_runs())
    assert len(blocks) > 30
    assert [f"{block.page}:{block.line}" for block in idle] == []


def test_block_without_a_test_is_found() -> None:
    page = "# Page\n\n```python\nfirst\n```\n\n<!-- needs Azure: a role -->\n\n```python\nx\n```\n"
    blocks = list(split_page("docs/new.md", page))
    assert [(block.line, block.marked) for block in blocks] == [(4, False), (10, True)]
    assert find_idle(blocks, set(read_runs("run_page('docs/other.md')"))) == blocks[:1]
    assert (
        find_idle(blocks, set(read_runs("P = 'docs/new.md'\nrun_block(P, 'second')")))
        == (blocks[:1])
    )
    assert find_idle(blocks, set(read_runs("run_block('docs/new.md', 'first')"))) == []
    assert find_idle(blocks, set(read_runs("P = 'docs/new.md'\nrun_page(P)"))) == []


def test_every_block_has_a_language() -> None:
    bare = [
        f"{block.page}:{block.line}"
        for page in PAGES
        for block in split_page(page, read_page(page))
        if not block.language and "eval-rst" not in block.text
    ]
    assert [place for place in bare if not place.startswith(("docs/api/", "docs/arch"))] == []


# Commands


def list_commands(text: str) -> Iterator[list[str]]:
    """Yield the words of each `aiomsi` command in a block of a shell."""
    for line in text.replace("\\\n", " ").splitlines():
        command: list[str] = []
        for word in [*split_line(line), "|"]:
            if word in ("|", "&&", ">"):
                while command and re.fullmatch(r"\w+=.*|\$", command[0]):
                    command = command[1:]
                if command[:1] == ["aiomsi"]:
                    yield command[1:]
                command = []
            else:
                command.append(word)


def split_line(line: str) -> Iterator[str]:
    """Yield the words and operators of a line of a shell."""
    words = shlex.shlex(line, posix=True, punctuation_chars=True)
    words.whitespace_split = True
    yield from words


def parse(words: list[str]) -> None:
    """Parse a command as the command line does, without running it."""
    command: click.Command = run_commands
    context: click.Context | None = None
    while True:
        context = command.make_context(command.name, list(words), parent=context)
        # click 8.2 has renamed the attribute, and warns of the former name.
        kept = vars(context)
        words = [*(kept.get("_protected_args") or kept.get("protected_args", [])), *context.args]
        if not isinstance(command, click.Group) or not words:
            return
        _, found, words = command.resolve_command(context, words)
        assert found is not None
        command = found


SHELL = [
    block
    for page in [*PAGES, *ROOT_PAGES]
    for language in ("console", "yaml", "powershell")
    for block in read_blocks(page, language)
]


@pytest.mark.parametrize("block", SHELL, ids=lambda block: f"{block.page}:{block.line}")
def test_commands_of_a_block_are_accepted(
    block: Block, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("body", "decommissioned.txt"):
        (tmp_path / name).write_text("{}")
    text = re.sub(r"^ *(?:- )?run: ?", "", block.text, flags=re.MULTILINE)
    for words in list_commands(text) if block.language != "powershell" else ():
        parse(words)


def test_command_with_a_wrong_option_is_refused() -> None:
    assert list(list_commands("x=1 aiomsi get /a --bad | jq .")) == [["get", "/a", "--bad"]]
    with pytest.raises(click.UsageError):
        parse(["get", "/subscriptions", "--bad"])


def find_command(name: str, rest: str) -> click.Command:
    """Return a command, or the subcommand that the first word after it names."""
    command = run_commands.commands[name]
    words = rest.split()
    subcommands = command.commands if isinstance(command, click.Group) else {}
    return subcommands.get(words[0], command) if words else command


def test_options_of_commands_in_the_text_exist() -> None:
    text = "\n".join(read_page(page) for page in PAGES)
    used = [
        (find_command(name, rest), option)
        for name, rest in re.findall(r"\baiomsi ([a-z]+) ([^`\n]*)", text)
        if name in run_commands.commands
        for option in re.findall(r"(?<!\S)--[a-z][a-z-]+", rest)
    ]
    assert len(used) > 10
    for command, option in used:
        known = {each for parameter in command.params for each in parameter.opts}
        assert option in known, (command.name, option)


def test_page_of_the_command_line_has_every_command() -> None:
    table = re.findall(r"^\| `aiomsi (\w+)` \|", read_page("docs/command-line.md"), re.MULTILINE)
    assert sorted(table) == sorted(run_commands.commands)


def test_index_has_every_extra() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    rows = re.findall(r"^\| (`\w+`.*?) \|", read_page("docs/index.md"), re.MULTILINE)
    named = [name for row in rows for name in re.findall(r"`(\w+)`", row)]
    assert sorted(named) == sorted(project["optional-dependencies"])


# Links


def read_links(page: str) -> list[str]:
    """Return the targets of a page's links and pictures inside the project."""
    prose = re.sub(r"^```.*?^```$", "", read_page(page), flags=re.DOTALL | re.MULTILINE)
    found = re.findall(r"\]\(([^)\s]+)\)", prose) + re.findall(r'(?:src|srcset)="([^"]+)"', prose)
    return [link for link in found if not re.match(r"https?:|mailto:", link)]


def list_anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub makes them."""
    text = re.sub(r"^```.*?^```$", "", page.read_text("utf-8"), flags=re.DOTALL | re.MULTILINE)
    anchors = set()
    for heading in re.findall(r"^#+ (.*)$", text, re.MULTILINE):
        plain = re.sub(r"[^\w\- ]", "", heading.lower())
        anchors.add(plain.strip().replace(" ", "-"))
    return anchors


def find_broken(page: str, links: list[str]) -> list[str]:
    """Return the links of a page that lead to no file, or to no heading of it."""
    broken = []
    for link in links:
        path, _, anchor = link.partition("#")
        target = (ROOT / page).parent / path if path else ROOT / page
        exists = target.is_file()
        if not exists or (anchor and anchor not in list_anchors(target)):
            broken.append(link)
    return broken


@pytest.mark.parametrize("page", [*PAGES, *ROOT_PAGES])
def test_links_of_a_page_lead_somewhere(page: str) -> None:
    assert find_broken(page, read_links(page)) == []


def test_broken_links_are_found() -> None:
    links = ["fan-out.md", "fan-out.md#bounds", "fan-out.md#no-such", "missing.md", "#lists"]
    assert find_broken("docs/fan-out.md", links) == ["fan-out.md#no-such", "missing.md"]


def test_every_page_is_in_an_index() -> None:
    indexes = ["docs/index.md", "docs/api/index.md", "docs/decisions/README.md"]
    linked = {
        ((ROOT / index).parent / link).resolve() for index in indexes for link in read_links(index)
    }
    missing = [page for page in PAGES[1:] if (ROOT / page).resolve() not in linked]
    assert missing == ["docs/index.md"]


def test_tests_that_a_page_names_exist() -> None:
    named = {
        name for page in PAGES for name in re.findall(r"`(tests/[\w/.-]+?)/?`", read_page(page))
    }
    assert len(named) > 20
    assert [name for name in sorted(named) if not (ROOT / name).exists()] == []


@pytest.mark.parametrize(
    ("page", "package"), [("aiomsi", aiomsi), ("inventory", inventory), ("testing", testing)]
)
def test_reference_has_every_public_name_once(page: str, package: types.ModuleType) -> None:
    found = re.findall(r"^\.\. auto\w+:: (\w+)$", read_page(f"docs/api/{page}.md"), re.MULTILINE)
    former = {"Policy"} if package is aiomsi else set()
    assert sorted(found) == sorted(set(package.__all__) - former)


def test_reference_has_every_integration() -> None:
    page = read_page("docs/api/integrations.md")
    folder = ROOT / "src" / "aiomsi" / "integrations"
    modules = {path.stem for path in folder.glob("*.py")} - {"__init__"}
    assert modules
    assert set(re.findall(r"automodule:: aiomsi\.integrations\.(\w+)", page)) == modules


# The site


def test_links_that_leave_the_folder_lead_to_the_repository() -> None:
    text = "[a](../README.md#use-it) [b](fan-out.md#bounds) [c](../CHANGELOG.md) [d](https://x)"
    repository = site_pages.REPOSITORY
    assert site_pages.adapt("arm", text) == (
        f"[a]({repository}/README.md#use-it) [b](fan-out.md#bounds) [c](/changelog.md) [d](https://x)"
    )
    assert site_pages.adapt("arm", "```python\n[a](../README.md)\n```\n") == (
        "```python\n[a](../README.md)\n```\n"
    )


def test_stub_becomes_the_file_of_the_root() -> None:
    text = site_pages.adapt("contributing", read_page("docs/contributing.md"))
    assert text.startswith("# Contributing\n")
    assert "](decisions/README.md)" in text
    assert len(text) > 1_000


def test_lists_of_an_index_are_tables_of_contents() -> None:
    text = site_pages.adapt("index", "# T\n\n## A\n\n- [One](one.md): x\n- [Two](b/two.md)\n")
    contents = "```{toctree}\n:hidden:\n:caption: A\n\nOne <one>\nTwo <b/two>\n```\n"
    assert text.endswith(contents)
    decisions = site_pages.adapt("decisions/README", "# D\n\n1. [One](one.md)\n")
    assert decisions.endswith("```{toctree}\n:hidden:\n\nOne <one>\n```\n")
