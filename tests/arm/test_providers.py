"""Look-ups of api-versions, and registrations: one of each for all calls of a session."""

import asyncio
import contextvars
from typing import Any

import pytest
from arm_server import (
    GROUP,
    VAULT,
    VERSION,
    Asked,
    Says,
    Slept,
    make_error_body,
    open_session,
    serve_canned,
)
from loops import wait_until

from aiomsi import (
    ApiVersionError,
    ArmConnectionError,
    ArmSession,
    AuthorizationError,
    ConfigurationError,
    NotFoundError,
    RegistrationRequiredError,
    ServiceError,
    UsageError,
)
from aiomsi._arm import providers as _providers
from aiomsi._arm.providers import SharedCalls
from aiomsi.testing import DEFAULT_SUBSCRIPTION_ID, EmbeddedAzure, ManualClock

pytestmark = pytest.mark.anyio

SUBSCRIPTION = f"/subscriptions/{DEFAULT_SUBSCRIPTION_ID}"
WIDGET = f"{GROUP}/providers/Contoso.Widgets/widgets/w"
PROVIDER = f"{SUBSCRIPTION}/providers/Contoso.Widgets"
NEWEST, OLDER, PREVIEW = "2024-06-01", "2023-01-01", "2025-01-01-preview"
DOCUMENT = {"resourceTypes": [{"resourceType": "widgets", "apiVersions": [PREVIEW, NEWEST, OLDER]}]}
KNOWN = Says(body=DOCUMENT)
ASK = f"GET {PROVIDER}?api-version={VERSION}"


def make_refusal(*supported: str, code: str = "InvalidApiVersionParameter") -> Says:
    listed = f" The supported versions are '{','.join(supported)}'." if supported else ""
    return Says(400, make_error_body(code, f"It is invalid.{listed}"))


# Versions


@pytest.mark.usefixtures("azure_environment")
async def test_a_version_that_is_left_out_is_looked_up_once(embedded_azure: EmbeddedAzure) -> None:
    embedded_azure.arm.add_resource(VAULT)
    async with ArmSession() as arm:
        found = await asyncio.gather(*(arm.get(VAULT) for _ in range(50)))
        listed = [one async for one in arm.list(VAULT.rpartition("/")[0])]
        named = await arm.request("GET", VAULT.upper(), params={"$expand": "x y"})
        whole = await arm.get(f"{embedded_azure.arm.url}{VAULT}")
    assert [one["name"] for one in (*found, *listed, whole, named.json())] == ["kv"] * 53
    targets = [one.path_qs for one in embedded_azure.requests if one.service == "arm"]
    assert targets.count(f"{SUBSCRIPTION}/providers/Microsoft.KeyVault?api-version={VERSION}") == 1
    assert sum("api-version=2024-11-01" in one for one in targets) == 53
    assert targets[-2].endswith("?api-version=2024-11-01&$expand=x%20y")


@pytest.mark.usefixtures("azure_environment")
@pytest.mark.parametrize(
    "path", ["/subscriptions", SUBSCRIPTION, GROUP, f"{SUBSCRIPTION}/resourceGroups"]
)
async def test_arms_own_types_have_versions_too(embedded_azure: EmbeddedAzure, path: str) -> None:
    async with ArmSession() as arm:
        assert await arm.get(path)


@pytest.mark.usefixtures("azure_environment")
async def test_a_bad_version_is_an_error_that_lists_the_good_ones(
    embedded_azure: EmbeddedAzure,
) -> None:
    embedded_azure.arm.add_resource(VAULT)
    async with ArmSession() as arm:
        with pytest.raises(ApiVersionError, match="Use one of these") as raised:
            await arm.get(VAULT, api_version="1999-01-01")
    assert "2024-11-01" in raised.value.supported
    assert len([one for one in embedded_azure.requests if one.service == "arm"]) == 1


