"""Packages that only some sessions of nox install."""

import importlib
import os
from typing import Any

import pytest


def import_or_skip(name: str) -> Any:
    """Import a module, or skip the test; in the session that installs the module, fail it."""
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError:
        if os.environ.get("AIOMSI_FORMATS"):
            raise
        pytest.skip(f"{name} is not installed")
