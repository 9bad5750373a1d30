"""Writes whose response was lost: compared, repeated, or raised as uncertain."""

import asyncio
import json
import pickle
import random
from typing import Any

import attrs
import pytest
from arm_server import (
    GROUP,
    VAULT,
    VERSION,
    Asked,
    Canned,
    Says,
    Slept,
    make_error_body,
    open_session,
    serve_canned,
)
from loops import wait_until
from time_outs import TimeOuts

from aiomsi import (
    AiomsiError,
    ArmConnectionError,
    ArmError,
    ArmRetry,
    ArmSession,
    AuthorizationError,
    ConflictError,
    NotFoundError,
    Operation,
    OperationFailedError,
    OperationUnfinishedError,
    OperationUnreadableError,
    PreconditionFailedError,
    RegistrationRequiredError,
    Request,
    ServiceError,
    UsageError,
)

pytestmark = pytest.mark.anyio

BODY = {"location": "westus", "properties": {"a": 1}}
DONE = {"id": VAULT, **BODY}
OLD = {"id": VAULT, "location": "westus", "tags": {"owner": "ann"}, "properties": {"a": 0}}
LOST = Says(None)
BUSY = Says(503, make_error_body("ServerTimeout"))
GONE = Says(504, make_error_body("GatewayTimeout"))
MISSING = Says(404, make_error_body("ResourceNotFound"))
CONFLICT = Says(409, make_error_body("Conflict", "No"))
EARLIER = "An earlier attempt of this call may have done it"


def make_old_resource(state: str, **more: Any) -> Says:
    return Says(body={**OLD, "properties": {"a": 0, "provisioningState": state}, **more})


async def put(own: ArmSession, **more: Any) -> Any:
    return await own.put(VAULT, **{"api_version": VERSION, "json": BODY, **more})


def list_methods(arm: Canned) -> list[str]:
    return [one.method for one in arm.asked]


# Writes that took effect


@pytest.mark.parametrize("lost", [LOST, GONE, BUSY], ids=["lost", "504", "503"])
@pytest.mark.parametrize("sent", [{"location": "westus", "tags": {}}, {"location": "westus"}])
async def test_lost_put_that_removes_a_tag_is_repeated(sent: dict[str, Any], lost: Says) -> None:
    stored = {"location": "westus", "tags": {"owner": "ann"}, "etag": "changed"}
    async with (
        serve_canned(lost, Says(body=stored), Says(body=sent)) as arm,
        open_session(arm) as own,
    ):
        assert await put(own, json=sent) == sent
    assert list_methods(arm) == ["PUT", "GET", "PUT"]
    assert arm.asked[0].body == arm.asked[2].body


async def test_lost_patch_that_removes_a_tag_is_repeated() -> None:
    sent = {"tags": {"owner": None}}
    async with serve_canned(LOST, Says(body=OLD), Says(body={})) as arm, open_session(arm) as own:
        await own.patch(VAULT, api_version=VERSION, json=sent)
    assert list_methods(arm) == ["PATCH", "GET", "PATCH"]


async def test_patch_of_a_resource_not_seen_is_repeated() -> None:
    async with serve_canned(LOST, MISSING, MISSING) as arm, open_session(arm) as own:
        with pytest.raises(NotFoundError, match=EARLIER):
            await own.patch(VAULT, api_version=VERSION, json=BODY)
    assert list_methods(arm) == ["PATCH", "GET", "PATCH"]


@pytest.mark.parametrize(
    ("content", "verbs_sent"), [(b'{"a": 1}', ["PUT", "GET"]), (b"<a/>", ["PUT", "GET", "PUT"])]
)
async def test_bytes_are_compared_where_they_are_json(
    content: bytes, verbs_sent: list[str]
) -> None:
    buffer = bytearray(content)

    def lose(_: Asked) -> Says:
        buffer[:] = b"changed"
        return LOST

    repeated = [Says(body={"a": 1})] * (len(verbs_sent) - 2)
    async with serve_canned(lose, Says(body={"a": 1}), *repeated) as arm, open_session(arm) as own:
        assert await put(own, json=None, content=buffer) == {"a": 1}
    assert list_methods(arm) == verbs_sent
    assert {one.body for one in arm.asked if one.method == "PUT"} == {content}


