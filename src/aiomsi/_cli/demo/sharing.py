"""The third step of the demo: many ARM calls with one token request."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeAlias

import aiohttp
import anyio
import attrs
from rich.console import Console

from aiomsi._arm.session import ArmSession
from aiomsi._cli.demo.console import DemoFailedError, make_table, print_text, show_progress
from aiomsi._credentials.managed_identity import ManagedIdentityCredential
from aiomsi._errors import AiomsiError
from aiomsi.testing import DEFAULT_SUBSCRIPTION_ID, Counts, EmbeddedAzure

_GROUPS = f"/subscriptions/{DEFAULT_SUBSCRIPTION_ID}/resourceGroups"
_VERSION = "2021-04-01"

_Get: TypeAlias = Callable[[str], Awaitable[Any]]


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


async def run_shared(
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


async def run_unshared(
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
    with show_progress(console, len(names)) as advance:
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


def summarize(console: Console, shared: Run) -> None:
    """Print the measurements of the calls, and last the server's count."""
    print_text(console, f"Calls: {shared.calls}")
    print_text(console, f"Failures: {len(shared.failures)}")
    print_text(console, f"Seconds: {shared.seconds:.2f}")
    print_text(console, f"Calls/s: {shared.calls / shared.seconds:.0f}")
    print_text(console, f"IMDS requests: {shared.counts.imds_requests}", "bold")


def compare(console: Console, runs: Sequence[Run]) -> None:
    """Print a table of the measurements with and without sharing."""
    headings = "Sharing", "Calls", "Failures", "Seconds", "IMDS requests", "IMDS 429s"
    rows = [
        (
            "on" if each.sharing else "off",
            each.calls,
            len(each.failures),
            f"{each.seconds:.2f}",
            each.counts.imds_requests,
            each.counts.imds_throttled,
        )
        for each in runs
    ]
    console.print(make_table(headings, rows))
