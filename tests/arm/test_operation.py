"""Long-running operations of a session: end, deadline, saved state, and several waiting tasks."""

import asyncio
import json
import pickle
from contextlib import suppress
from typing import Any

import aiohttp
import pytest
from arm_server import (
    VAULT,
    VERSION,
    Asked,
    Says,
    Slept,
    Tokens,
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
    ArmSession,
    AuthorizationError,
    ConfigurationError,
    ForeignHostError,
    NotFoundError,
    Operation,
    OperationCanceledError,
    OperationFailedError,
    OperationUnfinishedError,
    OperationUnreadableError,
    ServiceError,
    TokenRefusedError,
    UsageError,
)
from aiomsi._arm.protocol.request import Options
from aiomsi.testing import EmbeddedAzure, ManualClock

pytestmark = pytest.mark.anyio

TYPE = "Microsoft.KeyVault/vaults"
KINDS = ["azure-async-operation", "location", "both", "provisioning-state"]
BODY = {"location": "westus", "properties": {"a": 1}}
RECORD = "/subscriptions/s/providers/Microsoft.KeyVault/locations/westus/operationStatuses/1"
RUNNING = Says(body={"status": "Running", "percentComplete": 25})
BEGUN = Says(
    201,
    {"id": VAULT, "properties": {"provisioningState": "Creating"}},
    {"Azure-AsyncOperation": RECORD},
)
DONE = {"id": VAULT, "properties": {"provisioningState": "Succeeded"}}


def make_quick_clock() -> Any:
    return ManualClock(autoadvance=True).clock


async def begin(arm: ArmSession) -> Operation:
    return await arm.begin("PUT", VAULT, api_version=VERSION, json=BODY)


# The end


@pytest.mark.usefixtures("azure_environment")
@pytest.mark.parametrize("kind", KINDS)
async def test_every_kind_of_operation_is_followed_to_its_end(
    embedded_azure: EmbeddedAzure, kind: Any
) -> None:
    embedded_azure.arm.long_running(TYPE, kind, methods=["PUT", "PATCH", "DELETE", "POST"], polls=3)
    embedded_azure.arm.set_action(TYPE, "check", {"good": True})
    async with ArmSession(clock=make_quick_clock()) as arm:
        made = await arm.put(VAULT, json=BODY)
        assert made["properties"] == {"a": 1, "provisioningState": "Succeeded"}
        changed = await arm.patch(VAULT, json={"tags": {"a": "b"}})
        assert changed["tags"] == {"a": "b"}
        if kind != "provisioning-state":
            result = await arm.post(f"{VAULT}/check")
            # Without a Location only the operation's record shows its state.
            assert (result["properties"] if kind == "azure-async-operation" else result) == {
                "good": True
            }
        assert await arm.delete(VAULT) is None
        if kind != "provisioning-state":
            with pytest.raises(NotFoundError):
                await arm.head(VAULT)
    assert {one.status for one in embedded_azure.arm.operations} <= {"Succeeded", "InProgress"}
    assert embedded_azure.counts.imds_requests == 1


@pytest.mark.usefixtures("azure_environment")
async def test_progress_is_told_after_every_answer(embedded_azure: EmbeddedAzure) -> None:
    embedded_azure.arm.long_running(TYPE, "azure-async-operation", polls=3)
    told: list[tuple[str, float | None, bool]] = []
    async with ArmSession(clock=make_quick_clock()) as arm:
        await arm.put(
            VAULT,
            json=BODY,
            on_progress=lambda one: told.append((one.status, one.percent_complete, one.done)),
        )
    assert told[:3] == [
        ("InProgress", 25, False),
        ("InProgress", 50, False),
        ("InProgress", 75, False),
    ]
    assert told[-1] == ("Succeeded", 100, True)


@pytest.mark.usefixtures("azure_environment")
@pytest.mark.parametrize(
    ("outcome", "kind"),
    [("Failed", OperationFailedError), ("Canceled", OperationCanceledError)],
    ids=["failed", "canceled"],
)
@pytest.mark.parametrize("by", ["azure-async-operation", "provisioning-state"])
async def test_an_operation_that_fails_tells_why(
    embedded_azure: EmbeddedAzure, outcome: Any, kind: type[ArmError], by: Any
) -> None:
    why = {"code": "Busy", "message": "Too much to do."}
    embedded_azure.arm.long_running(TYPE, by, outcome=outcome, error=why)
    async with ArmSession(clock=make_quick_clock()) as arm:
        with pytest.raises(kind) as raised:
            await arm.put(VAULT, json=BODY)
    if by == "azure-async-operation":
        assert (raised.value.code, raised.value.message, raised.value.status) == (
            "Busy",
            "Too much to do.",
            200,
        )


async def test_the_service_tells_how_long_to_wait() -> None:
    slept = Slept()
    begun = Says(202, None, {"Location": RECORD, "Retry-After": "17"})
    polls = [Says(202, None, {"Retry-After": "5"}), Says(202), Says(body=DONE)]
    async with serve_canned(begun, *polls) as arm, open_session(arm, clock=slept.clock) as own:
        assert await own.put(VAULT, api_version=VERSION, json=BODY) == DONE
    assert slept.sleeps[:2] == [17, 5]
    assert 1 < slept.sleeps[2] < 5
    assert arm.targets[1:] == [f"GET {RECORD}"] * 3
    assert len({one.headers["x-ms-client-request-id"] for one in arm.asked}) == 4


