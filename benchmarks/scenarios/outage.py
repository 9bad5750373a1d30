"""Calls that fail while IMDS is down from refresh time on and the token is still valid.

Scaled down: in `long life` a token lives an hour and its refresh is due after 2 s; the run covers
the first 8 s of an outage, which in production lasts hours. In `to the end` a token lives 22 s and
the run covers the time until 10 s are left, when aiomsi stops using the token. There,
`RefreshPolicy` scales aiomsi's refresh (at 3 s) and its late window to the token. Microsoft's
libraries cannot be scaled in this way: their window is five minutes wide, so they would be in it
from the start.
"""

import time
from collections.abc import Iterator
from typing import Any

from cells import Cell, Metric
from job import Job, Measured
from plan import SUBJECT, Block, Scenario, Variant
from results import Check, Results, check_always
from steady import Call, run_steadily

RATE = 20.0
_DEADLINE = 10.0
_EARLIEST = 1.9
"""The least refresh point in seconds after the token, before which no client sees the outage."""


def measure(client: Any, job: Job) -> Measured:
    """Load ARM for `work` seconds after the token, and count the failed calls."""
    calls = job.run(_drive(client, job))
    after = [call for call in calls if call.due >= calls[0].due + _EARLIEST]
    failed = [call for call in after if call.error is not None]
    errors: dict[str, int] = {}
    for call in failed:
        errors[str(call.error)] = errors.get(str(call.error), 0) + 1
    values = {
        "share": 100 * len(failed) / len(after),
        "failures": float(len(failed)),
        "longest": max(call.took for call in after) * 1e3,
        "imds": float(job.counts()["imds"]),
    }
    return Measured(values, errors)


async def _drive(client: Any, job: Job) -> list[Call]:
    async with client.open_groups(job) as get_group:
        assert await get_group("warm") == "warm", "the warm call brought another group"
        # The lifetime of the token counts from its request, and whole seconds cut up to 1 s off its
        # end.
        late = time.monotonic() - job.counts()["spans"][0][0] + 1.0
        return await run_steadily(get_group, rate=RATE, seconds=job.work - late, deadline=_DEADLINE)


def make_checks(results: Results) -> Iterator[Check]:
    """Check that no call fails until the token's last ten seconds."""
    for variant in (_LONG, _END):
        found = results.measured(Cell("outage", variant, 1, SUBJECT))
        yield check_always(
            f"no call of {SUBJECT} fails in an outage of IMDS ({variant})",
            [m.values["share"] == 0 for m in found],
        )


_LONG, _END = "long life", "to the end"
_LIFE = 22

SCENARIO = Scenario(
    name="outage",
    title="IMDS is down from refresh time on",
    size_is="loads",
    variants={
        _LONG: Variant(
            ("--down", "--life=3600", "--refresh-in=2"), policy={"reissued_min_delay": 1.0}
        ),
        _END: Variant(
            ("--down", f"--life={_LIFE}"),
            policy={
                "refresh_share_short": 3 / _LIFE,
                "late_before_expiry": 13.0,
                "late_wait": 0.5,
                "late_reserve": 10.5,
            },
        ),
    },
    full=(
        Block(_LONG, (1,), (SUBJECT, "aiohttp_tuned", "httpx"), work=10, rounds=2),
        Block(_END, (1,), (SUBJECT,), work=_LIFE - 10, rounds=3),
    ),
    quick=(
        Block(_LONG, (1,), (SUBJECT, "httpx"), work=5, rounds=1),
        Block(_END, (1,), (SUBJECT,), work=_LIFE - 10, rounds=1),
    ),
    metrics=(
        Metric("share", "failing calls %", "{:,.1f}"),
        Metric("longest", "longest call ms"),
        Metric("imds", "IMDS requests"),
    ),
    measure=measure,
    checks=make_checks,
    remarks=(
        f"{RATE:.0f} calls a second, each with a deadline of {_DEADLINE:.0f} s;",
        "IMDS responds 503 to all but the first request.",
        f"`{_LONG}`: the token lives an hour, and its refresh is due after 2 s.",
        f"`{_END}`: it lives {_LIFE} s, and the run ends when 10 s are left;",
        "`RefreshPolicy` scales aiomsi's windows to it.",
        "Only the seconds after the refresh point count.",
    ),
)
