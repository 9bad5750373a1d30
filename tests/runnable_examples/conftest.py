"""The environments that `nox -s examples` installs, and an embedded Azure for the examples."""

import os
import shutil
from collections.abc import Iterator
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path

import pytest
from example_program import DEVELOPMENT, Program, Start, read_commands, start

from aiomsi.testing import DEFAULT_SUBSCRIPTION_ID, ArmBucket, ArmBuckets, ArmLimits, EmbeddedAzure

ENVIRONMENTS = os.environ.get("AIOMSI_EXAMPLES", "")
"""The folder with a virtual environment for each example; `nox -s examples` sets it."""
PLENTY = ArmLimits(buckets=ArmBuckets(reads=ArmBucket(10_000_000, 1_000_000)), enforced=False)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests of this folder, which start processes."""
    folder = str(Path(__file__).parent) + os.sep
    for item in items:
        if str(item.path).startswith(folder):
            item.add_marker(pytest.mark.slow)


@pytest.fixture(scope="session")
def environments() -> Path:
    """Return the folder of the environments, without which a test is skipped."""
    if not ENVIRONMENTS:
        pytest.skip("AIOMSI_EXAMPLES names no folder of environments; nox -s examples makes one")
    return Path(ENVIRONMENTS)


@pytest.fixture
def azure() -> Iterator[EmbeddedAzure]:
    """Run an embedded Azure that never makes a client wait."""
    with EmbeddedAzure(arm_limits=PLENTY) as azure:
        yield azure


@pytest.fixture
def start_example(environments: Path, azure: EmbeddedAzure, tmp_path: Path) -> Start:
    """Return a function that starts an example, by default with the command of its README.

    The examples run in Python's development mode, except those under load.
    """

    def begin(name: str, command: str = "", **variables: str) -> AbstractContextManager[Program]:
        begin_in = partial(start, name, command or read_commands(name).start)
        place = {**azure.environment, "AZURE_SUBSCRIPTION_ID": DEFAULT_SUBSCRIPTION_ID}
        if not command:
            place |= DEVELOPMENT
        return begin_in(environments / name, tmp_path / f"{name}.log", **{**place, **variables})

    return begin


def require_program(name: str) -> str:
    """Return the path of a program, without which a test is skipped."""
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed")
    return found


@pytest.fixture
def wrk(environments: Path) -> str:
    """Return the load generator, Debian's `wrk`."""
    return require_program("wrk")


@pytest.fixture
def redis_server(environments: Path) -> str:
    """Return the server, Debian's `redis-server`."""
    return require_program("redis-server")