async def test_body_is_compared_as_it_was_sent() -> None:
    body: dict[str, Any] = {"tags": {"number": "1"}}
    running = Says(body={**body, "properties": {"provisioningState": "Updating"}})
    done = {"tags": {"number": "1"}, "properties": {"provisioningState": "Succeeded"}}
    async with serve_canned(GONE, running, Says(body=done)) as arm, open_session(arm) as own:
        operation = await own.begin("PUT", VAULT, api_version=VERSION, json=body)
        body["tags"]["number"] = "2"
        assert await operation.result() == done
    assert list_methods(arm) == ["PUT", "GET", "GET"]


# Writes that are not repeated


@pytest.mark.parametrize(
    "condition",
    [
        {"if_match": "1"},
        {"if_none_match": "*"},
        {"headers": {"if-match": "1"}},
        {"headers": {"If-Unmodified-Since": "x"}},
    ],
)
@pytest.mark.parametrize(
    "found",
    [Says(body={**OLD, "etag": "2"}), MISSING, Says(403, make_error_body("AuthorizationFailed"))],
)
async def test_conditional_write_raises_the_doubt(condition: dict[str, Any], found: Says) -> None:
    async with serve_canned(LOST, found) as arm, open_session(arm) as own:
        with pytest.raises(ArmConnectionError) as raised:
            await put(own, **condition)
    assert list_methods(arm) == ["PUT", "GET"]
    assert raised.value.uncertain
    assert raised.value.__notes__[0].startswith(EARLIER)


async def test_json_patch_is_not_repeated() -> None:
    content = b'[{"op": "add", "path": "/a/-", "value": 1}]'
    async with serve_canned(GONE, Says(body=OLD)) as arm, open_session(arm) as own:
        with pytest.raises(ServiceError) as raised:
            await own.patch(VAULT, api_version=VERSION, content=content)
    assert raised.value.uncertain
    assert list_methods(arm) == ["PATCH", "GET"]


# The GET of the resource


@pytest.mark.parametrize("method", ["GET", "DELETE", "PUT", "PATCH"])
@pytest.mark.parametrize(
    "failure",
    [BUSY, Says(429, make_error_body("TooManyRequests"), {"Retry-After": "1"})],
    ids=["503", "429"],
)
async def test_every_verb_survives_four_failures_in_a_row(method: str, failure: Says) -> None:
    async with (
        serve_canned(BUSY, failure, failure, BUSY, Says(body=DONE)) as arm,
        open_session(arm) as own,
    ):
        found = await own.request(
            method, VAULT, api_version=VERSION, json=BODY if method in ("PUT", "PATCH") else None
        )
    assert found.json() == DONE
    assert len(arm.asked) == 5


@pytest.mark.parametrize("look", [LOST, BUSY], ids=["lost", "503"])
async def test_write_that_can_never_be_looked_up_is_in_doubt(look: Says) -> None:
    # aiohttp sends a lost GET twice.
    looks = [look] * (8 if look is LOST else 4)
    async with serve_canned(GONE, *looks) as arm, open_session(arm) as own:
        with pytest.raises(ServiceError, match="GatewayTimeout") as raised:
            await put(own)
        arm.answers.clear()
    assert list_methods(arm)[:3] == ["PUT", "GET", "GET"]
    assert "PUT" not in list_methods(arm)[1:]
    assert (raised.value.attempts, raised.value.uncertain, raised.value.earlier) == (1, True, None)
    assert "could not be looked up" in raised.value.__notes__[0]
    assert raised.value.__context__ is None


async def test_look_has_the_pauses_and_the_budget_of_the_rule() -> None:
    slept = Slept()
    rule = ArmRetry(uniform=lambda _, most: most, total_budget=15.0)
    wait = Says(429, make_error_body("TooManyRequests"), {"Retry-After": "7"})
    async with (
        serve_canned(GONE, wait, wait) as arm,
        open_session(arm, clock=slept.clock, retry=rule) as own,
    ):
        with pytest.raises(ServiceError, match="GatewayTimeout"):
            await put(own)
    assert slept.sleeps == [1, 9]


