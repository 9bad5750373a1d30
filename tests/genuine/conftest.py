"""Restrict these tests to the namespaces, because their addresses are the real Azure's."""

import os

import pytest
from vm.enter import explain_outside

collect_ignore_glob = [] if os.environ.get("AIOMSI_VM") else ["*"]


@pytest.fixture(scope="session", autouse=True)
def in_the_namespaces() -> None:
    reason = explain_outside()
    if reason is not None:
        pytest.exit(f"{reason}: run python tests/genuine/enter.py", returncode=1)
