"""The request path: repetitions and their waits, GETs before a repeated write, and tokens."""

import asyncio
import base64
import sys
import traceback
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any
from uuid import UUID, uuid4

import aiohttp
import attrs
import pytest
import yarl
from arm_server import (
    AUDIENCE,
    GROUP,
    VAULT,
    VERSION,
    Asked,
    Says,
    Slept,
    Token,
    Tokens,
    listen,
    make_error_body,
    make_steady_retry,
    open_session,
    serve_canned,
)
from loops import wait_until
from time_outs import TimeOuts

from aiomsi import (
    ArmAttempt,
    ArmConnectionError,
    ArmError,
    ArmRetry,
    ArmSession,
    AuthenticationError,
    Cloud,
    NotFoundError,
    OperationCanceledError,
    OperationFailedError,
    PreconditionFailedError,
    Request,
    ServiceError,
    ThrottledError,
    UsageError,
)
from aiomsi._arm import http as _http
from aiomsi.testing import DEFAULT_SUBSCRIPTION_ID, EmbeddedAzure, Fault, ManualClock

pytestmark = pytest.mark.anyio

URL = f"{VAULT}?api-version={VERSION}"
BODY = {"location": "westus", "properties": {"a": 1}}
DONE = {"id": VAULT, **BODY}
LOST = Says(None)
BUSY = Says(503, make_error_body("ServerTimeout"))
GONE = Says(504, make_error_body("GatewayTimeout"))
TOO_MANY = Says(429, make_error_body("TooManyRequests"))


@pytest.mark.parametrize(
    "rest",
    [
        "/",
        "/?",
        "/subscriptions?api-version=2022-12-01",
        "/a%2Fb/c:d/%C3%BC;e=1,2/@f?x=a%26b&y=?/&z=%23",
        "//a//../b?x=/../",
        "/ü b|[%zz]?ü b",
    ],
)
async def test_url_of_parts_equals_the_parsed_text(rest: str) -> None:
    arm = ArmSession(Tokens(), cloud=Cloud("Test", "http://127.0.0.1:8080", AUDIENCE))
    connection = arm._connection
    path, _, query = rest.partition("?")
    url = connection._build_url(path=path, query_string=query)
    parsed = yarl.URL(connection._root[: connection._root_end] + rest, encoded=True)
    assert (url, str(url), url.raw_path_qs) == (parsed, str(parsed), parsed.raw_path_qs)
    assert (url.host, url.port, url.origin()) == (parsed.host, parsed.port, parsed.origin())
    await arm.close()


async def test_url_with_a_scheme_in_capitals_is_sent_too() -> None:
    async with serve_canned(Says(200, DONE)) as server, open_session(server) as arm:
        assert await arm.get(server.url.replace("http", "HTTP", 1) + URL) == DONE


class OneToken(Tokens):
    """A credential without a second token."""

    async def get_token(self, *scopes: str, claims: str | None = None, **options: Any) -> Token:
        if self.asked:
            msg = "no more tokens"
            raise OSError(msg)
        return await super().get_token(*scopes, claims=claims, **options)


async def send(arm: ArmSession, method: str, **options: Any) -> Any:
    body = {"json": BODY} if method in ("PUT", "PATCH") else {}
    return await arm.request(method, VAULT, api_version=VERSION, **{**body, **options})


# Repetitions


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "PATCH", "POST", "DELETE"])
async def test_every_verb_is_repeated_after_a_429(method: str) -> None:
    slept = Slept()
    async with (
        serve_canned(TOO_MANY, Says(429, headers={"Retry-After": "7"}), Says()) as arm,
        open_session(arm, clock=slept.clock, retry=make_steady_retry()) as own,
    ):
        answer = await send(own, method)
    assert answer.status == 200
    assert [one.method for one in arm.asked] == [method] * 3
    assert (
        len({(one.target, one.body, one.headers["x-ms-client-request-id"]) for one in arm.asked})
        == 1
    )
    # The limit pauses for a second if the service names no time; each pause has a random part.
    assert [1 <= slept.sleeps[0] <= 1.3, 7 <= slept.sleeps[1] <= 7.6] == [True, True]