@pytest.mark.parametrize(
    "look", [Says(403, make_error_body("AuthorizationFailed")), Says(405), Says(200, "no json")]
)
async def test_write_that_may_not_be_looked_up_is_repeated(look: Says) -> None:
    async with serve_canned(GONE, look, Says(body=DONE)) as arm, open_session(arm) as own:
        assert await put(own) == DONE
    assert list_methods(arm) == ["PUT", "GET", "PUT"]


async def test_session_closed_before_the_look_leaves_the_doubt() -> None:
    slept = Slept()

    async def close(_: float) -> None:
        await own.close()

    async with serve_canned(GONE) as arm:
        own = open_session(arm, clock=attrs.evolve(slept.clock, sleep=close))
        with pytest.raises(AiomsiError, match="GatewayTimeout") as raised:
            await put(own)
    assert raised.value.uncertain


# The error that ends the call


@pytest.mark.parametrize(
    ("status", "kind"),
    [(400, ArmError), (404, NotFoundError), (409, ConflictError), (412, PreconditionFailedError)],
)
async def test_later_error_carries_the_doubt(status: int, kind: type[ArmError]) -> None:
    looks = [Says(body=OLD)] * (1 + (status in (409, 412)))
    async with (
        serve_canned(GONE, looks[0], Says(status, make_error_body("No")), *looks[1:]) as arm,
        open_session(arm) as own,
    ):
        with pytest.raises(kind, match=f"{status} No.*{EARLIER}.*504 GatewayTimeout") as raised:
            await put(own)
    found = raised.value
    assert found.uncertain
    assert isinstance(found.earlier, ServiceError)
    assert found.earlier.__traceback__ is None
    assert "etag" not in found.help
    again = pickle.loads(pickle.dumps(found))  # noqa: S301 (our own)
    assert (again.uncertain, str(again.earlier)) == (True, str(found.earlier))
    assert len(arm.asked) == 3 + len(looks[1:])


async def test_later_error_keeps_its_own_help_too() -> None:
    answers = [
        GONE,
        Says(body=OLD),
        Says(401, make_error_body("InvalidAuthenticationTokenAudience")),
    ]
    async with serve_canned(*answers) as arm, open_session(arm) as own:
        with pytest.raises(ArmError, match="Request a token for the audience") as raised:
            await put(own)
    assert raised.value.help.startswith(EARLIER)


async def test_certain_error_carries_no_doubt() -> None:
    async with serve_canned(CONFLICT, LOST, LOST) as arm, open_session(arm, retry=None) as own:
        with pytest.raises(ConflictError) as raised:
            await put(own)
        with pytest.raises(ArmConnectionError) as lost:
            await own.get(VAULT, api_version=VERSION)
        arm.answers.clear()
    assert (raised.value.uncertain, raised.value.earlier) == (False, None)
    assert not lost.value.uncertain


@pytest.mark.parametrize(
    ("path", "uncertain"), [(f"{VAULT}/listKeys", False), (f"{VAULT}/start", True)]
)
async def test_post_without_response_is_uncertain_if_it_writes(path: str, uncertain: bool) -> None:
    async with serve_canned(LOST) as arm, open_session(arm, retry=None) as own:
        with pytest.raises(ArmConnectionError) as raised:
            await own.post(path, api_version=VERSION)
    assert raised.value.uncertain is uncertain


async def test_timeout_carries_the_doubt(monkeypatch: pytest.MonkeyPatch) -> None:
    held, time_outs = asyncio.Event(), TimeOuts(monkeypatch)

    async def hold(_: Asked) -> Says:
        time_outs.expire()
        await held.wait()
        return Says()

    async with (
        serve_canned(GONE, hold) as arm,
        open_session(arm, retry=ArmRetry(first_delay=0.0)) as own,
    ):
        with pytest.raises(
            ArmConnectionError, match=f"no answer within {time_outs.SECONDS} s.*GatewayTimeout"
        ) as raised:
            await put(own, timeout=time_outs.SECONDS)
        held.set()
    assert isinstance(raised.value.earlier, ServiceError)


