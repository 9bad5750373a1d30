"""Workload identity: Entra's token endpoint, with the token of a Kubernetes service account.

Source: https://learn.microsoft.com/entra/identity-platform/v2-oauth2-client-creds-grant-flow
"""

import re
from collections.abc import Mapping

import attrs

from aiomsi._clouds import mask_url, normalize_audience, split_endpoint
from aiomsi._errors import ConfigurationError
from aiomsi._hosts.base import (
    FileRequest,
    HostSetting,
    TokenError,
    TokenRequest,
    compare_client_id,
)
from aiomsi._hosts.endpoint_host import EndpointHost, make_form_request, refuse_id
from aiomsi._hosts.identity import RequestedIdentity, read_client_id
from aiomsi._tokens.state import FetchRequest
from aiomsi._tokens.token import TokenResponse
from aiomsi._util.secret import Secret, SecretBytes, read_secret

MOST_ASSERTION_BYTES = 65_536
"""A service account's token has 1 to 2 KB."""

_AUTHORITY, _TENANT = "AZURE_AUTHORITY_HOST", "AZURE_TENANT_ID"
_FILE, _CLIENT = "AZURE_FEDERATED_TOKEN_FILE", "AZURE_CLIENT_ID"
_ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
_PURPOSE = "the service account's token"
_IN_TENANT = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?")
_NO_TENANTS = frozenset({"common", "organizations", "consumers"})
_CODE = re.compile(r"AADSTS(\d+)")

_WEBHOOK = (
    "On AKS the pod needs the label 'azure.workload.identity/use: \"true\"' and a service account "
    "with the annotation 'azure.workload.identity/client-id'; the webhook then sets the variables"
)
_ONLY_CLIENT = "Name the application or user-assigned identity with client_id="
_NOT_ENTRA = f"Correct {_AUTHORITY}, or look for a server on the way that intercepts TLS"
_READABLE = (
    "Let this process's user read the service account's token, for example with "
    "securityContext.fsGroup"
)
_CREDENTIAL = (
    "The federated credential of the identity must match issuer, subject "
    "('system:serviceaccount:<namespace>:<name>') and audience of the service account's token: "
    "'az identity federated-credential list'; a new one takes some minutes to work"
)
_HELPS = {
    "700016": (f"The tenant has no such application: check client_id= or {_CLIENT}, and {_TENANT}"),
    "70021": _CREDENTIAL,
    "70025": _CREDENTIAL,
    "700211": _CREDENTIAL,
    "700212": _CREDENTIAL,
    "700213": _CREDENTIAL,
    "700024": (
        "The service account's token has expired: check this machine's clock, and that "
        f"{_FILE} names the file that Kubernetes renews"
    ),
    "90002": f"The tenant does not exist in this cloud: check {_TENANT} and {_AUTHORITY}",
    "500011": (
        "The tenant does not know the resource: check the scope, and that the application of the "
        "resource is installed in the tenant"
    ),
    "7000112": "The application is disabled: enable it in Entra, under its service principal",
}
_UNREACHABLE = (
    "The pod's network must reach Entra: check egress rules, network policy and name service. A "
    "token endpoint is never reached through a proxy, so HTTPS_PROXY has no effect"
)


def make(setting: HostSetting) -> "WorkloadIdentity":
    """Create the host from the variables that the webhook of AKS sets.

    Raises:
        ConfigurationError: the identity is named by another id than its client id, or a variable
            is missing or malformed.

    """
    refuse_id(WorkloadIdentity.kind, setting.identity, _ONLY_CLIENT, accepted=("client_id",))
    values = {name: setting.environment.get(name) or "" for name in (_AUTHORITY, _TENANT, _FILE)}
    if missing := [name for name, value in values.items() if not value]:
        msg = f"workload identity needs {' and '.join(missing)}"
        raise ConfigurationError(msg, help=_WEBHOOK)
    authority, tenant = _read_authority(values[_AUTHORITY]), _read_tenant(values[_TENANT])
    return WorkloadIdentity(
        url=f"{authority}/{tenant}/oauth2/v2.0/token",
        path=values[_FILE],
        identity=_find_client(setting.environment, setting.identity),
        chosen_by=setting.chosen_by,
        surroundings=setting.surroundings,
    )


