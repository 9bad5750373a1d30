"""The instance metadata service (IMDS) of a VM or scale set.

Source: https://learn.microsoft.com/entra/identity/managed-identities-azure-resources/how-to-use-vm-token
"""

from urllib.parse import quote

import attrs

from aiomsi._ledger import Order
from aiomsi._pacing import RequestLimits
from aiomsi._token import Grant
from aiomsi.hosts._protocol import (
    SYSTEM_ASSIGNED,
    Identity,
    Problem,
    TokenAnswer,
    TokenRequest,
    error_text,
    read_grant,
    read_object,
)

DEFAULT_AUTHORITY = "http://169.254.169.254"
_PATH = "/metadata/identity/oauth2/token"
_API_VERSION = "2018-02-01"
_PARAMETERS = {"client_id": "client_id", "object_id": "object_id", "resource_id": "msi_res_id"}
_PASSING = frozenset({404, 408, 410, 429})

_ASSIGN = (
    "Assign the identity to this VM (Azure portal: the VM's Identity page; or 'az vm identity assign'), "
    "then wait a minute; for a user-assigned identity check the id"
)
_RESOURCE = "Check the audience: for ARM it is 'https://management.azure.com/', with its trailing slash"


@attrs.frozen
class Imds:
    """IMDS at an authority such as ``http://169.254.169.254``, asked for one identity."""

    authority: str = DEFAULT_AUTHORITY
    identity: Identity = SYSTEM_ASSIGNED

    kind = "IMDS"
    # IMDS allows a VM 5 requests at once: one is left for a request that was given up but is still served.
    limits = RequestLimits(per_second=20, at_once=4)
    unreachable = (
        "This does not look like an Azure VM, or a firewall blocks 169.254.169.254. "
        "To try things out elsewhere run 'aiomsi emulator' and set the variables that it prints"
    )

    @property
    def endpoint(self) -> str:
        """The address that is asked."""
        return f"{self.authority}{_PATH}"

    @property
    def place(self) -> tuple[str, str]:
        """Equal for two hosts that are the same service, whatever the identity: what its limits go by."""
        return self.kind, self.authority.lower()

    @property
    def key(self) -> tuple[object, ...]:
        """Equal for two hosts that give the same tokens."""
        return *self.place, self.identity.key

    def request(self, resource: str, order: Order) -> TokenRequest:  # noqa: ARG002 (IMDS has no parameter for claims)
        """Make the request. A challenge's claims stay out: IMDS knows no such parameter."""
        url = f"{self.authority}{_PATH}?api-version={_API_VERSION}&resource={quote(resource, safe='')}"
        if self.identity.kind is not None:
            url += f"&{_PARAMETERS[self.identity.kind]}={quote(self.identity.value, safe='')}"
        return TokenRequest("GET", url, {"Metadata": "true"})

    def understand(self, answer: TokenAnswer) -> Grant | Problem:
        """Read the answer; 404, 408, 410, 429 and 5xx may pass."""
        document = read_object(answer.body)
        if answer.status == 200:
            result = read_grant(document, answer)
            # An endpoint that ignores the parameter would hand out the system-assigned identity's token.
            if self.identity.kind == "client_id" and document is not None:
                return self._of_wanted_client(result, document.get("client_id"))
            return result
        code, text = error_text(document, answer.body)
        if 300 <= answer.status < 400:
            return Problem("the endpoint redirects, which IMDS never does: something else answers at its address", code)
        passing = answer.status in _PASSING or answer.status >= 500
        return Problem(text, code, passing, "" if passing else self._help(code, text))

    def _of_wanted_client(self, result: Grant | Problem, echoed: object) -> Grant | Problem:
        wanted = self.identity.value
        if isinstance(echoed, str) and echoed and echoed.lower() != wanted.lower():
            return Problem(f"the token is for client_id {echoed}, not for {wanted}", help=_ASSIGN)
        return result

    def _help(self, code: str | None, text: str) -> str:
        if "identity not found" in text.lower():
            return _ASSIGN
        if code == "invalid_resource" or "AADSTS500011" in text or "AADSTS50001" in text:
            return _RESOURCE
        return ""