async def test_failed_registration_carries_the_doubt() -> None:
    asks = Says(
        409, make_error_body("MissingSubscriptionRegistration", "x", target="Contoso.Widgets")
    )
    answers = [GONE, Says(body=OLD), asks, Says(403, make_error_body("AuthorizationFailed"))]
    async with serve_canned(*answers) as arm, open_session(arm, auto_register=True) as own:
        with pytest.raises(AuthorizationError, match=EARLIER) as raised:
            await put(own)
    assert isinstance(raised.value.__cause__, RegistrationRequiredError)


# A repetition that meets its own first request


@pytest.mark.parametrize(
    "refusal", [CONFLICT, Says(412, make_error_body("PreconditionFailed"))], ids=["409", "412"]
)
async def test_repeated_delete_waits_for_its_own_deletion(refusal: Says) -> None:
    deleting = make_old_resource("Deleting")
    async with (
        serve_canned(GONE, refusal, deleting, deleting, MISSING) as arm,
        open_session(arm) as own,
    ):
        assert await own.delete(VAULT, api_version=VERSION) is None
    assert list_methods(arm) == ["DELETE", "DELETE", "GET", "GET", "GET"]


async def test_repeated_delete_refused_after_the_end_is_done() -> None:
    async with serve_canned(GONE, CONFLICT, MISSING) as arm, open_session(arm) as own:
        found = await own.request("DELETE", VAULT, api_version=VERSION)
    assert (found.status, found.method, found.body) == (204, "DELETE", b"")


async def test_refused_delete_of_a_resource_that_stays_is_in_doubt() -> None:
    async with serve_canned(GONE, CONFLICT, Says(body=OLD)) as arm, open_session(arm) as own:
        with pytest.raises(ConflictError, match=f"{EARLIER}: DELETE .*504"):
            await own.delete(VAULT, api_version=VERSION)
    async with (
        serve_canned(GONE, CONFLICT, make_old_resource("Deleting")) as arm,
        open_session(arm) as own,
    ):
        with pytest.raises(ConflictError, match=EARLIER):
            await own.request("DELETE", VAULT, api_version=VERSION)


async def test_first_delete_that_is_refused_is_not_looked_up() -> None:
    async with serve_canned(CONFLICT) as arm, open_session(arm) as own:
        with pytest.raises(ConflictError):
            await own.delete(VAULT, api_version=VERSION)


async def test_repeated_put_meets_its_own_creation() -> None:
    running = Says(body={**DONE, "properties": {"a": 1, "provisioningState": "Creating"}})
    async with (
        serve_canned(GONE, MISSING, CONFLICT, running, Says(body=DONE)) as arm,
        open_session(arm) as own,
    ):
        assert await put(own) == DONE
    async with (
        serve_canned(GONE, MISSING, CONFLICT, Says(body=DONE)) as arm,
        open_session(arm) as own,
    ):
        assert await put(own) == DONE
    assert list_methods(arm) == ["PUT", "GET", "PUT", "GET"]


async def test_refused_delete_without_a_look_is_in_doubt() -> None:
    async with serve_canned(GONE, CONFLICT, *[BUSY] * 9) as arm, open_session(arm) as own:
        with pytest.raises(ConflictError, match=EARLIER) as raised:
            await own.delete(VAULT, api_version=VERSION)
        arm.answers.clear()
    assert "could not be looked up" in raised.value.__notes__[0]


# A change under way at the time of the GET

RUNNING = make_old_resource("Updating")
THEIRS = make_old_resource("Succeeded")


@pytest.mark.parametrize(
    "theirs", [THEIRS, make_old_resource("Failed"), make_old_resource("Canceled")]
)
@pytest.mark.parametrize("method", ["PUT", "PATCH"])
async def test_change_of_another_client_is_followed_by_the_write(method: str, theirs: Says) -> None:
    async with (
        serve_canned(GONE, RUNNING, RUNNING, theirs, Says(body=DONE)) as arm,
        open_session(arm) as own,
    ):
        operation = await own.begin(method, VAULT, api_version=VERSION, json=BODY)
        seen: list[bool] = []
        assert await operation.result(on_progress=lambda one: seen.append(one.done)) == DONE
        assert operation.done
    assert seen == [False, False, True]
    assert list_methods(arm) == [method, "GET", "GET", "GET", method]


