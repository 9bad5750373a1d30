"""The packages and the browser that tests of the report need."""

import importlib.util

import pytest
from browser import EXECUTABLE


def skip_without(name: str, *, found: bool) -> None:
    if not found:
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
