"""Entra's token endpoint, for workload identity federation, and the documents that clients read.

Sources: https://learn.microsoft.com/entra/identity-platform/v2-oauth2-client-creds-grant-flow
("third case: access token request with a federated credential") and
https://learn.microsoft.com/entra/identity-platform/reference-error-codes
"""

from __future__ import annotations

import uuid
from datetime import UTC, datetime
from pathlib import Path

import attrs

from aiomsi.testing._hosts.embedded_host import EmbeddedHost, RefusedRequestError, parse_form
from aiomsi.testing._hosts.token_issuer import (
    NoIdentityError,
    TokenIssuer,
    describe_unknown_resource,
)
from aiomsi.testing._server.http_service import ServiceContext
from aiomsi.testing._server.messages import Answer, Asked, make_json_answer
from aiomsi.testing._server.servers import Servers
from aiomsi.testing._server.tls import Certificates
from aiomsi.testing._state.azure_state import TENANT_ID
from aiomsi.testing._state.tokens import BadAssertionError

_ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
_ANY_TENANT = ("common", "organizations")
"""Names that stand for a tenant while a client does not know which one."""
_REQUIRED = ("grant_type", "client_id", "scope", "client_assertion_type", "client_assertion")


class EmbeddedWorkloadIdentity(EmbeddedHost):
    """Entra over https, and the federated token of a workload in AKS."""

    kind = "workload-identity"

    def __init__(
        self,
        context: ServiceContext,
        servers: Servers,
        tokens: TokenIssuer,
        certificates: Certificates,
    ) -> None:
        super().__init__(context, servers, tokens)
        self._certificates = certificates
        self._file = Path()

    @property
    def token_file(self) -> Path:
        """The file with the workload's federated token."""
        return self._file

    def rotate_token(self, expires_in: float = 3_600) -> None:
        """Write a new federated token to the file, as Kubernetes does before the old one expires.

        Args:
            expires_in: seconds until the new token expires; negative for one that has expired.

        """
        self._file.write_text(self._tokens.authority.issue_assertion(expires_in), encoding="ascii")

    def prepare(self, directory: Path) -> None:
        """Write the federated token."""
        self._file = directory / "federated-token"
        self.rotate_token()

    def _variables(self) -> dict[str, str]:
        variables = {
            "AZURE_AUTHORITY_HOST": f"{self.url}/",
            "AZURE_TENANT_ID": TENANT_ID,
            "AZURE_FEDERATED_TOKEN_FILE": str(self._file),
            **self._certificates.variables,
        }
        identities = self._tokens.world.identities
        if identities:
            chosen = max(identities, key=lambda one: one.system_assigned)
            variables["AZURE_CLIENT_ID"] = chosen.client_id
        return variables

    def _answer(self, asked: Asked) -> Answer:
        parts = asked.path.lower().lstrip("/").split("/")
        document = self._find_document(asked, parts) if asked.method == "GET" else None
        if document is not None:
            return attrs.evolve(make_json_answer(200, document), counted=False)
        if parts[1:] != ["oauth2", "v2.0", "token"]:
            raise RefusedRequestError(404, "not_found", "No service is at this address")
        if asked.method != "POST":
            allow = {"Allow": "POST"}
            raise RefusedRequestError(405, "method_not_allowed", "Method not allowed", allow)
        _require_tenant(parts[0])
        return make_json_answer(200, self._issue(parse_form(asked)))

    def _find_document(self, asked: Asked, parts: list[str]) -> dict[str, object] | None:
        """Return the document at a path that has one."""
        if parts == ["common", "discovery", "instance"]:
            return _describe_instance(asked)
        if parts[-2:] == [".well-known", "openid-configuration"]:
            tenant = parts[0] if parts[0] in _ANY_TENANT else _require_tenant(parts[0])
            return _describe_tenant(asked, tenant)
        if parts[1:] == ["discovery", "v2.0", "keys"]:
            return {"keys": [self._tokens.authority.public_jwk()]}
        return None

    def _issue(self, form: dict[str, str]) -> dict[str, object]:
        _check_form(form)
        try:
            identity = self._tokens.find_identity("client_id", form["client_id"])
        except NoIdentityError:
            text = (
                f"AADSTS700016: Application with identifier '{form['client_id']}' was not found "
                f"in the directory '{TENANT_ID}'."
            )
            raise RefusedRequestError(400, "unauthorized_client", text) from None
        try:
            self._tokens.authority.check_assertion(form["client_assertion"])
        except BadAssertionError as error:
            raise RefusedRequestError(401, "invalid_client", error.text) from None
        resource = form["scope"].removesuffix("/.default")
        if not self._tokens.knows(resource):
            text = describe_unknown_resource(resource)
            raise RefusedRequestError(400, "invalid_resource", text)
        issued = self._tokens.issue(identity, resource)
        left = self._tokens.seconds_left(issued)
        return {
            "token_type": "Bearer",
            "expires_in": left,
            "ext_expires_in": left,
            "access_token": issued.token,
        }

    def _error(self, refused: RefusedRequestError) -> dict[str, object]:
        number = refused.text.partition(":")[0].removeprefix("AADSTS")
        trace, correlation = str(uuid.uuid4()), str(uuid.uuid4())
        now = datetime.fromtimestamp(self._tokens.wall(), UTC)
        return {
            "error": refused.code,
            "error_description": f"{refused.text} Trace ID: {trace} Correlation ID: {correlation}",
            "error_codes": [int(number)] if number.isdecimal() else [],
            "timestamp": f"{now:%Y-%m-%d %H:%M:%SZ}",
            "trace_id": trace,
            "correlation_id": correlation,
        }