async def test_write_after_another_change_may_take_long_itself() -> None:
    accepted = Says(201, {**DONE, "properties": {"a": 1, "provisioningState": "Creating"}})
    async with (
        serve_canned(GONE, RUNNING, THEIRS, accepted, Says(body=DONE)) as arm,
        open_session(arm) as own,
    ):
        assert await put(own) == DONE


async def test_write_after_another_change_may_be_lost_again() -> None:
    async with (
        serve_canned(GONE, RUNNING, THEIRS, GONE, RUNNING, Says(body=DONE)) as arm,
        open_session(arm) as own,
    ):
        assert await put(own) == DONE
    assert list_methods(arm) == ["PUT", "GET", "GET", "PUT", "GET", "GET"]


async def test_write_after_another_change_may_fail() -> None:
    async with (
        serve_canned(GONE, RUNNING, THEIRS, Says(400, make_error_body("No"))) as arm,
        open_session(arm) as own,
    ):
        operation = await own.begin("PUT", VAULT, api_version=VERSION, json=BODY)
        with pytest.raises(ArmError, match=f"400 No.*{EARLIER}"):
            await operation.result()
        assert operation.done
        with pytest.raises(ServiceError, match="GatewayTimeout") as raised:
            await operation.result()
    assert raised.value.uncertain


async def save_and_resume(own: ArmSession, operation: Operation) -> Operation:
    return await own.resume(json.loads(json.dumps(operation.state())))


async def test_resumed_operation_does_not_take_a_change_for_the_write() -> None:
    """The saved state has no body, so the end of the change proves nothing."""
    async with (
        serve_canned(GONE, RUNNING, RUNNING, Says(body=DONE)) as arm,
        open_session(arm) as own,
    ):
        operation = await own.begin("PUT", VAULT, api_version=VERSION, json=BODY)
        resumed = await save_and_resume(own, operation)
        for _ in range(2):
            with pytest.raises(ServiceError, match=r"GatewayTimeout.*no body to compare") as raised:
                await resumed.result()
            assert (raised.value.uncertain, raised.value.earlier) == (True, None)
            resumed = await save_and_resume(own, resumed)
    assert list_methods(arm) == ["PUT", "GET", "GET", "GET"]


async def test_compared_write_is_no_longer_in_doubt_when_resumed() -> None:
    async with serve_canned(GONE, RUNNING, Says(body=DONE)) as arm, open_session(arm) as own:
        operation = await own.begin("PUT", VAULT, api_version=VERSION, json=BODY)
        assert await operation.result() == DONE
        assert await (await save_and_resume(own, operation)).result() == DONE


async def test_resumed_deletion_in_doubt_ends_with_the_resource() -> None:
    async with (
        serve_canned(GONE, make_old_resource("Deleting"), MISSING) as arm,
        open_session(arm) as own,
    ):
        operation = await own.begin("DELETE", VAULT, api_version=VERSION)
        assert await (await save_and_resume(own, operation)).result() is None
    assert list_methods(arm)[0] == "DELETE"


@pytest.mark.parametrize("lost", [LOST, GONE], ids=["lost", "504"])
@pytest.mark.parametrize("resumes", [False, True])
@pytest.mark.parametrize(
    ("poll", "kind"),
    [
        (make_old_resource("Failed"), OperationFailedError),
        (Says(403, make_error_body("AuthorizationFailed")), OperationUnreadableError),
        (make_old_resource("Creating"), OperationUnfinishedError),
    ],
)
async def test_operation_of_a_repeated_write_carries_the_doubt(
    lost: Says, resumes: bool, poll: Says, kind: type[AiomsiError]
) -> None:
    accepted = Says(201, {**DONE, "properties": {"a": 1, "provisioningState": "Creating"}})
    async with serve_canned(lost, MISSING, accepted, poll) as arm, open_session(arm) as own:
        operation = await own.begin("PUT", VAULT, api_version=VERSION, json=BODY)
        if resumes:
            operation = await save_and_resume(own, operation)
        with pytest.raises(kind, match=EARLIER) as raised:
            await operation.result(deadline=1.2)
    assert raised.value.uncertain
    assert isinstance(raised.value.earlier, ArmConnectionError | ServiceError)
    assert raised.value.earlier.uncertain
    assert str(raised.value).count(EARLIER) == 1


