"""The session against the embedded Azure: requests, responses, and arguments refused unsent."""

import asyncio
import base64
import copy
import gc
import io
import json
import pickle
import re
import traceback
import warnings
from collections.abc import Callable, Iterable
from datetime import date
from types import FrameType, TracebackType
from typing import Any, NamedTuple, NoReturn
from urllib.parse import urlsplit
from uuid import UUID

import aiohttp
import anyio
import attrs
import pytest
from arm_server import listen
from time_outs import TimeOuts

import aiomsi
from aiomsi import (
    AiomsiError,
    ArmConnectionError,
    ArmError,
    ArmResponse,
    ArmSession,
    AuthenticationError,
    AuthorizationError,
    Cloud,
    ConfigurationError,
    ForeignHostError,
    HostUnreachableError,
    ManagedIdentityCredential,
    NotFoundError,
    PreconditionFailedError,
    ServiceError,
    ThrottledError,
    TokenRefusedError,
    TokenUnavailableError,
    UsageError,
)
from aiomsi._arm import http as _http
from aiomsi._arm import session as _session
from aiomsi._arm.protocol.encoding import CutBodyError
from aiomsi.testing import DEFAULT_SUBSCRIPTION_ID, EmbeddedAzure, Fault, ManualClock

pytestmark = pytest.mark.usefixtures("azure_environment")

SUBSCRIPTION = f"/subscriptions/{DEFAULT_SUBSCRIPTION_ID}"
DEVTEST = f"{SUBSCRIPTION}/resourceGroups/DevTest"
VERSION = "2021-04-01"
SCOPE = "https://management.azure.com//.default"
TIMEOUT = 0.05
CLAIMS = '{"access_token":{"nbf":{"essential":true,"value":"1604106651"}}}'
CHALLENGE = (
    'Bearer authorization_uri="https://login.windows.net/t", error="insufficient_claims", '
    f'claims="{base64.urlsafe_b64encode(CLAIMS.encode()).decode().rstrip("=")}"'
)


class SdkToken(NamedTuple):
    """A token as azure-core has it."""

    token: str
    expires_on: int


@attrs.define(eq=False)
class SdkCredential:
    """A credential like the Azure SDK's, without `reject`; returns `tokens` one after the other."""

    tokens: list[str] = attrs.field(repr=False)
    asked: list[tuple[tuple[str, ...], str | None]] = attrs.field(factory=list)
    closed: bool = False

    async def get_token(self, *scopes: str, claims: str | None = None, **_: Any) -> SdkToken:
        self.asked.append((scopes, claims))
        return SdkToken(self.tokens[min(len(self.asked), len(self.tokens)) - 1], 2_000_000_000)

    async def close(self) -> None:
        self.closed = True


@attrs.define(eq=False)
class RejectingCredential(SdkCredential):
    """A credential with `reject`."""

    rejected: list[str] = attrs.field(factory=list)

    def reject(self, token: str) -> None:
        self.rejected.append(token)


@attrs.define(eq=False)
class BrokenCredential:
    """A credential whose `get_token` fails."""

    error: Exception

    async def get_token(self, *scopes: str, claims: str | None = None) -> NoReturn:
        raise self.error


async def get(arm: ArmSession, path: str = DEVTEST, **options: Any) -> Any:
    return await arm.get(path, api_version=VERSION, **options)


async def get_many(arm: ArmSession, count: int) -> list[Any]:
    return await asyncio.gather(*(get(arm) for _ in range(count)), return_exceptions=True)


def group(version: str = VERSION) -> dict[str, object]:
    made: dict[str, object] = {
        "id": DEVTEST,
        "name": "DevTest",
        "location": "westus",
        "properties": {"provisioningState": "Succeeded"},
    }
    return made if version < "2018" else made | {"type": "Microsoft.Resources/resourceGroups"}


def has_no_requests(azure: EmbeddedAzure) -> bool:
    return (azure.counts.imds_requests, azure.counts.arm_requests, azure.requests) == (0, 0, ())


# The tutorial


@pytest.mark.anyio
@pytest.mark.parametrize("version", ["2016-06-01", VERSION])
async def test_the_tutorial_to_the_letter(embedded_azure: EmbeddedAzure, version: str) -> None:
    async with ArmSession() as arm:
        assert await arm.get(DEVTEST, api_version=version) == group(version)
    token, call = embedded_azure.requests
    assert (token.service, token.method) == ("imds", "GET")
    assert token.path_qs == (
        "/metadata/identity/oauth2/token?api-version=2018-02-01&resource=https%3A%2F%2Fmanagement.azure.com%2F"
    )
    assert token.headers["Metadata"] == "true"
    assert "Authorization" not in token.headers
    assert (call.service, call.method, call.path_qs) == (
        "arm",
        "GET",
        f"{DEVTEST}?api-version={version}",
    )
    headers = dict(call.headers)
    UUID(headers.pop("x-ms-client-request-id"))
    UUID(headers.pop("x-ms-correlation-request-id"))
    assert re.fullmatch(r"aiomsi/\S+ Python/3\.\d+\.\d+\S* \(\w+\)", headers.pop("User-Agent"))
    assert "gzip" in headers.pop("Accept-Encoding")
    assert headers == {
        "Host": embedded_azure.arm.url.removeprefix("http://"),
        "Accept": "application/json",
        "Authorization": "Bearer ***",
    }


@pytest.mark.anyio
async def test_request_gives_the_whole_answer(embedded_azure: EmbeddedAzure) -> None:
    async with ArmSession() as arm:
        answer = await arm.request(
            "GET", DEVTEST, api_version=VERSION, headers={"x-ms-return-client-request-id": "true"}
        )
    assert isinstance(answer, ArmResponse)
    assert answer.json() == group()
    assert (answer.method, answer.status, answer.path) == ("GET", 200, DEVTEST)
    assert answer.url == f"{embedded_azure.arm.url}{DEVTEST}?api-version={VERSION}"
    assert answer.request_id
    assert answer.correlation_id
    assert answer.client_request_id == embedded_azure.requests[-1].headers["x-ms-client-request-id"]


@pytest.mark.anyio
async def test_a_full_url_and_parameters_arrive_as_they_were_meant(
    embedded_azure: EmbeddedAzure,
) -> None:
    async with ArmSession() as arm:
        await arm.get(
            f"{embedded_azure.arm.url}{SUBSCRIPTION}/resourceGroups?%24top=5&api-version={VERSION}"
        )
        await get(
            arm, f"{SUBSCRIPTION}/resourceGroups", params={"$top": 1, "$filter": "tagName eq 'a&b'"}
        )
    paths = [
        request.path_qs.removeprefix(SUBSCRIPTION)
        for request in embedded_azure.requests
        if request.service == "arm"
    ]
    assert paths == [
        f"/resourceGroups?%24top=5&api-version={VERSION}",
        f"/resourceGroups?api-version={VERSION}&$top=1&$filter=tagName%20eq%20'a%26b'",
    ]


@pytest.mark.anyio
async def test_many_cold_callers_make_one_token_request(embedded_azure: EmbeddedAzure) -> None:
    async with ArmSession() as arm:
        assert await get_many(arm, 100) == [group()] * 100
    assert (embedded_azure.counts.imds_requests, embedded_azure.counts.arm_requests) == (1, 100)


@pytest.mark.slow
@pytest.mark.parametrize("count", [1_000, 10_000])
def test_thousands_of_cold_callers_make_one_token_request(
    embedded_azure: EmbeddedAzure, count: int
) -> None:
    async def main() -> list[Any]:
        # Without pacing, because the calls need more than the bucket of the subscription has.
        async with ArmSession(pacing=False) as arm:
            return await get_many(arm, count)

    results = asyncio.run(main())
    assert [result for result in results if result != group()] == []
    assert len(results) == count
    counts = embedded_azure.counts
    assert (counts.imds_requests, counts.imds_throttled, counts.arm_requests, counts.faults) == (
        1,
        0,
        count,
        0,
    )
    assert counts.arm_most_at_once <= 1_024