def _check_form(form: dict[str, str]) -> None:
    missing = [name for name in _REQUIRED if not form.get(name)]
    if missing:
        text = f"AADSTS900144: The request body must contain the parameter '{missing[0]}'."
        raise RefusedRequestError(400, "invalid_request", text)
    if form["grant_type"] != "client_credentials":
        text = f"AADSTS70003: The grant type '{form['grant_type']}' is not supported."
        raise RefusedRequestError(400, "unsupported_grant_type", text)
    if form["client_assertion_type"] != _ASSERTION_TYPE:
        text = f"AADSTS50027: The assertion's type must be '{_ASSERTION_TYPE}'."
        raise RefusedRequestError(401, "invalid_client", text)
    if not form["scope"].endswith("/.default"):
        text = f"AADSTS1002012: The scope '{form['scope']}' must end with /.default."
        raise RefusedRequestError(400, "invalid_scope", text)


def _require_tenant(tenant: str) -> str:
    if tenant != TENANT_ID:
        text = f"AADSTS90002: Tenant '{tenant}' not found."
        raise RefusedRequestError(400, "invalid_request", text)
    return tenant


def _describe_instance(asked: Asked) -> dict[str, object]:
    host = asked.base_url.partition("://")[2]
    names = {"preferred_network": host, "preferred_cache": host, "aliases": [host]}
    return {
        "tenant_discovery_endpoint": (
            f"{asked.base_url}/{TENANT_ID}/v2.0/.well-known/openid-configuration"
        ),
        "api-version": "1.1",
        "metadata": [names],
    }


def _describe_tenant(asked: Asked, tenant: str) -> dict[str, object]:
    base = f"{asked.base_url}/{tenant}"
    issuer = "{tenantid}" if tenant in _ANY_TENANT else tenant
    return {
        "issuer": f"{asked.base_url}/{issuer}/v2.0",
        "authorization_endpoint": f"{base}/oauth2/v2.0/authorize",
        "token_endpoint": f"{base}/oauth2/v2.0/token",
        "device_authorization_endpoint": f"{base}/oauth2/v2.0/devicecode",
        "end_session_endpoint": f"{base}/oauth2/v2.0/logout",
        "jwks_uri": f"{base}/discovery/v2.0/keys",
        "response_types_supported": ["code", "id_token", "token"],
        "subject_types_supported": ["pairwise"],
        "id_token_signing_alg_values_supported": ["RS256"],
        "token_endpoint_auth_methods_supported": ["client_secret_post", "private_key_jwt"],
        "scopes_supported": ["openid", "profile", "email", "offline_access"],
        "tenant_region_scope": "EU",
    }
