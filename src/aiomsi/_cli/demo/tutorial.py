"""The first two steps of the demo: Microsoft's tutorial for a VM's managed identity.

The output shows the requests that the embedded Azure recorded, and the responses that the client
received.

Source:
https://learn.microsoft.com/entra/identity/managed-identities-azure-resources/tutorial-windows-vm-access
"""

from __future__ import annotations

import json
import time
from typing import Any

import attrs
from rich.console import Console

from aiomsi._arm.session import ArmSession
from aiomsi._cli.demo.console import print_text
from aiomsi._clock import SYSTEM_CLOCK
from aiomsi._clouds import PUBLIC
from aiomsi._credentials.fetch import TokenFetch
from aiomsi._hosts.base import TokenError, TokenHttpResponse
from aiomsi._hosts.imds import Imds
from aiomsi._tokens.failure import Failure
from aiomsi._tokens.policy import DEFAULT_POLICY
from aiomsi._tokens.state import FetchRequest
from aiomsi._tokens.token import TokenResponse
from aiomsi._util.secret import Secret
from aiomsi.testing import DEFAULT_SUBSCRIPTION_ID, EmbeddedAzure, RecordedRequest

_DEVTEST = f"/subscriptions/{DEFAULT_SUBSCRIPTION_ID}/resourceGroups/DevTest"
_VERSION = "2016-06-01"


class _RecordingImds(Imds):
    """The host IMDS, with a record of its responses for the output."""

    def __init__(self, authority: str) -> None:
        super().__init__(authority)
        self.answers: list[TokenHttpResponse] = []

    def parse(self, answer: TokenHttpResponse) -> TokenResponse | TokenError:
        """Record a response and parse it."""
        self.answers.append(answer)
        return Imds.parse(self, answer)


@attrs.frozen
class _StaticCredential:
    """A credential that holds one token."""

    token: Secret = attrs.field(repr=False)
    expires_on: int

    async def get_token(
        self,
        *_: str,
        claims: str | None = None,  # noqa: ARG002  # part of the protocol
    ) -> _StaticCredential:
        """Return the token."""
        return self


async def run_tutorial(console: Console, azure: EmbeddedAzure) -> None:
    """Send the two requests of the tutorial, and print each with its response."""
    host = _RecordingImds(azure.imds.url)
    outcome = await TokenFetch(host, PUBLIC.audience, DEFAULT_POLICY, SYSTEM_CLOCK)(FetchRequest())
    if isinstance(outcome, Failure):
        raise outcome.exception()
    print_text(
        console,
        "Step 1: request a token for Azure Resource Manager from the VM's metadata service (IMDS)",
        "bold",
    )
    _show(
        console,
        azure.requests[-1],
        host.answers[-1].status,
        _mask_token(json.loads(host.answers[-1].body)),
    )
    async with ArmSession(
        _StaticCredential(outcome.secret, int(time.time() + outcome.life))
    ) as arm:
        response = await arm.request("GET", _DEVTEST, api_version=_VERSION)
    print_text(console, "\nStep 2: call Azure Resource Manager (ARM) with that token", "bold")
    _show(console, azure.requests[-1], response.status, response.json())


def _mask_token(document: dict[str, Any]) -> dict[str, Any]:
    return {**document, "access_token": f"*** ({len(document['access_token'])} characters)"}


def _show(console: Console, request: RecordedRequest, status: int, answer: object) -> None:
    print_text(console, f"> {request.method} {request.path_qs}", "cyan")
    for name, value in request.headers.items():
        print_text(console, f"> {name}: {value}", "cyan")
    print_text(console, f"< {status}", "green")
    for line in json.dumps(answer, indent=2).splitlines():
        print_text(console, f"< {line}", "green")
