"""Discovery of clouds that this package does not know by name, such as Azure Stack Hub.

Source: https://learn.microsoft.com/azure-stack/user/azure-stack-rest-api-use,
https://learn.microsoft.com/azure-stack/operator/azure-stack-overview-cli
"""

from __future__ import annotations

import asyncio
import re
import ssl as ssl_module
import time
import uuid
from typing import Any
from urllib.parse import urlsplit

from aiomsi._arm.http import (
    explain_failure,
    find_proxy,
    find_timeout,
    make_cause,
    make_request_options,
    open_http,
)
from aiomsi._arm.protocol.encoding import ACCEPTED, decode_content
from aiomsi._arm.protocol.errors.classify import make_error
from aiomsi._arm.protocol.response import ArmResponse
from aiomsi._clouds import CHINA, PUBLIC, US_GOVERNMENT, Cloud, is_loopback, split_endpoint
from aiomsi._errors import (
    ArmConnectionError,
    ConfigurationError,
    ForeignHostError,
    ServiceError,
    make_no_loop_error,
)

_QUERY = "/metadata/endpoints?api-version=2022-09-01"
_TIMEOUT = 30.0
_ARM_HOSTS = (
    (PUBLIC, {"management.azure.com", "management.core.windows.net"}),
    (US_GOVERNMENT, {"management.usgovcloudapi.net", "management.core.usgovcloudapi.net"}),
    (CHINA, {"management.chinacloudapi.cn", "management.core.chinacloudapi.cn"}),
)
_OF_MICROSOFT = re.compile(
    r"(?:^|\.)(?:azure\.(?:com|net|us|cn)|windows\.net|microsoft\.(?:com|us)|microsoftonline\.(?:com|us|de|cn)"
    r"|(?:usgov|china)cloudapi\.(?:net|cn)|cloudapi\.(?:net|de)|microsoftazure\.(?:de|us)"
    r"|office(?:365)?\.(?:com|us)|sharepoint\.com|dynamics\.com|visualstudio\.com|powerbi\.com)\.?$",
    re.IGNORECASE,
)
"""Hosts of Microsoft's services. An Azure Stack Hub's audience is below ``onmicrosoft.com``."""
_OWN_APPLICATIONS = frozenset(
    {"797f4846-ba00-4fd7-ba43-dac1f8f63013", "00000003-0000-0000-c000-000000000000"}
)
"""The application ids of Azure Resource Manager and Microsoft Graph, which are audiences too."""


async def discover(url: str, ssl: ssl_module.SSLContext | None = None) -> Cloud:
    """Return the cloud of an ARM endpoint, requested without a token; see `Cloud.discover`."""
    split_endpoint(url, "ARM's endpoint")
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        raise make_no_loop_error() from None
    endpoint = url.rstrip("/")
    response = await _request(endpoint, ssl)
    if response.status >= 300:
        raise make_error(response, wall=time.time())
    document = response.json()
    # Some endpoints return a list of clouds.
    documents = document if isinstance(document, list) else [document]
    clouds = [
        cloud
        for one in documents
        if isinstance(one, dict) and (cloud := _parse_cloud(one, endpoint)) is not None
    ]
    for cloud in clouds:
        if cloud.is_resource_manager(endpoint):
            if _is_of_another_cloud(cloud.audience, cloud.resource_manager):
                msg = (
                    f"{endpoint} names the audience {cloud.audience!r}: "
                    "it would be sent tokens that another cloud accepts"
                )
                raise ForeignHostError(
                    msg, help="If you trust it with those tokens, create a Cloud for it yourself"
                )
            return cloud
    if clouds:
        msg = (
            f"the ARM of the cloud of {endpoint} is {clouds[0].resource_manager}, "
            "which is another host"
        )
        raise ForeignHostError(
            msg, help="If you trust that host, discover it, or create a Cloud for it yourself"
        )
    msg = f"{endpoint} describes no cloud: it names no audience for tokens"
    hint = "If it is an ARM endpoint, create a Cloud for it yourself"
    raise ServiceError(
        msg, help=hint, status=response.status, code=None, message=msg, response=response.portable()
    )


async def _request(endpoint: str, ssl: ssl_module.SSLContext | None) -> ArmResponse:
    url, request_id, began = f"{endpoint}{_QUERY}", str(uuid.uuid4()), time.monotonic()
    headers = {
        "Accept": "application/json",
        "Accept-Encoding": ACCEPTED,
        "x-ms-client-request-id": request_id,
    }
    proxy, more = find_proxy(endpoint)
    try:
        async with asyncio.timeout(_TIMEOUT), open_http(ssl) as http:
            options = make_request_options(http, proxy, more, borrowed=False)
            answer = await http.get(url, headers=headers, timeout=find_timeout(_TIMEOUT), **options)
            body = decode_content("GET", answer.status, answer.headers, await answer.read())
            return ArmResponse("GET", url, answer.status, answer.headers, body)
    except Exception as error:  # noqa: BLE001 (aiohttp raises any class)
        why, cause = explain_failure(error), make_cause(error)
    raise ArmConnectionError(
        f"{endpoint} returned no description of its cloud: {why.why}",
        help=why.help,
        method="GET",
        url=url.partition("?")[0],
        client_request_id=request_id,
        attempts=1,
        elapsed=time.monotonic() - began,
        arrived=why.arrived,
        untrusted=why.untrusted,
        permanent=why.permanent,
        unreadable=why.unreadable,
    ) from cause


def _parse_cloud(document: dict[str, Any], endpoint: str) -> Cloud | None:
    """Return the cloud that a document describes; None if its description is incomplete."""
    manager = document.get("resourceManager") or endpoint
    authentication = document.get("authentication")
    audiences = authentication.get("audiences") if isinstance(authentication, dict) else None
    known = (
        [one for one in audiences if isinstance(one, str) and one]
        if isinstance(audiences, list)
        else []
    )
    if not isinstance(manager, str) or not known:
        return None
    host = urlsplit(manager.rstrip("/")).netloc
    # The audience with ARM's host name is preferred, because most lists begin with the audience of
    # the classic API.
    fitting = [one for one in known if not _is_of_another_cloud(one, manager)]
    audience = next((one for one in fitting if urlsplit(one).netloc == host), (fitting or known)[0])
    name = document.get("name")
    try:
        return Cloud(name if isinstance(name, str) and name else host, manager, audience)
    except ConfigurationError:
        return None


def _is_of_another_cloud(audience: str, resource_manager: str) -> bool:
    """Return whether a service outside of this ARM's cloud accepts tokens for this audience.

    An ARM on loopback may have any audience, because it is an embedded one.
    """
    host, own = _find_host(audience), _find_host(resource_manager)
    if (
        is_loopback(own)
        or host == own
        or (host not in _OWN_APPLICATIONS and not _OF_MICROSOFT.search(host))
    ):
        return False
    return not any(
        cloud.is_resource_manager(resource_manager) and host in hosts for cloud, hosts in _ARM_HOSTS
    )


def _find_host(name: str) -> str:
    """Return the host of an audience URL, or the id or host in an audience of another form."""
    try:
        host = urlsplit(name).hostname
    except ValueError:
        host = None
    return (host or name.rpartition(":")[2].strip("/").partition("/")[0]).lower()
