"""Late imports that fail, as in a process without a free file descriptor."""

import errno
import importlib.abc
import sys
from collections.abc import Callable, Iterator, Sequence
from types import ModuleType
from typing import Any

import pytest
from arm_server import (
    GROUP,
    VAULT,
    VERSION,
    Says,
    Tokens,
    make_error_body,
    open_session,
    serve_canned,
)

from aiomsi import (
    AiomsiError,
    ArmSession,
    Cloud,
    ConfigurationError,
    HostGate,
    ManagedIdentityCredential,
)
from aiomsi._arm.protocol.request import NO_OPTIONS
from aiomsi._util.lazy import late_import

pytestmark = pytest.mark.anyio

LATE = [
    "aiomsi._credentials.managed_identity",
    "aiomsi._util.foreign",
    "aiomsi._credentials.gate",
    "aiomsi._credentials.shared",
    "aiomsi._arm.discovery",
    "aiomsi._arm.protocol.errors.detail",
    "aiomsi._arm.resource_graph",
    "aiomsi._arm.operation",
    "aiomsi._arm.pager",
    "aiomsi._arm.providers",
    "aiomsi._arm.recovery",
    "aiomsi._arm.protocol.api_versions",
    "filelock",
]


class NoDescriptors(importlib.abc.MetaPathFinder):
    """Find no module, as the file system does in a process that has too many open files."""

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> None:
        raise OSError(errno.EMFILE, "Too many open files", name)


@pytest.fixture
def exhausted(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], None]]:
    """Return a function after which no further module can be imported."""

    def exhaust() -> None:
        for name in LATE:
            monkeypatch.delitem(sys.modules, name, raising=False)
            package, _, last = name.rpartition(".")
            if package in sys.modules:
                monkeypatch.delattr(sys.modules[package], last, raising=False)
        monkeypatch.setattr(sys, "meta_path", [NoDescriptors()])

    yield exhaust
    monkeypatch.undo()


CALLS: dict[str, Callable[[ArmSession], Any]] = {
    "put": lambda arm: arm.put(VAULT, api_version=VERSION, json={}),
    "patch": lambda arm: arm.patch(VAULT, api_version=VERSION, json={}),
    "post": lambda arm: arm.post(VAULT, api_version=VERSION),
    "delete": lambda arm: arm.delete(VAULT, api_version=VERSION),
    "begin": lambda arm: arm.begin("PUT", VAULT, api_version=VERSION, json={}),
    "resume": lambda arm: arm.resume({}),
    "get without a version": lambda arm: arm.get(VAULT),
    "list": lambda arm: anext(arm.list(GROUP, api_version=VERSION)),
    "pages": lambda arm: anext(arm.pages(GROUP, api_version=VERSION)),
    "query": lambda arm: anext(arm.query("Resources")),
    "discover": lambda arm: Cloud.discover(arm.cloud.resource_manager),
}


@pytest.mark.parametrize("name", CALLS)
async def test_verb_without_its_module_raises_an_aiomsi_error(
    name: str, exhausted: Callable[[], None]
) -> None:
    async with serve_canned(Says(body=1)) as arm, open_session(arm) as own:
        await own.get(VAULT, api_version=VERSION)
        exhausted()
        with pytest.raises(AiomsiError, match=r"OSError: .*Too many open files") as raised:
            await CALLS[name](own)
    assert "open files" in raised.value.help
    assert raised.value.__suppress_context__
    assert len(arm.asked) == 1


@pytest.mark.parametrize(
    "answer",
    [
        Says(401, make_error_body("ExpiredAuthenticationToken")),
        Says(503),
        Says(None),
        Says(body="no json"),
    ],
)
async def test_response_without_its_module_is_an_aiomsi_error(
    answer: Says, exhausted: Callable[[], None]
) -> None:
    async with serve_canned(Says(body=1), answer) as arm, open_session(arm) as own:
        await own.get(VAULT, api_version=VERSION)
        exhausted()
        with pytest.raises(AiomsiError):
            await own.get(VAULT, api_version=VERSION)


async def test_lookup_without_its_module_raises_an_aiomsi_error(
    exhausted: Callable[[], None],
) -> None:
    async with serve_canned() as arm, open_session(arm) as own:
        call = own._make_call("GET", VAULT, NO_OPTIONS)
        exhausted()
        with pytest.raises(AiomsiError, match="Too many open files"):
            await own._sender.send(call)


async def test_session_without_its_modules_raises_an_aiomsi_error(
    exhausted: Callable[[], None],
) -> None:
    async with serve_canned() as arm:
        own = open_session(arm, Tokens())
        exhausted()
        with pytest.raises(AiomsiError, match="Too many open files"):
            await own.get(VAULT, api_version=VERSION)
        with pytest.raises(AiomsiError, match="Too many open files"):
            ArmSession(cloud=arm.cloud)
        await own.close()


@pytest.mark.usefixtures("azure_environment")
async def test_credential_without_its_modules_can_be_shown(
    exhausted: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    credential = ManagedIdentityCredential(share=False)
    await credential.get_token("https://management.azure.com/.default")
    assert "https://management.azure.com/: fresh>" in repr(credential)
    monkeypatch.delitem(sys.modules, "aiomsi._tokens.stats", raising=False)
    exhausted()
    assert repr(credential).startswith("<ManagedIdentityCredential ")
    with pytest.raises(AiomsiError, match="Too many open files"):
        ManagedIdentityCredential(gate=True)


def test_gate_without_filelock_tells_why(
    exhausted: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    exhausted()
    with pytest.raises(AiomsiError, match="Too many open files"):
        HostGate()
    monkeypatch.undo()
    monkeypatch.setitem(sys.modules, "filelock", None)
    with pytest.raises(ConfigurationError, match=r"pip install 'aiomsi\[gate\]'"):
        HostGate()


@pytest.mark.parametrize("failure", [ImportError("no"), OSError(24, "no")])
def test_failed_import_is_an_aiomsi_error(failure: Exception) -> None:
    with pytest.raises(AiomsiError, match=f"{type(failure).__name__}: .*no"), late_import:
        raise failure


def test_other_errors_of_an_import_stay() -> None:
    with pytest.raises(SyntaxError), late_import:
        raise SyntaxError
