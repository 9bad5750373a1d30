"""The last step of the demo: a crawl of one subscription, at the speed of ARM's limit.

Source:
https://learn.microsoft.com/azure/azure-resource-manager/management/request-limits-and-throttling
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import aclosing

import attrs
from rich.console import Console

from aiomsi._arm.session import ArmSession
from aiomsi._cli.demo.console import (
    DemoFailedError,
    ProgressLevel,
    make_table,
    print_text,
    show_progress,
)
from aiomsi._credentials.managed_identity import ManagedIdentityCredential
from aiomsi.testing import ArmBucket, ArmBuckets, ArmLimits, ArmUsage, EmbeddedAzure

BUCKET = ArmBucket(250, 100)
"""The size is a small subscription's; the refill is four times as fast, to keep the demo short."""
MOST_CALLS = 1_000
_MOST_REFUSED = 0.01
_VERSION = "2021-04-01"


@attrs.frozen
class Crawl:
    """The measurements of a crawl.

    Attributes:
        pacing: whether the session paced the calls.
        calls: the number of calls.
        failures: one text for each failed call.
        seconds: seconds from the first call to the last response.
        best: the seconds that the bucket takes to have a token for each call.
        usage: the embedded Azure's counts of the crawl.

    """

    pacing: bool
    calls: int
    failures: tuple[str, ...]
    seconds: float
    best: float
    usage: ArmUsage


async def crawl(
    console: Console,
    azure: EmbeddedAzure,
    calls: int,
    at_once: int,
    *,
    pacing: bool = True,
    bucket: ArmBucket = BUCKET,
) -> Crawl:
    """GET many groups of a new subscription, whose bucket is full at the start."""
    subscription = azure.arm.add_subscription()
    groups = f"/subscriptions/{subscription}/resourceGroups"
    names = azure.arm.add_resource_groups(subscription, calls)
    azure.arm.limits = ArmLimits(by_subscription={subscription: ArmBuckets(reads=bucket)})
    failures = []
    async with (
        ManagedIdentityCredential() as credential,
        ArmSession(credential, pacing=pacing) as arm,
    ):
        gauge = ProgressLevel("reads", int(bucket.size), lambda: _read_count(arm, subscription))
        await credential.warm_up()
        began = time.monotonic()
        outcomes = arm.fan_out(
            (f"{groups}/{name}" for name in names), limit=at_once, api_version=_VERSION
        )
        with show_progress(console, calls, gauge) as advance:
            async with aclosing(outcomes):
                async for outcome in outcomes:
                    if outcome.error is not None:
                        failures.append(str(outcome.error))
                    advance()
        seconds = time.monotonic() - began
    best = max(0.0, calls - bucket.size) / bucket.refill
    usage = azure.arm.usage(subscription, kind="reads")
    return Crawl(pacing, calls, tuple(failures), seconds, best, usage)


def _read_count(arm: ArmSession, subscription: str) -> int | None:
    """Return the reads left in the subscription's bucket, as the last response reported them."""
    counts = (
        limit.count
        for limit in arm.stats().limits
        if (limit.scope, limit.name) == (subscription, "subscription-reads")
    )
    return next(counts, None)


def summarize(console: Console, done: Crawl) -> None:
    """Print the measurements of a crawl, and last the server's count."""
    print_text(console, f"Calls: {done.calls}")
    print_text(console, f"Failures: {len(done.failures)}")
    print_text(console, f"Seconds: {done.seconds:.2f}, at least {done.best:.2f} for this bucket")
    counts = f"{done.usage.requests}, {done.usage.refused} answers of 429"
    print_text(console, f"ARM requests: {counts}", "bold")


def compare(console: Console, crawls: Sequence[Crawl]) -> None:
    """Print a table of the measurements with and without pacing."""
    headings = "Pacing", "Calls", "Failures", "Seconds", "ARM requests", "ARM 429s"
    rows = [
        (
            "on" if each.pacing else "off",
            each.calls,
            len(each.failures),
            f"{each.seconds:.2f}",
            each.usage.requests,
            each.usage.refused,
        )
        for each in crawls
    ]
    console.print(make_table(headings, rows))


def judge(done: Crawl) -> None:
    """Check that all calls of a crawl succeeded, and that ARM refused at most 1 % of them.

    Raises:
        DemoFailedError: a call failed, or ARM refused more requests.

    """
    if done.failures:
        count = f"{len(done.failures)} of {done.calls}"
        msg = f"{count} calls of the crawl failed; the first failure: {done.failures[0]}"
        raise DemoFailedError(
            msg, help="If this machine is short of files or memory, try fewer --calls or a --limit"
        )
    if done.usage.refused > _MOST_REFUSED * done.calls:
        msg = f"ARM refused {done.usage.refused} requests of {done.calls} calls with 429"
        raise DemoFailedError(msg, help="Please report this with the output above")
