"""What `aiomsi demo` does: Microsoft's tutorial against the embedded Azure, then many calls at the price of one token.

What is shown are the requests that the server recorded, the answers that came in, and the server's
own counts.

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
from aiomsi._tokens.policy import DEFAULT_POLICY
from aiomsi._tokens.state import Failure, FetchRequest
from aiomsi._tokens.token import TokenResponse
from aiomsi._util.secret import Secret
from aiomsi.testing import DEFAULT_SUBSCRIPTION_ID, Counts, EmbeddedAzure, RecordedRequest
from aiomsi.testing._hosts.variables import IDENTITY_VARIABLES

_GROUPS = f"/subscriptions/{DEFAULT_SUBSCRIPTION_ID}/resourceGroups"
_TUTORIAL_VERSION = "2016-06-01"
_VERSION = "2021-04-01"
_FILES_PER_CALL = 4
"""Both ends of a connection to IMDS and of one to ARM are in this process."""
_OTHER_FILES = 64

_Get: TypeAlias = Callable[[str], Awaitable[Any]]


class DemoFailedError(AiomsiError):
    """The calls that share a credential did not all succeed, or took other than one request to IMDS."""


@attrs.frozen
class Run:
    """One fan-out, measured.

    Attributes:
        sharing: whether all calls shared one credential.
        calls: how many there were.
        failures: what went wrong, one text for each failed call.
        seconds: from the first call to the last answer.
        counts: what the server counted meanwhile.

    """

    sharing: bool
    calls: int
    failures: tuple[str, ...]
    seconds: float
    counts: Counts


def run(console: Console, *, calls: int, compare: bool, limit: int | None) -> None:
    """Do the tutorial and the fan-out, and print them.

    Arguments:
        console: where to; without a terminal there are no control characters in it.
        calls: how many concurrent calls.
        compare: do them again with a credential for each call.
        limit: most calls under way at once, None for all.

    Raises:
        DemoFailedError: see there.
        CredentialError, ArmError: the tutorial's own two requests failed.
        MissingExtraError: what the embedded Azure needs is not installed.

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
                f"\nThe same {calls} calls with nothing shared: each asks IMDS itself (some 30 s)",
                "bold",
            )
            runs.append(asyncio.run(unshared_run(console, azure, names, at_once)))
            console.print(_table(runs))
        judge(runs[0])


@contextmanager
def environment(variables: Mapping[str, str]) -> Iterator[None]:
    """Replace everything that the environment says of host and identity by these variables, for the block."""
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
    """Let this process open so many files, or as many as it may, for the block, and give the number."""
    try:
        import resource
    except ImportError:
        yield wanted
        return

    def granted(limit: int) -> int:
        return wanted if limit == resource.RLIM_INFINITY else min(wanted, limit)

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    # A platform may have a lower limit than the one that it tells.
    with suppress(ValueError, OSError):
        resource.setrlimit(
            resource.RLIMIT_NOFILE, (soft if granted(soft) == wanted else granted(hard), hard)
        )
    try:
        yield granted(resource.getrlimit(resource.RLIMIT_NOFILE)[0])
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@attrs.frozen
class _WatchedImds(Imds):
    """IMDS whose answers are kept, to be shown."""

    answers: list[TokenHttpResponse] = attrs.field(factory=list, repr=False)

    def parse(self, answer: TokenHttpResponse) -> TokenResponse | TokenError:
        """Keep the answer and read it."""
        self.answers.append(answer)
        return Imds.parse(self, answer)


@attrs.frozen
class _Held:
    """A credential that holds one token."""

    token: Secret = attrs.field(repr=False)
    expires_on: int

    async def get_token(self, *_: str, claims: str | None = None) -> _Held:  # noqa: ARG002 (part of the protocol)
        """Give the token."""
        return self


async def tutorial(console: Console, azure: EmbeddedAzure) -> None:
    """Do the two steps of the tutorial, and print each request and its answer."""
    host = _WatchedImds(azure.imds_url)
    outcome = await TokenFetch(host, PUBLIC.audience, DEFAULT_POLICY, SYSTEM_CLOCK)(FetchRequest())
    if isinstance(outcome, Failure):
        raise outcome.exception()
    _say(
        console,
        "Step 1: ask the VM's metadata service (IMDS) for a token for Azure Resource Manager",
        "bold",
    )
    _show(
        console,
        azure.requests[-1],
        host.answers[-1].status,
        _masked(json.loads(host.answers[-1].body)),
    )
    async with ArmSession(_Held(outcome.secret, int(time.time() + outcome.life))) as arm:
        response = await arm.request("GET", f"{_GROUPS}/DevTest", api_version=_TUTORIAL_VERSION)
    _say(console, "\nStep 2: call Azure Resource Manager (ARM) with that token", "bold")
    _show(console, azure.requests[-1], response.status, response.json())


def _masked(document: dict[str, Any]) -> dict[str, Any]:
    return {**document, "access_token": f"*** ({len(document['access_token'])} characters)"}


async def shared_run(
    console: Console, azure: EmbeddedAzure, names: tuple[str, ...], at_once: int
) -> Run:
    """Get all groups over one session and one credential that has no token yet."""
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
    """Get all groups with a new credential for each call: nothing is shared but connections, and no token is kept."""
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
            failures.append(f"asked for {name} and got {group['name']}")
    except AiomsiError as error:
        failures.append(str(error))
    advance()


@contextmanager
def _progress(console: Console, total: int) -> Iterator[Callable[[], None]]:
    """Show a bar on a terminal and a line for each quarter elsewhere; gives what is to be called for each call done."""
    if not console.is_terminal:
        yield _Quarters(console, total)
        return
    columns = TextColumn("  calls"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    with Progress(*columns, console=console) as bars:
        task = bars.add_task("", total=total)
        yield lambda: bars.advance(task)


@attrs.define
class _Quarters:
    """A counter that prints a line whenever another quarter is done."""

    console: Console
    total: int
    done: int = 0

    def __call__(self) -> None:
        self.done += 1
        if self.done * 4 // self.total > (self.done - 1) * 4 // self.total:
            _say(self.console, f"  {self.done} of {self.total} calls done")


def judge(shared: Run) -> None:
    """Make sure that sharing did what it promises.

    Raises:
        DemoFailedError: it did not.

    """
    if shared.failures:
        msg = f"{len(shared.failures)} of {shared.calls} calls failed, the first so: {shared.failures[0]}"
        raise DemoFailedError(
            msg, help="If this machine is short of files or memory, try fewer --calls or a --limit"
        )
    if shared.counts.imds_requests != 1:
        msg = f"{shared.calls} calls took {shared.counts.imds_requests} requests to IMDS and should take 1"
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
    """Print a line as it is: unwrapped, however narrow the terminal, and with no markup read into it."""
    console.print(Text(text, style), soft_wrap=True)
