"""Errors as azure-identity's chain, azure-core's pipeline and Cosmos's fall-back expect them."""

import asyncio
from typing import Any

import pytest
from pages import run_block

from aiomsi import (
    ConfigurationError,
    HostUnreachableError,
    ManagedIdentityCredential,
    SharedCredential,
    TokenRefusedError,
)
from aiomsi.testing import EmbeddedAzure, Fault

identity: Any = pytest.importorskip("azure.identity")
aio: Any = pytest.importorskip("azure.identity.aio")
core: Any = pytest.importorskip("azure.core.exceptions")
credentials: Any = pytest.importorskip("azure.core.credentials")

SCOPE = "https://management.azure.com/.default"
UNKNOWN = "11111111-1111-1111-1111-111111111111"


class Last:
    """The last credential of a chain, which always has a token."""

    async def get_token(self, *scopes: str, **options: Any) -> Any:
        return credentials.AccessToken("last", 4_000_000_000)

    async def get_token_info(self, *scopes: str, options: Any = None) -> Any:
        return credentials.AccessTokenInfo("last", 4_000_000_000)

    async def close(self) -> None:
        """Do nothing."""


async def ask_chain(*first: Any) -> list[str]:
    async with aio.ChainedTokenCredential(*first, Last()) as chain:
        return [(await chain.get_token(SCOPE)).token, (await chain.get_token_info(SCOPE)).token]


def test_chain_uses_the_credential_that_has_a_token(azure: EmbeddedAzure) -> None:
    async def main() -> None:
        credential = ManagedIdentityCredential()
        token = (await credential.get_token(SCOPE)).token
        assert await ask_chain(credential) == [token] * 2
        assert await ask_chain(SharedCredential(credential)) == [token] * 2

    asyncio.run(main())
    assert azure.counts.imds_requests == 1


def test_example_of_the_page_uses_the_machines_identity(azure: EmbeddedAzure) -> None:
    names = run_block("docs/clients.md", "ChainedTokenCredential(")

    async def main() -> None:
        async with names["make_credential"]() as chain:
            token = await chain.get_token(SCOPE)
        assert token is await ManagedIdentityCredential().get_token(SCOPE)

    asyncio.run(main())


def test_chain_goes_on_where_no_such_identity_exists(azure: EmbeddedAzure) -> None:
    async def main() -> None:
        absent = ManagedIdentityCredential(client_id=UNKNOWN)
        assert await ask_chain(absent) == ["last"] * 2
        assert await ask_chain(SharedCredential(absent)) == ["last"] * 2
        with pytest.raises(TokenRefusedError) as raised:
            await absent.get_token(SCOPE)
        assert isinstance(raised.value, identity.CredentialUnavailableError)
        assert raised.value.no_identity

    asyncio.run(main())


def test_chain_goes_on_where_no_host_or_another_one_is(
    azure: EmbeddedAzure, monkeypatch: pytest.MonkeyPatch
) -> None:
    azure.imds.inject(Fault(200, body="<html>Sign in</html>"), times=None)

    async def main() -> None:
        portal = ManagedIdentityCredential()
        assert await ask_chain(portal) == ["last"] * 2
        # No server listens on this port, which IANA reserves.
        monkeypatch.setenv("AZURE_POD_IDENTITY_AUTHORITY_HOST", "http://127.0.0.1:1")
        nowhere = ManagedIdentityCredential()
        with pytest.raises(identity.CredentialUnavailableError) as raised:
            await nowhere.get_token(SCOPE)
        assert isinstance(raised.value, HostUnreachableError)
        assert await ask_chain(nowhere) == ["last"] * 2

    asyncio.run(main())


def test_chain_stops_where_the_identity_is_refused(azure: EmbeddedAzure) -> None:
    azure.imds.inject(
        Fault(403, body='{"error": "forbidden", "error_description": "no"}'), times=None
    )

    async def main() -> None:
        with pytest.raises(core.ClientAuthenticationError, match="forbidden: no"):
            await ask_chain(ManagedIdentityCredential())

    asyncio.run(main())


def test_shared_credential_over_nothing_is_unavailable() -> None:
    class Nothing(Last):
        async def get_token_info(self, *scopes: str, options: Any = None) -> Any:
            raise identity.CredentialUnavailableError("nothing here")

    async def main() -> None:
        shared = SharedCredential(Nothing())
        assert await ask_chain(shared) == ["last"] * 2
        with pytest.raises(core.AzureError, match="nothing here") as raised:
            await shared.get_token(SCOPE)
        assert isinstance(raised.value, identity.CredentialUnavailableError)

    asyncio.run(main())


def test_pipeline_does_not_repeat_a_request_without_a_token(azure: EmbeddedAzure) -> None:
    """The retry policy repeats other errors of azure-core, with pauses between the repetitions."""
    resource: Any = pytest.importorskip("azure.mgmt.resource.resources.aio")

    async def main() -> None:
        async with (
            ManagedIdentityCredential(client_id=UNKNOWN) as credential,
            resource.ResourceManagementClient(
                credential, UNKNOWN, base_url=azure.arm.url, credential_scopes=[SCOPE]
            ) as client,
        ):
            with pytest.raises(core.AzureError, match="Identity not found") as raised:
                await client.resource_groups.get("DevTest")
            assert isinstance(raised.value, TokenRefusedError)

    asyncio.run(main())
    assert azure.counts.imds_requests == 1


def test_cosmos_falls_back_to_its_other_scope(azure: EmbeddedAzure) -> None:
    pytest.importorskip("azure.cosmos.aio")
    from azure.core.pipeline import PipelineContext, PipelineRequest
    from azure.core.pipeline.transport import HttpRequest
    from azure.cosmos.aio._auth_policy_async import AsyncCosmosBearerTokenCredentialPolicy

    async def main() -> tuple[str, str]:
        async with ManagedIdentityCredential() as credential:
            # Entra knows no resource of the account itself: IMDS responds with AADSTS500011.
            policy = AsyncCosmosBearerTokenCredentialPolicy(
                credential, "https://account.documents.azure.com/.default"
            )
            request = PipelineRequest(
                HttpRequest("GET", "https://account.documents.azure.com"), PipelineContext(None)
            )
            await policy.on_request(request)
            token = await credential.get_token("https://cosmos.azure.com/.default")
            return request.http_request.headers["Authorization"], token.token

    header, token = asyncio.run(main())
    assert header == f"type=aad&ver=1.0&sig={token}"
    assert azure.counts.imds_requests == 2


def test_wrong_argument_is_a_value_error_as_in_azure_identity(azure: EmbeddedAzure) -> None:
    async def main() -> None:
        for credential in (ManagedIdentityCredential(), aio.ManagedIdentityCredential()):
            with pytest.raises(ValueError, match="scope"):
                await credential.get_token()
            await credential.close()

    asyncio.run(main())
    assert issubclass(ConfigurationError, ValueError)
