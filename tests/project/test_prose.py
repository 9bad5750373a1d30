"""The check of prose finds each habit where prose is, and nowhere else."""

import importlib
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

CHECK = Path(__file__).with_name("prose.py")
HABITS = {
    "who + verb": "Whoever asks gets a token.",
    "what + clause": "Send what is left.",
    "pronoun as subject": "Nobody polls.",
    "tell, told": "Tell the caller.",
    "of its own": "A loop of its own.",
    "there is no": "There is no lock.",
    "is to + verb": "The caller is to wait.",
}


def check(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(CHECK), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


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
def test_a_habit_in_a_module_fails_the_check(tmp_path: Path, habit: str, source: str) -> None:
    (tmp_path / "module.py").write_text(source.format(HABITS[habit]))
    done = check("-v", str(tmp_path))
    assert done.returncode == 1, done.stdout + done.stderr
    assert [line for line in done.stdout.splitlines() if "OVER" in line and line.endswith(habit)]
    assert f"{tmp_path / 'module.py'}:" in done.stdout


@pytest.mark.parametrize("habit", HABITS)
def test_a_habit_in_a_page_fails_the_check(tmp_path: Path, habit: str) -> None:
    path = tmp_path / "page.md"
    path.write_text(HABITS[habit])
    assert check(str(path)).returncode == 1


def test_code_and_other_strings_are_not_prose(tmp_path: Path) -> None:
    (tmp_path / "module.py").write_text('"""Return one."""\nx = "Nobody polls."\nnobody = 1\n')
    (tmp_path / "page.md").write_text(
        "Call `nobody`:\n\n```python\nnobody()  # Nobody polls.\n```\n"
    )
    done = check(str(tmp_path))
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_missing_path_is_an_error() -> None:
    assert check().returncode == 2