async def test_a_request_id_of_the_callers_goes_with_every_poll() -> None:
    mine = {"X-MS-Client-Request-Id": "9C4D50EE-2D56-4CD3-8152-34347DC9F2B0"}
    async with (
        serve_canned(BEGUN, RUNNING, Says(body={"status": "Succeeded"}), Says(body=DONE)) as arm,
        open_session(arm) as own,
    ):
        assert await own.put(VAULT, api_version=VERSION, json=BODY, headers=mine) == DONE
    assert [one.headers["x-ms-client-request-id"] for one in arm.asked] == list(mine.values()) * 4


async def test_what_is_over_at_once_is_not_asked_for_again() -> None:
    async with (
        serve_canned(Says(200, DONE), Says(204), Says(200, [1]), Says(202)) as arm,
        open_session(arm) as own,
    ):
        assert await own.put(VAULT, api_version=VERSION, json=BODY) == DONE
        assert await own.delete(VAULT, api_version=VERSION, if_match="*") is None
        operation = await own.begin("POST", f"{VAULT}/x", api_version=VERSION)
        assert (operation.done, operation.status, operation.percent_complete) == (
            True,
            "Succeeded",
            None,
        )
        assert await operation.result() == await operation.result() == [1]
        assert await own.post(f"{VAULT}/x", api_version=VERSION) is None
    assert len(arm.asked) == 4


async def test_where_the_result_is_can_be_told() -> None:
    begun = Says(202, None, {"Azure-AsyncOperation": RECORD, "Location": "/result"})
    over = Says(body={"status": "Succeeded"})
    async with (
        serve_canned(begun, over, Says(body=1), begun, over) as arm,
        open_session(arm) as own,
    ):
        for via, result in (("location", 1), ("azure-async-operation", {"status": "Succeeded"})):
            operation = await own.begin(
                "POST",
                f"{VAULT}/x",
                api_version=VERSION,
                final_state_via=via,  # type: ignore[arg-type]
            )
            assert await operation.result() == result
        with pytest.raises(ConfigurationError, match="final_state_via"):
            await own.begin("POST", f"{VAULT}/x", api_version=VERSION, final_state_via="x")  # type: ignore[arg-type]


async def test_the_record_of_a_deletion_is_no_result() -> None:
    begun = Says(202, None, {"Azure-AsyncOperation": RECORD})
    async with (
        serve_canned(begun, Says(body={"status": "Succeeded"})) as arm,
        open_session(arm) as own,
    ):
        assert await own.delete(VAULT, api_version=VERSION) is None


async def test_an_operation_that_is_told_of_elsewhere_is_an_error() -> None:
    async with (
        serve_canned(Says(202, None, {"Location": "https://evil.example/x"})) as arm,
        open_session(arm) as own,
    ):
        with pytest.raises(ForeignHostError, match="accepted"):
            await own.delete(VAULT, api_version=VERSION)


# Services that deviate from the contract, as the embedded Azure plays them


FAULTS = [
    "missing",
    "forbidden",
    "unavailable",
    "stateless",
    "null-state",
    "resource",
    "list",
    "empty",
    "html",
    "cut",
]
UPDATE = {"location": "westus", "properties": {"a": 2}}


@pytest.mark.slow
@pytest.mark.usefixtures("azure_environment")
@pytest.mark.parametrize("kind", ["azure-async-operation", "location"])
@pytest.mark.parametrize("fault", FAULTS)
async def test_polls_that_go_wrong_end_no_operation(
    embedded_azure: EmbeddedAzure, fault: Any, kind: Any
) -> None:
    methods = ["PUT", "PATCH", "DELETE"]
    if kind == "location" and fault not in ("missing", "unavailable", "stateless", "html"):
        # Behind a Location any other 200 is the end. One that may not be read is given up while the
        # resource is not there.
        return
    embedded_azure.arm.long_running(
        TYPE, kind, methods=methods, polls=4, poll_fault=fault, poll_faults=2
    )
    async with ArmSession(clock=make_quick_clock()) as arm:
        assert (await arm.put(VAULT, json=BODY))["properties"] == {
            "a": 1,
            "provisioningState": "Succeeded",
        }
        assert (await arm.patch(VAULT, json={"tags": {"a": "b"}}))["tags"] == {"a": "b"}
        await arm.delete(VAULT)
        with pytest.raises(NotFoundError):
            await arm.head(VAULT)
    assert {one.status for one in embedded_azure.arm.operations} == {"Succeeded"}


@pytest.mark.slow
@pytest.mark.usefixtures("azure_environment")
@pytest.mark.parametrize("fault", FAULTS)
async def test_operation_ends_by_its_resource_where_no_poll_goes_well(
    embedded_azure: EmbeddedAzure, fault: Any
) -> None:
    embedded_azure.arm.long_running(
        TYPE,
        "azure-async-operation",
        methods=["PUT", "DELETE"],
        polls=3,
        poll_fault=fault,
        poll_faults=None,
    )
    async with ArmSession(clock=make_quick_clock()) as arm:
        assert (await arm.put(VAULT, json=BODY))["properties"] == {
            "a": 1,
            "provisioningState": "Succeeded",
        }
        assert (await arm.put(VAULT, json=UPDATE))["properties"] == {
            "a": 2,
            "provisioningState": "Succeeded",
        }
        await arm.delete(VAULT)
        with pytest.raises(NotFoundError):
            await arm.head(VAULT)


