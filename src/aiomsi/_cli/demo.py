"""The command `aiomsi demo`: Microsoft's tutorial, then many ARM calls with one token request.

All requests go to an embedded Azure. The output shows the requests that its servers recorded, the
responses that the client received, and the servers' counts.

Source:
https://learn.microsoft.com/entra/identity/managed-identities-azure-resources/tutorial-windows-vm-access
"""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any, TypeAlias

import aiohttp
import anyio
import attrs
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from aiomsi._arm.session import ArmSession
from aiomsi._clock import SYSTEM_CLOCK
from aiomsi._clouds import PUBLIC
from aiomsi._credentials.fetch import TokenFetch
from aiomsi._credentials.managed_identity import ManagedIdentityCredential
from aiomsi._errors import AiomsiError
from aiomsi._hosts.base import TokenError, TokenHttpResponse
from aiomsi._hosts.imds import Imds
from aiomsi._tokens.failure import Failure
from aiomsi._tokens.policy import DEFAULT_POLICY
from aiomsi._tokens.state import FetchRequest
from aiomsi._tokens.token import TokenResponse
from aiomsi._util.secret import Secret
from aiomsi.testing import DEFAULT_SUBSCRIPTION_ID, Counts, EmbeddedAzure, RecordedRequest
from aiomsi.testing._hosts.variables import IDENTITY_VARIABLES

_GROUPS = f"/subscriptions/{DEFAULT_SUBSCRIPTION_ID}/resourceGroups"
_TUTORIAL_VERSION = "2016-06-01"
_VERSION = "2021-04-01"
_FILES_PER_CALL = 4
"""Both ends of a connection to IMDS, and of a connection to ARM, are in this process."""
_OTHER_FILES = 64

_Get: TypeAlias = Callable[[str], Awaitable[Any]]


class DemoFailedError(AiomsiError):
    """A call of the shared credential failed, or the calls did not take one IMDS request only."""


@attrs.frozen
class Run:
    """The measurements of one fan-out.

    Attributes:
        sharing: whether all calls shared one credential.
        calls: the number of calls.
        failures: one text for each failed call.
        seconds: seconds from the first call to the last response.
        counts: the embedded Azure's counts of the fan-out.

    """

    sharing: bool
    calls: int
    failures: tuple[str, ...]
    seconds: float
    counts: Counts


