"""Fixtures for all tests: a test leaves loopback in no way, and inherits no state."""

import gc
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from absences import pytest_make_collect_report, pytest_runtest_makereport  # noqa: F401 (hooks)
from loops import LOOPS

from aiomsi._clock import SYSTEM_CLOCK
from aiomsi.testing._hosts.variables import IDENTITY_VARIABLES

HERE = Path(__file__).parent

# Whatever the environment says: two workers and hundreds of child processes would compile the same
# modules again.
sys.dont_write_bytecode = False
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

sys.path.insert(0, str(HERE / "support" / "socket_guard"))
os.environ["PYTHONPATH"] = os.pathsep.join(
    filter(None, [str(HERE / "support" / "socket_guard"), os.environ.get("PYTHONPATH")])
)
# The interpreter may have one of its own, or may have had no way to find ours at its start.
if getattr(sys.modules.get("sitecustomize"), "BlockedSocketError", None) is None:
    sys.modules.pop("sitecustomize", None)
    import sitecustomize  # noqa: F401

if "PYTEST_XDIST_WORKER" in os.environ:
    # The workers are measured, the programs that tests run are not: some of them run a changed copy
    # of the package.
    os.environ.pop("COVERAGE_PROCESS_CONFIG", None)

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # So it is in a shell's background job, and its children's; some tests are about what Ctrl-C
    # does.
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_finish() -> None:
    """Freeze the tests and modules, so that the garbage collector does not scan them."""
    gc.collect()
    gc.freeze()


PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy")


AZURE_CORE = ("azure.core.credentials", "azure.core.exceptions", "azure.identity")


@pytest.fixture
def azure_core() -> None:
    """Let a test see the imported classes of azure-core, if another test has imported them."""


@pytest.fixture(autouse=True)
def _own_world(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in (*IDENTITY_VARIABLES, *PROXIES):
        monkeypatch.delenv(name, raising=False)
    if "azure_core" not in request.fixturenames:
        for name in AZURE_CORE:
            monkeypatch.delitem(sys.modules, name, raising=False)
    SYSTEM_CLOCK.shared.clear()
    yield
    SYSTEM_CLOCK.shared.clear()


@pytest.fixture(autouse=True, scope="module")
def _freeze() -> None:
    """Collect the garbage of earlier modules, and spare later collections the rest."""
    gc.collect()
    gc.freeze()


@pytest.fixture(
    params=[
        pytest.param(backend, id=kind, marks=() if kind == "debug" else pytest.mark.loops)
        for kind, backend in LOOPS.items()
    ]
)
def anyio_backend(request: pytest.FixtureRequest) -> object:
    """Run every asynchronous test in asyncio's debug mode, on uvloop and with eager tasks."""
    return request.param
