"""Steady ARM load while a slow IMDS refreshes the token again and again.

Scaled down so that a run has several refreshes: the origin returns `refresh_in` of 2 s for a token
that lives an hour. aiomsi raises a `refresh_in` below `RefreshPolicy.reissued_min_delay`, which is
60 s, so that is set to 1 s. azure-core shifts a refresh by up to a minute, drawn at random, so its
pipeline is measured with tokens that live 3 s: it waits for a new token when they expire, as it
does in production at its refresh point.
"""

from collections.abc import Iterator
from typing import Any

from cells import Cell, Metric
from job import Job, Measured, find_percentile
from plan import SUBJECT, Block, Chart, Scenario, Series, Variant
from results import Check, Results, check_always, check_bound
from steady import Call, find_slowest, run_steadily

RATE = 200.0
SLOW = 0.5
MOST_STRETCH = 1.25
LEAST_REFRESHES = 20
_ARM = 0.02
_DEADLINE = 10.0
_CALM = 0.5
"""Seconds at the start that are left out, because connections are opened then."""


def measure(client: Any, job: Job) -> Measured:
    """Load ARM for `work` seconds, and separate the calls that overlap a refresh from the rest."""
    calls = job.run(_drive(client, job))
    spans = merge_spans(job.counts()["spans"][1:])
    kept = [call for call in calls if call.due >= calls[0].due + _CALM]
    during = [any(call.due < end and call.ended > start for start, end in spans) for call in kept]
    tense = sorted(call.took for call, hit in zip(kept, during, strict=True) if hit)
    calm = sorted(call.took for call, hit in zip(kept, during, strict=True) if not hit)
    zero = calls[0].due
    values = {
        "refreshes": float(
            sum(start >= zero + _CALM and end <= calls[-1].due for start, end in spans)
        ),
        "imds": float(job.counts()["imds"]),
        "calm": find_percentile(calm, 0.99) * 1e3 if calm else 0.0,
        "failures": float(sum(call.error is not None for call in calls)),
        "waited": float(sum(call.took >= SLOW / 2 for call in kept)),
        "longest": max(call.took for call in kept) * 1e3,
    }
    if calm and tense:
        values |= {
            "tense": find_percentile(tense, 0.99) * 1e3,
            "stretch": find_percentile(tense, 0.99) / find_percentile(calm, 0.99),
        }
    errors: dict[str, int] = {}
    for call in calls:
        if call.error is not None:
            errors[call.error] = errors.get(call.error, 0) + 1
    shaded = [[round(start - zero, 3), round(end - zero, 3)] for start, end in spans]
    return Measured(values, errors, {"timeline": find_slowest(calls, zero), "refreshes": shaded})


async def _drive(client: Any, job: Job) -> list[Call]:
    async with client.open_groups(job) as get_group:
        assert await get_group("warm") == "warm", "the warm call brought another group"
        return await run_steadily(get_group, rate=RATE, seconds=job.work, deadline=_DEADLINE)


def merge_spans(spans: list[list[float]]) -> list[tuple[float, float]]:
    """Join spans that overlap, because many requests at one moment are one refresh."""
    joined: list[tuple[float, float]] = []
    for start, end in sorted((start, end) for start, end in spans):
        if joined and start <= joined[-1][1]:
            joined[-1] = joined[-1][0], max(joined[-1][1], end)
        else:
            joined.append((start, end))
    return joined


def make_checks(results: Results) -> Iterator[Check]:
    """Check that no call fails or waits for a refresh, and that refreshes do not raise p99."""
    cell = Cell("rollover", _ASKED, 1, SUBJECT)
    found = results.measured(cell)
    yield check_always(
        f"no call of {SUBJECT} fails or waits for a refresh",
        [not m.failed and not m.values["waited"] for m in found],
    )
    stretch = results.of(cell, "stretch")
    yield check_bound(
        f"p99 of {SUBJECT} during refreshes / between them, at most {MOST_STRETCH}",
        stretch,
        most=MOST_STRETCH,
    )
    seen = sum(results.of(cell, "refreshes"))
    yield Check(
        "holds" if seen >= LEAST_REFRESHES else "open",
        f"at least {LEAST_REFRESHES} refreshes were seen: {seen:.0f}",
    )


def make_charts(results: Results) -> Iterator[Chart]:
    """Draw the slowest call of every 50 ms, in the last round of each client."""
    series, shaded = list[Series](), tuple[tuple[float, float], ...]()
    for cell in results.cells("rollover"):
        if found := results.measured(cell):
            series.append(
                Series(cell.client, tuple((at, took) for at, took in found[-1].series["timeline"]))
            )
            if cell.client == SUBJECT:
                shaded = tuple((start, end) for start, end in found[-1].series["refreshes"])
    if series:
        title = "Latency while the token is refreshed (shaded: aiomsi's refreshes)"
        y = "slowest call of 50 ms, in ms"
        yield Chart(
            "rollover", title, "lines", "seconds", y, tuple(series), log_y=True, shaded=shaded
        )


_ASKED, _ENDS = "refresh_in 2 s", "tokens of 3 s"
_BASE = (f"--arm-latency={_ARM}", f"--later={SLOW}")

SCENARIO = Scenario(
    name="rollover",
    title="steady ARM load while the token is refreshed by a slow IMDS",
    size_is="loads",
    variants={
        _ASKED: Variant(
            (*_BASE, "--refresh-in=2", "--life=3600"), policy={"reissued_min_delay": 1.0}
        ),
        _ENDS: Variant((*_BASE, "--life=3")),
    },
    full=(
        Block(_ASKED, (1,), (SUBJECT,), work=9),
        Block(_ASKED, (1,), ("aiohttp_tuned", "httpx"), work=9, rounds=2),
        Block(_ENDS, (1,), ("azure_core",), work=12, rounds=2),
    ),
    quick=(
        Block(_ASKED, (1,), (SUBJECT,), work=6, rounds=1),
        Block(_ASKED, (1,), ("aiohttp_tuned",), work=6, rounds=1),
    ),
    metrics=(
        Metric("refreshes", "refreshes"),
        Metric("imds", "IMDS requests"),
        Metric("calm", "p99 ms between refreshes", "{:,.1f}"),
        Metric("tense", "p99 ms during refreshes", "{:,.1f}"),
        Metric("stretch", "the latter / the former", "{:,.2f}"),
        Metric("waited", "calls that waited for one"),
        Metric("longest", "longest call ms"),
        Metric("failures", "failures"),
    ),
    measure=measure,
    checks=make_checks,
    charts=make_charts,
    remarks=(
        f"{RATE:.0f} calls a second; ARM takes {_ARM * 1e3:.0f} ms,",
        f"IMDS {SLOW * 1e3:.0f} ms for a refresh.",
        "The origin wants a refresh after 2 s; aiomsi has `RefreshPolicy(reissued_min_delay=1)`.",
        "azure-core's pipeline would shift that by up to a minute at random,",
        "so it has tokens that live 3 s.",
    ),
)