async def test_looked_up_version_that_is_refused_is_replaced() -> None:
    async with (
        serve_canned(KNOWN, make_refusal(OLDER, "2022-01-01"), Says(body=1), Says(body=2)) as arm,
        open_session(arm, retry=None) as own,
    ):
        assert await own.get(WIDGET) == 1
        assert await own.get(WIDGET) == 2
    assert arm.targets == [
        ASK,
        f"GET {WIDGET}?api-version={NEWEST}",
        *[f"GET {WIDGET}?api-version={OLDER}"] * 2,
    ]


async def test_where_a_refusal_lists_no_versions_the_document_does() -> None:
    answers = [KNOWN, *[make_refusal(code="NoRegisteredProviderFound")] * 3]
    async with serve_canned(*answers) as arm, open_session(arm) as own:
        with pytest.raises(ApiVersionError):
            await own.get(WIDGET)
    assert [one.partition("=")[2] for one in arm.targets] == [VERSION, NEWEST, OLDER, PREVIEW]


async def test_a_version_that_is_listed_and_refused_stays() -> None:
    answers = [KNOWN, make_refusal(NEWEST, OLDER), Says(body=1)]
    async with serve_canned(*answers) as arm, open_session(arm) as own:
        assert await own.get(WIDGET) == 1
    assert [one.partition("=")[2] for one in arm.targets] == [VERSION, NEWEST, NEWEST]


async def test_a_type_that_its_provider_does_not_know_is_an_error() -> None:
    async with serve_canned(KNOWN) as arm, open_session(arm) as own:
        with pytest.raises(
            ConfigurationError, match=r"Contoso\.Widgets has no api-version for the type 'gadgets'"
        ):
            await own.get(f"{GROUP}/providers/Contoso.Widgets/gadgets/g")


async def test_outside_of_subscriptions_the_tenants_provider_is_asked() -> None:
    async with serve_canned(KNOWN, Says(body=1)) as arm, open_session(arm) as own:
        assert await own.get("/providers/Contoso.Widgets/widgets/w") == 1
    assert arm.targets[0] == f"GET /providers/Contoso.Widgets?api-version={VERSION}"


async def test_unreadable_document_fails_all_calls_and_is_read_again() -> None:
    async with (
        serve_canned(Says(404, make_error_body("NotFound")), KNOWN, Says(body=1)) as arm,
        open_session(arm) as own,
    ):
        errors = await asyncio.gather(*(own.get(WIDGET) for _ in range(3)), return_exceptions=True)
        assert [type(one) for one in errors] == [NotFoundError] * 3
        assert len({id(one) for one in errors}) == 3
        assert await own.get(WIDGET) == 1


def change_subscription(number: int) -> str:
    return WIDGET.replace(DEFAULT_SUBSCRIPTION_ID, f"00000000-0000-0000-0000-{number:012d}")


@pytest.mark.parametrize(
    "bad",
    [
        Says(403, make_error_body("AuthorizationFailed")),
        Says(404, make_error_body("SubscriptionNotFound")),
    ],
)
async def test_lookup_fails_for_its_own_subscription_only(bad: Says) -> None:
    first = asyncio.Event()

    async def answer(asked: Asked) -> Says:
        # All callers wait before the first response.
        await first.wait()
        if not asked.target.endswith(VERSION):
            return Says(body=1)
        return bad if f"{0:012d}" in asked.target else KNOWN

    async with serve_canned(*[answer] * 50) as arm, open_session(arm) as own:
        calls = [
            asyncio.ensure_future(own.get(change_subscription(number)))
            for number in (0, 0, *range(1, 10))
        ]
        await wait_until(lambda: bool(arm.asked))
        first.set()
        found = await asyncio.gather(*calls, return_exceptions=True)
        assert await own.get(change_subscription(0)) == 1
        arm.answers.clear()
    assert [type(one) for one in found[:2]] in ([AuthorizationError] * 2, [NotFoundError] * 2)
    assert found[2:] == [1] * 9
    assert len([one for one in arm.asked if one.target.endswith(VERSION)]) <= 10


