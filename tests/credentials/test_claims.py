"""Claims challenges end to end: one refresh for all callers, and the parameters of its request."""

import asyncio
import base64
import hashlib
import itertools
import json
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from arm_server import VAULT, VERSION, Asked, Says, make_error_body, serve_canned
from host_places import CLIENT, MARKS, Place, make_challenge, open_place
from hostile_server import Certificate, Reply, make_reply

from aiomsi import (
    ArmSession,
    AuthenticationError,
    ManagedIdentityCredential,
    SharedCredential,
    TokenUnavailableError,
)
from aiomsi.testing import ManualClock

SCOPE = "https://management.azure.com/.default"
CLAIMS = '{"access_token": {"nbf": {"essential": true, "value": "1800000000"}}}'
LATER = CLAIMS.replace("1800000000", "1800000001")
COUNT = 200


@pytest.fixture(scope="module")
def certificate() -> Certificate:
    return Certificate.make()


@pytest.fixture
def open_host(
    tmp_path: Path, certificate: Certificate, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[str], Place]]:
    """Return a function that starts a host, which issues a new token for each request."""
    opened = []

    def start(kind: str) -> Place:
        context = open_place(kind, tmp_path, certificate, monkeypatch)
        opened.append(context)
        place = context.__enter__()
        numbers = itertools.count()

        def respond(request: bytes) -> Reply:
            if kind == "Azure Arc" and b"Authorization:" not in request:
                return make_challenge(tmp_path / "1.key")
            return issue(f"token-{next(numbers)}")

        place.server.respond = respond
        return place

    yield start
    for context in opened:
        context.__exit__(None, None, None)


def issue(token: str) -> bytes:
    return make_reply(200, {"access_token": token, "expires_in": 86_400, "client_id": CLIENT})


def list_fields(place: Place) -> list[dict[str, str]]:
    """Return query and form of each request that had the secret."""
    fields = []
    for request in place.server.received:
        if place.mark.encode() in request:
            head, _, body = request.partition(b"\r\n\r\n")
            query = urlsplit(head.split(b" ")[1].decode()).query
            found = parse_qs("&".join(filter(None, [query, body.decode()])))
            fields.append({name: value for name, (value,) in found.items()})
    return fields