def run(console: Console, *, calls: int, compare: bool, limit: int | None) -> None:
    """Run the tutorial and the fan-out, and print both.

    Args:
        console: the output; control characters are written to a terminal only.
        calls: the number of concurrent calls.
        compare: whether the calls are repeated with a separate credential for each call.
        limit: the most calls under way at once, None for all.

    Raises:
        DemoFailedError: a call failed, or the calls took more than one request to IMDS.
        CredentialError, ArmError: one of the tutorial's two requests failed.
        MissingExtraError: a package that the embedded Azure needs is not installed.

    """
    wanted = calls * _FILES_PER_CALL + _OTHER_FILES
    with EmbeddedAzure() as azure, environment(azure.environment), open_files(wanted) as files:
        names = azure.add_resource_groups(DEFAULT_SUBSCRIPTION_ID, calls)
        asyncio.run(tutorial(console, azure))
        _say(
            console,
            f"\nStep 3: {calls} concurrent arm.get() over one ArmSession, with no token at hand",
            "bold",
        )
        at_once = min(limit or calls, max(1, (files - _OTHER_FILES) // _FILES_PER_CALL))
        if files < wanted:
            _say(
                console,
                f"  at most {at_once} at once, since this process may open {files} files only",
            )
        runs = [asyncio.run(shared_run(console, azure, names, at_once))]
        _summarize(console, runs[0])
        if compare:
            _say(
                console,
                f"\nThe same {calls} calls without sharing: each sends a token request (some 30 s)",
                "bold",
            )
            runs.append(asyncio.run(unshared_run(console, azure, names, at_once)))
            console.print(_table(runs))
        judge(runs[0])


@contextmanager
def environment(variables: Mapping[str, str]) -> Iterator[None]:
    """Replace all variables that select host and identity by `variables`, for the block."""
    before = {name: os.environ.pop(name) for name in IDENTITY_VARIABLES if name in os.environ}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name in variables:
            os.environ.pop(name, None)
        os.environ.update(before)


@contextmanager
def open_files(wanted: int) -> Iterator[int]:
    """Raise the limit of open files to `wanted`, or as far as allowed, for the block.

    Yields the number of files that the process may open.
    """
    try:
        import resource
    except ImportError:
        yield wanted
        return

    def up_to(limit: int) -> int:
        return wanted if limit == resource.RLIM_INFINITY else min(wanted, limit)

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    # A platform may enforce a lower limit than the one that it reports.
    with suppress(ValueError, OSError):
        resource.setrlimit(
            resource.RLIMIT_NOFILE, (soft if up_to(soft) == wanted else up_to(hard), hard)
        )
    try:
        yield up_to(resource.getrlimit(resource.RLIMIT_NOFILE)[0])
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@attrs.frozen
class _RecordingImds(Imds):
    """The host IMDS, with a record of its responses for the output."""

    answers: list[TokenHttpResponse] = attrs.field(factory=list, repr=False)

    def parse(self, answer: TokenHttpResponse) -> TokenResponse | TokenError:
        """Record a response and parse it."""
        self.answers.append(answer)
        return Imds.parse(self, answer)


@attrs.frozen
class _StaticCredential:
    """A credential that holds one token."""

    token: Secret = attrs.field(repr=False)
    expires_on: int

    async def get_token(
        self,
        *_: str,
        claims: str | None = None,  # noqa: ARG002  # part of the protocol
    ) -> _StaticCredential:
        """Return the token."""
        return self


async def tutorial(console: Console, azure: EmbeddedAzure) -> None:
    """Send the two requests of the tutorial, and print each with its response."""
    host = _RecordingImds(azure.imds_url)
    outcome = await TokenFetch(host, PUBLIC.audience, DEFAULT_POLICY, SYSTEM_CLOCK)(FetchRequest())
    if isinstance(outcome, Failure):
        raise outcome.exception()
    _say(
        console,
        "Step 1: request a token for Azure Resource Manager from the VM's metadata service (IMDS)",
        "bold",
    )
    _show(
        console,
        azure.requests[-1],
        host.answers[-1].status,
        _masked(json.loads(host.answers[-1].body)),
    )
    async with ArmSession(
        _StaticCredential(outcome.secret, int(time.time() + outcome.life))
    ) as arm:
        response = await arm.request("GET", f"{_GROUPS}/DevTest", api_version=_TUTORIAL_VERSION)
    _say(console, "\nStep 2: call Azure Resource Manager (ARM) with that token", "bold")
    _show(console, azure.requests[-1], response.status, response.json())


def _masked(document: dict[str, Any]) -> dict[str, Any]:
    return {**document, "access_token": f"*** ({len(document['access_token'])} characters)"}


async def shared_run(
    console: Console, azure: EmbeddedAzure, names: tuple[str, ...], at_once: int
) -> Run:
    """GET all groups in one session, with one credential that has no token yet."""
    async with ManagedIdentityCredential() as credential, ArmSession(credential) as arm:
        credential.forget()
        return await _fan_out(
            console,
            azure,
            names,
            at_once,
            lambda path: arm.get(path, api_version=_VERSION),
            sharing=True,
        )


async def unshared_run(
    console: Console, azure: EmbeddedAzure, names: tuple[str, ...], at_once: int
) -> Run:
    """GET all groups with a new credential for each call; the calls share connections only."""
    async with aiohttp.ClientSession() as http:

        async def get(path: str) -> Any:
            async with (
                ManagedIdentityCredential(share=False) as credential,
                ArmSession(credential, http=http) as arm,
            ):
                return await arm.get(path, api_version=_VERSION)

        return await _fan_out(console, azure, names, at_once, get, sharing=False)


async def _fan_out(
    console: Console,
    azure: EmbeddedAzure,
    names: tuple[str, ...],
    at_once: int,
    get: _Get,
    *,
    sharing: bool,
) -> Run:
    azure.reset_counts()
    limiter = anyio.CapacityLimiter(at_once)
    failures: list[str] = []
    with _progress(console, len(names)) as advance:
        began = time.monotonic()
        async with anyio.create_task_group() as tasks:
            for name in names:
                tasks.start_soon(_get_group, get, name, limiter, failures, advance)
        seconds = time.monotonic() - began
    return Run(sharing, len(names), tuple(failures), seconds, azure.counts)


async def _get_group(
    get: _Get,
    name: str,
    limiter: anyio.CapacityLimiter,
    failures: list[str],
    advance: Callable[[], None],
) -> None:
    try:
        async with limiter:
            group = await get(f"{_GROUPS}/{name}")
        if group["name"] != name:
            failures.append(f"requested {name}, received {group['name']}")
    except AiomsiError as error:
        failures.append(str(error))
    advance()


@contextmanager
def _progress(console: Console, total: int) -> Iterator[Callable[[], None]]:
    """Show a bar on a terminal, elsewhere a line for each quarter.

    Yields the function to call after each completed call.
    """
    if not console.is_terminal:
        yield _Quarters(console, total)
        return
    columns = TextColumn("  calls"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    with Progress(*columns, console=console) as bars:
        task = bars.add_task("", total=total)
        yield lambda: bars.advance(task)


@attrs.define
class _Quarters:
    """A counter that prints a line after each quarter of the total."""

    console: Console
    total: int
    done: int = 0

    def __call__(self) -> None:
        self.done += 1
        if self.done * 4 // self.total > (self.done - 1) * 4 // self.total:
            _say(self.console, f"  {self.done} of {self.total} calls done")


def judge(shared: Run) -> None:
    """Check that all calls succeeded with exactly one request to IMDS.

    Raises:
        DemoFailedError: a call failed, or the calls took another number of requests to IMDS.

    """
    if shared.failures:
        count = f"{len(shared.failures)} of {shared.calls}"
        msg = f"{count} calls failed; the first failure: {shared.failures[0]}"
        raise DemoFailedError(
            msg, help="If this machine is short of files or memory, try fewer --calls or a --limit"
        )
    if shared.counts.imds_requests != 1:
        requests = shared.counts.imds_requests
        msg = f"{shared.calls} calls took {requests} requests to IMDS and should take 1"
        raise DemoFailedError(msg, help="Please report this with the output above")


def _show(console: Console, request: RecordedRequest, status: int, answer: object) -> None:
    _say(console, f"> {request.method} {request.path_qs}", "cyan")
    for name, value in request.headers.items():
        _say(console, f"> {name}: {value}", "cyan")
    _say(console, f"< {status}", "green")
    for line in json.dumps(answer, indent=2).splitlines():
        _say(console, f"< {line}", "green")


def _summarize(console: Console, shared: Run) -> None:
    _say(console, f"Calls: {shared.calls}")
    _say(console, f"Failures: {len(shared.failures)}")
    _say(console, f"Seconds: {shared.seconds:.2f}")
    _say(console, f"Calls/s: {shared.calls / shared.seconds:.0f}")
    _say(console, f"IMDS requests: {shared.counts.imds_requests}", "bold")


def _table(runs: list[Run]) -> Table:
    table = Table()
    for heading in ("Sharing", "Calls", "Failures", "Seconds", "IMDS requests", "IMDS 429s"):
        table.add_column(heading, justify="left" if heading == "Sharing" else "right")
    for each in runs:
        counts = each.counts
        numbers = (
            each.calls,
            len(each.failures),
            f"{each.seconds:.2f}",
            counts.imds_requests,
            counts.imds_throttled,
        )
        table.add_row("on" if each.sharing else "off", *(str(number) for number in numbers))
    return table


def _say(console: Console, text: str, style: str = "") -> None:
    """Print a line without wrapping it to the terminal's width and without parsing markup."""
    console.print(Text(text, style), soft_wrap=True)