@pytest.mark.slow
@pytest.mark.usefixtures("azure_environment")
@pytest.mark.parametrize("fault", ["missing", "stateless", "forbidden"])
async def test_update_that_the_resource_does_not_show_is_no_success(
    embedded_azure: EmbeddedAzure, fault: Any
) -> None:
    embedded_azure.arm.add_resource(VAULT, {"location": "westus", "properties": {"a": 1}})
    never: dict[str, Any] = {
        "polls": None,
        "poll_fault": fault,
        "poll_faults": None,
        "delayed": True,
    }
    embedded_azure.arm.long_running(
        TYPE, "azure-async-operation", methods=["PUT", "PATCH", "DELETE"], **never
    )
    async with ArmSession(clock=make_quick_clock()) as arm:
        for number, call in enumerate((arm.put, arm.patch, arm.delete)):
            sent = {} if call == arm.delete else {"json": {**BODY, "properties": {"a": 2 + number}}}
            # The end of a deletion shows by the resource, which is still there.
            kind = OperationUnreadableError if sent else OperationUnfinishedError
            with pytest.raises(kind, match="was accepted") as raised:
                await call(VAULT, **sent)  # type: ignore[arg-type]
            operation = raised.value.operation
            assert operation is not None
            embedded_azure.arm.finish_operations()
            await operation.result()


@pytest.mark.usefixtures("azure_environment")
async def test_deletion_that_fails_after_a_missing_record_has_failed(
    embedded_azure: EmbeddedAzure,
) -> None:
    fails: dict[str, Any] = {
        "outcome": "Failed",
        "error": {"code": "HasDependents", "message": "in use"},
        "delayed": True,
    }
    for kind in ("azure-async-operation", "location"):
        for fault in ("missing", "subscription-missing"):
            embedded_azure.arm.add_resource(VAULT)
            embedded_azure.arm.long_running(
                TYPE, kind, methods=["DELETE"], polls=5, poll_fault=fault, **fails
            )
            async with ArmSession(clock=make_quick_clock()) as arm:
                with pytest.raises(OperationFailedError, match="in use"):
                    await arm.delete(VAULT)


@pytest.mark.usefixtures("azure_environment")
@pytest.mark.parametrize("kind", ["accepted", "provisioning-state", "own-path"])
@pytest.mark.parametrize("delayed", [True, False])
async def test_deletion_is_over_when_the_resource_is_gone(
    embedded_azure: EmbeddedAzure, kind: Any, delayed: bool
) -> None:
    embedded_azure.arm.add_resource(VAULT)
    embedded_azure.arm.long_running(
        TYPE, methods=["DELETE"], polls=4, delayed=delayed, with_resource=True, kind=kind
    )
    async with ArmSession(clock=make_quick_clock()) as arm:
        operation = await arm.begin("DELETE", VAULT)
        # By the contract, a state unrelated to deletion means that the resource is gone.
        assert operation.done is (delayed and kind == "provisioning-state")
        if not operation.done:
            await operation.result()
            with pytest.raises(NotFoundError):
                await arm.head(VAULT)


@pytest.mark.usefixtures("azure_environment")
@pytest.mark.parametrize("kind", ["own-path", "accepted"])
async def test_writes_that_only_the_resource_ends(embedded_azure: EmbeddedAzure, kind: Any) -> None:
    embedded_azure.arm.long_running(
        TYPE, kind, methods=["PUT", "PATCH"], polls=3, delayed=kind == "accepted"
    )
    async with ArmSession(clock=make_quick_clock()) as arm:
        assert (await arm.put(VAULT, json=BODY))["properties"]["a"] == 1
        assert (await arm.put(VAULT, json=UPDATE))["properties"]["a"] == 2
        assert (await arm.patch(VAULT, json={"tags": {"a": "b"}}))["tags"] == {"a": "b"}
    assert {one.status for one in embedded_azure.arm.operations} == {"Succeeded"}


@pytest.mark.usefixtures("azure_environment")
async def test_record_behind_a_location_that_runs_is_no_success(
    embedded_azure: EmbeddedAzure,
) -> None:
    embedded_azure.arm.set_action(TYPE, "check", {"good": True})
    methods = ["PUT", "PATCH", "POST", "DELETE"]
    embedded_azure.arm.long_running(
        TYPE, "location", methods=methods, polls=1, poll_fault="running", poll_faults=3
    )
    async with ArmSession(clock=make_quick_clock()) as arm:
        assert (await arm.put(VAULT, json=BODY))["properties"]["provisioningState"] == "Succeeded"
        assert (await arm.patch(VAULT, json=UPDATE))["properties"]["a"] == 2
        assert await arm.post(f"{VAULT}/check") == {"good": True}
        assert await arm.delete(VAULT) is None
    assert {one.status for one in embedded_azure.arm.operations} == {"Succeeded"}


@pytest.mark.usefixtures("azure_environment")
async def test_outcome_of_a_post_without_a_readable_poll_is_unknown(
    embedded_azure: EmbeddedAzure,
) -> None:
    embedded_azure.arm.add_resource(VAULT)
    embedded_azure.arm.long_running(
        TYPE, "azure-async-operation", methods=["POST"], poll_fault="missing", poll_faults=None
    )
    async with ArmSession(clock=make_quick_clock()) as arm:
        with pytest.raises(OperationUnreadableError, match="404"):
            await arm.post(f"{VAULT}/restart")
        embedded_azure.arm.long_running(
            TYPE, "azure-async-operation", methods=["POST"], poll_fault="missing", poll_faults=5
        )
        assert (await arm.post(f"{VAULT}/restart"))["status"] == "Succeeded"