@pytest.mark.parametrize("method", ["GET", "HEAD", "DELETE"])
@pytest.mark.parametrize("status", [408, 500, 502, 503, 504])
async def test_idempotent_call_is_repeated_after_a_transient_error(
    method: str, status: int
) -> None:
    async with serve_canned(Says(status), Says(status), Says()) as arm, open_session(arm) as own:
        assert (await send(own, method)).status == 200
    assert len(arm.asked) == 3


@pytest.mark.parametrize("method", ["GET", "HEAD", "DELETE"])
async def test_idempotent_call_is_repeated_after_a_lost_connection(method: str) -> None:
    slept = Slept()
    async with serve_canned(LOST, Says()) as arm, open_session(arm, clock=slept.clock) as own:
        assert (await send(own, method)).status == 200
    assert len(arm.asked) == 2
    assert len(slept.sleeps) == 1


@pytest.mark.parametrize("answer", [LOST, BUSY, GONE, Says(408), Says(500)])
async def test_a_post_that_may_have_been_carried_out_is_not_repeated(answer: Says) -> None:
    async with serve_canned(answer) as arm, open_session(arm) as own:
        with pytest.raises((ServiceError, ArmConnectionError, ArmError)) as raised:
            await send(own, "POST")
    assert vars(raised.value)["attempts"] == 1
    assert arm.targets == [f"POST {URL}"]


async def test_a_post_that_only_reads_is_repeated() -> None:
    path = f"{VAULT}/listKeys"
    async with serve_canned(BUSY, Says(body={"keys": []})) as arm, open_session(arm) as own:
        assert await own.post(path, api_version=VERSION) == {"keys": []}
    assert len(arm.asked) == 2


@pytest.mark.parametrize("method", ["POST", "PUT", "GET"])
async def test_what_did_not_arrive_is_repeated_whatever_it_is(method: str) -> None:
    async with serve_canned(Says()) as arm:
        slept = Slept()
        async with (
            aiohttp.ClientSession(connector=Unreachable(2)) as http,
            open_session(arm, http=http, clock=slept.clock) as own,
        ):
            assert (await send(own, method)).status == 200
    assert arm.targets == [f"{method} {URL}"]
    assert len(slept.sleeps) == 2


class Unreachable(aiohttp.TCPConnector):
    """A connector whose first connections are refused."""

    def __init__(self, failures: int) -> None:
        super().__init__()
        self.failures = failures

    async def connect(self, req: Any, traces: Any, timeout: Any) -> Any:
        if self.failures:
            self.failures -= 1
            raise aiohttp.ClientConnectorError(
                req.connection_key, ConnectionRefusedError(111, "refused")
            )
        return await super().connect(req, traces, timeout)


@pytest.mark.parametrize("status", [400, 403, 404, 405, 409, 412, 501])
async def test_a_final_error_is_not_repeated(status: int) -> None:
    async with (
        serve_canned(Says(status, make_error_body("Final"))) as arm,
        open_session(arm) as own,
    ):
        with pytest.raises(ArmError) as raised:
            await send(own, "GET")
    assert (raised.value.status, raised.value.attempts, len(arm.asked)) == (status, 1, 1)


@pytest.mark.parametrize("method", ["GET", "PUT", "POST", "DELETE"])
async def test_switch_of_protocols_is_no_success(method: str) -> None:
    switch = b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n"
    async with (
        listen(switch) as (url, seen),
        ArmSession(Tokens(), cloud=Cloud("Canned", url, AUDIENCE)) as own,
    ):
        with pytest.raises(ArmError, match="101"):
            await send(own, method)
    assert len(seen) == 1


async def test_a_412_has_a_type_of_its_own() -> None:
    async with (
        serve_canned(Says(412, make_error_body("PreconditionFailed"))) as arm,
        open_session(arm) as own,
    ):
        with pytest.raises(PreconditionFailedError, match="Read the resource again"):
            await send(own, "PUT", if_match='W/"1"')
    assert arm.asked[0].headers["If-Match"] == 'W/"1"'


