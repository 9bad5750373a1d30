"""Ten thousand cold callers in eight event loops, each in a thread: one request to IMDS.

``python tests/stress/herd.py --repeat 100`` prints a line for each repetition and one for all of
them, and exits with 1 if a repetition makes another number of requests, or if a caller receives no
token. Each repetition has a new embedded IMDS with its limits, so that all callers are cold.
``--unshared`` shows that the check can fail.
"""

import argparse
import asyncio
import os
import sys
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import attrs

from aiomsi import AccessToken, Clock, ManagedIdentityCredential
from aiomsi.testing import EmbeddedAzure
from aiomsi.testing._hosts.variables import IDENTITY_VARIABLES

SCOPE = "https://management.azure.com/.default"


@attrs.frozen
class Row:
    """The outcome of one repetition."""

    callers: int
    loops: int
    cold: int
    requests: int
    tokens: int
    errors: int
    different: int
    seconds: float

    @property
    def good(self) -> bool:
        """Whether all callers received the token of a single request."""
        return (self.cold, self.requests, self.tokens, self.errors, self.different) == (
            self.callers,
            1,
            self.callers,
            0,
            1,
        )

    def __str__(self) -> str:
        requests = f"{self.requests:,} {'request' if self.requests == 1 else 'requests'}"
        return (
            f"{self.callers:,} callers in {self.loops} loops, {self.cold:,} of them cold: "
            f"{requests}, {self.tokens:,} tokens, {self.errors:,} errors, {self.seconds:.2f} s"
        )


async def get_tokens(
    credential: ManagedIdentityCredential, callers: int
) -> list[AccessToken | BaseException]:
    """Call `get_token` `callers` times at once."""
    return await asyncio.gather(
        *(credential.get_token(SCOPE) for _ in range(callers)), return_exceptions=True
    )


def run_repetition(loops: int, callers: int, *, share: bool) -> Row:
    """Run all loops, each with one credential; IMDS responds once all callers wait."""
    together = threading.Barrier(loops)
    with EmbeddedAzure() as azure, ThreadPoolExecutor(loops) as pool:
        os.environ.update(azure.environment)
        # A new clock for each repetition: credentials share slots by host and clock, and the system
        # may reuse the port of an earlier repetition.
        clock = Clock()
        credentials = [ManagedIdentityCredential(share=share, clock=clock) for _ in range(loops)]

        def run(credential: ManagedIdentityCredential) -> list[AccessToken | BaseException]:
            together.wait()
            return asyncio.run(get_tokens(credential, callers))

        began = time.perf_counter()
        with azure.imds.hold():
            futures = [pool.submit(run, credential) for credential in credentials]
            cold = wait_for_all(credentials[:1] if share else credentials, loops * callers)
        ends = [end for future in futures for end in future.result()]
        seconds = time.perf_counter() - began
        tokens = [end for end in ends if isinstance(end, AccessToken)]
        return Row(
            callers=loops * callers,
            loops=loops,
            cold=cold,
            requests=azure.counts.imds_requests,
            tokens=len(tokens),
            errors=len(ends) - len(tokens),
            different=len(set(map(id, tokens))),
            seconds=seconds,
        )


def wait_for_all(credentials: Sequence[ManagedIdentityCredential], callers: int) -> int:
    """Wait up to 60 s until `callers` calls wait for a token; return how many do."""
    deadline = time.monotonic() + 60
    while True:
        stats = [stats for credential in credentials for stats in credential.stats().values()]
        waiting = sum(each.fetches + each.joined for each in stats)
        if waiting >= callers or time.monotonic() > deadline:
            return waiting
        time.sleep(0.001)  # polls the other threads, and releases the interpreter to them


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the repetitions, and return the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--repeat", type=int, default=100, metavar="N", help="repetitions (default: %(default)s)"
    )
    parser.add_argument(
        "--loops",
        type=int,
        default=8,
        metavar="N",
        help="event loops, each in a thread (default: %(default)s)",
    )
    parser.add_argument(
        "--callers",
        type=int,
        default=1_250,
        metavar="N",
        help="callers in each loop (default: %(default)s)",
    )
    parser.add_argument("--unshared", action="store_true", help="give every loop a separate token")
    options = parser.parse_args(arguments)
    for name in IDENTITY_VARIABLES:
        os.environ.pop(name, None)
    rows = []
    for number in range(1, options.repeat + 1):
        rows.append(run_repetition(options.loops, options.callers, share=not options.unshared))
        print(f"{number}: {rows[-1]}", flush=True)
    good = sum(row.good for row in rows)
    callers, requests, errors = (
        sum(each)
        for each in zip(*((row.callers, row.requests, row.errors) for row in rows), strict=True)
    )
    slowest = max(row.seconds for row in rows)
    print(
        f"{good} of {len(rows)} repetitions made 1 request and gave all callers its token: "
        f"{callers:,} callers, {requests:,} requests, {errors:,} errors, slowest {slowest:.2f} s"
    )
    return 0 if good == len(rows) else 1


if __name__ == "__main__":
    sys.exit(main())