@pytest.mark.usefixtures("azure_environment")
async def test_succeeded_with_errors_is_on_the_way(embedded_azure: EmbeddedAzure) -> None:
    why = {"code": "X", "message": "half of it"}
    for kind in ("azure-async-operation", "both"):
        embedded_azure.arm.long_running(
            TYPE, kind, polls=2, running_as="SucceededWithErrors", outcome="Failed", error=why
        )
        async with ArmSession(clock=make_quick_clock()) as arm:
            with pytest.raises(OperationFailedError, match="half of it"):
                await arm.put(VAULT, json=BODY)


@pytest.mark.slow
@pytest.mark.usefixtures("azure_environment")
@pytest.mark.parametrize("word", ["AutoContinue", "Created", "Accepted"])
async def test_type_with_a_word_of_its_own_ends_the_wait(
    embedded_azure: EmbeddedAzure, word: str
) -> None:
    embedded_azure.arm.long_running(TYPE, "provisioning-state", polls=1, succeeded_as=word)
    async with ArmSession(clock=make_quick_clock()) as arm:
        with pytest.raises(OperationUnfinishedError, match=word) as raised:
            await arm.put(VAULT, json=BODY)
        assert raised.value.operation is not None
        embedded_azure.arm.long_running(TYPE, "azure-async-operation", polls=1, succeeded_as=word)
        assert (await arm.put(VAULT, json=BODY))["properties"]["provisioningState"] == word


@pytest.mark.usefixtures("azure_environment")
@pytest.mark.parametrize("kind", ["azure-async-operation", "both", "provisioning-state"])
async def test_reason_in_the_resource_is_told(embedded_azure: EmbeddedAzure, kind: Any) -> None:
    reason = {"provisioningErrors": [{"code": "X", "message": "no quota"}]}
    embedded_azure.arm.long_running(TYPE, kind, outcome="Failed", reason=reason)
    async with ArmSession(clock=make_quick_clock()) as arm:
        with pytest.raises(OperationFailedError, match="no quota") as raised:
            await arm.put(VAULT, json=BODY)
    assert raised.value.code == "X"


# Unreadable states


async def test_polls_that_fail_are_forgiven() -> None:
    passing = [
        Says(None),
        Says(503),
        Says(429),
        Says(404),
        Says(200, "<html>"),
        Says(401, make_error_body("AuthenticationFailed")),
    ]
    # aiohttp itself repeats a GET whose connection was lost.
    async with (
        serve_canned(
            BEGUN, Says(None), *passing, Says(body={"status": "Succeeded"}), Says(body=DONE)
        ) as arm,
        open_session(arm) as own,
    ):
        assert await own.put(VAULT, api_version=VERSION, json=BODY) == DONE


async def test_a_poll_has_the_time_out_and_a_new_token_where_needed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    held, time_outs = asyncio.Event(), TimeOuts(monkeypatch)

    async def hold(_: Asked) -> Says:
        time_outs.expire()
        await held.wait()
        return RUNNING

    refused = Says(401, make_error_body("ExpiredAuthenticationToken"))
    async with (
        serve_canned(
            BEGUN, hold, refused, Says(body={"status": "Succeeded"}), Says(body=DONE)
        ) as arm,
        open_session(arm, Tokens(("a", "b"))) as own,
    ):
        assert (
            await own.put(VAULT, api_version=VERSION, json=BODY, timeout=time_outs.SECONDS) == DONE
        )
        held.set()
    assert [one.headers["Authorization"] for one in arm.asked] == ["Bearer a"] * 3 + [
        "Bearer b"
    ] * 2


async def test_too_many_failed_polls_end_the_wait_not_the_operation() -> None:
    # The resource, which is polled in the end, does not exist.
    polls = [
        *[Says(503, make_error_body("Down"))] * 20,
        Says(404, make_error_body("ResourceNotFound")),
    ]
    async with serve_canned(BEGUN, *polls, RUNNING) as arm, open_session(arm) as own:
        operation = await begin(own)
        with pytest.raises(OperationUnreadableError, match=r"was accepted, but .* Down") as raised:
            await operation.result()
        assert "may continue" in raised.value.help
        assert raised.value.operation is operation
        assert not operation.done
        resumed = await own.resume(operation.state())
        with pytest.raises(OperationUnfinishedError):
            await resumed.result(deadline=2)


@pytest.mark.parametrize("hang", [True, False])
async def test_too_many_polls_without_an_answer_end_the_wait(hang: bool) -> None:
    async def never(_: Asked) -> Says:
        await asyncio.Event().wait()
        return RUNNING

    # Three more polls of the resource.
    answers = [never] * 23 if hang else [Says(None)] * 23
    async with serve_canned(BEGUN, *answers) as arm, open_session(arm) as own:
        operation = await begin(own)
        if hang:
            # Only of the polls, because on a busy machine the call itself takes longer.
            operation._options = Options(timeout=0.05)
        with pytest.raises(
            ArmConnectionError, match=r"no answer within 0\.05 s" if hang else "ServerDisconnected"
        ):
            await operation.result()
        if hang:
            # Some polls may have been cancelled before they were sent.
            arm.answers.clear()


async def test_a_time_out_that_a_progress_callback_raises_is_its_own() -> None:
    def tell(_: Operation) -> None:
        msg = "the callback's own"
        raise TimeoutError(msg)

    async with serve_canned(BEGUN, RUNNING) as arm, open_session(arm) as own:
        with pytest.raises(TimeoutError, match="the callback's own"):
            await own.put(VAULT, api_version=VERSION, json=BODY, on_progress=tell, deadline=60)


# Deadlines