async def test_last_error_is_raised_after_the_rules_last_attempt() -> None:
    slept = Slept()
    async with (
        serve_canned(*[BUSY] * 3) as arm,
        open_session(arm, clock=slept.clock, retry=make_steady_retry(max_attempts=3)) as own,
    ):
        with pytest.raises(ServiceError) as raised:
            await send(own, "GET")
    assert (raised.value.attempts, raised.value.elapsed) == (3, 1 + 2)
    assert raised.value.__context__ is None
    assert slept.sleeps == [1, 2]


async def test_no_request_begins_after_the_budget() -> None:
    slept = Slept()
    waiting = Says(429, headers={"Retry-After": "50"})
    async with (
        serve_canned(*[waiting] * 4) as arm,
        open_session(arm, clock=slept.clock, retry=make_steady_retry(total_budget=180)) as own,
    ):
        with pytest.raises(ThrottledError) as raised:
            await send(own, "GET")
    assert raised.value.attempts == 4
    # The third pause in a row is a longer one, because refused requests may count as well.
    assert 50 + 50 + 60 <= raised.value.elapsed <= 50 + 50 + 60 + 3 * 2
    assert raised.value.retry_after == 50


async def test_a_wait_that_would_outlast_the_time_out_is_not_begun() -> None:
    slept = Slept()
    async with (
        serve_canned(Says(429, headers={"Retry-After": "50"})) as arm,
        open_session(arm, clock=slept.clock) as own,
    ):
        with pytest.raises(ThrottledError) as raised:
            await send(own, "GET", timeout=40)
    assert (raised.value.attempts, slept.sleeps, len(arm.asked)) == (1, [], 1)


async def test_waits_are_spread() -> None:
    async def one() -> float:
        slept = Slept()
        async with (
            serve_canned(TOO_MANY, Says()) as arm,
            open_session(arm, clock=slept.clock) as own,
        ):
            await send(own, "GET")
        return slept.sleeps[0]

    waits = [await one() for _ in range(8)]
    assert len(set(waits)) == 8
    assert all(1 <= wait <= 1.3 for wait in waits)


async def test_the_rule_can_be_replaced() -> None:
    met: list[ArmAttempt] = []

    def rule(attempt: ArmAttempt) -> float | None:
        met.append(attempt)
        return 3.0 if attempt.status == 404 else None

    slept = Slept()
    async with (
        serve_canned(
            Says(404, make_error_body("NotFound")), Says(404, make_error_body("Other")), Says(500)
        ) as arm,
        open_session(arm, clock=slept.clock, retry=rule) as own,
    ):
        with pytest.raises(ServiceError):
            await send(own, "GET")
    assert slept.sleeps == [3, 3]
    assert [
        (one.method, one.number, one.elapsed, one.status, one.code, one.repeats) for one in met
    ] == [
        ("GET", 1, 0, 404, "NotFound", 1),
        ("GET", 2, 3, 404, "Other", 1),
        ("GET", 3, 6, 500, None, 1),
    ]


async def test_without_a_rule_nothing_is_repeated() -> None:
    async with serve_canned(TOO_MANY) as arm, open_session(arm, retry=None) as own:
        with pytest.raises(ThrottledError):
            await send(own, "GET")
    assert len(arm.asked) == 1


async def test_a_version_that_is_listed_and_refused_is_tried_once_more() -> None:
    refused = Says(
        400,
        make_error_body(
            "InvalidApiVersionParameter", f"The supported versions are '{VERSION},2020-01-01'."
        ),
    )
    async with serve_canned(refused, Says(body={})) as arm, open_session(arm) as own:
        assert await own.get(VAULT, api_version=VERSION) == {}
    assert arm.targets == [f"GET {URL}"] * 2


# Writes that may have been carried out


