"""azure-core's ARM pipeline on azure-identity: the policies of the generated clients, no models."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
from azure.core.pipeline import policies
from azure.core.pipeline.transport import AioHttpTransport
from azure.core.rest import HttpRequest
from azure.identity.aio import ManagedIdentityCredential
from azure.mgmt.core import AsyncARMPipelineClient
from azure.mgmt.core.policies import (
    ARMHttpLoggingPolicy,
    AsyncARMAutoResourceProviderRegistrationPolicy,
    AsyncARMChallengeAuthenticationPolicy,
)
from job import Job

from clients import CONNECTIONS, GetGroupOf
from clients.wire import API_VERSION, SCOPE, SUBSCRIPTION, group_path

ABOUT = (
    "azure-core's ARM pipeline on azure-identity, with the policies of the generated clients and "
    "without their models"
)
NEEDS = ("azure-identity", "azure-mgmt-core")
READY = """
from azure.core.pipeline import policies
from azure.core.rest import HttpRequest
from azure.identity.aio import ManagedIdentityCredential
from azure.mgmt.core import AsyncARMPipelineClient
from azure.mgmt.core.policies import AsyncARMChallengeAuthenticationPolicy
scopes = "https://management.azure.com/.default"
client = AsyncARMPipelineClient(
    base_url="https://management.azure.com",
    policies=[
        policies.RequestIdPolicy(),
        policies.AsyncRetryPolicy(),
        AsyncARMChallengeAuthenticationPolicy(ManagedIdentityCredential(), scopes),
    ],
)
"""


def make_transport(job: Job) -> AioHttpTransport:
    """Make azure-core's default transport, but for the connection limit and the origin's CA."""
    session = aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=CONNECTIONS, ssl=job.tls() or True),
        cookie_jar=aiohttp.DummyCookieJar(),
        trust_env=True,
        auto_decompress=False,
    )
    return AioHttpTransport(session=session)


@asynccontextmanager
async def open_groups(job: Job) -> AsyncIterator[GetGroupOf]:
    async with ManagedIdentityCredential() as credential:
        chain = [
            policies.RequestIdPolicy(),
            policies.HeadersPolicy(),
            policies.UserAgentPolicy(),
            policies.ProxyPolicy(),
            policies.ContentDecodePolicy(),
            AsyncARMAutoResourceProviderRegistrationPolicy(),
            policies.AsyncRedirectPolicy(),
            policies.AsyncRetryPolicy(),
            AsyncARMChallengeAuthenticationPolicy(credential, SCOPE),
            policies.CustomHookPolicy(),
            policies.NetworkTraceLoggingPolicy(),
            policies.DistributedTracingPolicy(),
            policies.SensitiveHeaderCleanupPolicy(),
            ARMHttpLoggingPolicy(),
        ]
        pipeline: Any = AsyncARMPipelineClient(
            base_url=job.arm, policies=chain, transport=make_transport(job)
        )
        async with pipeline as client:
            enforce = {"enforce_https": False} if job.ca is None else {}

            async def get(name: str, subscription: str = SUBSCRIPTION) -> str:
                url = f"{job.arm}{group_path(name, subscription)}"
                request = HttpRequest(
                    "GET",
                    url,
                    params={"api-version": API_VERSION},
                    headers={"Accept": "application/json"},
                )
                response = await client.send_request(request, **enforce)
                response.raise_for_status()
                return str(response.json()["name"])

            yield get