def _read_authority(given: str) -> str:
    """Return the authority as ``https://host[:port]``; a name alone means https."""
    authority = (given if "://" in given else f"https://{given}").rstrip("/")
    if split_endpoint(authority, _AUTHORITY).scheme != "https":
        msg = f"{_AUTHORITY} must be https and is {mask_url(given)!r}"
        raise ConfigurationError(
            msg, help="In Azure's public cloud it is 'https://login.microsoftonline.com/'"
        )
    return authority


def _read_tenant(tenant: str) -> str:
    if not _IN_TENANT.fullmatch(tenant) or ".." in tenant or tenant.lower() in _NO_TENANTS:
        msg = f"{_TENANT} must be the id or a domain name of one tenant and is {tenant[:100]!r}"
        raise ConfigurationError(msg, help="'az account show --query tenantId' returns it")
    return tenant


def _find_client(environment: Mapping[str, str], identity: RequestedIdentity) -> RequestedIdentity:
    if identity.kind is not None:
        return identity
    client_id = environment.get(_CLIENT)
    if not client_id:
        msg = f"workload identity needs a client id: neither client_id= nor {_CLIENT} is given"
        raise ConfigurationError(msg, help=f"{_ONLY_CLIENT}. {_WEBHOOK}")
    return read_client_id(client_id, _CLIENT)


@attrs.frozen(eq=False, repr=False, kw_only=True)
class WorkloadIdentity(EndpointHost):
    """Entra's token endpoint for one application, which a service account's token identifies.

    Attributes:
        path: the file with the service account's token, which Kubernetes replaces from time to
            time.

    """

    kind = "workload identity"
    variable = _AUTHORITY
    program = "the pod"

    path: str

    @property
    def unreachable_help(self) -> str:
        """The remedy if no connection to Entra succeeds."""
        return f"{_UNREACHABLE}{self.surroundings}"

    def build_request(
        self, resource: str, fetch_request: FetchRequest, content: SecretBytes | None = None
    ) -> TokenRequest | FileRequest | TokenError:
        """Return the file to read, or, with its content, the request; for every fetch anew."""
        if content is None:
            return FileRequest(self.path, None, "", MOST_ASSERTION_BYTES, _PURPOSE, _READABLE)
        assertion = read_secret(Secret(content.decode("utf-8-sig", "replace")))
        if not isinstance(assertion, Secret):
            return TokenError(f"{_PURPOSE}, in the file {self.path}, {assertion}", help=_WEBHOOK)
        form = {
            "grant_type": "client_credentials",
            "client_id": self.identity.value,
            "scope": make_scope(resource),
            "client_assertion_type": _ASSERTION_TYPE,
            "client_assertion": assertion,
        }
        if fetch_request.claims is not None:
            form["claims"] = fetch_request.claims
        return make_form_request(self.url, form, {"Accept": "application/json"})

    def check_token(self, token: TokenResponse | TokenError) -> TokenResponse | TokenError:
        """Return the result, or an error if the response names another client id."""
        return compare_client_id(token, self.identity.value, _NOT_ENTRA)

    def find_remedy(self, status: int, text: str) -> str:  # noqa: ARG002 (one signature)
        """Return the remedy for a number of Entra's in the text, or an empty string."""
        found = _CODE.search(text)
        return "" if found is None else _HELPS.get(found[1], "")

    def _find_help(self, status: int, code: str | None, text: str) -> str:
        return self.find_remedy(status, text) or super()._find_help(status, code, text)

    def make_impostor_error(self, other: str) -> TokenError:
        """Return the error for a response of another server, which `other` describes."""
        return TokenError(
            f"a server other than Entra responded: {other}",
            help=f"{_NOT_ENTRA}{self.surroundings}",
        )


def make_scope(resource: str) -> str:
    """Return the scope of a resource, as Entra's v2 endpoint expects it.

    A resource goes out byte for byte. ARM's audience has a slash at its end, which a scope by
    convention has not: Entra registers both forms, and ARM accepts the tokens of both.
    """
    scope = f"{resource.removesuffix('/')}/.default"
    is_arm = normalize_audience(scope) != scope
    return scope if is_arm else f"{resource}/.default"