@pytest.mark.parametrize("method", ["PUT", "PATCH"])
@pytest.mark.parametrize("answer", [GONE, LOST, Says(408), BUSY], ids=["504", "lost", "408", "503"])
async def test_a_write_that_was_carried_out_is_seen_and_not_repeated(
    method: str, answer: Says
) -> None:
    async with (
        serve_canned(answer, Says(body={**DONE, "etag": "2"})) as arm,
        open_session(arm) as own,
    ):
        found = await send(own, method, if_match="*")
    assert (found.status, found.method, found.json()) == (200, method, {**DONE, "etag": "2"})
    assert arm.targets == [f"{method} {URL}", f"GET {URL}"]
    assert "If-Match" not in arm.asked[1].headers


@pytest.mark.parametrize(
    "found", [Says(404, make_error_body("ResourceNotFound")), Says(body={"location": "eastus"})]
)
async def test_a_write_that_was_not_carried_out_is_repeated(found: Says) -> None:
    async with serve_canned(GONE, found, Says(201, DONE)) as arm, open_session(arm) as own:
        assert (await send(own, "PUT")).status == 201
    assert [one.method for one in arm.asked] == ["PUT", "GET", "PUT"]


async def test_a_write_that_goes_on_is_followed() -> None:
    running = {"id": VAULT, "properties": {"provisioningState": "Updating"}}
    done = {**DONE, "properties": {"a": 1, "provisioningState": "Succeeded"}}
    async with (
        serve_canned(GONE, Says(body=running), Says(body=running), Says(body=done)) as arm,
        open_session(arm) as own,
    ):
        assert await own.put(VAULT, api_version=VERSION, json=BODY) == done
    assert [one.method for one in arm.asked] == ["PUT", "GET", "GET", "GET"]


OTHER = {"id": VAULT, "location": "westus", "properties": {"a": 0}}


@pytest.mark.parametrize(("method", "answer"), [("PUT", BUSY), ("PATCH", GONE), ("PUT", LOST)])
async def test_change_by_another_client_is_not_the_lost_write(method: str, answer: Says) -> None:
    running = {**OTHER, "properties": {"a": 0, "provisioningState": "Updating"}}
    theirs = {**OTHER, "properties": {"a": 0, "provisioningState": "Succeeded"}}
    async with (
        serve_canned(answer, Says(body=running), Says(body=theirs)) as arm,
        open_session(arm) as own,
    ):
        operation = await own.begin(method, VAULT, api_version=VERSION, json=BODY, if_match="1")
        with pytest.raises((ServiceError, ArmConnectionError)) as raised:
            await operation.result()
        with pytest.raises(type(raised.value)):
            await operation.result()
    assert operation.done
    assert raised.value.uncertain
    assert "carried" in raised.value.help
    assert [one.method for one in arm.asked] == [method, "GET", "GET"]


@pytest.mark.parametrize("state", ["Failed", "Canceled"])
async def test_somebody_elses_failure_is_not_the_lost_writes(state: str) -> None:
    running = {**OTHER, "properties": {"a": 0, "provisioningState": "Updating"}}
    theirs = {**OTHER, "properties": {"a": 0, "provisioningState": state}}
    async with (
        serve_canned(GONE, Says(body=running), Says(body=theirs)) as arm,
        open_session(arm) as own,
    ):
        with pytest.raises(ServiceError, match="GatewayTimeout") as raised:
            await own.put(VAULT, api_version=VERSION, json=BODY, if_match="1")
    assert isinstance(raised.value.__cause__, OperationFailedError | OperationCanceledError)


@pytest.mark.parametrize("state", ["Succeeded", "Completed"])
async def test_a_lost_write_may_end_well_in_any_word_for_it(state: str) -> None:
    running = {**DONE, "properties": {"a": 1, "provisioningState": "Updating"}}
    done = {**DONE, "properties": {"a": 1, "provisioningState": state}}
    async with (
        serve_canned(GONE, Says(body=running), Says(body=done)) as arm,
        open_session(arm) as own,
    ):
        assert await own.put(VAULT, api_version=VERSION, json=BODY) == done


async def test_single_request_does_not_wait_for_the_end_of_a_change() -> None:
    running = {**DONE, "properties": {"a": 1, "provisioningState": "Updating"}}
    async with serve_canned(GONE, Says(body=running)) as arm, open_session(arm) as own:
        with pytest.raises(ServiceError, match="GatewayTimeout"):
            await send(own, "PUT")
    assert [one.method for one in arm.asked] == ["PUT", "GET"]


