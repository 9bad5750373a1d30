"""azure-keyvault-secrets, whose first request has no token and is challenged."""

import asyncio
from typing import Any

import pytest
from aiohttp import web
from https_server import Certificate, serve

from aiomsi import ManagedIdentityCredential
from aiomsi.testing import EmbeddedAzure

CHALLENGE = (
    'Bearer authorization="https://login.microsoftonline.com/98f51385-2edc-4b79-bed9-7718de4cb861",'
    ' resource="https://vault.azure.net"'
)


def test_secret_is_read_after_the_vaults_challenge(
    azure: EmbeddedAzure, certificate: Certificate
) -> None:
    secrets: Any = pytest.importorskip("azure.keyvault.secrets.aio")
    jwt = pytest.importorskip("jwt")
    statuses, audiences = list[int](), list[str]()

    async def handle(request: web.BaseRequest) -> web.Response:
        header = request.headers.get("Authorization")
        statuses.append(401 if header is None else 200)
        if header is None:
            return web.json_response({}, status=401, headers={"WWW-Authenticate": CHALLENGE})
        claims = jwt.decode(header.removeprefix("Bearer "), options={"verify_signature": False})
        audiences.append(claims["aud"])
        vault = f"https://{request.host}/secrets/name/1"
        return web.json_response({"value": "a-secret", "id": vault, "attributes": {}})

    async def main() -> list[str]:
        async with (
            serve(handle, certificate.server_context()) as url,
            ManagedIdentityCredential() as credential,
            secrets.SecretClient(
                url,
                credential,
                verify_challenge_resource=False,
                connection_verify=str(certificate.ca),
            ) as client,
        ):
            return [(await client.get_secret("name")).value for _ in range(3)]

    assert asyncio.run(main()) == ["a-secret"] * 3
    assert statuses == [401, 200, 200, 200]
    assert audiences == ["https://vault.azure.net"] * 3
    assert azure.counts.imds_requests == 1
