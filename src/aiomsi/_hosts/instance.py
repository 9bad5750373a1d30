"""IMDS's documents about its virtual machine: their requests, their responses, and their values.

IMDS describes the machine in one document, and the tenant of the machine in another.

Source: https://learn.microsoft.com/azure/virtual-machines/instance-metadata-service
"""

import json
import os
import sys
from collections.abc import Callable, Mapping
from typing import Any, cast

import attrs

from aiomsi._errors import ConfigurationError
from aiomsi._hosts.base import (
    TokenError,
    TokenHttpResponse,
    TokenRequest,
    read_error,
    read_object,
)
from aiomsi._hosts.detect import HOSTS, detect, make_host
from aiomsi._hosts.identity import SYSTEM_ASSIGNED
from aiomsi._hosts.imds import TRANSIENT, Imds
from aiomsi._tokens.host_limits import RequestLimits
from aiomsi._tokens.state import FetchRequest
from aiomsi._tokens.token import TokenResponse
from aiomsi._util.secret import Secret, SecretBytes

INSTANCE = "/metadata/instance"
TENANT = "/metadata/identity/info"

_API_VERSIONS = {INSTANCE: "2021-02-01", TENANT: "2018-02-01"}
_FIELDS = {
    INSTANCE: ("subscriptionId", "resourceGroupName", "name", "vmId", "location"),
    TENANT: ("tenantId",),
}
_LIFE = 1e9
"""Seconds for which a document is held: 31 years, which no process lives."""
_ELSEWHERE = (
    "On a VM unset the variables that name another host (IDENTITY_*, MSI_*, AZURE_FEDERATED_*), "
    "or set AZURE_POD_IDENTITY_AUTHORITY_HOST=http://169.254.169.254 if an Arc agent is left behind"
)


@attrs.frozen
class InstanceMetadata:
    """The virtual machine that this process runs on, as IMDS describes it.

    Attributes:
        subscription_id: the subscription's id.
        resource_group: the name of the resource group.
        name: the name of the VM; in a scale set, that of the instance.
        vm_id: the unique id of the VM.
        location: the region, for example ``"westeurope"``.
        tenant_id: the Entra tenant of the subscription.
        raw: the whole document, decoded, with ``"compute"`` and ``"network"``. It is not in the
            repr, because it may hold user data.

    """

    subscription_id: str
    resource_group: str
    name: str
    vm_id: str
    location: str
    tenant_id: str
    raw: Mapping[str, Any] = attrs.field(repr=False, eq=False)


@attrs.frozen(eq=False, repr=False)
class MetadataHost:
    """IMDS as the host of one of its documents about the machine.

    It has the interface of a token's host, so that a document is fetched as a token is. The text
    of the document takes the place of the token.

    Attributes:
        imds: the service.
        path: `INSTANCE` or `TENANT`.

    """

    imds: Imds
    path: str

    kind = Imds.kind
    # Documented as 5 requests in a second. One is reserved, as for tokens.
    limits = RequestLimits(per_second=5, at_once=4)

    @property
    def chosen_by(self) -> str:
        """The variable or the file that chose IMDS."""
        return self.imds.chosen_by

    @property
    def endpoint(self) -> str:
        """The URL of the document."""
        return f"{self.imds.authority}{self.path}"

    @property
    def throttle_key(self) -> tuple[str, str]:
        """A key that is equal for both documents of one IMDS, and differs from that of tokens."""
        return "IMDS metadata", self.imds.authority.lower()

    @property
    def cache_key(self) -> tuple[object, ...]:
        """A key that is equal for the same document of the same IMDS."""
        return *self.throttle_key, self.path

    @property
    def unreachable_help(self) -> str:
        """The remedy if no connection to IMDS succeeds."""
        return self.imds.unreachable_help

    def build_request(
        self,
        resource: str,  # noqa: ARG002 (one signature)
        fetch_request: FetchRequest,  # noqa: ARG002 (one signature)
        content: SecretBytes | None = None,  # noqa: ARG002 (one signature)
    ) -> TokenRequest:
        """Return the request for the document."""
        url = f"{self.endpoint}?api-version={_API_VERSIONS[self.path]}"
        return TokenRequest("GET", url, {"Metadata": "true"})

    def parse(self, response: TokenHttpResponse) -> TokenResponse | TokenError:
        """Return the document or the error of a response, which is temporary as for a token."""
        document = read_object(response.body)
        missing = _list_missing(self.path, document)
        if response.status == 200 and document is not None and not missing:
            return TokenResponse(Secret(json.dumps(document)), life=_LIFE)
        # Late: a good response does not need it.
        from aiomsi._hosts.not_imds import describe_impostor

        if (other := describe_impostor(response, document)) is not None:
            return self.make_impostor_error(other)
        if response.status == 200:
            return TokenError(f"the response has no {' and no '.join(missing)}", transient=True)
        code, text = read_error(document, response.body)
        return TokenError(text, code, response.status in TRANSIENT or response.status >= 500)

    def make_impostor_error(self, other: str) -> TokenError:
        """Return the error for a response of another server, which `other` describes."""
        return self.imds.make_impostor_error(other)


def find_imds(
    environment: Mapping[str, str],
    *,
    platform: str = sys.platform,
    exists: Callable[[str], bool] = os.path.exists,
) -> Imds:
    """Return the IMDS of this host, without network I/O.

    Args:
        environment: such as `os.environ`.
        platform: such as `sys.platform`.
        exists: such as `os.path.exists`.

    Raises:
        ConfigurationError: the host is of another kind, or the address of its IMDS is malformed.

    """
    choice = detect(environment, platform=platform, exists=exists)
    if choice.name != "imds":
        msg = (
            "only the IMDS of a VM or scale set describes its machine, and this looks like "
            f"{HOSTS[choice.name].title}: {choice.chosen_by}"
        )
        raise ConfigurationError(msg, help=_ELSEWHERE)
    imds = make_host(environment, SYSTEM_ASSIGNED, platform=platform, exists=exists)
    return cast("Imds", imds)


def make_instance_metadata(instance: str, tenant: str) -> InstanceMetadata:
    """Create the value of two documents that were parsed before."""
    raw: Mapping[str, Any] = json.loads(instance)
    subscription_id, resource_group, name, vm_id, location = (
        raw["compute"][name] for name in _FIELDS[INSTANCE]
    )
    tenant_id = json.loads(tenant)["tenantId"]
    return InstanceMetadata(subscription_id, resource_group, name, vm_id, location, tenant_id, raw)


def _list_missing(path: str, document: Mapping[str, Any] | None) -> list[str]:
    """Return the names of the fields that a document lacks."""
    holder = (document or {}).get("compute") if path == INSTANCE else document
    values = holder if isinstance(holder, dict) else {}
    return [name for name in _FIELDS[path] if not isinstance(values.get(name), str)]