async def test_a_doubt_is_told_when_there_is_no_token_to_look_with() -> None:
    async with serve_canned(GONE, EXPIRED) as arm, open_session(arm, OneToken()) as own:
        with pytest.raises(ServiceError, match="GatewayTimeout") as raised:
            await send(own, "PUT")
    assert "could not be looked up" in raised.value.__notes__[0]


async def test_a_doubt_is_told_when_there_is_no_token_to_repeat_with() -> None:
    async with serve_canned(LOST, EXPIRED) as arm, open_session(arm, OneToken()) as own:
        with pytest.raises(ArmConnectionError, match="ServerDisconnected") as raised:
            await send(own, "DELETE")
    assert raised.value.arrived
    assert isinstance(raised.value.__cause__, aiohttp.ClientError)
    assert "could not be sent again" in raised.value.__notes__[0]


async def test_uncertain_call_stays_so_if_a_repetition_is_unsent() -> None:
    gate = asyncio.Event()

    async def sleep(_: float) -> None:
        gate.set()
        await closed.wait()

    closed = asyncio.Event()
    clock = attrs.evolve(ManualClock().clock, sleep=sleep)
    async with AsyncExitStack() as stack:
        async with serve_canned(
            Says(504, make_error_body("GatewayTimeout"), {"Connection": "close"})
        ) as arm:
            own = await stack.enter_async_context(
                open_session(arm, clock=clock, retry=ArmRetry(max_attempts=2))
            )
            call = asyncio.ensure_future(send(own, "DELETE"))
            await gate.wait()
        closed.set()
        with pytest.raises(ArmConnectionError, match="ClientConnectorError") as raised:
            await call
    assert (raised.value.attempts, raised.value.arrived, raised.value.uncertain) == (2, True, True)
    assert raised.value.help.startswith("An earlier attempt of this call may have done it: DELETE")
    assert "Nothing was sent" not in raised.value.help


async def test_deletion_with_404_after_a_lost_request_has_succeeded() -> None:
    async with (
        serve_canned(GONE, Says(404, make_error_body("ResourceNotFound"))) as arm,
        open_session(arm) as own,
    ):
        assert await own.delete(VAULT, api_version=VERSION) is None
    async with (
        serve_canned(Says(404, make_error_body("ResourceNotFound"))) as arm,
        open_session(arm) as own,
    ):
        with pytest.raises(NotFoundError):
            await own.delete(VAULT, api_version=VERSION)