async def test_unreadable_write_is_not_sent_after_another_change() -> None:
    unreadable = Says(200, DONE, {"Content-Encoding": "br"})
    async with serve_canned(unreadable, RUNNING, THEIRS) as arm, open_session(arm) as own:
        with pytest.raises(ArmConnectionError, match="not accepted") as raised:
            await put(own)
    assert (raised.value.uncertain, raised.value.unreadable) == (True, True)
    assert list_methods(arm) == ["PUT", "GET", "GET"]


async def test_write_after_another_change_is_sent_once() -> None:
    held = asyncio.Event()

    async def hold(_: Asked) -> Says:
        await held.wait()
        return Says(body=DONE)

    async with serve_canned(GONE, RUNNING, THEIRS, hold) as arm, open_session(arm) as own:
        operation = await own.begin("PUT", VAULT, api_version=VERSION, json=BODY)
        first, second = (asyncio.ensure_future(operation.result()) for _ in range(2))
        await wait_until(lambda: len(arm.asked) == 4)
        first.cancel()
        with pytest.raises(OperationUnfinishedError):
            await operation.result(deadline=0.01)
        held.set()
        assert await second == DONE
        assert await operation.result() == DONE
    assert list_methods(arm) == ["PUT", "GET", "GET", "PUT"]


async def test_write_after_another_change_ends_with_the_session() -> None:
    held = asyncio.Event()

    async def hold(_: Asked) -> Says:
        await held.wait()
        return Says()

    async with serve_canned(GONE, RUNNING, THEIRS, hold) as arm:
        own = open_session(arm)
        operation = await own.begin("PUT", VAULT, api_version=VERSION, json=BODY)
        result = asyncio.ensure_future(operation.result())
        await wait_until(lambda: len(arm.asked) == 4)
        await own.close()
        with pytest.raises((UsageError, ArmConnectionError)) as raised:
            await result
        assert raised.value.uncertain
        held.set()


async def test_write_after_another_change_ends_with_its_fan_out() -> None:
    held = asyncio.Event()

    async def hold(_: Asked) -> Says:
        await held.wait()
        return Says(body=DONE)

    requests = [Request("PUT", VAULT, api_version=VERSION, json=BODY)]
    async with serve_canned(GONE, RUNNING, THEIRS, hold) as arm, open_session(arm) as own:
        consumer = asyncio.ensure_future(anext(own.fan_out(requests)))
        await wait_until(lambda: len(arm.asked) == 4)
        consumer.cancel()
        await asyncio.wait([consumer])
        assert "aiomsi repetition" not in {task.get_name() for task in asyncio.all_tasks()}
        held.set()
    assert list_methods(arm) == ["PUT", "GET", "GET", "PUT"]


# Another operation in progress

IN_PROGRESS = Says(409, make_error_body("AnotherOperationInProgress", "x"), {"Retry-After": "5"})


@pytest.mark.parametrize("method", ["GET", "PUT", "PATCH", "POST", "DELETE"])
async def test_call_refused_for_another_operation_is_repeated(method: str) -> None:
    slept = Slept()
    rule = ArmRetry(uniform=lambda low, _: low)
    async with (
        serve_canned(IN_PROGRESS, IN_PROGRESS, Says(body=DONE)) as arm,
        open_session(arm, clock=slept.clock, retry=rule) as own,
    ):
        await own.request(method, VAULT, api_version=VERSION)
    assert slept.sleeps == [5, 5]
    assert list_methods(arm) == [method] * 3