@pytest.mark.anyio
async def test_every_form_of_the_audience_is_one_token(embedded_azure: EmbeddedAzure) -> None:
    forms = ["https://management.azure.com", "https://management.azure.com/"]
    credential = ManagedIdentityCredential()
    for form in forms:
        await credential.get_token(form)
        await credential.get_token(f"{form}/.default")
        cloud = Cloud("Embedded", embedded_azure.arm.url, form)
        async with ArmSession(credential, cloud=cloud) as arm:
            assert await get(arm) == group()
    async with ArmSession() as arm:
        assert await get(arm) == group()
    assert embedded_azure.counts.imds_requests == 1


# Arguments refused unsent


@pytest.mark.parametrize(
    "ids",
    [
        {"client_id": ""},
        {"client_id": "  "},
        {"client_id": "not-a-guid"},
        {"object_id": "98f513852edc4b79bed97718de4cb861"},
        {"resource_id": "/subscriptions/s"},
        {"resource_id": ""},
        {"client_id": DEFAULT_SUBSCRIPTION_ID, "object_id": DEFAULT_SUBSCRIPTION_ID},
        {"client_id": DEFAULT_SUBSCRIPTION_ID, "resource_id": ""},
    ],
)
def test_a_bad_identity_is_refused_when_the_credential_is_made(
    embedded_azure: EmbeddedAzure, ids: dict[str, str]
) -> None:
    with pytest.raises(ConfigurationError, match="_id"):
        ManagedIdentityCredential(**ids)  # type: ignore[arg-type]
    assert has_no_requests(embedded_azure)


@pytest.mark.parametrize(
    "url", ["http://arm.example", "http://10.0.0.1:80", "ftp://127.0.0.1", "arm.example"]
)
def test_endpoint_neither_https_nor_loopback_is_refused(
    embedded_azure: EmbeddedAzure, url: str
) -> None:
    with pytest.raises(ConfigurationError, match="https"):
        Cloud("Mine", url, "https://management.azure.com/")
    assert has_no_requests(embedded_azure)