@pytest.mark.parametrize("borrowed", [False, True])
@pytest.mark.parametrize("old", [False, True], ids=["", "without the attribute"])
async def test_a_lost_request_is_sent_once(
    borrowed: bool, old: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By default aiohttp sends a GET, HEAD, PUT or DELETE a second time."""
    passed: list[str] = []
    if old:
        monkeypatch.setattr(_http, "_disable_resends", lambda _: False)

    async def theirs(
        request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        passed.append(request.method)
        return await handler(request)

    methods = ["GET", "HEAD", "PUT", "DELETE"]
    async with (
        serve_canned(*[LOST] * 4, Says()) as arm,
        aiohttp.ClientSession(middlewares=(theirs,)) as http,
        open_session(arm, http=http if borrowed else None, retry=None) as own,
    ):
        for method in methods:
            with pytest.raises(ArmConnectionError, match="ServerDisconnectedError") as raised:
                await send(own, method)
            assert (raised.value.attempts, raised.value.arrived) == (1, True)
        await send(own, "GET")
    assert [one.method for one in arm.asked] == [*methods, "GET"]
    assert passed == ([*methods, "GET"] if borrowed else [])


def test_a_session_that_cant_be_kept_from_repeating_is_known() -> None:
    class Other:
        """An aiohttp session of a future version."""

    assert not _http._disable_resends(Other())  # type: ignore[arg-type]


@pytest.mark.usefixtures("azure_environment")
@pytest.mark.parametrize("fault", [Fault(504, carried_out=True), Fault.reset(carried_out=True)])
async def test_a_group_is_made_once_although_the_answer_is_lost(
    embedded_azure: EmbeddedAzure, fault: Fault
) -> None:
    path = f"/subscriptions/{DEFAULT_SUBSCRIPTION_ID}/resourceGroups/New"
    embedded_azure.arm.inject(fault)
    async with ArmSession(retry=ArmRetry(first_delay=0.0)) as arm:
        made = await arm.put(
            path, api_version=VERSION, json={"location": "West US", "tags": {"a": "b"}}
        )
    assert (made["name"], made["location"], made["tags"]) == ("New", "westus", {"a": "b"})
    assert [one.method for one in embedded_azure.requests if one.service == "arm"] == ["PUT", "GET"]


# Tokens

CLAIMS = '{"access_token":{"nbf":{"essential":true,"value":"1"}}}'
ENCODED_CLAIMS = base64.urlsafe_b64encode(CLAIMS.encode()).decode()
CHALLENGE = f'Bearer error="insufficient_claims", claims="{ENCODED_CLAIMS}"'
EXPIRED = Says(401, make_error_body("ExpiredAuthenticationToken"))


async def test_refused_token_is_renewed_without_the_rule() -> None:
    tokens = Tokens(("old", "new"))
    async with serve_canned(EXPIRED, Says()) as arm, open_session(arm, tokens, retry=None) as own:
        await send(own, "POST")
    assert [one.headers["Authorization"] for one in arm.asked] == ["Bearer old", "Bearer new"]


async def test_a_second_challenge_is_the_callers() -> None:
    tokens = Tokens(("old", "new", "newer"))
    challenged = Says(401, make_error_body("AuthenticationFailed"), {"WWW-Authenticate": CHALLENGE})
    async with serve_canned(challenged, challenged) as arm, open_session(arm, tokens) as own:
        with pytest.raises(AuthenticationError):
            await send(own, "GET")
    assert [claims for _, claims in tokens.asked] == [None, CLAIMS]


async def test_a_repeated_call_asks_for_its_token_anew() -> None:
    async with (
        serve_canned(BUSY, EXPIRED, Says()) as arm,
        open_session(arm, Tokens(("old", "new"))) as own,
    ):
        await send(own, "GET")
    assert [one.headers["Authorization"] for one in arm.asked] == [
        "Bearer old",
        "Bearer old",
        "Bearer new",
    ]


async def test_tokens_of_further_tenants_go_along() -> None:
    others = [Tokens((name,)) for name in "abc"]
    async with serve_canned(Says(), Says()) as arm, open_session(arm, auxiliary=others) as own:
        for _ in range(2):
            await send(own, "GET")
        assert "Bearer a" not in repr(own._connection)
    assert [one.headers["x-ms-authorization-auxiliary"] for one in arm.asked] == [
        "Bearer a, Bearer b, Bearer c"
    ] * 2
    assert [len(other.asked) for other in others] == [1, 1, 1]


async def test_a_refusal_renews_the_tokens_of_all_tenants() -> None:
    first, second = Tokens(("one",)), Tokens(("two", "2"))
    async with (
        serve_canned(EXPIRED, Says()) as arm,
        open_session(arm, first, auxiliary=[second]) as own,
    ):
        await send(own, "GET")
    assert arm.asked[1].headers["Authorization"] == "Bearer one"
    assert arm.asked[1].headers["x-ms-authorization-auxiliary"] == "Bearer 2"


async def test_a_challenge_is_about_the_first_tenants_token() -> None:
    first, second = Tokens(("one", "1")), Tokens(("two", "2"))
    challenged = Says(401, None, {"WWW-Authenticate": CHALLENGE})
    async with (
        serve_canned(challenged, Says()) as arm,
        open_session(arm, first, auxiliary=[second]) as own,
    ):
        await send(own, "GET")
    assert arm.asked[1].headers["Authorization"] == "Bearer 1"
    assert arm.asked[1].headers["x-ms-authorization-auxiliary"] == "Bearer two"


@pytest.mark.usefixtures("azure_environment")
async def test_a_challenge_of_the_embedded_azure_is_met(embedded_azure: EmbeddedAzure) -> None:
    async with ArmSession(retry=None) as arm:
        for _ in range(2):
            await asyncio.gather(*(arm.get(GROUP, api_version=VERSION) for _ in range(20)))
            embedded_azure.arm.challenge_tokens()
    assert (embedded_azure.counts.imds_requests, embedded_azure.counts.arm_unauthorized) == (2, 20)


# Ids


async def test_call_has_its_own_id_and_the_sessions_correlation_id() -> None:
    async with (
        serve_canned(*[Says()] * 4) as arm,
        open_session(arm) as own,
        open_session(arm, correlation_id="mine") as named,
    ):
        for _ in range(2):
            await send(own, "GET")
        await send(named, "GET")
        named.correlation_id = "other"
        assert named.correlation_id == "other"
        await send(named, "GET", headers={"X-MS-Correlation-Request-Id": "once"})
    calls = [one.headers["x-ms-client-request-id"] for one in arm.asked]
    common = [one.headers["x-ms-correlation-request-id"] for one in arm.asked]
    assert len({UUID(one) for one in calls}) == 4
    assert common[0] == common[1] == str(UUID(common[0]))
    assert common[2:] == ["mine", "once"]


# Time-outs


async def test_the_time_out_is_for_all_requests_of_a_call_together(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    held, time_outs = asyncio.Event(), TimeOuts(monkeypatch)

    async def hold(_: Asked) -> Says:
        time_outs.expire()
        await held.wait()
        return Says()

    answer: Callable[[Asked], Awaitable[Says]] = hold
    async with serve_canned(BUSY, answer) as arm, open_session(arm, retry=lambda _: 0.0) as own:
        with pytest.raises(
            ArmConnectionError, match=f"no answer within {time_outs.SECONDS} s"
        ) as raised:
            await send(own, "GET", timeout=time_outs.SECONDS)
        held.set()
    assert (raised.value.attempts, raised.value.arrived) == (2, True)
    assert not raised.value.uncertain


@pytest.mark.parametrize("seconds", [0, -5, -0.1])
async def test_without_time_nothing_is_sent(seconds: float) -> None:
    async with serve_canned(Says()) as arm, open_session(arm) as own:
        # A request of a warm session is written before its task can be cancelled.
        await send(own, "GET")
        put = Request("PUT", GROUP, api_version=VERSION, json={}, timeout=seconds)
        with pytest.raises(ArmConnectionError, match=f"no answer within {seconds} s") as raised:
            await own.put(GROUP, json={}, api_version=VERSION, timeout=seconds)
        errors = [outcome.error async for outcome in own.fan_out([put])]
        for error in (raised.value, *errors):
            assert isinstance(error, ArmConnectionError)
            assert (error.arrived, error.uncertain, error.attempts) == (False, False, 0)
    assert len(arm.asked) == 1


async def test_a_time_out_of_the_callers_own_is_left_alone() -> None:
    async def rule_out(_: Asked) -> Says:
        await asyncio.sleep(0)
        return BUSY

    def rule(_: ArmAttempt) -> float | None:
        msg = "the rule's own"
        raise TimeoutError(msg)

    async with serve_canned(rule_out) as arm, open_session(arm, retry=rule) as own:
        with pytest.raises(TimeoutError, match="the rule's own"):
            await send(own, "GET", timeout=30)


# The end


async def test_a_session_that_is_closed_while_a_call_waits_tells_it() -> None:
    manual = ManualClock()
    async with serve_canned(BUSY) as arm:
        own = open_session(arm, clock=manual.clock)
        call = asyncio.ensure_future(send(own, "GET"))
        await manual.sleeping()
        await own.close()
        manual.advance(60)
        with pytest.raises(UsageError, match="this ArmSession is closed"):
            await call


@pytest.mark.parametrize("borrowed", [False, True])
async def test_a_close_tells_those_who_still_wait_for_a_connection(
    borrowed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A task group or a gather would ignore aiohttp's bare cancellation of such calls."""
    monkeypatch.setattr(_http, "_MOST_CONNECTIONS", 1)
    held = asyncio.Event()

    async def hold(_: Asked) -> Says:
        await held.wait()
        return Says()

    answer: Callable[[Asked], Awaitable[Says]] = hold
    async with (
        serve_canned(answer) as arm,
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=1)) as http,
    ):
        own = open_session(arm, http=http if borrowed else None)
        calls = [asyncio.ensure_future(send(own, "GET")) for _ in range(3)]
        cancelled = calls.pop()
        await wait_until(lambda: bool(arm.asked))
        cancelled.cancel()
        await (http.close() if borrowed else own.close())
        ends: list[Any] = await asyncio.gather(*calls, cancelled, return_exceptions=True)
        held.set()
    assert [type(end) for end in ends] == [ArmConnectionError, UsageError, asyncio.CancelledError]
    assert "the session was closed" in str(ends[0])
    assert "closed" in str(ends[1])
    assert ends[0].arrived


