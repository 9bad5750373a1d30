"""The metrics, and the gauges of a provider."""

from typing import Any

import pytest
from arm_server import GROUP, VERSION, Canned, Says, make_error_body
from opentelemetry import metrics
from otel_calls import get, list_calls, run
from otel_recorder import Recorder

import aiomsi
from aiomsi import ArmSession
from aiomsi._arm.protocol.pacing.session_stats import ArmStats, LimitStats
from aiomsi.integrations import opentelemetry
from aiomsi.integrations._otel.instruments import Instruments
from aiomsi.testing import DEFAULT_SUBSCRIPTION_ID


def test_metrics_have_no_subscription_ids(recorder: Recorder) -> None:
    left = {"x-ms-ratelimit-remaining-subscription-reads": "7"}
    other = GROUP.replace("98f51385", "11111111")

    async def work(server: Canned, arm: ArmSession) -> None:
        await arm.get(GROUP, api_version=VERSION)
        await arm.get(other, api_version=VERSION)
        with pytest.raises(aiomsi.NotFoundError):
            await arm.get(GROUP, api_version=VERSION)
        assert recorder.points("aiomsi.throttle.remaining") == [
            ({"aiomsi.limit": "subscription-reads"}, 7)
        ]

    run(
        work,
        Says(429, make_error_body("SubscriptionRequestsThrottled"), {"Retry-After": "3"}),
        Says(body=1, headers=left),
        Says(body=1, headers={"x-ms-ratelimit-remaining-subscription-reads": "9"}),
        Says(404, make_error_body("ResourceGroupNotFound"), left),
    )
    durations = {
        (found["http.response.status_code"], found.get("error.type")): count
        for found, count in recorder.points("http.client.request.duration")
    }
    assert durations == {
        (429, "SubscriptionRequestsThrottled"): 1,
        (200, None): 2,
        (404, "ResourceGroupNotFound"): 1,
    }
    assert recorder.points("aiomsi.throttle.responses") == [({"server.address": "127.0.0.1"}, 1)]
    ((limit, waits),) = recorder.points("aiomsi.throttle.wait")
    # A limit that only the 429 shows is named after its requests.
    assert limit == {"aiomsi.limit": "GET microsoft.resources/subscriptions/resourcegroups"}
    assert waits == 1
    points = [
        recorder.points(name)
        for name in (
            "http.client.request.duration",
            "aiomsi.token.fetch.duration",
            "aiomsi.throttle.wait",
        )
    ]
    assert DEFAULT_SUBSCRIPTION_ID not in str(points)


def test_gauge_ends_with_uninstrument(recorder: Recorder) -> None:
    def read() -> list[int]:
        return [value for _, value in recorder.points("aiomsi.throttle.remaining")]

    async def work(server: Canned, arm: ArmSession) -> None:
        await get(server, arm)
        assert read() == [100]
        opentelemetry.uninstrument()
        assert read() == []
        recorder.instrument()
        assert read() == []
        await get(server, arm)
        assert read() == [99]

    name = "x-ms-ratelimit-remaining-subscription-reads"
    run(work, *(Says(body=1, headers={name: count}) for count in ("100", "99")))


def test_gauge_of_the_global_provider_survives_a_second_call(
    recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(metrics._internal, "_METER_PROVIDER", recorder.meter_provider)
    opentelemetry.instrument()

    async def work(server: Canned, arm: ArmSession) -> list[int]:
        await get(server, arm)
        return [value for _, value in recorder.points("aiomsi.throttle.remaining")]

    headers = {"x-ms-ratelimit-remaining-subscription-reads": "99"}
    assert run(work, Says(body=1, headers=headers)) == [99]
    # The gauge of a provider that was replaced has no value.
    Recorder().instrument()
    assert run(work, Says(body=1, headers=headers)) == []


def test_wrong_provider_leaves_the_former_one(recorder: Recorder) -> None:
    wrong: Any = object()
    with pytest.raises(AttributeError):
        opentelemetry.instrument(tracer_provider=wrong)
    run(get, Says(body=1))
    assert list_calls(recorder) == ["ArmSession.get", "  GET 200"]


def test_gauge_outlives_a_change_during_its_reading(monkeypatch: pytest.MonkeyPatch) -> None:
    class Queue:
        def __init__(self, *results: Any) -> None:
            self.results = list(results)

        def get_stats(self) -> ArmStats:
            result = self.results.pop(0)
            if isinstance(result, Exception):
                raise result
            return ArmStats(limits=(LimitStats(scope="", name="x", owner="", count=result),))

    changed = RuntimeError("dictionary changed size during iteration")
    instruments = Instruments(metrics.get_meter("test"))
    monkeypatch.setattr(Instruments, "current", instruments)
    queues: Any = [Queue(changed, 5, None), Queue(changed, changed, changed)]
    instruments.queues.add(queues[0])
    options: Any = None
    assert [one.value for one in instruments._observe(options)] == [5]
    assert list(instruments._observe(options)) == []
    instruments.queues.clear()
    instruments.queues.add(queues[1])
    assert list(instruments._observe(options)) == []