async def test_operation_that_stays_in_progress_is_told() -> None:
    slept = Slept()
    async with serve_canned(*[IN_PROGRESS] * 40) as arm:
        async with open_session(arm, clock=slept.clock) as own:
            with pytest.raises(
                ConflictError, match="Another operation holds the resource"
            ) as raised:
                await put(own)
        arm.answers.clear()
    assert sum(slept.sleeps) < 180
    assert not raised.value.uncertain


async def test_lost_put_waits_for_another_operation_and_is_uncertain() -> None:
    answers = [GONE, Says(body=OLD), IN_PROGRESS, Says(body=OLD), Says(400, make_error_body("No"))]
    async with serve_canned(*answers) as arm, open_session(arm) as own:
        with pytest.raises(ArmError, match=EARLIER):
            await own.put(f"{GROUP}/x", api_version=VERSION, json=BODY)
    assert list_methods(arm) == ["PUT", "GET", "PUT", "GET", "PUT"]


# All combined


class Service:
    """A service that loses requests and responses at random, and keeps the last body received."""

    def __init__(self, chance: random.Random) -> None:
        self.chance = chance
        self.stored: dict[str, Any] | None = {
            "location": "westus",
            "tags": {"owner": "ann", "a": "0"},
        }
        self.carried_out = False

    def answer(self, asked: Asked) -> Says:
        fate = self.chance.choice(
            ["good"] * 4 + ["refused", "throttled", "in progress", "lost", "504", "503"]
        )
        if fate == "refused" and asked.method != "GET":
            return self.chance.choice(
                [
                    CONFLICT,
                    Says(400, make_error_body("No")),
                    Says(412, make_error_body("PreconditionFailed")),
                ]
            )
        if fate == "throttled":
            return Says(429, make_error_body("TooManyRequests"))
        if fate == "in progress" and asked.method != "GET":
            return IN_PROGRESS
        failure = {"lost": LOST, "504": GONE, "503": BUSY}.get(fate)
        if failure is not None and self.chance.random() < 0.5:
            return failure
        found = self._carry_out(asked)
        return found if failure is None else failure

    def _carry_out(self, asked: Asked) -> Says:
        if asked.method == "DELETE":
            self.stored, self.carried_out = None, True
            return Says(204)
        if asked.method == "PUT":
            self.stored, self.carried_out = asked.json(), True
        elif asked.method == "PATCH":
            if self.stored is None:
                return MISSING
            tags = {**self.stored.get("tags", {}), **asked.json()["tags"]}
            self.stored = {
                **self.stored,
                "tags": {name: tag for name, tag in tags.items() if tag is not None},
            }
            self.carried_out = True
        if self.stored is None:
            return MISSING
        return Says(body={"id": VAULT, "etag": str(self.chance.random()), **self.stored})


BODIES: dict[str, Any] = {
    "PUT": [{"location": "westus", "tags": {"owner": "ann"}}, {"location": "westus"}, {"tags": {}}],
    "PATCH": [{"tags": {"owner": None}}, {"tags": {"a": "1"}}],
    "DELETE": [None],
}


@pytest.mark.slow
@pytest.mark.parametrize("method", BODIES)
async def test_success_is_true_and_an_error_tells_of_the_doubt(method: str) -> None:
    for seed in range(60):
        chance = random.Random(f"{method} {seed}")
        service, body = Service(chance), chance.choice(BODIES[method])
        condition: dict[str, Any] = {"if_match": "1"} if chance.random() < 0.3 else {}
        async with serve_canned(*[service.answer] * 100) as arm:
            async with open_session(arm) as own:
                call = own.request(method, VAULT, api_version=VERSION, json=body, **condition)
                (ended,) = await asyncio.gather(call, return_exceptions=True)
            arm.answers.clear()
        if isinstance(ended, AiomsiError):
            assert ended.uncertain or not service.carried_out, (seed, ended)
        else:
            assert service.carried_out, (seed, ended)
            assert method != "PUT" or service.stored == body, (seed, ended)
        assert len({one.body for one in arm.asked if one.method == method}) == 1, seed