def test_an_environment_that_names_another_host_is_refused(
    embedded_azure: EmbeddedAzure, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIOMSI_RESOURCE_MANAGER", "https://evil.example")
    with pytest.raises(ConfigurationError, match="loopback"):
        ArmSession()
    assert has_no_requests(embedded_azure)


@pytest.mark.parametrize(
    "options",
    [{"cloud": "AzureCloud"}, {"retry": 5}, {"user_agent": 5}, {"http": 5}, {"ssl": False}],
)
def test_argument_of_another_type_is_refused(options: dict[str, Any]) -> None:
    (name,) = options
    with pytest.raises(ConfigurationError, match=f"{name}= takes"):
        ArmSession(**options)


@pytest.mark.anyio
async def test_a_tls_context_for_a_session_that_is_given_is_refused(
    embedded_azure: EmbeddedAzure,
) -> None:
    async with aiohttp.ClientSession() as http:
        with pytest.raises(ConfigurationError, match="ssl="):
            ArmSession(http=http, ssl=create_ssl_context())
    assert has_no_requests(embedded_azure)


def create_ssl_context() -> Any:
    import ssl

    return ssl.create_default_context()


Call = Callable[[ArmSession, str], Any]
BAD_CALLS: dict[str, tuple[type[ConfigurationError], Call]] = {
    "no slash": (ConfigurationError, lambda arm, _: get(arm, DEVTEST[1:])),
    "no path": (ConfigurationError, lambda arm, _: get(arm, "")),
    "foreign": (ForeignHostError, lambda arm, _: get(arm, "https://evil.example/x")),
    "suffix": (
        ForeignHostError,
        lambda arm, _: get(arm, "https://management.azure.com.evil.example/x"),
    ),
    "real arm": (
        ForeignHostError,
        lambda arm, _: get(arm, f"https://management.azure.com{DEVTEST}"),
    ),
    "userinfo": (
        ForeignHostError,
        lambda arm, url: get(arm, url.replace("//", "//user@") + DEVTEST),
    ),
    "userinfo host": (ForeignHostError, lambda arm, url: get(arm, f"{url}@evil.example{DEVTEST}")),
    "port": (ForeignHostError, lambda arm, url: get(arm, f"{url.rpartition(':')[0]}:1{DEVTEST}")),
    "no port": (ForeignHostError, lambda arm, url: get(arm, url.rpartition(":")[0] + DEVTEST)),
    "other scheme": (
        ForeignHostError,
        lambda arm, url: get(arm, url.replace("http:", "https:") + DEVTEST),
    ),
    "other loopback": (
        ForeignHostError,
        lambda arm, url: get(arm, url.replace("127.0.0.1", "localhost") + DEVTEST),
    ),
    "host path": (ForeignHostError, lambda arm, _: get(arm, "//evil.example/x")),
    "own host path": (ForeignHostError, lambda arm, url: get(arm, url.partition(":")[2] + DEVTEST)),
    "backslash host": (
        ForeignHostError,
        lambda arm, url: get(arm, f"{url}\\@evil.example{DEVTEST}"),
    ),
    "backslash": (ConfigurationError, lambda arm, _: get(arm, "/\\evil.example")),
    "control": (ConfigurationError, lambda arm, _: get(arm, f"{DEVTEST}\r\nX: y")),
    "fragment": (ConfigurationError, lambda arm, url: get(arm, f"{url}{DEVTEST}#x")),
    "empty segment": (
        ConfigurationError,
        lambda arm, _: arm.delete(f"{DEVTEST}/", api_version=VERSION),
    ),
    "parameter": (ConfigurationError, lambda arm, _: get(arm, params={"$select": ["name"]})),
    "no parameters": (ConfigurationError, lambda arm, _: get(arm, params="a=1")),
    "date in a body": (
        ConfigurationError,
        lambda arm, _: arm.put(DEVTEST, api_version=VERSION, json={"at": date(2026, 1, 1)}),
    ),
    "key in a body": (
        ConfigurationError,
        lambda arm, _: arm.put(DEVTEST, api_version=VERSION, json={"tags": {1: "a"}}),
    ),
    "dots": (ConfigurationError, lambda arm, _: get(arm, f"{DEVTEST}/../Other")),
    "encoded dots": (ConfigurationError, lambda arm, _: get(arm, f"{DEVTEST}/%2e%2e/Other")),
    "no version and no type": (ConfigurationError, lambda arm, _: arm.get("/")),
    "empty version": (ConfigurationError, lambda arm, _: arm.get(DEVTEST, api_version="")),
    "broken tag": (
        ConfigurationError,
        lambda arm, _: arm.put(DEVTEST, api_version=VERSION, if_match="a\r\nb: c"),
    ),
    "empty tag": (
        ConfigurationError,
        lambda arm, _: arm.put(DEVTEST, api_version=VERSION, if_none_match="\n"),
    ),
    "two versions": (
        ConfigurationError,
        lambda arm, _: get(arm, f"{DEVTEST}?api-version=2020-01-01"),
    ),
    "the same version twice": (
        ConfigurationError,
        lambda arm, _: arm.get(f"{DEVTEST}?api-version=a&api-version=a"),
    ),
    "authorization": (
        ConfigurationError,
        lambda arm, _: get(arm, headers={"authorization": "Bearer x"}),
    ),
    "broken header": (ConfigurationError, lambda arm, _: get(arm, headers={"x": "a\r\nb: c"})),
    "method": (ConfigurationError, lambda arm, _: arm.request("get", DEVTEST, api_version=VERSION)),
    "two bodies": (
        ConfigurationError,
        lambda arm, _: arm.request("PUT", DEVTEST, api_version=VERSION, json={}, content=b""),
    ),
}


@pytest.mark.anyio
@pytest.mark.parametrize("name", BAD_CALLS)
async def test_a_bad_call_is_refused_before_anything_is_sent(
    embedded_azure: EmbeddedAzure, name: str
) -> None:
    kind, call = BAD_CALLS[name]
    async with ArmSession() as arm:
        with pytest.raises(ConfigurationError) as raised:
            await call(arm, embedded_azure.arm.url)
        assert type(raised.value) is kind
        assert "not yet used" in repr(arm)
    assert has_no_requests(embedded_azure)


# 401


@pytest.mark.anyio
async def test_an_expired_token_is_replaced_and_the_call_repeated_once(
    embedded_azure: EmbeddedAzure,
) -> None:
    old, new = embedded_azure.imds.issue_token(expires_in=-60), embedded_azure.imds.issue_token()
    credential = RejectingCredential([old, new])
    async with ArmSession(credential) as arm:
        assert await get(arm) == group()
    assert credential.rejected == [old]
    assert credential.asked == [((SCOPE,), None)] * 2
    assert not credential.closed
    first, second = embedded_azure.requests
    assert first == second


@pytest.mark.anyio
async def test_a_revoked_token_is_replaced_and_the_call_repeated_once(
    embedded_azure: EmbeddedAzure,
) -> None:
    async with ArmSession() as arm:
        await get(arm)
        embedded_azure.imds.revoke_tokens()
        assert await get(arm) == group()
    counts = embedded_azure.counts
    assert (counts.imds_requests, counts.arm_requests, counts.arm_unauthorized) == (2, 3, 1)


@pytest.mark.slow
def test_a_thousand_sessions_in_a_row_renew_the_token_once(monkeypatch: pytest.MonkeyPatch) -> None:
    manual = ManualClock()

    async def handle() -> None:
        async with ArmSession(clock=manual.clock) as arm:
            assert await get(arm) == group()

    async def main() -> None:
        await handle()
        manual.advance(50_000)
        with azure.imds.hold() as hold:
            for _ in range(10):
                await handle()
            await hold.arrived(1)
        for _ in range(990):
            await handle()
        credential = ManagedIdentityCredential(clock=manual.clock)
        await credential.warm_up()
        (stats,) = credential.stats().values()
        assert stats.state == "fresh"

    with EmbeddedAzure(clock=manual.clock) as azure:
        for name, value in azure.environment.items():
            monkeypatch.setenv(name, value)
        asyncio.run(main())
        assert azure.counts.imds_requests == 2


@pytest.mark.anyio
async def test_a_service_that_refuses_every_token_costs_few_tokens(
    embedded_azure: EmbeddedAzure,
) -> None:
    credential = SdkCredential([embedded_azure.imds.issue_token() for _ in range(30)])
    async with ArmSession(credential) as arm:
        await get(arm)
        embedded_azure.arm.inject(
            Fault(401, body={"error": {"code": "InvalidAuthenticationToken", "message": "No."}}),
            None,
        )
        for _ in range(20):
            with pytest.raises(AuthenticationError):
                await get(arm)
        embedded_azure.clear_faults()
        await get(arm)
    assert len(credential.asked) == 3


@pytest.mark.slow
@pytest.mark.anyio
@pytest.mark.parametrize("count", [2, 100])
async def test_concurrent_401s_make_one_token_request(
    embedded_azure: EmbeddedAzure, count: int
) -> None:
    async with ArmSession(pacing=False) as arm:
        await get(arm)
        embedded_azure.reset_counts()
        with embedded_azure.arm.hold() as hold:
            calls = asyncio.ensure_future(get_many(arm, count))
            await hold.arrived(count)
            embedded_azure.imds.revoke_tokens()
            hold.release()
            assert await calls == [group()] * count
    counts = embedded_azure.counts
    assert (counts.imds_requests, counts.arm_requests, counts.arm_unauthorized) == (
        1,
        2 * count,
        count,
    )


@pytest.mark.anyio
async def test_a_second_401_is_the_callers(embedded_azure: EmbeddedAzure) -> None:
    embedded_azure.arm.inject(
        Fault(401, body={"error": {"code": "InvalidAuthenticationToken", "message": "No."}}),
        None,
    )
    async with ArmSession() as arm:
        with pytest.raises(
            AuthenticationError, match=r"returned 401 InvalidAuthenticationToken: No \(request id"
        ) as raised:
            await get(arm)
    assert (raised.value.attempts, raised.value.status) == (2, 401)
    assert (embedded_azure.counts.imds_requests, embedded_azure.counts.arm_requests) == (2, 2)


@pytest.mark.anyio
async def test_a_host_that_gives_the_same_token_again_is_asked_once(
    embedded_azure: EmbeddedAzure,
) -> None:
    embedded_azure.imds.repeat_tokens()
    async with ArmSession() as arm:
        await get(arm)
        embedded_azure.imds.revoke_tokens()
        embedded_azure.reset_counts()
        for _ in range(5):
            with pytest.raises(AuthenticationError) as raised:
                await get(arm)
            assert raised.value.attempts == 1
    assert (embedded_azure.counts.imds_requests, embedded_azure.counts.arm_requests) == (1, 5)


@pytest.mark.anyio
async def test_a_token_for_another_audience_is_not_rejected(embedded_azure: EmbeddedAzure) -> None:
    credential = RejectingCredential(
        [embedded_azure.imds.issue_token("https://graph.microsoft.com/")]
    )
    async with ArmSession(credential) as arm:
        with pytest.raises(
            AuthenticationError, match="InvalidAuthenticationTokenAudience"
        ) as raised:
            await get(arm)
    assert "https://management.azure.com/" in raised.value.help
    assert (credential.rejected, len(credential.asked), embedded_azure.counts.arm_requests) == (
        [],
        1,
        1,
    )


@pytest.mark.anyio
async def test_a_token_of_another_tenant_is_not_rejected(embedded_azure: EmbeddedAzure) -> None:
    said = {
        "error": {
            "code": "InvalidAuthenticationTokenTenant",
            "message": "The access token is from the wrong issuer.",
        }
    }
    embedded_azure.arm.inject(
        Fault(401, {"WWW-Authenticate": 'Bearer error="invalid_token"'}, said)
    )
    async with ArmSession() as arm:
        with pytest.raises(AuthenticationError, match="wrong issuer") as raised:
            await get(arm)
        assert await get(arm) == group()
    assert "another tenant" in raised.value.help
    assert (embedded_azure.counts.imds_requests, embedded_azure.counts.arm_requests) == (1, 2)


@pytest.mark.anyio
async def test_a_foreign_credential_without_reject_is_asked_again(
    embedded_azure: EmbeddedAzure,
) -> None:
    credential = SdkCredential(
        [embedded_azure.imds.issue_token(expires_in=-60), embedded_azure.imds.issue_token()]
    )
    async with ArmSession(credential) as arm:
        assert await get(arm) == group()
    assert len(credential.asked) == 2
    assert not credential.closed


@pytest.mark.anyio
async def test_foreign_credential_with_one_token_costs_no_second_call(
    embedded_azure: EmbeddedAzure,
) -> None:
    credential = SdkCredential([embedded_azure.imds.issue_token(foreign_key=True)])
    async with ArmSession(credential) as arm:
        with pytest.raises(AuthenticationError, match="InvalidAuthenticationToken"):
            await get(arm)
    assert (len(credential.asked), embedded_azure.counts.arm_requests) == (2, 1)


@pytest.mark.anyio
async def test_a_claims_challenge_is_passed_on_to_the_credential(
    embedded_azure: EmbeddedAzure,
) -> None:
    credential = RejectingCredential(
        [embedded_azure.imds.issue_token(), embedded_azure.imds.issue_token()]
    )
    embedded_azure.arm.inject(Fault(401, {"WWW-Authenticate": CHALLENGE}))
    async with ArmSession(credential) as arm:
        assert await get(arm) == group()
    assert credential.asked == [((SCOPE,), None), ((SCOPE,), CLAIMS)]
    assert credential.rejected == []
    assert embedded_azure.counts.arm_requests == 2


@pytest.mark.anyio
async def test_claims_challenge_gets_a_new_managed_identity_token(
    embedded_azure: EmbeddedAzure,
) -> None:
    async with ArmSession() as arm:
        await get(arm)
        embedded_azure.arm.inject(Fault(401, {"WWW-Authenticate": CHALLENGE}))
        assert await get(arm) == group()
    assert (embedded_azure.counts.imds_requests, embedded_azure.counts.arm_requests) == (2, 3)


@pytest.mark.anyio
async def test_a_claims_challenge_that_imds_cant_meet_is_not_repeated(
    embedded_azure: EmbeddedAzure,
) -> None:
    embedded_azure.imds.repeat_tokens()
    embedded_azure.arm.inject(Fault(401, {"WWW-Authenticate": CHALLENGE}), None)
    async with ArmSession() as arm:
        with pytest.raises(AuthenticationError) as raised:
            await get(arm)
    assert raised.value.attempts == 1
    assert (embedded_azure.counts.imds_requests, embedded_azure.counts.arm_requests) == (2, 1)


@pytest.mark.slow
@pytest.mark.parametrize("count", [1_000])
def test_thousands_of_callers_call_a_foreign_credential_once(
    embedded_azure: EmbeddedAzure, count: int
) -> None:
    credential = SdkCredential([embedded_azure.imds.issue_token()])

    async def main() -> list[Any]:
        async with ArmSession(credential) as one, ArmSession(credential) as two:
            results = await asyncio.gather(get_many(one, count), get_many(two, count))
        return [result for part in results for result in part if result != group()]

    assert asyncio.run(main()) == []
    assert credential.asked == [((SCOPE,), None)]
    assert not credential.closed


@pytest.mark.slow
@pytest.mark.anyio
@pytest.mark.parametrize("sharing", [True, False])
async def test_microsofts_credential_is_asked_once_too(
    embedded_azure: EmbeddedAzure, sharing: bool
) -> None:
    azure = pytest.importorskip("azure.identity.aio")
    async with (
        azure.ManagedIdentityCredential() as credential,
        ArmSession(aiomsi.SharedCredential(credential) if sharing else credential) as arm,
    ):
        assert await get_many(arm, 200) == [group()] * 200
    assert embedded_azure.counts.imds_tokens == 1


def test_foreign_credential_serves_one_loop_after_another(
    embedded_azure: EmbeddedAzure,
) -> None:
    credential = SdkCredential([embedded_azure.imds.issue_token()])

    async def main() -> Any:
        async with ArmSession(credential) as arm:
            return await get(arm)

    assert asyncio.run(main()) == asyncio.run(main()) == group()
    assert len(credential.asked) == 2


@pytest.mark.anyio
async def test_synchronous_credential_is_refused_unsent(
    embedded_azure: EmbeddedAzure,
) -> None:
    class Synchronous:
        def get_token(self, *scopes: str, claims: str | None = None) -> SdkToken:
            raise AssertionError

    async with ArmSession(Synchronous()) as arm:  # type: ignore[arg-type]
        with pytest.raises(ConfigurationError, match="synchronous"):
            await get(arm)
    assert has_no_requests(embedded_azure)


# Errors


@pytest.mark.anyio
async def test_a_403_says_what_is_missing_and_how_to_grant_it(
    embedded_azure: EmbeddedAzure,
) -> None:
    identity = embedded_azure.imds.identities[0]
    embedded_azure.arm.revoke(identity.object_id)
    async with ArmSession() as arm:
        with pytest.raises(AuthorizationError) as raised:
            await get(arm)
        embedded_azure.arm.grant(identity.object_id, DEVTEST)
        assert await get(arm) == group()
    error = raised.value
    assert (error.status, error.code, error.attempts) == (403, "AuthorizationFailed", 1)
    assert "'Microsoft.Resources/subscriptions/resourcegroups/read'" in error.help
    assert f"'{DEVTEST}'" in error.help
    assert f"grant Reader to the identity with object id {identity.object_id}" in error.help
    assert "Access control (IAM)" in str(error)
    assert embedded_azure.counts.imds_requests == 1


@pytest.mark.anyio
async def test_a_404_for_a_lower_case_path_hints_at_the_capital_letter(
    embedded_azure: EmbeddedAzure,
) -> None:
    async with ArmSession() as arm:
        with pytest.raises(NotFoundError) as raised:
            await get(arm, f"{SUBSCRIPTION}/resourcegroups/Missing")
        assert "write 'resourceGroups', with a capital G" in raised.value.help
        assert raised.value.code == "ResourceGroupNotFound"
        with pytest.raises(NotFoundError) as raised:
            await get(arm, f"{SUBSCRIPTION}/resourceGroups/Missing")
        assert "capital" not in raised.value.help
        assert "resource group 'missing' could not be found" in raised.value.message.lower()


@pytest.mark.anyio
async def test_a_redirect_is_not_followed(embedded_azure: EmbeddedAzure) -> None:
    embedded_azure.arm.inject(
        Fault(307, {"Location": f"{embedded_azure.arm.url}{SUBSCRIPTION}?sig=signed"}, b"")
    )
    async with ArmSession() as arm:
        with pytest.raises(ArmError, match="a redirect to") as raised:
            await get(arm)
    assert (raised.value.status, embedded_azure.counts.arm_requests) == (307, 1)
    assert "signed" not in str(raised.value)


@pytest.mark.anyio
async def test_a_304_is_an_answer(embedded_azure: EmbeddedAzure) -> None:
    embedded_azure.arm.inject(Fault(304, {"ETag": '"1"'}, b""), 2)
    async with ArmSession() as arm:
        answer = await arm.request(
            "GET", DEVTEST, api_version=VERSION, headers={"If-None-Match": '"1"'}
        )
        assert (answer.status, answer.headers["ETag"], answer.json()) == (304, '"1"', None)
        assert await get(arm) is None
    assert embedded_azure.requests[-2].headers["If-None-Match"] == '"1"'


@pytest.mark.anyio
async def test_an_empty_body_is_none(embedded_azure: EmbeddedAzure) -> None:
    embedded_azure.arm.inject(Fault(200, body=b""))
    async with ArmSession() as arm:
        assert await get(arm) is None
        answer = await arm.request("HEAD", DEVTEST, api_version=VERSION)
    assert (answer.status, answer.json()) == (204, None)


@pytest.mark.anyio
async def test_200_without_json_is_an_error_with_its_bytes(
    embedded_azure: EmbeddedAzure,
) -> None:
    embedded_azure.arm.inject(Fault.garbage(), 2)
    async with ArmSession() as arm:
        with pytest.raises(ServiceError, match="not JSON") as raised:
            await get(arm)
        answer = await arm.request("GET", DEVTEST, api_version=VERSION)
    assert raised.value.message == "Please sign in to the network"
    assert raised.value.status == 200
    assert b"<html>" in answer.body


@pytest.mark.anyio
async def test_a_throttled_call_tells_for_how_long(embedded_azure: EmbeddedAzure) -> None:
    embedded_azure.arm.inject(Fault(429, {"Retry-After": "17"}))
    async with ArmSession(retry=None) as arm:
        with pytest.raises(ThrottledError) as raised:
            await get(arm)
    assert raised.value.retry_after == 17


@pytest.mark.anyio
async def test_the_time_that_an_error_took_is_on_the_sessions_clock(
    embedded_azure: EmbeddedAzure,
) -> None:
    manual = ManualClock()
    embedded_azure.arm.inject(Fault(500))
    async with ArmSession(clock=manual.clock, retry=None) as arm:
        with embedded_azure.arm.hold() as hold:
            call = asyncio.ensure_future(get(arm))
            await hold.arrived(1)
            manual.advance(7)
            hold.release()
            with pytest.raises(ServiceError) as raised:
                await call
    assert raised.value.elapsed == 7


def check_no_answer(error: ArmConnectionError, azure: EmbeddedAzure, attempts: int = 1) -> None:
    sent = azure.requests[-1].headers["x-ms-client-request-id"]
    assert (error.method, error.url, error.client_request_id) == (
        "GET",
        f"{azure.arm.url}{DEVTEST}",
        sent,
    )
    assert error.attempts == attempts
    assert error.elapsed > 0
    assert "api-version" not in str(error)
    assert f"GET {DEVTEST} got no answer from 127.0.0.1" in str(error)


@pytest.mark.anyio
@pytest.mark.parametrize(
    "fault", [Fault.reset(), Fault.truncate(), Fault(200, {"Content-Encoding": "gzip"}, b"no gzip")]
)
async def test_an_answer_that_breaks_off_is_a_connection_error(
    embedded_azure: EmbeddedAzure, fault: Fault
) -> None:
    embedded_azure.arm.inject(fault)
    async with ArmSession(retry=None) as arm:
        with pytest.raises(ArmConnectionError) as raised:
            await get(arm)
        check_no_answer(raised.value, embedded_azure)
        assert isinstance(raised.value.__cause__, aiohttp.ClientError | CutBodyError)
        assert "may simply be repeated" in raised.value.help
        assert await get(arm) == group()
    assert embedded_azure.counts.faults == 1


@pytest.mark.anyio
async def test_connection_lost_in_the_repetition_was_the_second(
    embedded_azure: EmbeddedAzure,
) -> None:
    async with ArmSession(retry=None) as arm:
        embedded_azure.arm.inject(Fault(401, body={"code": "ExpiredAuthenticationToken"}))
        embedded_azure.arm.inject(Fault.reset())
        with pytest.raises(ArmConnectionError) as raised:
            await get(arm)
    check_no_answer(raised.value, embedded_azure, attempts=2)


@pytest.mark.anyio
async def test_an_error_has_the_request_id_that_was_really_sent(
    embedded_azure: EmbeddedAzure,
) -> None:
    embedded_azure.arm.inject(Fault.truncate())
    async with ArmSession(retry=None) as arm:
        with pytest.raises(ArmConnectionError) as raised:
            await get(arm, headers={"X-MS-Client-Request-Id": "mine"})
    check_no_answer(raised.value, embedded_azure)
    assert raised.value.client_request_id == "mine"


@pytest.mark.anyio
async def test_a_call_that_takes_too_long_is_a_connection_error(
    embedded_azure: EmbeddedAzure, monkeypatch: pytest.MonkeyPatch
) -> None:
    time_outs = TimeOuts(monkeypatch)
    async with ArmSession() as arm:
        with embedded_azure.arm.hold() as hold:
            call = asyncio.ensure_future(get(arm, timeout=time_outs.SECONDS))
            await hold.arrived(1)
            time_outs.expire()
            with pytest.raises(
                ArmConnectionError, match=f"no answer within {time_outs.SECONDS} s"
            ) as raised:
                await call
        check_no_answer(raised.value, embedded_azure)
        assert isinstance(raised.value.__cause__, TimeoutError)
        assert await get(arm) == group()


@pytest.mark.anyio
async def test_a_token_that_takes_too_long_is_told_apart(embedded_azure: EmbeddedAzure) -> None:
    async with ArmSession() as arm:
        with embedded_azure.imds.hold() as hold:
            with pytest.raises(ArmConnectionError, match=f"no token within {TIMEOUT} s") as raised:
                await get(arm, timeout=TIMEOUT)
            assert (raised.value.attempts, embedded_azure.counts.arm_requests) == (0, 0)
            assert raised.value.help == "Nothing was sent"
            hold.release()
            assert await get(arm) == group()
    assert embedded_azure.counts.imds_requests == 1


@pytest.mark.anyio
async def test_a_refused_connection_is_a_connection_error(embedded_azure: EmbeddedAzure) -> None:
    arm = ArmSession(SdkCredential(["token"]), retry=None)
    embedded_azure.stop()
    async with arm:
        with pytest.raises(ArmConnectionError, match="Cannot connect") as raised:
            await get(arm)
    assert (raised.value.method, raised.value.attempts) == ("GET", 1)


@pytest.mark.anyio
@pytest.mark.parametrize(
    "error",
    [TimeoutError("mine"), OSError("mine"), aiohttp.ClientError("mine"), RuntimeError("mine")],
)
async def test_what_a_credential_raises_becomes_an_error_of_ours(
    embedded_azure: EmbeddedAzure, error: Exception
) -> None:
    async with ArmSession(BrokenCredential(error)) as arm:
        errors = await get_many(arm, 2)
    assert [type(one) for one in errors] == [TokenUnavailableError] * 2
    assert f"{type(error).__name__}: mine" in str(errors[0])
    assert errors[0] is not errors[1]
    assert has_no_requests(embedded_azure)


@pytest.mark.anyio
async def test_a_token_that_cant_be_had_is_the_credentials_error(
    embedded_azure: EmbeddedAzure,
) -> None:
    embedded_azure.imds.remove_identity(embedded_azure.imds.identities[0])
    async with ArmSession() as arm:
        with pytest.raises(TokenRefusedError, match="Identity not found"):
            await get(arm)
    assert embedded_azure.counts.arm_requests == 0


def test_a_machine_without_imds_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AZURE_POD_IDENTITY_AUTHORITY_HOST", "http://127.0.0.1:1")
    monkeypatch.setattr(_session, "_make_credential", make_quick_credential)

    async def main() -> None:
        async with ArmSession() as arm:
            await get(arm)

    with pytest.raises(HostUnreachableError, match="aiomsi emulator"):
        asyncio.run(main())


def make_quick_credential(clock: aiomsi.Clock | None) -> ManagedIdentityCredential:
    return ManagedIdentityCredential(
        clock=clock, policy=aiomsi.RefreshPolicy(max_attempts_unreachable=1)
    )


# The life of a session


def test_a_session_is_made_outside_a_loop(embedded_azure: EmbeddedAzure) -> None:
    arm = ArmSession()
    assert repr(arm) == (
        f"<ArmSession {embedded_azure.arm.url}, not yet used, "
        "credential=<ManagedIdentityCredential IMDS (AZURE_POD_IDENTITY_AUTHORITY_HOST is set; "
        "host= chooses another), default identity>>"
    )
    assert arm.cloud == attrs.evolve(aiomsi.PUBLIC, resource_manager=embedded_azure.arm.url)
    assert has_no_requests(embedded_azure)

    async def main() -> None:
        async with arm as entered:
            assert entered is arm
            assert await get(arm) == group()
            assert ", open, " in repr(arm)

    asyncio.run(main())
    assert ", closed, " in repr(arm)


def test_a_second_loop_is_told_so(embedded_azure: EmbeddedAzure) -> None:
    arm = ArmSession()
    first = asyncio.new_event_loop()
    try:
        assert first.run_until_complete(get(arm)) == group()
        with pytest.raises(UsageError, match="another event loop") as raised:
            asyncio.run(get(arm))
        assert "one per loop" in raised.value.help
        assert first.run_until_complete(get(arm)) == group()
        first.run_until_complete(arm.close())
    finally:
        first.close()
    assert embedded_azure.counts.arm_requests == 2


@pytest.mark.anyio
async def test_a_closed_session_says_so(embedded_azure: EmbeddedAzure) -> None:
    arm = ArmSession()
    await get(arm)
    await arm.close()
    await arm.close()
    with pytest.raises(UsageError, match="this ArmSession is closed"):
        await get(arm)
    unused = ArmSession()
    await unused.close()
    with pytest.raises(UsageError, match="closed"):
        await get(unused)
    assert embedded_azure.counts.arm_requests == 1


@pytest.mark.anyio
async def test_a_call_under_way_is_told_that_the_session_was_closed(
    embedded_azure: EmbeddedAzure,
) -> None:
    for service, kind in (("imds", UsageError), ("arm", ArmConnectionError)):
        arm = ArmSession(ManagedIdentityCredential(share=False), retry=None)
        with getattr(embedded_azure, service).hold() as hold:
            call = asyncio.ensure_future(get(arm))
            await hold.arrived(1)
            await arm.close()
            hold.release()
            with pytest.raises(kind, match="closed"):
                await call


@pytest.mark.anyio
async def test_a_session_that_was_given_stays_open(embedded_azure: EmbeddedAzure) -> None:
    async with aiohttp.ClientSession(raise_for_status=True, headers={"X-Mine": "1"}) as http:
        async with ArmSession(http=http) as arm:
            assert await get(arm) == group()
            with pytest.raises(NotFoundError):
                await get(arm, f"{SUBSCRIPTION}/resourceGroups/Missing")
        assert not http.closed
        assert embedded_azure.requests[-1].headers["X-Mine"] == "1"
        with pytest.raises(UsageError, match="this ArmSession is closed"):
            await get(arm)
    async with ArmSession(http=http) as arm:
        with pytest.raises(UsageError, match="was given is closed"):
            await get(arm)
    assert embedded_azure.counts.arm_requests == 2


@pytest.mark.anyio
async def test_a_session_closes_what_it_opened(embedded_azure: EmbeddedAzure) -> None:
    async with ArmSession() as arm:
        await get(arm)
        http = arm._connection.http
        assert http is not None
        before = http.closed
    assert (before, http.closed, http.connector) == (False, True, None)


@pytest.mark.anyio
async def test_credential_of_a_further_tenant_stays_open(embedded_azure: EmbeddedAzure) -> None:
    further = ManagedIdentityCredential(share=False)
    arm = ArmSession(auxiliary=[further])
    assert await get(arm) == group()
    with embedded_azure.imds.hold() as hold:
        token = asyncio.ensure_future(further.get_token("https://vault.azure.net/.default"))
        await hold.arrived(1)
        await arm.close()
    assert (await token).token
    await further.close()


def test_nothing_is_left_open(embedded_azure: EmbeddedAzure) -> None:
    async def main() -> None:
        ArmSession(retry=None)
        async with ArmSession(retry=None) as arm:
            await get_many(arm, 50)
            embedded_azure.arm.inject(Fault.truncate())
            with pytest.raises(ArmConnectionError):
                await get(arm)
        await asyncio.sleep(0)

    with warnings.catch_warnings(record=True, action="always") as seen:
        asyncio.run(main(), debug=True)
        gc.collect()
    assert [str(warning.message) for warning in seen] == []


@pytest.mark.anyio
async def test_a_session_keeps_no_cookies(
    embedded_azure: EmbeddedAzure, monkeypatch: pytest.MonkeyPatch
) -> None:
    # aiohttp's own jar keeps the cookies of a host name, but not of an address.
    monkeypatch.setenv(
        "AIOMSI_RESOURCE_MANAGER", embedded_azure.arm.url.replace("127.0.0.1", "localhost")
    )
    embedded_azure.arm.inject(Fault(200, {"Set-Cookie": "a=b; Path=/"}, {}))
    async with ArmSession() as arm:
        await get(arm)
        await get(arm)
    assert "Cookie" not in embedded_azure.requests[-1].headers


# Cancellation


@pytest.mark.anyio
@pytest.mark.parametrize("service", ["imds", "arm"])
async def test_a_cancelled_caller_hurts_nobody(embedded_azure: EmbeddedAzure, service: str) -> None:
    async with ArmSession() as arm:
        if service == "arm":
            await get(arm)
        with getattr(embedded_azure, service).hold() as hold:
            calls = [asyncio.ensure_future(get(arm)) for _ in range(16)]
            await hold.arrived(16 if service == "arm" else 1)
            calls[0].cancel()
            calls[13].cancel()
            hold.release()
            results = await asyncio.gather(*calls, return_exceptions=True)
    for at in (13, 0):
        assert isinstance(results.pop(at), asyncio.CancelledError)
    assert results == [group()] * 14
    assert embedded_azure.counts.imds_requests == 1


@pytest.mark.anyio
async def test_an_anyio_scope_around_a_call_is_the_callers_own(
    embedded_azure: EmbeddedAzure,
) -> None:
    async with ArmSession() as arm:
        with embedded_azure.arm.hold() as hold:
            other = asyncio.ensure_future(get(arm))
            with anyio.move_on_after(TIMEOUT) as scope:
                await get(arm, timeout=30)
            assert scope.cancelled_caught
            hold.release()
            assert await other == group()


# Requests


@pytest.mark.anyio
async def test_bodies_and_headers_are_sent(embedded_azure: EmbeddedAzure) -> None:
    embedded_azure.arm.inject(Fault(200, body={}), None)
    async with ArmSession(user_agent="mine/1") as arm:
        await arm.request("PUT", DEVTEST, api_version=VERSION, json={"location": "westus"})
        await arm.request(
            "PUT",
            DEVTEST,
            api_version=VERSION,
            json={},
            headers={"content-type": "application/merge-patch+json"},
        )
        await arm.request(
            "POST",
            DEVTEST,
            api_version=VERSION,
            content=b"12345",
            headers={"Content-Type": "text/plain"},
        )
        await arm.request(
            "DELETE",
            DEVTEST,
            api_version=VERSION,
            headers={"if-match": '"1"', "X-MS-Client-Request-Id": "mine"},
        )
        await get(arm, headers={"accept": "*/*"})
    whole, patch, text, delete, read = (
        request for request in embedded_azure.requests if request.service == "arm"
    )
    assert (whole.method, whole.headers["Content-Type"], whole.headers["Content-Length"]) == (
        "PUT",
        "application/json",
        "21",
    )
    assert patch.headers.getall("Content-Type") == ["application/merge-patch+json"]  # type: ignore[attr-defined]
    assert patch.headers["Content-Length"] == "2"
    assert (text.method, text.headers["Content-Type"], text.headers["Content-Length"]) == (
        "POST",
        "text/plain",
        "5",
    )
    assert (delete.method, delete.headers["If-Match"]) == ("DELETE", '"1"')
    assert delete.headers.getall("x-ms-client-request-id") == ["mine"]  # type: ignore[attr-defined]
    assert read.headers.getall("Accept") == ["*/*"]  # type: ignore[attr-defined]
    assert whole.headers["User-Agent"].startswith("mine/1 aiomsi/")
    assert (
        len(
            {
                request.headers["x-ms-client-request-id"]
                for request in embedded_azure.requests
                if request.service == "arm"
            }
        )
        == 5
    )


VAULT = f"{DEVTEST}/providers/Microsoft.KeyVault/vaults/kv"


@pytest.mark.anyio
@pytest.mark.parametrize("style", ["quoted", "weak", "unquoted"])
async def test_conditions_go_out_to_the_letter(embedded_azure: EmbeddedAzure, style: Any) -> None:
    embedded_azure.arm.set_etag_style("Microsoft.KeyVault/vaults", style)
    async with ArmSession() as arm:
        made = await arm.put(VAULT, json={"location": "westus"}, if_none_match="*")
        with pytest.raises(PreconditionFailedError):
            await arm.put(VAULT, json={"location": "westus"}, if_none_match="*")
        old = (await arm.request("GET", VAULT)).headers["ETag"]
        assert (await arm.request("GET", VAULT, if_none_match=old)).status == 304
        assert await arm.get(VAULT, if_none_match=old) is None
        await arm.patch(VAULT, json={"tags": {"a": "b"}}, if_match=old)
        for call in (arm.patch(VAULT, json={}, if_match=old), arm.delete(VAULT, if_match=old)):
            with pytest.raises(PreconditionFailedError, match="Read the resource again"):
                await call
        new = (await arm.request("GET", VAULT)).headers["ETag"]
        await arm.put(VAULT, json={"location": "westus"}, if_match=new)
        await arm.delete(VAULT, if_match="*")
        with pytest.raises(NotFoundError):
            await arm.get(VAULT)
    assert made["name"] == "kv"
    sent = [one.headers["If-Match"] for one in embedded_azure.requests if "If-Match" in one.headers]
    assert sent == [old, old, old, new, "*"]
    assert [one.headers.get("If-None-Match") for one in embedded_azure.requests].count(old) == 2


@pytest.mark.anyio
async def test_every_verb_takes_parameters_headers_and_a_body(
    embedded_azure: EmbeddedAzure,
) -> None:
    embedded_azure.arm.inject(Fault(200, body={"id": "x"}), None)
    more: dict[str, Any] = {
        "api_version": VERSION,
        "params": {"a": "b c", "n": 1, "yes": True},
        "headers": {"X-Mine": "1"},
        "timeout": 30,
    }
    async with ArmSession() as arm:
        await arm.get(VAULT, **more)
        await arm.head(VAULT, **more)
        await arm.put(VAULT, json={"a": 1}, **more)
        await arm.put(VAULT, content=b"<a/>", **more)
        await arm.patch(VAULT, json=[], **more)
        await arm.post(VAULT, json="text", **more)
        await arm.post(VAULT, **more)
        await arm.delete(VAULT, **more)
        await arm.request("OPTIONS", VAULT, **more)
    sent = [one for one in embedded_azure.requests if one.service == "arm"]
    assert [one.method for one in sent] == [
        "GET",
        "HEAD",
        "PUT",
        "PUT",
        "PATCH",
        "POST",
        "POST",
        "DELETE",
        "OPTIONS",
    ]
    assert {one.path_qs for one in sent} == {f"{VAULT}?api-version={VERSION}&a=b%20c&n=1&yes=true"}
    assert {one.headers["X-Mine"] for one in sent} == {"1"}
    assert [one.headers.get("Content-Length", "0") for one in sent] == [
        "0",
        "0",
        "7",
        "4",
        "2",
        "6",
        "0",
        "0",
        "0",
    ]


def test_what_every_call_would_send_is_checked_at_once(embedded_azure: EmbeddedAzure) -> None:
    for options in ({"user_agent": "a\r\nb: c"}, {"correlation_id": "a\nb"}):
        with pytest.raises(ConfigurationError, match="header"):
            ArmSession(**options)  # type: ignore[arg-type]
    arm = ArmSession(correlation_id="mine")
    with pytest.raises(ConfigurationError, match="header"):
        arm.correlation_id = 1  # type: ignore[assignment]
    assert arm.correlation_id == "mine"
    wrong: list[dict[str, Any]] = [{"ssl": False}, {"http": "http"}]
    for kinds in wrong:
        with pytest.raises(ConfigurationError, match="= takes a "):
            ArmSession(**kinds)
    with pytest.raises(ConfigurationError, match="3 further tenants"):
        ArmSession(auxiliary=[SdkCredential(["token"])] * 4)
    assert has_no_requests(embedded_azure)


@pytest.mark.anyio
async def test_the_bytes_of_a_call_are_what_they_should_be() -> None:
    async with listen(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}") as (
        url,
        seen,
    ):
        cloud = Cloud("Mine", url, "https://management.azure.com/")
        del get_os_environ()["AIOMSI_RESOURCE_MANAGER"]
        async with ArmSession(SdkCredential(["token"]), cloud=cloud) as arm:
            await arm.request(
                "PATCH", "/ü x?$filter=a b", api_version=VERSION, json={"tags": {"a": "b"}}
            )
            await arm.request("PUT", "/x", api_version=VERSION, content=bytes(range(256)))
    assert seen[0].startswith(
        b"PATCH /%C3%BC%20x?$filter=a%20b&api-version=2021-04-01 HTTP/1.1\r\n"
    )
    assert b"\r\nAuthorization: Bearer token\r\n" in seen[0]
    assert seen[0].endswith(b'\r\n\r\n{"tags":{"a":"b"}}')
    assert seen[1].endswith(b"\r\n\r\n" + bytes(range(256)))