async def test_failed_lookup_is_asked_again_in_each_subscription() -> None:
    held = asyncio.Event()

    async def fail(_: Asked) -> Says:
        await held.wait()
        return Says(403, make_error_body("AuthorizationFailed"))

    async with (
        serve_canned(fail, KNOWN, Says(body=1), Says(body=2)) as arm,
        open_session(arm) as own,
    ):
        leader = asyncio.ensure_future(own.get(change_subscription(0)))
        await wait_until(lambda: bool(arm.asked))
        follower = asyncio.ensure_future(own.get(change_subscription(1)))
        await asyncio.sleep(0)
        held.set()
        assert await follower == 1
        assert isinstance(
            (await asyncio.gather(leader, return_exceptions=True))[0], AuthorizationError
        )
        assert await own.get(change_subscription(2)) == 2


async def test_slow_lookup_holds_up_its_own_subscription_only(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(_providers, "_MAX_LEADER_WAIT", 0.0)
    held = asyncio.Event()

    async def hold(_: Asked) -> Says:
        await held.wait()
        return KNOWN

    async with (
        serve_canned(hold, KNOWN, Says(body=1), Says(body=2)) as arm,
        open_session(arm) as own,
    ):
        leader = asyncio.ensure_future(own.get(change_subscription(0)))
        await wait_until(lambda: bool(arm.asked))
        assert await own.get(change_subscription(1)) == 1
        assert not leader.done()
        held.set()
        assert await leader == 2


async def test_success_in_another_subscription_is_shared() -> None:
    async with serve_canned(KNOWN, *[Says(body=1)] * 10) as arm, open_session(arm) as own:
        assert (
            await asyncio.gather(*(own.get(change_subscription(number)) for number in range(10)))
            == [1] * 10
        )
    assert len(arm.asked) == 11


async def test_type_that_only_one_subscription_lists_is_found() -> None:
    without = Says(body={"resourceTypes": [{"resourceType": "gadgets", "apiVersions": [NEWEST]}]})
    async with (
        serve_canned(without, KNOWN, Says(body=1), Says(body=2)) as arm,
        open_session(arm) as own,
    ):
        for _ in range(2):
            with pytest.raises(ConfigurationError, match="no api-version"):
                await own.get(change_subscription(0))
        assert await own.get(change_subscription(1)) == 1
        assert await own.get(change_subscription(0)) == 2
    assert len(arm.asked) == 4


async def test_versions_refused_elsewhere_are_tried_here() -> None:
    answers = [KNOWN, *[make_refusal(code="NoRegisteredProviderFound")] * 3, Says(body=1)]
    async with serve_canned(*answers) as arm, open_session(arm) as own:
        with pytest.raises(ApiVersionError):
            await own.get(change_subscription(0))
        assert await own.get(change_subscription(1)) == 1
    assert arm.targets[-1].endswith(NEWEST)


async def test_call_tries_four_versions_at_the_most() -> None:
    versions = [f"202{number}-01-01" for number in range(9)]
    document = {"resourceTypes": [{"resourceType": "widgets", "apiVersions": versions}]}
    no = make_refusal(code="NoRegisteredProviderFound")
    async with serve_canned(Says(body=document), *[no] * 4) as arm, open_session(arm) as own:
        with pytest.raises(ApiVersionError):
            await own.get(WIDGET)


async def test_versions_all_refused_are_the_services_error() -> None:
    no = make_refusal(code="NoRegisteredProviderFound")
    async with serve_canned(KNOWN, *[no] * 4) as arm, open_session(arm) as own:
        for _ in range(2):
            with pytest.raises(ApiVersionError):
                await own.get(WIDGET)
    assert len(arm.asked) == 5


async def test_the_time_out_is_for_the_look_up_too() -> None:
    held = asyncio.Event()

    async def hold(_: Asked) -> Says:
        await held.wait()
        return KNOWN

    async with serve_canned(hold, Says(body=1)) as arm, open_session(arm) as own:
        with pytest.raises(ArmConnectionError, match=r"no api-version within 0\.05 s") as raised:
            await own.get(WIDGET, timeout=0.05)
        assert raised.value.help == "Nothing was sent"
        held.set()
        # The look-up continued, because its first caller does not own it.
        assert await own.get(WIDGET) == 1
    assert len(arm.asked) == 2


async def test_a_bad_call_is_refused_before_its_version_is_looked_up() -> None:
    async with serve_canned() as arm, open_session(arm) as own:
        with pytest.raises(ConfigurationError, match="two slashes"):
            await own.get(f"/{WIDGET}")
        with pytest.raises(ConfigurationError, match="both"):
            await own.put(WIDGET, json={}, content=b"x")
        with pytest.raises(ConfigurationError, match="no resource type"):
            [one async for one in own.list("/")]


# Registration

MISSING = Says(
    409,
    make_error_body(
        "MissingSubscriptionRegistration",
        "Not registered for 'Contoso.Widgets'.",
        target="Contoso.Widgets",
    ),
)


@pytest.mark.usefixtures("azure_environment")
async def test_a_subscription_is_registered_once_for_all(embedded_azure: EmbeddedAzure) -> None:
    embedded_azure.arm.add_provider("Contoso.Widgets", {"widgets": [NEWEST]}, registered=False)
    body = {"location": "westus"}
    async with ArmSession(auto_register=True, clock=ManualClock(autoadvance=True).clock) as arm:
        made = await asyncio.gather(
            *(arm.put(f"{WIDGET}{number}", json=body) for number in range(20))
        )
    assert {one["location"] for one in made} == {"westus"}
    sent = [one for one in embedded_azure.requests if one.service == "arm"]
    assert len([one for one in sent if one.method == "POST"]) == 1
    puts = [one.headers["x-ms-client-request-id"] for one in sent if one.method == "PUT"]
    assert len(set(puts)) == len(puts), "ARM answers an id that it knows with the old error"


@pytest.mark.usefixtures("azure_environment")
async def test_nothing_is_registered_unless_asked_for(embedded_azure: EmbeddedAzure) -> None:
    embedded_azure.arm.add_provider("Contoso.Widgets", {"widgets": [NEWEST]}, registered=False)
    async with ArmSession() as arm:
        with pytest.raises(RegistrationRequiredError, match="/register") as raised:
            await arm.put(WIDGET, api_version=NEWEST, json={"location": "westus"})
    assert raised.value.namespace == "Contoso.Widgets"
    assert len([one for one in embedded_azure.requests if one.service == "arm"]) == 1


async def test_a_registration_is_waited_for() -> None:
    slept = Slept()
    states = [
        Says(body={"registrationState": state})
        for state in ("Registering", "Registering", "Registered")
    ]
    async with (
        serve_canned(MISSING, *states, Says(body=1)) as arm,
        open_session(arm, auto_register=True, clock=slept.clock) as own,
    ):
        assert await own.get(WIDGET, api_version=NEWEST) == 1
    assert slept.sleeps == [1, 2]
    path = PROVIDER.removeprefix("/")
    assert arm.targets[1:4] == [
        f"POST /{path}/register?api-version={VERSION}",
        *[f"GET /{path}?api-version={VERSION}"] * 2,
    ]


async def test_registration_that_takes_too_long_keeps_the_error() -> None:
    slept = Slept()

    async with serve_canned(
        MISSING, *[Says(body={"registrationState": "Registering"})] * 99
    ) as arm:
        async with open_session(arm, auto_register=True, clock=slept.clock) as own:
            with pytest.raises(RegistrationRequiredError):
                await own.get(WIDGET, api_version=NEWEST)
        arm.answers.clear()
    assert 580 < sum(slept.sleeps) <= 600
    assert max(slept.sleeps) == 10


async def test_a_registration_that_is_not_allowed_is_told() -> None:
    async with (
        serve_canned(MISSING, Says(403, make_error_body("AuthorizationFailed"))) as arm,
        open_session(arm, auto_register=True) as own,
    ):
        with pytest.raises(AuthorizationError) as raised:
            await own.get(WIDGET, api_version=NEWEST)
    assert isinstance(raised.value.__cause__, RegistrationRequiredError)


REGISTERED = Says(body={"registrationState": "Registered"})


async def test_denied_registration_is_waited_for_and_sent_once() -> None:
    slept = Slept()
    answers = [MISSING, REGISTERED, *[MISSING] * 4, Says(body=1)]
    async with (
        serve_canned(*answers) as arm,
        open_session(arm, auto_register=True, clock=slept.clock) as own,
    ):
        assert await own.put(WIDGET, api_version=NEWEST, json={}) == 1
    assert slept.sleeps == [1, 1, 2, 4]
    assert [one.method for one in arm.asked] == ["PUT", "POST", *["PUT"] * 5]
    puts = [one.headers["x-ms-client-request-id"] for one in arm.asked if one.method == "PUT"]
    assert len(set(puts)) == len(puts)


async def test_registration_denied_for_a_minute_is_an_error() -> None:
    slept = Slept()
    async with serve_canned(MISSING, REGISTERED, *[MISSING] * 20) as arm:
        async with open_session(arm, auto_register=True, clock=slept.clock) as own:
            with pytest.raises(RegistrationRequiredError) as raised:
                await own.get(WIDGET, api_version=NEWEST)
        arm.answers.clear()
    assert sum(slept.sleeps) == 60
    assert slept.sleeps[-1] <= max(slept.sleeps) == 10
    assert [one.method for one in arm.asked].count("POST") == 1
    assert raised.value.__notes__ == [
        "The subscription is registered, but ARM did not see that within 60 s"
    ]


@pytest.mark.parametrize("lost", [Says(None), Says(503, make_error_body("ServerTimeout"))])
async def test_lost_registration_is_sent_again(lost: Says) -> None:
    async with (
        serve_canned(MISSING, lost, REGISTERED, Says(body=1)) as arm,
        open_session(arm, auto_register=True) as own,
    ):
        assert await own.get(WIDGET, api_version=NEWEST) == 1
    async with (
        serve_canned(MISSING, *[lost] * 3) as arm,
        open_session(arm, auto_register=True) as own,
    ):
        with pytest.raises((ArmConnectionError, ServiceError)):
            await own.get(WIDGET, api_version=NEWEST)


async def test_other_calls_wait_for_a_fresh_registration_too() -> None:
    slept = Slept()
    answers = [MISSING, REGISTERED, Says(body=1), MISSING, Says(body=2)]
    async with (
        serve_canned(*answers) as arm,
        open_session(arm, auto_register=True, clock=slept.clock) as own,
    ):
        assert await own.get(WIDGET, api_version=NEWEST) == 1
        assert await own.get(f"{WIDGET}2", api_version=NEWEST) == 2
    assert slept.sleeps == [1]


async def test_subscription_unregistered_later_is_registered_anew() -> None:
    slept = Slept()
    answers = [MISSING, REGISTERED, Says(body=1)] * 2
    async with (
        serve_canned(*answers) as arm,
        open_session(arm, auto_register=True, clock=slept.clock) as own,
    ):
        assert await own.get(WIDGET, api_version=NEWEST) == 1
        await slept.clock.sleep(3600)
        assert await own.get(WIDGET, api_version=NEWEST) == 1


async def test_call_registers_three_namespaces_at_the_most() -> None:
    def missing(name: str) -> Says:
        return Says(
            409, make_error_body("MissingSubscriptionRegistration", "x", target=f"Contoso.{name}")
        )

    answers = [one for name in "ABC" for one in (missing(name), REGISTERED)]
    async with (
        serve_canned(*answers, missing("D")) as arm,
        open_session(arm, auto_register=True) as own,
    ):
        with pytest.raises(RegistrationRequiredError):
            await own.get(WIDGET, api_version=NEWEST)


async def test_registration_follows_earlier_errors_of_the_call() -> None:
    registered = Says(body={"registrationState": "Registered"})
    answers = [*[Says(429)] * 4, MISSING, registered, Says(body=1)]
    async with serve_canned(*answers) as arm, open_session(arm, auto_register=True) as own:
        assert await own.get(WIDGET, api_version=NEWEST) == 1


async def test_what_can_be_registered_nowhere_is_the_calls_error() -> None:
    nameless = Says(
        409, make_error_body("MissingSubscriptionRegistration", "Something is not registered.")
    )
    async with serve_canned(MISSING, nameless) as arm, open_session(arm, auto_register=True) as own:
        for path in ("/providers/Contoso.Widgets/widgets/w", GROUP):
            with pytest.raises(RegistrationRequiredError):
                await own.get(path, api_version=NEWEST)


@pytest.mark.parametrize("document", [[], {}, {"registrationState": 1}])
async def test_a_provider_that_tells_no_state_is_not_registered(document: Any) -> None:
    async with (
        serve_canned(
            MISSING,
            Says(body=document),
            Says(body={"registrationState": "registered"}),
            Says(body=1),
        ) as arm,
        open_session(arm, auto_register=True) as own,
    ):
        assert await own.get(WIDGET, api_version=NEWEST) == 1


# Shared calls


def share_calls(own: ArmSession) -> SharedCalls[str]:
    return SharedCalls(own._connection, "work")


async def test_callers_while_work_is_under_way_share_it() -> None:
    done: list[int] = []
    go = asyncio.Event()

    async def work() -> str:
        done.append(1)
        await go.wait()
        return "result"

    async with serve_canned() as arm, open_session(arm) as own:
        one = share_calls(own)
        callers = [asyncio.ensure_future(one.get("key", work)) for _ in range(5)]
        await wait_until(lambda: bool(done))
        callers[0].cancel()
        go.set()
        results = await asyncio.gather(*callers, return_exceptions=True)
        assert results[1:] == ["result"] * 4
        assert isinstance(results[0], asyncio.CancelledError)
        assert await one.get("key", work) == "result"
    assert len(done) == 2


async def test_a_failure_that_nobody_waited_for_is_not_kept() -> None:
    results = ["first", "second"]

    async def work() -> str:
        await asyncio.sleep(0)
        if results.pop(0) == "first":
            msg = "no"
            raise OSError(msg)
        return "second"

    async with serve_canned() as arm, open_session(arm) as own:
        one = share_calls(own)
        caller = asyncio.ensure_future(one.get("key", work))
        await asyncio.sleep(0)
        caller.cancel()
        await wait_until(lambda: results == ["second"] and not one._tasks)
        assert await one.get("key", work) == "second"


async def test_work_does_not_see_what_its_first_caller_has_set() -> None:
    variable = contextvars.ContextVar("variable", default="nothing")
    variable.set("mine")

    async def work() -> str:
        return variable.get()

    async with serve_canned() as arm, open_session(arm) as own:
        assert await share_calls(own).get("key", work) == "nothing"


async def test_work_ends_with_the_session() -> None:
    async def work() -> str:
        await asyncio.Event().wait()
        return ""

    async with serve_canned() as arm:
        own = open_session(arm)
        caller = asyncio.ensure_future(share_calls(own).get("key", work))
        await wait_until(lambda: bool(own._connection._tasks))
        await own.close()
        with pytest.raises(UsageError, match="this ArmSession is closed"):
            await caller


async def test_error_of_the_service_has_all_its_facts() -> None:
    async with (
        serve_canned(Says(500, make_error_body("Down"))) as arm,
        open_session(arm, retry=None) as own,
    ):
        with pytest.raises(ServiceError) as raised:
            await own.get(WIDGET)
    assert (raised.value.code, raised.value.response.status, raised.value.attempts) == (
        "Down",
        500,
        1,
    )