def hash_token(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


async def get_tokens(credential: ManagedIdentityCredential, claims: str | None) -> set[str]:
    tokens = await asyncio.gather(
        *(credential.get_token(SCOPE, claims=claims) for _ in range(COUNT))
    )
    return {one.token for one in tokens}


@pytest.mark.parametrize("kind", MARKS)
def test_concurrent_callers_with_claims_make_one_refresh(
    kind: str, open_host: Callable[[str], Place]
) -> None:
    place = open_host(kind)

    async def main() -> None:
        async with ManagedIdentityCredential() as credential:
            assert await get_tokens(credential, None) == {"token-0"}
            assert await get_tokens(credential, CLAIMS) == {"token-1"}
            # A caller whose challenge arrives after the refresh gets the new token as well.
            assert await get_tokens(credential, CLAIMS) == {"token-1"}
            assert await get_tokens(credential, None) == {"token-1"}

    asyncio.run(main())
    assert place.count_marks() == 2


def test_service_fabric_names_the_rejected_token(open_host: Callable[[str], Place]) -> None:
    place = open_host("Service Fabric")

    async def main() -> None:
        async with ManagedIdentityCredential() as credential:
            await get_tokens(credential, None)
            await get_tokens(credential, CLAIMS)
            await get_tokens(credential, json.dumps({"access_token": {"acrs": {"value": "c1"}}}))

    asyncio.run(main())
    first, *others = list_fields(place)
    assert first.keys() == {"api-version", "resource"}
    assert [one["xms_cc"] for one in others] == ["cp1", "cp1"]
    assert [one["token_sha256_to_refresh"] for one in others] == [
        hash_token("token-0"),
        hash_token("token-1"),
    ]


def test_claims_without_a_token_name_no_token(open_host: Callable[[str], Place]) -> None:
    place = open_host("Service Fabric")

    async def main() -> None:
        async with ManagedIdentityCredential() as credential:
            assert await get_tokens(credential, CLAIMS) == {"token-0"}

    asyncio.run(main())
    (fields,) = list_fields(place)
    assert fields.keys() == {"api-version", "resource", "xms_cc"}


def test_rejected_token_is_named_after_a_rejection_too(open_host: Callable[[str], Place]) -> None:
    place = open_host("Service Fabric")

    async def main() -> None:
        async with ManagedIdentityCredential() as credential:
            token = await credential.get_token(SCOPE)
            assert credential.reject(token)
            assert await get_tokens(credential, CLAIMS) == {"token-1"}

    asyncio.run(main())
    assert list_fields(place)[1]["token_sha256_to_refresh"] == hash_token("token-0")


def test_rejected_token_is_named_until_a_new_one_came(open_host: Callable[[str], Place]) -> None:
    """The first refresh fails for good, and the next call begins another one."""
    place = open_host("Service Fabric")
    issue_next, manual = place.server.respond, ManualClock(autoadvance=True)

    async def main() -> None:
        async with ManagedIdentityCredential(clock=manual.clock) as credential:
            await credential.get_token(SCOPE)
            place.server.respond = lambda _: make_reply(503)
            with pytest.raises(TokenUnavailableError):
                await credential.get_token(SCOPE, claims=CLAIMS)
            place.server.respond = issue_next
            manual.advance(60)
            assert (await credential.get_token(SCOPE)).token == "token-1"

    asyncio.run(main())
    first, *others = list_fields(place)
    assert "xms_cc" not in first
    assert len(others) == 6
    assert {one["token_sha256_to_refresh"] for one in others} == {hash_token("token-0")}
    assert {one["xms_cc"] for one in others} == {"cp1"}


def test_claims_of_workload_identity_are_in_its_form(open_host: Callable[[str], Place]) -> None:
    place = open_host("workload identity")

    async def main() -> None:
        async with ManagedIdentityCredential() as credential:
            await get_tokens(credential, None)
            await get_tokens(credential, CLAIMS)

    asyncio.run(main())
    assert [one.get("claims") for one in list_fields(place)] == [None, CLAIMS]


@pytest.mark.parametrize("kind", ["App Service", "Azure Arc", "Azure Machine Learning", "IMDS"])
def test_host_without_claims_gets_no_parameter(
    kind: str, open_host: Callable[[str], Place]
) -> None:
    place = open_host(kind)

    async def main() -> None:
        async with ManagedIdentityCredential() as credential:
            await get_tokens(credential, None)
            await get_tokens(credential, CLAIMS)

    asyncio.run(main())
    first, second = list_fields(place)
    assert first == second


@pytest.mark.parametrize("kind", MARKS)
def test_token_that_comes_again_is_reported_once(
    kind: str, open_host: Callable[[str], Place], caplog: pytest.LogCaptureFixture
) -> None:
    """Each caller comes back with the same claims, and later with newer ones."""
    place = open_host(kind)
    place.said = issue("token-0")
    place.server.respond = place.respond
    clock = ManualClock().clock

    async def main() -> None:
        async with ManagedIdentityCredential(clock=clock) as credential:
            await get_tokens(credential, None)
            for claims in (CLAIMS, CLAIMS, LATER, CLAIMS):
                assert await get_tokens(credential, claims) == {"token-0"}

    with caplog.at_level(logging.WARNING, "aiomsi"):
        asyncio.run(main())
    assert place.count_marks() == 2
    (record,) = caplog.records
    assert "returned the token again that a service had rejected" in record.message
    assert record.message.startswith(f"{kind} https://management.azure.com/: ")


def test_challenges_of_hours_cost_few_requests(open_host: Callable[[str], Place]) -> None:
    """A host that ignores claims is asked less and less often: at each challenge of two hours."""
    place = open_host("IMDS")
    place.said = issue("token-0")
    place.server.respond = place.respond
    manual = ManualClock()

    async def main() -> None:
        async with ManagedIdentityCredential(clock=manual.clock) as credential:
            for number in range(720):
                await credential.get_token(SCOPE, claims=CLAIMS if number % 2 else LATER)
                manual.advance(10)

    asyncio.run(main())
    # The pauses are 60 s, 120 s, 240 s and so on.
    assert place.count_marks() <= 9


def test_shared_credential_refreshes_once_too(open_host: Callable[[str], Place]) -> None:
    place = open_host("Service Fabric")

    async def main() -> set[str]:
        async with ManagedIdentityCredential() as inner, SharedCredential(inner) as shared:
            await shared.get_token(SCOPE)
            calls = (shared.get_token(SCOPE, claims=CLAIMS) for _ in range(COUNT))
            return {one.token for one in await asyncio.gather(*calls)}

    assert asyncio.run(main()) == {"token-1"}
    assert list_fields(place)[1]["token_sha256_to_refresh"] == hash_token("token-0")


def make_arm_challenge() -> str:
    encoded = base64.urlsafe_b64encode(CLAIMS.encode()).decode().rstrip("=")
    return f'Bearer error="insufficient_claims", claims="{encoded}"'


def challenge_first_token(asked: Asked) -> Says:
    """Respond as an ARM that wants a token with other claims than the first one has."""
    if asked.headers["Authorization"] == "Bearer token-0":
        body = make_error_body("InvalidAuthenticationToken", "The token is revoked")
        return Says(401, body, {"WWW-Authenticate": make_arm_challenge()})
    return Says(200, {"name": "kv"})


async def get_all(usual: Callable[[Asked], Says]) -> tuple[list[object], int]:
    """Return the results of many calls at once, and the number of requests to ARM."""
    async with serve_canned() as arm_server, ManagedIdentityCredential() as credential:
        arm_server.usual = usual
        async with ArmSession(credential, cloud=arm_server.cloud) as arm:
            calls = (arm.get(VAULT, api_version=VERSION) for _ in range(COUNT))
            results = await asyncio.gather(*calls, return_exceptions=True)
        return list(results), len(arm_server.asked)


def test_concurrent_calls_of_arm_make_one_refresh(open_host: Callable[[str], Place]) -> None:
    place = open_host("Service Fabric")
    results, _ = asyncio.run(get_all(challenge_first_token))
    assert [one for one in results if one != {"name": "kv"}] == []
    assert place.count_marks() == 2
    assert list_fields(place)[1]["token_sha256_to_refresh"] == hash_token("token-0")


@pytest.mark.slow
def test_calls_of_arm_end_if_the_token_comes_again(open_host: Callable[[str], Place]) -> None:
    place = open_host("IMDS")
    place.said = issue("token-0")
    place.server.respond = place.respond
    results, requests = asyncio.run(get_all(challenge_first_token))
    assert [one for one in results if not isinstance(one, AuthenticationError)] == []
    assert place.count_marks() == 2
    assert requests <= 2 * COUNT