def get_os_environ() -> Any:
    import os

    return os.environ


# Proxies and TLS

PROXY = "http://proxy.example:8080"


@pytest.mark.parametrize(
    ("environment", "url", "proxy"),
    [
        ({}, "https://management.azure.com", None),
        ({"HTTPS_PROXY": PROXY}, "https://management.azure.com", PROXY),
        ({"https_proxy": PROXY}, "https://management.azure.com", PROXY),
        ({"HTTPS_PROXY": "proxy.example:8080"}, "https://management.azure.com", PROXY),
        ({"HTTPS_PROXY": ""}, "https://management.azure.com", None),
        ({"HTTP_PROXY": PROXY}, "https://management.azure.com", None),
        ({"HTTPS_PROXY": PROXY, "NO_PROXY": "azure.com"}, "https://management.azure.com", None),
        (
            {"HTTPS_PROXY": PROXY, "NO_PROXY": "other.example"},
            "https://management.azure.com",
            PROXY,
        ),
        ({"HTTPS_PROXY": PROXY, "NO_PROXY": "*"}, "https://management.azure.com", None),
        ({"HTTP_PROXY": PROXY, "HTTPS_PROXY": PROXY}, "http://127.0.0.1:8080", None),
        ({"HTTP_PROXY": PROXY, "HTTPS_PROXY": PROXY}, "https://localhost", None),
        ({"HTTP_PROXY": PROXY, "HTTPS_PROXY": PROXY}, "https://[::1]:8443", None),
    ],
)
def test_the_proxy_is_the_environments_and_none_for_loopback(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], url: str, proxy: str | None
) -> None:
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert _http.find_proxy(url) == (proxy, None)


