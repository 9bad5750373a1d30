"""Packages that only some sessions of nox install; `absences.py` fails the skips of the others."""

import importlib
from typing import Any

import pytest


def import_or_skip(name: str) -> Any:
    """Import a module, or skip the test."""
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError:
        pytest.skip(f"{name} is not installed")
