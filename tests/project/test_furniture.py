"""What stands in several files of the project's root agrees: Pythons, sessions and pages."""

import re
import tomllib
from pathlib import Path

import pytest
from example_program import read_commands

ROOT = Path(__file__).parents[2]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
NOXFILE = (ROOT / "noxfile.py").read_text()


def list_pythons() -> list[str]:
    """Return the Pythons that the sessions run on."""
    (listed,) = re.findall(r"^PYTHONS = \[(.*)\]$", NOXFILE, re.MULTILINE)
    return re.findall(r'"([\d.]+)"', listed)


def list_sessions() -> set[str]:
    """Return the names of the sessions, those on several Pythons with each of them."""
    found = re.findall(r"^@nox\.session\(python=(.*)\)\ndef (\w+)\(", NOXFILE, re.MULTILINE)
    assert len(found) > 10
    several = {name for python, name in found if python != "OLDEST"}
    return {name for _, name in found} | {
        f"{name}-{each}" for name in several for each in list_pythons()
    }


def test_classifiers_name_the_pythons_of_the_sessions() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    prefix = "Programming Language :: Python :: "
    named = [
        each.removeprefix(prefix) for each in project["classifiers"] if each.startswith(prefix)
    ]
    assert named == list_pythons()
    assert project["requires-python"] == f">={list_pythons()[0]}"


def test_ci_runs_the_tests_on_every_python() -> None:
    (matrix,) = re.findall(
        r"python: \[(.*)\]", (ROOT / ".github" / "workflows" / "ci.yml").read_text()
    )
    assert re.findall(r'"([\d.]+)"', matrix) == list_pythons()


def find_sessions(workflow: Path) -> set[str]:
    """Return the names of the sessions that a workflow runs."""
    text = workflow.read_text(encoding="utf-8")
    run = re.findall(
        r"python -m nox -s ([\w.-]+(?:\$\{\{ matrix\.python \}\})?|\$\{\{ matrix\.session \}\})",
        text,
    )
    assert run
    names = set()
    for each in run:
        if each.endswith("matrix.session }}"):
            for listed in re.findall(r"session:((?:\n +- [\w.-]+)+| \[.*\])\n", text):
                names |= set(re.findall(r"[a-z][\w.-]+", listed))
        else:
            names |= {
                re.sub(r"\$\{\{ matrix\.python \}\}", python, each) for python in list_pythons()
            }
    return names


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.stem)
def test_workflow_runs_sessions_that_exist(workflow: Path) -> None:
    assert find_sessions(workflow) <= list_sessions()


def test_ci_runs_every_default_session() -> None:
    (listed,) = re.findall(
        r"^nox\.options\.sessions = \[(.*?)\]$", NOXFILE, re.MULTILINE | re.DOTALL
    )
    default = set(re.findall(r'"(\w+)"', listed))
    assert {"genuine", "clients", "docs", "browser", "fuzz", "soak"} <= default
    run = find_sessions(ROOT / ".github" / "workflows" / "ci.yml")
    assert default <= run | {name.partition("-")[0] for name in run}


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.stem)
def test_workflow_pins_actions_and_reads_no_secret(workflow: Path) -> None:
    text = workflow.read_text(encoding="utf-8")
    used = re.findall(r"uses: (.*)", text)
    assert used
    assert all(re.fullmatch(r"[\w/-]+@[0-9a-f]{40} # v[\d.]+", each) for each in used)
    assert "secrets." not in text
    assert "permissions:\n  contents: read\n" in text


def test_ci_installs_every_program_that_a_test_needs() -> None:
    (listed,) = re.findall(r"for each in (.*?);", (ROOT / ".ci" / "run").read_text("utf-8"))
    needed = {"chromium-headless-shell"}  # the first one of `BROWSERS`
    for path in (*(ROOT / "tests").rglob("*.py"), ROOT / "noxfile.py"):
        text = path.read_text(encoding="utf-8")
        needed |= set(re.findall(r'(?:require_program|which)\("([\w-]+)"\)', text))
    assert {"npm", "curl", "wrk", "redis-server"} <= needed
    # Every Debian has bash and util-linux, and its npm brings Node.
    assert needed - {"bash", "node", "unshare"} == set(listed.split())


def test_every_example_has_commands_and_is_run_by_a_test() -> None:
    tests = [
        path.read_text(encoding="utf-8")
        for path in (ROOT / "tests" / "runnable_examples").glob("test_*.py")
    ]
    names = sorted(path.name for path in (ROOT / "examples").iterdir())
    assert len(names) > 5
    for name in names:
        assert read_commands(name).start
        assert any(f'"{name}"' in text for text in tests), name


def test_every_decision_is_in_the_index() -> None:
    folder = ROOT / "docs" / "decisions"
    linked = re.findall(r"\]\((.*?\.md)\)", (folder / "README.md").read_text())
    assert sorted(linked) == sorted({path.name for path in folder.glob("*.md")} - {"README.md"})
    for name in linked:
        tests = re.findall(r"`(tests/[\w/.]+)`", (folder / name).read_text())
        assert tests
        assert all((ROOT / test).exists() for test in tests)