@pytest.mark.anyio
async def test_no_proxy_stands_before_loopback(
    embedded_azure: EmbeddedAzure, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    monkeypatch.delenv("no_proxy", raising=False)
    async with ArmSession() as arm:
        assert await get(arm) == group()


@pytest.mark.anyio
async def test_a_proxy_sees_a_tunnel_and_no_header_of_the_session(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("AIOMSI_RESOURCE_MANAGER")
    monkeypatch.delenv("no_proxy", raising=False)
    async with listen(
        b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n"
    ) as (url, seen):
        monkeypatch.setenv("HTTPS_PROXY", url)
        credential = SdkCredential(["very-secret"])
        async with ArmSession(credential, retry=None, user_agent="inventory") as arm:
            with pytest.raises(ArmConnectionError, match="407") as raised:
                await get(arm)
    assert raised.value.url == f"https://management.azure.com{DEVTEST}"
    assert len(seen) == 1
    assert seen[0].startswith(b"CONNECT management.azure.com:443 ")
    for each in (b"very-secret", b"inventory", b"aiomsi", b"application/json", b"x-ms-"):
        assert each not in seen[0]


@pytest.mark.anyio
async def test_a_proxys_password_goes_to_the_proxy_and_nowhere_else(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("AIOMSI_RESOURCE_MANAGER")
    monkeypatch.delenv("no_proxy", raising=False)
    async with listen(
        b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n"
    ) as (url, seen):
        monkeypatch.setenv("HTTPS_PROXY", url.replace("http://", "http://user:p%40ss@"))
        async with ArmSession(SdkCredential(["very-secret"]), retry=None) as arm:
            with pytest.raises(ArmConnectionError, match="407") as raised:
                await get(arm)
            assert "p@ss" not in repr(arm._connection)
            assert "p%40ss" not in repr(arm._connection)
    assert (
        f"Proxy-Authorization: Basic {base64.b64encode(b'user:p@ss').decode()}".encode() in seen[0]
    )
    shown = "".join(traceback.format_exception(raised.value))
    assert "p@ss" not in shown
    assert "p%40ss" not in shown


@pytest.mark.anyio
@pytest.mark.parametrize(
    "proxy",
    [
        "http://user:pa#ss@h:1",
        "http://user:pa/ss@h:1",
        "http://user:12/secret@h:1",
        "http://user:12#secret@h:1",
        "http://u:p@h:x",
        "http://:1",
        "socks5://user:pass@h:1",
    ],
)
async def test_a_proxy_that_is_none_is_told_before_anything_is_sent(
    monkeypatch: pytest.MonkeyPatch, proxy: str
) -> None:
    monkeypatch.delenv("AIOMSI_RESOURCE_MANAGER")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.setenv("HTTPS_PROXY", proxy)
    async with ArmSession(SdkCredential(["very-secret"])) as arm:
        with pytest.raises(ConfigurationError, match="not an HTTP proxy URL") as raised:
            await get(arm)
        # The next request would fail without a certificate, too.
        with pytest.raises(ConfigurationError, match="not an HTTP proxy URL"):
            await get(arm)
    assert proxy.partition("://")[2] not in "".join(traceback.format_exception(raised.value))


@pytest.mark.anyio
@pytest.mark.parametrize("content", ["text", io.BytesIO(b"{}"), iter([b"{}"]), [b"{}"]])
async def test_a_body_that_can_be_sent_only_once_is_refused(
    embedded_azure: EmbeddedAzure, content: Any
) -> None:
    async with ArmSession() as arm:
        with pytest.raises(ConfigurationError, match="content= takes bytes, not"):
            await arm.put(DEVTEST, api_version=VERSION, content=content)
    assert embedded_azure.counts.arm_requests == 0


@pytest.mark.anyio
async def test_a_body_may_be_any_kind_of_bytes(embedded_azure: EmbeddedAzure) -> None:
    body = b'{"location":"westus"}'
    kinds: list[Any] = [body, bytearray(body), memoryview(body)]
    async with ArmSession() as arm:
        for content in kinds:
            made = await arm.put(
                DEVTEST,
                api_version=VERSION,
                content=content,
                headers={"Content-Type": "application/json"},
            )
            assert made["location"] == "westus"


@pytest.mark.anyio
async def test_what_is_no_json_is_refused_before_anything_is_sent(
    embedded_azure: EmbeddedAzure,
) -> None:
    async with ArmSession() as arm:
        with pytest.raises(ConfigurationError, match="json= can't be written as JSON"):
            await arm.put(DEVTEST, api_version=VERSION, json={"a": object()})
    assert embedded_azure.counts.arm_requests == 0


def test_a_private_ca_is_trusted_where_it_is_given() -> None:
    async def main(azure: EmbeddedAzure) -> None:
        credential = SdkCredential([azure.imds.issue_token()])
        async with ArmSession(
            credential, cloud=azure.cloud, ssl=azure.ssl_context(), retry=None
        ) as arm:
            assert await get(arm) == group()
        async with ArmSession(credential, cloud=azure.cloud) as arm:
            with pytest.raises(ArmConnectionError, match="CERTIFICATE_VERIFY_FAILED") as raised:
                await get(arm)
            # The certificate would be refused the next time, too.
            assert raised.value.attempts == 1
            assert "ssl=" in raised.value.help

    with EmbeddedAzure(tls=True) as azure:
        with pytest.MonkeyPatch.context() as patch:
            patch.delenv("AIOMSI_RESOURCE_MANAGER")
            asyncio.run(main(azure))
        assert azure.counts.arm_requests == 1


# Secrets

TOKEN = "eyJ0eXAiOiJKV1QiLCJhbGciOiJub25lIn0.very.secret"


def iter_frames(error: BaseException | None) -> Iterable[FrameType]:
    """Yield every frame of the tracebacks of an error, its causes and its contexts."""
    met: set[int] = set()
    pending = [error]
    while pending:
        error = pending.pop()
        if error is None or id(error) in met:
            continue
        met.add(id(error))
        pending += [error.__cause__, error.__context__]
        trace: TracebackType | None = error.__traceback__
        while trace is not None:
            yield trace.tb_frame
            trace = trace.tb_next


def show_value(value: object) -> str:
    """Return the text of a value in a debugger or error reporter, one level deep."""
    parts = [repr(value), str(value)]
    for name in ("request_info", "headers", "_headers", "args"):
        inner = getattr(value, name, None)
        parts.append(repr(inner))
        parts.append(repr(getattr(inner, "headers", None)))
    return "\n".join(parts)


SECRET_FAULTS = {
    "refused": Fault(403),
    "unauthorized": Fault(401, body={"code": "ExpiredAuthenticationToken"}),
    "reset": Fault.reset(),
    "truncated": Fault.truncate(),
    "garbage": Fault.garbage(),
    "timeout": Fault.hang(),
}


@pytest.mark.anyio
@pytest.mark.parametrize("name", SECRET_FAULTS)
@pytest.mark.parametrize("own", [True, False])
async def test_no_token_is_shown_by_an_error_or_in_its_tracebacks(
    embedded_azure: EmbeddedAzure, name: str, own: bool
) -> None:
    credential = (
        ManagedIdentityCredential() if own else SdkCredential([embedded_azure.imds.issue_token()])
    )
    text = str((await credential.get_token(SCOPE)).token)
    assert len(text) > 100
    async with ArmSession(credential, retry=None) as arm:
        embedded_azure.arm.inject(SECRET_FAULTS[name], 2)
        with pytest.raises(AiomsiError) as raised:
            await get(arm, timeout=TIMEOUT if name == "timeout" else 30, headers={"x-other": "1"})
        embedded_azure.clear_faults()
        hiding = show_value(arm)
    error = raised.value
    seen = [hiding, show_value(error), repr(vars(error))]
    if isinstance(error, ArmError):
        seen += [show_value(error.response), repr(error.response.headers)]
    trace = error.__traceback__
    while trace is not None and trace.tb_frame.f_code.co_filename == __file__:
        trace = trace.tb_next
    seen += traceback.StackSummary.extract(traceback.walk_tb(trace), capture_locals=True).format()
    assert not any(text in part for part in seen)
    assert text.encode() not in pickle.dumps(error)
    met = 0
    for frame in iter_frames(error):
        if frame.f_code.co_filename == __file__:
            continue
        for variable, value in frame.f_locals.items():
            met += 1
            assert text not in show_value(value), (frame.f_code.co_qualname, variable)
    assert met


@pytest.mark.anyio
async def test_no_token_is_shown_or_pickled_by_a_session_or_an_answer(
    embedded_azure: EmbeddedAzure,
) -> None:
    async with ArmSession() as arm:
        answer = await arm.request("GET", DEVTEST, api_version=VERSION)
        text = str((await ManagedIdentityCredential().get_token(SCOPE)).token)
        for value in (
            arm,
            answer,
            arm._connection.http,
            arm._connection.given_credentials[0],
            answer.portable(),
        ):
            assert text not in show_value(value)
            try:
                pickled = pickle.dumps(value)
            except (TypeError, AttributeError, pickle.PicklingError, DeprecationWarning):
                continue  # the warning is that of itertools.count, on Python 3.12 and 3.13
            assert text.encode() not in pickled
    assert embedded_azure.counts.imds_requests == 1


@pytest.mark.parametrize("duplicate", [pickle.dumps, copy.copy, copy.deepcopy])
def test_session_is_neither_copied_nor_pickled(duplicate: Callable[[ArmSession], object]) -> None:
    with pytest.raises(TypeError, match="copied or pickled: pickle its credential, and open"):
        duplicate(ArmSession())


@pytest.mark.anyio
async def test_the_error_of_a_call_survives_a_pickle(embedded_azure: EmbeddedAzure) -> None:
    async with ArmSession(retry=None) as arm:
        with pytest.raises(NotFoundError) as missing:
            await get(arm, f"{SUBSCRIPTION}/resourceGroups/Missing")
        embedded_azure.arm.inject(Fault.reset(), 2)
        with pytest.raises(ArmConnectionError) as lost:
            await get(arm)
    for error in (missing.value, lost.value):
        twin = pickle.loads(pickle.dumps(error))  # noqa: S301 (our own)
        assert type(twin) is type(error)
        assert str(twin) == str(error)
        ours, its = (
            {name: value for name, value in vars(one).items() if name != "response"}
            for one in (error, twin)
        )
        assert ours == its
    twin = pickle.loads(pickle.dumps(missing.value))  # noqa: S301 (our own)
    assert twin.response.headers == missing.value.response.headers
    assert twin.response.headers["X-MS-REQUEST-ID"] == missing.value.response.request_id
    assert json.loads(twin.response.body)["error"]["code"] == twin.code


def test_the_default_credential_belongs_to_the_session(embedded_azure: EmbeddedAzure) -> None:
    async def main() -> None:
        async with ArmSession() as arm:
            await get(arm)
            credential = arm._connection.given_credentials[0]
            assert isinstance(credential, ManagedIdentityCredential)
            assert list(credential.stats()) == ["https://management.azure.com/"]
        assert credential.stats() == {}
        given = SdkCredential([embedded_azure.imds.issue_token()])
        async with ArmSession(given) as arm:
            await get(arm)
        assert not given.closed

    asyncio.run(main())
    assert urlsplit(embedded_azure.arm.url).hostname == "127.0.0.1"


@pytest.mark.anyio
async def test_the_clock_is_the_default_credentials_too(embedded_azure: EmbeddedAzure) -> None:
    manual = ManualClock()
    async with ArmSession(clock=manual.clock) as arm:
        await get(arm)
        manual.advance(100_000)
        await get(arm)
    assert embedded_azure.counts.imds_requests == 2
