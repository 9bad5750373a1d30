"""A small blocking client, so that the tests of the server are independent of aiomsi's clients."""

import json
import ssl
from collections.abc import Callable
from http.client import HTTPConnection, HTTPSConnection
from typing import Any, Protocol, TypeVar
from urllib.parse import urlsplit

import attrs
from multidict import CIMultiDict

from aiomsi.testing import EmbeddedAzure

_Result = TypeVar("_Result")

SUBSCRIPTION = "98f51385-2edc-4b79-bed9-7718de4cb861"
GROUP = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/DevTest"
TOKEN = "/metadata/identity/oauth2/token"
ARM_RESOURCE = "https://management.azure.com/"
TRUSTING = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
TRUSTING.check_hostname = False
TRUSTING.verify_mode = ssl.CERT_NONE


class Concurrently(Protocol):
    """Start concurrent calls of a function; return a function that waits for their results."""

    def __call__(
        self, number: int, function: Callable[[], _Result], /
    ) -> Callable[[], list[_Result]]: ...


@attrs.frozen
class Reply:
    status: int
    headers: CIMultiDict[str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def code(self) -> Any:
        return self.json["error"]["code"]


def ask(url: str, path: str, method: str = "GET", body: object = None, **headers: str) -> Reply:
    address = urlsplit(url)
    connection = (
        HTTPSConnection(address.netloc, timeout=30, context=TRUSTING)
        if address.scheme == "https"
        else HTTPConnection(address.netloc, timeout=30)
    )
    content = body if body is None or isinstance(body, bytes) else json.dumps(body)
    try:
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method, path, content, headers=sent)
        response = connection.getresponse()
        return Reply(response.status, CIMultiDict(response.getheaders()), response.read())
    finally:
        connection.close()


def ask_imds(
    azure: EmbeddedAzure,
    query: str = f"api-version=2018-02-01&resource={ARM_RESOURCE}",
    **headers: str,
) -> Reply:
    return ask(azure.imds.url, f"{TOKEN}?{query}", **({"Metadata": "true"} | headers))


def ask_arm(
    azure: EmbeddedAzure,
    path: str = GROUP,
    version: str = "2021-04-01",
    token: str | None = None,
    method: str = "GET",
    body: object = None,
    **headers: str,
) -> Reply:
    bearer = {"Authorization": f"Bearer {token or azure.imds.issue_token()}"}
    joint = "&" if "?" in path else "?"
    return ask(
        azure.arm.url, f"{path}{joint}api-version={version}", method, body, **(bearer | headers)
    )


def follow(azure: EmbeddedAzure, link: str, method: str = "GET") -> Reply:
    """GET a link of a response, unchanged."""
    assert link.startswith(azure.arm.url)
    return ask(
        azure.arm.url,
        link.removeprefix(azure.arm.url),
        method,
        Authorization=f"Bearer {azure.imds.issue_token()}",
    )
