"""The web services: their routes, an overload, and an end with a request under way."""

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from example_program import Start, get, watch_sessions
from loops import wait_in_thread

from aiomsi.testing import DEFAULT_SUBSCRIPTION_ID, EmbeddedAzure

SERVICES = ("fastapi", "aiohttp_web", "quart")
SUBSCRIPTION = f"/subscriptions/{DEFAULT_SUBSCRIPTION_ID}"

pytestmark = pytest.mark.parametrize("name", SERVICES)


def get_json(url: str) -> tuple[int, Any]:
    status, body = get(url)
    return status, json.loads(body)


def test_service_reads_arm_with_one_token(
    name: str, start_example: Start, azure: EmbeddedAzure
) -> None:
    with start_example(name, **watch_sessions()) as service:
        service.wait_until_ready()
        status, group = get_json(f"{service.url}/groups/DevTest")
        assert (status, group["id"]) == (200, f"{SUBSCRIPTION}/resourceGroups/DevTest")
        assert get_json(f"{service.url}/subscriptions") == (200, ["Embedded subscription"])
        health = {"under_way": 0, "waiting": 0, "refused": {}}
        assert get_json(f"{service.url}/health") == (200, health)
        service.terminate()
        assert service.wait() == 0
        assert service.count_closed_sessions() == 1
    assert azure.counts.imds_tokens == 1


def test_name_of_a_request_stays_one_segment(
    name: str, start_example: Start, azure: EmbeddedAzure
) -> None:
    with start_example(name) as service:
        service.wait_until_ready()
        for group in ("nope", "DevTest%3Fx=1", "a%23b"):
            assert get_json(f"{service.url}/groups/{group}") == (404, {"error": "NotFoundError"})
        assert get_json(f"{service.url}/groups/%2e%2e")[0] in (404, 502)
    paths = [request.path_qs.partition("?")[0] for request in azure.arm.requests]
    assert paths == [
        f"{SUBSCRIPTION}/resourceGroups/{each}" for each in ("nope", "DevTest%3Fx%3D1", "a%23b")
    ]


def test_request_under_way_is_finished_after_sigterm(
    name: str, start_example: Start, azure: EmbeddedAzure
) -> None:
    with (
        start_example(name, **watch_sessions()) as service,
        ThreadPoolExecutor(1) as pool,
        azure.arm.hold() as hold,
    ):
        service.wait_until_ready()
        request = pool.submit(get_json, f"{service.url}/groups/DevTest")
        hold.wait_arrived(1)
        assert get_json(f"{service.url}/health")[1]["under_way"] == 1
        with service.open_idle() as idle:
            service.terminate()
            assert idle.recv(1) == b""
        hold.release()
        status, group = request.result()
        assert (status, group["name"]) == (200, "DevTest")
        assert service.wait() == 0
        assert service.count_closed_sessions() == 1


def test_health_reports_too_many_waiting_calls(
    name: str, start_example: Start, azure: EmbeddedAzure
) -> None:
    with start_example(name) as service, ThreadPoolExecutor(300) as pool:
        service.wait_until_ready()
        with azure.arm.hold() as hold:
            requests = [pool.submit(get, f"{service.url}/groups/DevTest") for _ in range(300)]
            hold.wait_arrived(1)
            wait_in_thread(lambda: get(f"{service.url}/health")[0] == 503)
            assert get_json(f"{service.url}/health")[1]["waiting"] > 100
        assert {request.result()[0] for request in requests} == {200}
        assert get_json(f"{service.url}/health")[0] == 200