async def test_a_deadline_ends_the_wait_and_not_the_operation() -> None:
    slept = Slept()
    async with (
        serve_canned(
            BEGUN, RUNNING, RUNNING, Says(body={"status": "Succeeded"}), Says(body=DONE)
        ) as arm,
        open_session(arm, clock=slept.clock) as own,
    ):
        operation = await begin(own)
        with pytest.raises(OperationUnfinishedError, match="Running") as raised:
            await operation.result(deadline=4)
        assert isinstance(raised.value, TimeoutError)
        assert sum(slept.sleeps) <= 4
        assert (operation.done, operation.status) == (False, "Running")
        assert await operation.result() == DONE


async def test_a_deadline_ends_a_poll_that_hangs_too() -> None:
    held = asyncio.Event()

    async def hold(_: Asked) -> Says:
        await held.wait()
        return RUNNING

    async with serve_canned(BEGUN, hold) as arm, open_session(arm) as own:
        operation = await begin(own)
        # Otherwise the first poll would be due after the deadline.
        operation._responded_at -= 1
        with pytest.raises(OperationUnfinishedError):
            await operation.result(deadline=0.2)
        held.set()


async def test_endless_deadline_is_none() -> None:
    async with (
        serve_canned(BEGUN, Says(body={"status": "Succeeded"}), Says(body=DONE)) as arm,
        open_session(arm) as own,
    ):
        assert await own.put(VAULT, api_version=VERSION, json=BODY, deadline=float("inf")) == DONE


@pytest.mark.parametrize("deadline", ["5", [], float("nan"), object()])
async def test_deadline_that_is_none_is_refused_before_the_call(deadline: Any) -> None:
    async with serve_canned() as arm, open_session(arm) as own:
        with pytest.raises(ConfigurationError, match="deadline= takes seconds"):
            await own.put(VAULT, api_version=VERSION, json=BODY, deadline=deadline)


async def test_callback_that_is_none_is_refused_before_the_call() -> None:
    wrong: Any = 3
    async with serve_canned() as arm, open_session(arm) as own:
        with pytest.raises(ConfigurationError, match="on_progress= takes a function, not int"):
            await own.put(VAULT, api_version=VERSION, json=BODY, on_progress=wrong)
    async with serve_canned(BEGUN) as arm, open_session(arm) as own:
        operation = await begin(own)
        with pytest.raises(ConfigurationError, match="on_progress= takes a function, not int"):
            await operation.result(on_progress=wrong)


async def count_turns(operation: Operation, deadline: float) -> int:
    """Wait in slices until the operation ends, and return the number of slices."""
    turns = 0
    while not operation.done:
        turns += 1
        with suppress(OperationUnfinishedError):
            await operation.result(deadline=deadline)
    return turns


POLLS = [Says(body={"status": "Running"}, headers={"Retry-After": "4"})] * 2 + [
    Says(body={"status": "Succeeded"}),
    Says(body=DONE),
]


@pytest.mark.parametrize(
    ("deadline", "turns"), [(1, 13), (0.5, 25), (0.0, 241), (-1, 241), (60, 1)]
)
async def test_slices_shorter_than_the_pace_poll_at_the_pace(deadline: float, turns: int) -> None:
    slept = Slept()
    begun = Says(201, BEGUN.body, {**BEGUN.headers, "Retry-After": "4"})
    async with serve_canned(begun, *POLLS) as arm, open_session(arm, clock=slept.clock) as own:
        operation = await begin(own)
        # Each slice takes some time, so that no loop of them spins; 12 s in all. On a slow machine
        # the polls take some slices as well.
        assert turns - 3 <= await count_turns(operation, deadline) < 1_000
        assert abs(sum(slept.sleeps) - 12) < 0.2
        assert await operation.result() == DONE


async def test_pause_runs_from_the_last_response_over_cancelled_waits() -> None:
    manual = ManualClock()
    begun = Says(201, BEGUN.body, {**BEGUN.headers, "Retry-After": "2"})
    async with (
        serve_canned(begun, RUNNING, Says(body={"status": "Succeeded"}), Says(body=DONE)) as arm,
        open_session(arm, clock=manual.clock) as own,
    ):
        operation = await begin(own)
        for _ in range(3):
            waiter = asyncio.ensure_future(operation.result())
            await manual.sleeping()
            assert len(arm.asked) == 1
            waiter.cancel()
            await asyncio.wait([waiter])
            manual.advance(0.75)
        waiter = asyncio.ensure_future(operation.result())
        await wait_until(lambda: len(arm.asked) == 2)
        waiter.cancel()
        manual.autoadvance = True
        assert await operation.result() == DONE


async def test_poll_that_outlasts_the_wait_is_left_to_the_next_one() -> None:
    held = asyncio.Event()

    async def hold(_: Asked) -> Says:
        await held.wait()
        return Says(body={"status": "Succeeded"})

    async with serve_canned(BEGUN, hold, Says(body=DONE)) as arm, open_session(arm) as own:
        operation = await begin(own)
        operation._responded_at -= 1
        for _ in range(3):
            with pytest.raises(OperationUnfinishedError):
                await operation.result(deadline=0)
        await wait_until(lambda: len(arm.asked) == 2)
        waiters = [asyncio.ensure_future(operation.result()) for _ in range(3)]
        held.set()
        assert await asyncio.gather(*waiters) == [DONE] * 3
        assert len(arm.asked) == 3


async def test_many_waiters_in_short_slices_share_the_polls() -> None:
    async with serve_canned(BEGUN, *POLLS) as arm, open_session(arm) as own:
        operation = await begin(own)
        await asyncio.gather(*(count_turns(operation, slice_) for slice_ in (0, 0.3, 1, 5)))
        assert len(arm.asked) == 5


