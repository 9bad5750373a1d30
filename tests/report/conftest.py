"""The packages and the browser that tests of the report need."""

import importlib.util
import os

import pytest
from browser import EXECUTABLE

REQUIRED = bool(os.environ.get("AIOMSI_BROWSER"))
"""Whether a missing package is a failure; `nox -s browser` sets the variable."""


def skip_without(name: str, *, found: bool) -> None:
    if not found:
        assert not REQUIRED, f"{name} is not installed"
        pytest.skip(f"{name} is not installed")


@pytest.fixture(scope="session")
def report_extra() -> None:
    """Skip a test where the extra `report` is not installed."""
    for module in ("matplotlib", "js_lib_tabulator"):
        skip_without(module, found=importlib.util.find_spec(module) is not None)


@pytest.fixture(scope="session")
def chromium(report_extra: None) -> None:
    """Skip a test where playwright or the browser is not installed."""
    skip_without("playwright", found=importlib.util.find_spec("playwright") is not None)
    skip_without("Chromium", found=EXECUTABLE is not None)