async def test_write_under_way_when_the_session_closes_is_uncertain() -> None:
    held, arrived = asyncio.Event(), asyncio.Event()

    async def hold(_: Asked) -> Says:
        arrived.set()
        await held.wait()
        return Says()

    answer: Callable[[Asked], Awaitable[Says]] = hold
    async with serve_canned(answer) as arm:
        own = open_session(arm)
        call = asyncio.ensure_future(send(own, "DELETE"))
        await arrived.wait()
        await own.close()
        with pytest.raises(ArmConnectionError, match="Whether ARM has carried it out is unknown"):
            await call
        held.set()


# Modules that can't be loaded


@pytest.mark.parametrize("answer", [LOST, BUSY])
async def test_error_is_raised_even_if_no_module_can_be_loaded(
    answer: Says, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The condition of a process without free file descriptors."""
    monkeypatch.setitem(sys.modules, "aiomsi._arm.recovery", None)
    why = (
        "ServerDisconnectedError"
        if answer is LOST
        else "status 503, and the module for its recovery can't be loaded"
    )
    async with serve_canned(answer) as arm, open_session(arm) as own:
        with pytest.raises(ArmConnectionError, match=why) as raised:
            await send(own, "PUT")
    assert raised.value.uncertain


# Secrets


async def test_a_signed_url_is_in_no_error() -> None:
    answer, signature = b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n", uuid4().hex
    async with serve_canned() as arm, listen(answer) as (url, seen):
        cloud = attrs.evolve(arm.cloud, resource_manager=url)
        async with ArmSession(Tokens(), cloud=cloud, retry=None) as own:
            with pytest.raises(ArmConnectionError, match="ClientResponseError: 400") as raised:
                await own.get(f"{VAULT}?api-version={VERSION}&s={signature}")
    assert signature.encode() in seen[0]
    assert signature not in "".join(traceback.format_exception(raised.value))


def test_no_kind_of_error_of_aiohttps_tells_a_url() -> None:
    signed = "https://management.azure.com/x?s=signature"
    late = aiohttp.ConnectionTimeoutError(f"Connection timeout to host {signed}")
    assert _http.describe(late) == "ConnectionTimeoutError: no connection in time"
    assert _http.make_cause(late) is None
    malformed = aiohttp.InvalidURL(signed)
    assert _http.describe(malformed) == "InvalidURL: the URL is malformed"
    assert _http.make_cause(malformed) is None


async def test_a_close_that_is_cancelled_closes_all_the_same() -> None:
    async with serve_canned(Says()) as arm:
        own = open_session(arm)
        await send(own, "GET")
        http = own._connection.http
        assert http is not None
        stubborn = asyncio.Event()

        async def works() -> None:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                await stubborn.wait()
                raise

        task = own._connection.start(works(), "work")
        await asyncio.sleep(0)
        closing = asyncio.ensure_future(own.close())
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        closing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await closing
        assert http.closed
        stubborn.set()
        await asyncio.wait([task])
