"""Machines with each kind of host: a token endpoint on loopback, and the variables that name it."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import attrs
import pytest
from hostile_server import Certificate, HostileServer, Reply, make_reply

from aiomsi._hosts import azure_arc

SCOPE = "https://management.azure.com/.default"
TOKEN = "eyJ0-very-secret-token"
KEY, HEADER = "key-of-the-agent-81723", "header-of-the-service-71263"
ASSERTION = "eyJhbGciOiJSUzI1NiJ9.assertion-51827.signature-00998"
SECRETS = (TOKEN[:12], KEY[:14], HEADER[:16], ASSERTION[:12], "assertion-51827")
"""The beginnings, because a text may be cut."""
CLIENT, OTHER = "11111111-1111-1111-1111-111111111111", "22222222-2222-2222-2222-222222222222"
TENANT = "33333333-3333-3333-3333-333333333333"
GRANT: dict[str, Any] = {"access_token": TOKEN, "expires_in": "86400", "token_type": "Bearer"}
GOOD = make_reply(200, {**GRANT, "client_id": CLIENT})


@attrs.define(eq=False)
class Place:
    """A machine with one of the hosts.

    Attributes:
        kind: the name of the host in messages.
        files: a directory with the host's key file or assertion.
        certificate: that of its server, if it has TLS.
        said: the reply to a request that has the secret.
        first: the reply to Arc's request without the key; None for the usual challenge.
        server: its token endpoint.
        variables: its environment.

    """

    kind: str
    files: Path
    certificate: Certificate
    said: Reply = GOOD
    first: Reply | None = None
    server: HostileServer = attrs.field(init=False)
    variables: dict[str, str] = attrs.field(init=False, factory=dict)

    def respond(self, request: bytes) -> Reply:
        """Return the reply: for the agent of Arc, the first one names the key file."""
        if self.kind == "Azure Arc" and b"Authorization:" not in request:
            return make_challenge(self.files / "1.key") if self.first is None else self.first
        return self.said

    @property
    def mark(self) -> str:
        """The secret of a request for a token; without one, a part of each request."""
        return MARKS[self.kind]

    def count_marks(self) -> int:
        """Return the number of requests that had the secret."""
        return sum(self.mark.encode() in request for request in self.server.received)


def make_challenge(path: Path | str) -> bytes:
    return make_reply(401, b"{}", WWW_Authenticate=f"Basic realm={path}")


MARKS = {
    "App Service": HEADER,
    "Azure Arc": KEY,
    "Azure Machine Learning": HEADER,
    "Cloud Shell": "resource=",
    "Service Fabric": HEADER,
    "workload identity": ASSERTION,
    "IMDS": "resource=",
}


@contextmanager
def open_place(
    kind: str, files: Path, certificate: Certificate, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Place]:
    """Start the endpoint of a host, and set the variables of its machine."""
    place = Place(kind, files, certificate)
    (files / "1.key").write_text(f"{KEY}\n")
    (files / "assertion").write_text(f"{ASSERTION}\n")
    tls = certificate.context if kind in ("Service Fabric", "workload identity") else None
    with HostileServer(place.respond, tls) as place.server:
        monkeypatch.setattr(azure_arc, "get_key_directory", lambda *_: str(files))
        place.variables = _list_variables(place)
        for name, value in place.variables.items():
            monkeypatch.setenv(name, value)
        yield place


def _list_variables(place: Place) -> dict[str, str]:
    url = place.server.url
    match place.kind:
        case "App Service":
            return {"IDENTITY_ENDPOINT": f"{url}/token", "IDENTITY_HEADER": HEADER}
        case "Azure Arc":
            return {"IDENTITY_ENDPOINT": f"{url}/token", "IMDS_ENDPOINT": url}
        case "Azure Machine Learning":
            return {"MSI_ENDPOINT": f"{url}/token", "MSI_SECRET": HEADER}
        case "Cloud Shell":
            return {"MSI_ENDPOINT": f"{url}/token"}
        case "Service Fabric":
            return {
                "IDENTITY_ENDPOINT": f"{url}/token",
                "IDENTITY_HEADER": HEADER,
                "IDENTITY_SERVER_THUMBPRINT": place.certificate.thumbprint,
            }
        case "workload identity":
            return {
                "AZURE_AUTHORITY_HOST": f"{url}/",
                "AZURE_TENANT_ID": TENANT,
                "AZURE_FEDERATED_TOKEN_FILE": str(place.files / "assertion"),
                "AZURE_CLIENT_ID": CLIENT,
                "SSL_CERT_FILE": place.certificate.write(place.files / "authority.pem"),
            }
    return {"AZURE_POD_IDENTITY_AUTHORITY_HOST": url}