async def test_waiter_that_slept_while_another_polled_is_told_of_that() -> None:
    manual = ManualClock()
    async with (
        serve_canned(BEGUN, RUNNING, Says(body={"status": "Succeeded"}), Says(body=DONE)) as arm,
        open_session(arm, clock=manual.clock) as own,
    ):
        operation = await begin(own)
        told: list[str] = []
        waiter = asyncio.ensure_future(
            operation.result(on_progress=lambda one: told.append(one.status))
        )
        await manual.sleeping()
        await operation._begin_poll()
        manual.advance(1)
        await wait_until(lambda: told == ["Running"])
        assert len(arm.asked) == 2
        manual.autoadvance = True
        manual.advance(60)
        assert await waiter == DONE


async def test_poll_through_a_closed_borrowed_session_is_refused() -> None:
    manual = ManualClock()
    async with serve_canned(BEGUN) as arm, aiohttp.ClientSession() as http:
        own = open_session(arm, http=http, clock=manual.clock)
        waiter = asyncio.ensure_future(own.put(VAULT, api_version=VERSION, json=BODY))
        await manual.sleeping()
        await http.close()
        manual.advance(1)
        with pytest.raises(UsageError, match="was given is closed") as raised:
            await waiter
        assert raised.value.operation is not None


async def test_poll_whose_session_is_closed_meanwhile_is_refused() -> None:
    class Closing(Tokens):
        async def get_token(self, *scopes: str, claims: str | None = None, **more: Any) -> Any:
            if self.asked:
                await http.close()
            return await super().get_token(*scopes, claims=claims, **more)

    expired = Says(401, make_error_body("ExpiredAuthenticationToken"))
    async with serve_canned(BEGUN, expired) as arm, aiohttp.ClientSession() as http:
        own = open_session(arm, Closing(("a", "b")), http=http)
        with pytest.raises(UsageError, match="was given is closed") as raised:
            await own.put(VAULT, api_version=VERSION, json=BODY)
        assert raised.value.operation is not None
        assert len(arm.asked) == 2
        await own.close()


async def test_error_of_a_callback_keeps_its_own_operation() -> None:
    async with serve_canned(BEGUN, BEGUN, RUNNING) as arm, open_session(arm) as own:
        first, second = await begin(own), await begin(own)

        def tell(_: Operation) -> None:
            raised = OperationUnfinishedError("the first")
            raised.operation = first
            raise raised

        with pytest.raises(OperationUnfinishedError, match="the first") as told:
            await second.result(on_progress=tell)
        assert told.value.operation is first


async def test_every_waiter_gets_an_error_of_its_own() -> None:
    async with serve_canned(
        BEGUN,
        Says(403, make_error_body("AuthorizationFailed")),
        Says(403, make_error_body("AuthorizationFailed")),
    ) as arm:
        async with open_session(arm) as own:
            operation = await begin(own)
            errors = await asyncio.gather(
                *(operation.result() for _ in range(3)), return_exceptions=True
            )
        assert {type(one) for one in errors} == {OperationUnreadableError}
        assert len({id(one) for one in errors}) == 3


async def test_waiter_on_a_poll_is_told_that_the_session_was_closed() -> None:
    held = asyncio.Event()

    async def hold(_: Asked) -> Says:
        await held.wait()
        return RUNNING

    async with serve_canned(BEGUN, hold) as arm:
        own = open_session(arm)
        operation = await begin(own)
        waiter = asyncio.ensure_future(operation.result())
        await wait_until(lambda: len(arm.asked) == 2)
        await own.close()
        with pytest.raises(UsageError, match="closed") as raised:
            await waiter
        assert raised.value.operation is operation
        held.set()


# The operation of an error


class RefusedError(Exception):
    """An error of another library about a missing token."""

    status = 400


class TokenOnce(Tokens):
    """A credential that has one token."""

    async def get_token(self, *scopes: str, claims: str | None = None, **more: Any) -> Any:
        token = await super().get_token(*scopes, claims=claims, **more)
        if len(self.asked) > 1:
            raise RefusedError
        return token


FORBIDDEN = Says(403, make_error_body("AuthorizationFailed", "No role to read operationStatuses"))
MISSING = Says(404, make_error_body("ResourceNotFound"))


@pytest.mark.parametrize(
    ("polls", "kind"),
    [
        (
            [Says(body={"status": "Failed", "error": {"code": "X", "message": "Why"}})],
            OperationFailedError,
        ),
        ([Says(body={"status": "Canceled"}), Says(404)], OperationCanceledError),
        ([FORBIDDEN, MISSING], OperationUnreadableError),
        ([Says(401, make_error_body("ExpiredAuthenticationToken"))], TokenRefusedError),
        ([Says(None)] * 23, ArmConnectionError),
        (
            [Says(body={"status": "Succeeded"}), Says(400, make_error_body("X"))],
            OperationUnreadableError,
        ),
    ],
)
async def test_error_after_the_acceptance_has_the_operation(
    polls: list[Says], kind: type[AiomsiError]
) -> None:
    async with serve_canned(BEGUN, *polls) as arm, open_session(arm, TokenOnce()) as own:
        with pytest.raises(kind) as raised:
            await own.put(VAULT, api_version=VERSION, json=BODY)
        told = raised.value
        assert told.operation is not None
        assert told.uncertain is not told.operation.done
        assert f"PUT {VAULT} was accepted" in str(told)
        state = json.loads(json.dumps(told.operation.state()))
        assert (await own.resume(state)).done is (
            kind in (OperationFailedError, OperationCanceledError)
        )
        # The operation holds the session, and signed URLs.
        assert pickle.loads(pickle.dumps(told)).operation is None  # noqa: S301 (our own)


