"""The whole demo: its steps, and the state of the process that it changes and restores."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from importlib import import_module
from typing import Any

from rich.console import Console

from aiomsi._cli.demo import crawl, sharing
from aiomsi._cli.demo.console import print_text
from aiomsi._cli.demo.tutorial import run_tutorial
from aiomsi.testing import DEFAULT_SUBSCRIPTION_ID, EmbeddedAzure
from aiomsi.testing._hosts.variables import IDENTITY_VARIABLES

_FILES_PER_CALL = 4
"""Both ends of a connection to IMDS, and of a connection to ARM, are in this process."""
_OTHER_FILES = 64


def run(console: Console, *, calls: int, compare: bool, limit: int | None) -> None:
    """Run the tutorial, the shared calls and the crawl, and print them.

    Args:
        console: the output; control characters are written to a terminal only.
        calls: the number of concurrent calls; the crawl has at most 1,000.
        compare: whether the calls are repeated with a separate credential for each call, and the
            crawl without pacing.
        limit: the most calls under way at once, None for all.

    Raises:
        DemoFailedError: a call failed, or took more requests than it should.
        CredentialError, ArmError: one of the tutorial's two requests failed.
        MissingExtraError: a package that the embedded Azure needs is not installed.

    """
    wanted = calls * _FILES_PER_CALL + _OTHER_FILES
    with (
        EmbeddedAzure() as azure,
        replace_environment(azure.environment),
        open_files(wanted) as files,
    ):
        asyncio.run(run_tutorial(console, azure))
        possible = max(1, (files - _OTHER_FILES) // _FILES_PER_CALL)
        at_once = min(limit or calls, possible)
        few = (
            f"  at most {at_once} at once, since this process may open {files} files only"
            if possible < (limit or calls)
            else ""
        )
        run_sharing(console, azure, calls, at_once, few, compare=compare)
        run_crawl(console, azure, min(calls, crawl.MOST_CALLS), at_once, compare=compare)


def run_sharing(
    console: Console, azure: EmbeddedAzure, calls: int, at_once: int, few: str, *, compare: bool
) -> None:
    """Send the calls of the third step, and print them; `few` is a line about the limit of files.

    Raises:
        DemoFailedError: a call failed, or the calls took more than one request to IMDS.

    """
    names = azure.arm.add_resource_groups(DEFAULT_SUBSCRIPTION_ID, calls)
    title = f"\nStep 3: {calls} concurrent arm.get() over one ArmSession, with no token at hand"
    print_text(console, title, "bold")
    if few:
        print_text(console, few)
    shared = asyncio.run(sharing.run_shared(console, azure, names, at_once))
    sharing.summarize(console, shared)
    if compare:
        title = f"\nThe same {calls} calls without sharing: each sends a token request (some 30 s)"
        print_text(console, title, "bold")
        unshared = asyncio.run(sharing.run_unshared(console, azure, names, at_once))
        sharing.compare(console, [shared, unshared])
    sharing.judge(shared)


def run_crawl(
    console: Console, azure: EmbeddedAzure, calls: int, at_once: int, *, compare: bool
) -> None:
    """Crawl a small subscription, and print the crawl.

    Raises:
        DemoFailedError: a call failed, or more than 1 % of the answers were 429.

    """
    print_text(
        console,
        f"\nStep 4: {calls} GETs against a bucket of {crawl.BUCKET.size:.0f} reads, "
        f"which refills {crawl.BUCKET.refill:.0f} a second",
        "bold",
    )
    paced = asyncio.run(crawl.crawl(console, azure, calls, at_once))
    if compare:
        print_text(console, f"\nThe same {calls} GETs without pacing", "bold")
        unpaced = asyncio.run(crawl.crawl(console, azure, calls, at_once, pacing=False))
        crawl.compare(console, [paced, unpaced])
    crawl.summarize(console, paced)
    crawl.judge(paced)


@contextmanager
def replace_environment(variables: Mapping[str, str]) -> Iterator[None]:
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
        resource: Any = import_module("resource")
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
