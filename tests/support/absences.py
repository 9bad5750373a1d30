"""In CI, a test that is skipped because something is absent fails.

A `skipif` mark is about the platform or the Python: its skip stays one. A skip that a test, a
fixture or a module raises (`pytest.skip`, `pytest.importorskip`) is about a package, a program or a
folder that is absent, and its reason begins with that name. With `CI` set it is a failure, unless
the session of nox lists the name in `AIOMSI_ABSENT`, because another session has it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Generator
from pathlib import Path

import pytest

_REASON = re.compile(r"(?:Skipped: )?(?:could not import ')?(?P<name>[\w.]*)")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    call: pytest.CallInfo[None],
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Fail a test that was skipped for want of something."""
    report = yield
    # This module of pytest raises the skips of marks, and no other ones.
    by_mark = call.excinfo is not None and Path(call.excinfo.traceback[-1].path).stem == "skipping"
    if not by_mark and not hasattr(report, "wasxfail"):
        _refuse(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Fail a module that was skipped for want of something."""
    report = yield
    _refuse(report)
    return report


def _refuse(report: pytest.TestReport | pytest.CollectReport) -> None:
    if report.outcome != "skipped" or not os.environ.get("CI"):
        return
    reason = str(report.longrepr[2]) if isinstance(report.longrepr, tuple) else ""
    if not _is_elsewhere(reason):
        report.outcome = "failed"
        report.longrepr = (
            f"{reason}. CI skips nothing: install it in this session of nox, or add it to "
            "AIOMSI_ABSENT there if another session has it"
        )


def _is_elsewhere(reason: str) -> bool:
    """Return whether the session lists the name, or a package that contains it."""
    found = _REASON.match(reason)
    name = found["name"] if found else ""
    return any(
        name == each or name.startswith(f"{each}.")
        for each in os.environ.get("AIOMSI_ABSENT", "").split()
    )