@pytest.mark.parametrize(
    ("method", "path", "uncertain"),
    [
        ("PUT", VAULT, True),
        ("POST", f"{VAULT}/start", True),
        ("POST", f"{VAULT}/listKeys", False),
    ],
)
async def test_write_with_an_unreadable_result_is_uncertain(
    method: str, path: str, uncertain: bool
) -> None:
    async with serve_canned(Says(body='{"name": "k')) as arm, open_session(arm) as own:
        with pytest.raises(ServiceError, match="not JSON") as raised:
            await getattr(own, method.lower())(path, api_version=VERSION, json=BODY)
    assert raised.value.uncertain is uncertain


async def test_error_before_the_acceptance_has_no_operation() -> None:
    async with serve_canned(FORBIDDEN) as arm, open_session(arm) as own:
        with pytest.raises(AuthorizationError) as raised:
            await own.put(VAULT, api_version=VERSION, json=BODY)
        assert raised.value.operation is None


async def test_deadline_and_cancellation_hand_out_the_operation() -> None:
    manual = ManualClock()
    async with serve_canned(BEGUN, BEGUN) as arm, open_session(arm, clock=manual.clock) as own:
        with pytest.raises(OperationUnfinishedError) as raised:
            await own.put(VAULT, api_version=VERSION, json=BODY, deadline=0)
        assert raised.value.operation is not None
        waiter = asyncio.ensure_future(own.put(VAULT, api_version=VERSION, json=BODY))
        await manual.sleeping()
        waiter.cancel()
        with pytest.raises(asyncio.CancelledError) as cancelled:
            await waiter
        assert isinstance(vars(cancelled.value).get("operation"), Operation)


# States that the resource shows


@pytest.mark.parametrize(
    "forbidden", [FORBIDDEN, Says(404, make_error_body("X")), Says(409, make_error_body("X"))]
)
async def test_creation_with_an_unreadable_record_ends_by_the_resource(forbidden: Says) -> None:
    async with serve_canned(BEGUN, forbidden, Says(body=DONE)) as arm, open_session(arm) as own:
        assert await own.put(VAULT, api_version=VERSION, json=BODY) == DONE


@pytest.mark.parametrize(
    "sent", [{"tags": {"a": "b"}}, {"tags": {"a": "c"}}, {}, None, {"properties": {"x": None}}]
)
async def test_update_ends_by_the_resource_if_that_holds_what_was_sent(sent: Any) -> None:
    there = {**DONE, "tags": {"a": "b"}}
    begun = Says(202, None, {"Azure-AsyncOperation": RECORD})
    done = sent == {"tags": {"a": "b"}}
    after = [] if done else [Says(body={"status": "Succeeded"}), Says(body=there)]
    async with (
        serve_canned(begun, MISSING, Says(body=there), *after) as arm,
        open_session(arm) as own,
    ):
        assert await own.patch(VAULT, api_version=VERSION, json=sent) == there


async def test_resumed_update_does_not_trust_the_resource() -> None:
    begun = Says(202, None, {"Azure-AsyncOperation": RECORD})
    failed = Says(body={"status": "Failed", "error": {"code": "X", "message": "Why"}})
    async with (
        serve_canned(begun, MISSING, Says(body=DONE), failed) as arm,
        open_session(arm) as own,
    ):
        operation = await own.begin("PATCH", VAULT, api_version=VERSION, json={"properties": {}})
        with pytest.raises(OperationFailedError, match="Why"):
            await (await own.resume(operation.state())).result()


async def test_resource_at_rest_in_an_unknown_state_ends_the_wait() -> None:
    resting = Says(200, {"id": VAULT, "properties": {"provisioningState": "AutoContinue"}})
    slept = Slept()
    async with serve_canned(*[resting] * 100) as arm, open_session(arm, clock=slept.clock) as own:
        with pytest.raises(OperationUnfinishedError, match="'AutoContinue'") as raised:
            await own.put(VAULT, api_version=VERSION, json=BODY)
        assert sum(slept.sleeps) < 3_600
        assert raised.value.operation is not None
        arm.answers[:] = [Says(body=DONE)]
        assert await raised.value.operation.result() == DONE


@pytest.mark.parametrize("looked", [True, False])
async def test_reason_that_the_record_lacks_is_read_from_the_resource(looked: bool) -> None:
    resource = {
        "id": VAULT,
        "properties": {
            "provisioningState": "Failed",
            "provisioningErrors": [{"message": "not in cluster"}],
        },
    }
    answers = [
        BEGUN,
        Says(body={"status": "Failed"}),
        Says(body=resource) if looked else Says(None),
    ]
    async with serve_canned(*answers) as arm, open_session(arm) as own:
        with pytest.raises(
            OperationFailedError,
            match="not in cluster" if looked else "the response gives no reason",
        ):
            await own.put(VAULT, api_version=VERSION, json=BODY)


# Saving and resuming


@pytest.mark.usefixtures("azure_environment")
@pytest.mark.parametrize("kind", KINDS)
async def test_an_operation_is_saved_and_resumed_by_another_session(
    embedded_azure: EmbeddedAzure, kind: Any
) -> None:
    embedded_azure.arm.long_running(TYPE, kind, polls=4)
    async with ArmSession(clock=make_quick_clock()) as arm:
        operation = await arm.begin("PUT", VAULT, json=BODY)
        with pytest.raises(OperationUnfinishedError):
            await operation.result(deadline=3)
        saved = json.dumps(operation.state())
    async with ArmSession(clock=make_quick_clock()) as arm:
        resumed = await arm.resume(json.loads(saved))
        assert not resumed.done
        assert (await resumed.result())["properties"]["provisioningState"] == "Succeeded"
        over = await arm.resume(resumed.state())
        assert over.done
        assert await over.result() == await resumed.result()
    assert [one.status for one in embedded_azure.arm.operations] == ["Succeeded"]
    assert len([one for one in embedded_azure.requests if one.method == "PUT"]) == 1


