"""The README's examples, commands and links work."""

import ast
import asyncio
import os
import re
import subprocess
import sys
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import click
import pytest

import aiomsi
from aiomsi._cli.main import commands
from aiomsi.testing import DEFAULT_SUBSCRIPTION_ID, EmbeddedAzure, ManualClock

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PYTHON = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
COMMANDS = [
    line
    for block in re.findall(r"```console\n(.*?)```", README, re.DOTALL)
    for line in block.splitlines()
]


def test_the_example_runs_in_dev_mode_without_a_warning(embedded_azure: EmbeddedAzure) -> None:
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-W", "error", "-c", PYTHON[0]],
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
    assert len([line for line in PYTHON[0].splitlines() if line.strip()]) <= 10


def test_the_tour_of_a_session_works(
    embedded_azure: EmbeddedAzure, azure_environment: object
) -> None:
    (tour,) = (block for block in PYTHON if "async def tour" in block)
    names: dict[str, Any] = {"aiomsi": aiomsi}
    exec(tour, names)  # noqa: S102 (our own)
    group = f"/subscriptions/{DEFAULT_SUBSCRIPTION_ID}/resourceGroups/DevTest"
    embedded_azure.arm.add_resource(f"{group}/providers/Microsoft.KeyVault/vaults/kv")

    async def main() -> None:
        async with aiomsi.ArmSession(clock=ManualClock(autoadvance=True).clock) as arm:
            await names["tour"](arm, group)

    with redirect_stdout(StringIO()) as printed:
        asyncio.run(main())
    first, *progress, last = printed.getvalue().splitlines()
    assert first == "kv"
    assert any(line.startswith("<Operation ") for line in progress)
    assert last.endswith("/vaults/kv")


def test_examples_of_the_fan_out_work(
    embedded_azure: EmbeddedAzure, azure_environment: object
) -> None:
    names = ["DevTest", *embedded_azure.arm.add_resource_groups(DEFAULT_SUBSCRIPTION_ID, 3)]
    subscription = f"/subscriptions/{DEFAULT_SUBSCRIPTION_ID}"
    text = (ROOT / "docs" / "fan-out.md").read_text(encoding="utf-8")
    (crawl,) = (block for block in PYTHON if "async def crawl" in block)
    found: dict[str, Any] = {"aiomsi": aiomsi}
    for block in [*re.findall(r"```python\n(.*?)```", text, re.DOTALL), crawl]:
        exec(block, found)  # noqa: S102 (our own)

    async def main() -> None:
        async with aiomsi.ArmSession() as arm:
            paths = [f"{subscription}/resourceGroups/{name}" for name in (*names, "missing")]
            await found["crawl"](arm, paths)
            counts = await found["count_groups"](arm, [DEFAULT_SUBSCRIPTION_ID])
            assert counts == {DEFAULT_SUBSCRIPTION_ID: 4}
            rows = await found["read_all"](arm, [f"{subscription}/resourceGroups"])
            assert [row["name"] for row in rows] == names

    with redirect_stdout(StringIO()) as printed:
        asyncio.run(main())
    lines = dict(line.split(" ", 1) for line in printed.getvalue().splitlines())
    ends = {path.rpartition("/")[2]: end for path, end in lines.items()}
    assert "ResourceGroupNotFound" in ends.pop("missing")
    assert ends == {name: name for name in names}


def test_ci_runs_the_readmes_test_command() -> None:
    assert "pip install nox && nox" in COMMANDS
    assert (
        (ROOT / ".ci" / "run")
        .read_text(encoding="utf-8")
        .rstrip()
        .endswith("\npip install nox && nox")
    )


@pytest.mark.parametrize("name", re.findall(r"\]\(([^)]+)\)", README))
def test_links_lead_somewhere(name: str) -> None:
    assert (ROOT / name).is_file()


def test_architecture_names_every_folder() -> None:
    said = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    source = ROOT / "src" / "aiomsi"
    folders = {path.parent for path in source.rglob("*.py")} - {source}
    for folder in folders:
        assert f"{folder.name}/" in said, folder


def find_command(name: str, rest: str) -> click.Command:
    """Return a command, or the subcommand that the first word after it names."""
    command = commands.commands[name]
    words = rest.split()
    subcommands = command.commands if isinstance(command, click.Group) else {}
    return subcommands.get(words[0], command) if words else command


def test_options_of_commands_in_the_docs_exist() -> None:
    pages = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]
    text = "\n".join(page.read_text(encoding="utf-8") for page in pages)
    used = [
        (find_command(name, rest), option)
        for name, rest in re.findall(r"\baiomsi ([a-z]+) ([^`\n]*)", text)
        if name in commands.commands
        for option in re.findall(r"(?<!\S)--[a-z][a-z-]+", rest)
    ]
    assert len(used) > 10
    for command, option in used:
        known = {each for parameter in command.params for each in parameter.opts}
        assert option in known, (command.name, option)
