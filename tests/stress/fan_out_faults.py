"""A fan-out of many requests against an ARM with faults: one correct outcome for each request.

``python tests/stress/fan_out_faults.py --requests 100000`` resets 1 % of the connections, responds
503 to 1 % of the requests and 429 to 1 %, cuts 0.5 % of the bodies, and now and then revokes all
tokens. It prints a line, and exits with 1 if an outcome is lost, occurs twice, is an error or has
another request's value. Waits between repetitions take no time. ``--lose`` drops one outcome, to
show that the check can fail.
"""

import argparse
import asyncio
import math
import os
import random
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence

import attrs

import aiomsi
from aiomsi.testing import (
    DEFAULT_SUBSCRIPTION_ID,
    ArmBucket,
    ArmBuckets,
    ArmLimits,
    EmbeddedAzure,
    Fault,
    ManualClock,
)
from aiomsi.testing._hosts.variables import IDENTITY_VARIABLES

VERSION = "2021-04-01"
GROUPS = 500
PLENTY = ArmLimits(buckets=ArmBuckets(reads=ArmBucket(10_000_000, 1_000_000)), enforced=False)
RARELY = 600.0
"""Seconds between two revocations of the token, by the clock of the session."""
FAULTS = (
    (0.01, Fault.reset()),
    (0.01, Fault(503)),
    (0.01, Fault(429, {"Retry-After": "1"})),
    (0.005, Fault.truncate()),
)


@attrs.frozen
class Row:
    """The outcome of a run."""

    requests: int
    lost: int
    twice: int
    errors: int
    wrong: int
    attempts: int
    faults: int
    unauthorized: int
    tokens: int
    seconds: float

    @property
    def good(self) -> bool:
        """Whether each request had one correct outcome."""
        return (self.lost, self.twice, self.errors, self.wrong) == (0, 0, 0, 0)

    def __str__(self) -> str:
        return (
            f"{self.requests:,} requests, {self.attempts:,} attempts, {self.faults:,} faults, "
            f"{self.unauthorized:,} of 401, {self.tokens} tokens: "
            f"{self.lost} lost, {self.twice} twice, {self.errors} errors, {self.wrong} wrong, "
            f"{self.seconds:.1f} s"
        )


def generate_requests(names: Sequence[str], number: int) -> Iterator[aiomsi.Request]:
    for tag in range(number):
        name = names[tag % len(names)]
        path = f"/subscriptions/{DEFAULT_SUBSCRIPTION_ID}/resourceGroups/{name}"
        yield aiomsi.Request("GET", path, api_version=VERSION, tag=(tag, name))


def inject_faults(azure: EmbeddedAzure, chance: random.Random, names: Sequence[str]) -> None:
    """Let the next request of one group meet a fault, in some per cent of the cases.

    The group is drawn, because a fault for whichever request comes next could meet one request
    several times: after a pause only one is sent, and is repeated until it succeeds.
    """
    for share, fault in FAULTS:
        if chance.random() < share:
            azure.arm.inject(fault, path=rf"/{chance.choice(names)}\?")


async def crawl(azure: EmbeddedAzure, options: argparse.Namespace) -> Row:
    """Send the requests, and compare the outcomes with them."""
    number, chance = options.requests, random.Random(options.seed)
    names = azure.arm.add_resource_groups(DEFAULT_SUBSCRIPTION_ID, GROUPS)
    seen = Counter[int]()
    errors = wrong = attempts = 0
    began = time.perf_counter()
    # Each wait of any call advances the clock of all, so the budget has no meaning.
    rule = aiomsi.ArmRetry(total_budget=math.inf)
    manual = ManualClock(autoadvance=True)
    async with aiomsi.ArmSession(retry=rule, clock=manual.clock) as arm:
        async for outcome in arm.fan_out(generate_requests(names, number), limit=options.limit):
            inject_faults(azure, chance, names)
            tag, name = outcome.request.tag
            if tag % options.revoke_every == options.revoke_every - 1:
                azure.imds.revoke_tokens()
                # A token that is refused soon after the last one was would not be replaced.
                manual.advance(RARELY)
            if options.lose and tag == number // 2:
                continue
            seen[tag] += 1
            attempts += outcome.attempts
            if outcome.error is not None:
                print(outcome.attempts, repr(outcome.error), file=sys.stderr)
                errors += 1
            elif outcome.value["name"] != name:
                wrong += 1
    counts = azure.counts
    return Row(
        requests=number,
        lost=sum(not seen[tag] for tag in range(number)),
        twice=sum(times > 1 for times in seen.values()),
        errors=errors,
        wrong=wrong,
        attempts=attempts,
        faults=counts.faults,
        unauthorized=counts.arm_unauthorized,
        tokens=counts.imds_tokens,
        seconds=time.perf_counter() - began,
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run once, and return the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--requests", type=int, default=100_000, metavar="N")
    parser.add_argument("--limit", type=int, default=512, metavar="N")
    parser.add_argument("--seed", type=int, default=1, metavar="N")
    parser.add_argument("--revoke-every", type=int, default=7_000, metavar="N")
    parser.add_argument("--lose", action="store_true", help="drop one outcome")
    options = parser.parse_args(arguments)
    for name in IDENTITY_VARIABLES:
        os.environ.pop(name, None)
    with EmbeddedAzure(arm_limits=PLENTY, imds_limits=None) as azure:
        os.environ.update(azure.environment)
        row = asyncio.run(crawl(azure, options))
    print(row)
    return 0 if row.good else 1


if __name__ == "__main__":
    sys.exit(main())
