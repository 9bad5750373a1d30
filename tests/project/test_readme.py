"""The README's example and commands work, and it fits on a screen."""

import ast
import os
import subprocess
import sys

import pytest
from pages import ROOT, find_block, read_blocks, read_page

from aiomsi.testing import EmbeddedAzure

README = read_page("README.md")
COMMANDS = [
    line for block in read_blocks("README.md", "console") for line in block.text.splitlines()
]


@pytest.mark.slow
def test_the_example_runs_in_dev_mode_without_a_warning(embedded_azure: EmbeddedAzure) -> None:
    done = subprocess.run(
        [
            *(sys.executable, "-X", "dev", "-W", "error"),
            *("-c", find_block("README.md", "async def main").text),
        ],
        env={**os.environ, **embedded_azure.environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    # asyncio's debug mode names each step that a busy machine makes slow, here the late imports.
    assert not [line for line in done.stderr.splitlines() if not line.startswith("Executing <")]
    (group,) = ast.literal_eval(done.stdout)
    assert group["name"] == "DevTest"


def test_the_example_is_complete_and_about_ten_lines_long() -> None:
    (example,) = read_blocks("README.md")
    assert len([line for line in example.text.splitlines() if line.strip()]) <= 10


def test_the_readme_is_one_screen() -> None:
    assert len(README.splitlines()) <= 80


def test_ci_runs_the_readmes_test_command() -> None:
    assert "pip install '.[cli,testing]' && aiomsi demo" in COMMANDS
    assert "pip install nox && nox" in COMMANDS
    assert (
        (ROOT / ".ci" / "run")
        .read_text(encoding="utf-8")
        .rstrip()
        .endswith("\npip install nox && nox")
    )


def test_architecture_names_every_folder() -> None:
    said = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    source = ROOT / "src" / "aiomsi"
    folders = {path.parent for path in source.rglob("*.py")} - {source}
    for folder in folders:
        assert f"{folder.name}/" in said, folder
