"""The check of prose finds each habit where prose is, and nowhere else."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from project import prose

pytestmark = pytest.mark.once

HABITS = {
    "who + verb": "Whoever asks gets a token.",
    "what + clause": "Send what is left.",
    "pronoun as subject": "Nobody polls.",
    "tell, told": "Tell the caller.",
    "of its own": "A loop of its own.",
    "there is no": "There is no lock.",
    "is to + verb": "The caller is to wait.",
}


Check = Callable[..., tuple[int, str]]


@pytest.fixture
def check(capsys: pytest.CaptureFixture[str]) -> Check:
    """Run the check in this process, and return its status and its output."""

    def run(*arguments: str) -> tuple[int, str]:
        return prose.main(arguments), capsys.readouterr().out

    return run


@pytest.mark.parametrize("habit", HABITS)
@pytest.mark.parametrize(
    "source",
    [
        '"""{}"""\n',
        "x = 1  # {}\n",
        'def f():\n    """{}"""\n',
        'def f():\n    raise ValueError("{}")\n',
        'def f(x):\n    msg = f"{{x}} {}"\n',
    ],
    ids=["docstring", "comment", "function", "raise", "message"],
)
def test_a_habit_in_a_module_fails_the_check(
    check: Check, tmp_path: Path, habit: str, source: str
) -> None:
    (tmp_path / "module.py").write_text(source.format(HABITS[habit]))
    status, output = check("-v", str(tmp_path))
    assert status == 1, output
    assert [line for line in output.splitlines() if "OVER" in line and line.endswith(habit)]
    assert f"{tmp_path / 'module.py'}:" in output


@pytest.mark.parametrize("habit", HABITS)
def test_a_habit_in_a_page_fails_the_check(check: Check, tmp_path: Path, habit: str) -> None:
    path = tmp_path / "page.md"
    path.write_text(HABITS[habit])
    assert check(str(path))[0] == 1


def test_code_and_other_strings_are_not_prose(check: Check, tmp_path: Path) -> None:
    (tmp_path / "module.py").write_text('"""Return one."""\nx = "Nobody polls."\nnobody = 1\n')
    (tmp_path / "page.md").write_text(
        "Call `nobody`:\n\n```python\nnobody()  # Nobody polls.\n```\n"
    )
    status, output = check(str(tmp_path))
    assert status == 0, output


def test_command_ends_with_the_status_of_the_check(tmp_path: Path) -> None:
    (tmp_path / "page.md").write_text("Nobody polls.")
    for arguments, status in (([str(tmp_path)], 1), ([], 2)):
        command = [sys.executable, prose.__file__, *arguments]
        assert subprocess.run(command, capture_output=True, check=False).returncode == status