async def test_a_state_of_another_cloud_or_none_at_all_is_refused() -> None:
    async with serve_canned(BEGUN) as arm, open_session(arm) as own:
        state = (await begin(own)).state()
        with pytest.raises(ForeignHostError):
            await own.resume({**state, "next_url": "https://evil.example/x"})
        with pytest.raises(ConfigurationError, match="not the state"):
            await own.resume({})


async def test_resumed_operation_keeps_the_pace_in_short_slices() -> None:
    slept = Slept()
    begun = Says(201, BEGUN.body, {**BEGUN.headers, "Retry-After": "4"})
    async with serve_canned(begun, *POLLS) as arm, open_session(arm, clock=slept.clock) as own:
        state = (await begin(own)).state()
        turns = 0
        while state["outcome"] is None:
            operation = await own.resume(json.loads(json.dumps(state)))
            with suppress(OperationUnfinishedError):
                await operation.result(deadline=1)
            state, turns = operation.state(), turns + 1
        assert abs(turns - 13) <= 3
        assert abs(sum(slept.sleeps) - 12) < 0.2


@pytest.mark.parametrize("name", ["x-ms-request-id", "x-ms-correlation-request-id"])
async def test_finished_state_with_an_empty_header_is_resumed(name: str) -> None:
    async with serve_canned(Says(200, {}, {name: ""})) as arm, open_session(arm) as own:
        operation = await own.begin("POST", f"{VAULT}/x", api_version=VERSION)
        resumed = await own.resume(json.loads(json.dumps(operation.state())))
        assert (resumed.done, resumed.state()) == (True, operation.state())


async def test_signed_urls_are_not_shown() -> None:
    signed = Says(202, None, {"Location": f"{RECORD}?s=signature"})
    async with serve_canned(signed) as arm, open_session(arm) as own:
        operation = await own.begin("DELETE", VAULT, api_version=VERSION)
        assert "signature" in operation.state()["next_url"]
        assert repr(operation).startswith("<Operation Progress(")
        assert "signature" not in repr(operation)


# Waiting tasks


async def test_a_waiter_that_is_cancelled_stops_polling() -> None:
    manual = ManualClock()
    async with (
        serve_canned(BEGUN, RUNNING, Says(body={"status": "Succeeded"}), Says(body=DONE)) as arm,
        open_session(arm, clock=manual.clock) as own,
    ):
        operation = await begin(own)
        waiter = asyncio.ensure_future(operation.result())
        await manual.sleeping()
        manual.advance(1)
        await wait_until(lambda: operation.status == "Running")
        await manual.sleeping()
        waiter.cancel()
        await asyncio.wait([waiter])
        assert waiter.cancelled()
        assert manual.clock.monotonic() == 1
        assert len(arm.asked) == 2
        manual.autoadvance = True
        assert await operation.result() == DONE


async def test_two_waiters_take_turns_and_are_both_told() -> None:
    polls = [Says(body={"status": "Running", "percentComplete": number}) for number in range(5)]
    async with (
        serve_canned(BEGUN, *polls, Says(body={"status": "Succeeded"}), Says(body=DONE)) as arm,
        open_session(arm) as own,
    ):
        operation = await begin(own)
        told: list[list[float | None]] = [[], []]
        results = await asyncio.gather(
            *(
                operation.result(
                    on_progress=lambda one, mine=mine: mine.append(  # type: ignore[misc]
                        one.percent_complete
                    )
                )
                for mine in told
            )
        )
    assert results == [DONE, DONE]
    assert len(arm.asked) == 1 + 5 + 2
    assert told[0][:5] == [0, 1, 2, 3, 4]
    assert set(told[1]) >= {4}


async def test_a_waiter_goes_on_where_another_was_cancelled() -> None:
    manual = ManualClock()
    async with (
        serve_canned(BEGUN, Says(body={"status": "Succeeded"}), Says(body=DONE)) as arm,
        open_session(arm, clock=manual.clock) as own,
    ):
        operation = await begin(own)
        first, second = (asyncio.ensure_future(operation.result()) for _ in range(2))
        await manual.sleeping()
        first.cancel()
        await asyncio.wait([first])
        await manual.sleeping()
        manual.advance(1)
        assert await second == DONE
    assert len(arm.asked) == 3


async def test_a_waiters_deadline_holds_while_another_polls() -> None:
    manual = ManualClock()
    async with (
        serve_canned(BEGUN, Says(body={"status": "Succeeded"}), Says(body=DONE)) as arm,
        open_session(arm, clock=manual.clock) as own,
    ):
        operation = await begin(own)
        patient = asyncio.ensure_future(operation.result())
        await manual.sleeping()
        with pytest.raises(OperationUnfinishedError):
            await operation.result(deadline=0.05)
        manual.advance(1)
        assert await patient == DONE


async def test_a_waiter_is_told_that_the_session_was_closed() -> None:
    manual = ManualClock()
    async with serve_canned(BEGUN) as arm:
        own = open_session(arm, clock=manual.clock)
        operation = await begin(own)
        waiter = asyncio.ensure_future(operation.result())
        await manual.sleeping()
        await own.close()
        manual.advance(1)
        with pytest.raises(UsageError, match="closed"):
            await waiter
