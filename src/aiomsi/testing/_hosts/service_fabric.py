"""Service Fabric: an endpoint over https, known by the thumbprint of its certificate.

Source: https://learn.microsoft.com/azure/service-fabric/how-to-managed-identity-service-fabric-app-code
"""

from __future__ import annotations

import uuid

from aiomsi.testing._hosts.embedded_host import (
    GrantRequest,
    RefusedRequestError,
    TokenEndpoint,
    check_secret,
    require_version,
)
from aiomsi.testing._hosts.token_issuer import TokenIssuer
from aiomsi.testing._server.http_service import ServiceContext
from aiomsi.testing._server.messages import Asked
from aiomsi.testing._server.servers import Servers
from aiomsi.testing._server.tls import SelfSigned


class EmbeddedServiceFabric(TokenEndpoint):
    """The token endpoint of Service Fabric, with a self-signed certificate.

    The cluster's manifest decides about the identity: a request can't name one. The parameter
    ``token_sha256_to_refresh`` takes the token with this hash out of the cache that
    `EmbeddedImds.repeat_tokens` begins.
    """

    kind = "service-fabric"
    path = "/metadata/identity/oauth2/token"
    bad_identity: tuple[int, str] = 404, "ManagedIdentityNotFound"
    bad_resource: tuple[int, str] = 400, "InvalidResource"

    def __init__(
        self,
        context: ServiceContext,
        servers: Servers,
        tokens: TokenIssuer,
        certificate: SelfSigned,
    ) -> None:
        super().__init__(context, servers, tokens)
        self._certificate = certificate

    @property
    def thumbprint(self) -> str:
        """The SHA-1 of the certificate, in upper-case hexadecimal digits."""
        return self._certificate.thumbprint

    def _variables(self) -> dict[str, str]:
        return {
            "IDENTITY_ENDPOINT": self.token_url,
            "IDENTITY_HEADER": self._secret,
            "IDENTITY_SERVER_THUMBPRINT": self.thumbprint,
        }

    def _check(self, asked: Asked) -> None:
        if "Secret" not in asked.headers:
            text = "Secret is not found in the request headers"
            raise RefusedRequestError(400, "SecretHeaderNotFound", text)
        if not check_secret(asked, "Secret", self._secret):
            text = "No managed identity belongs to the secret of this request"
            raise RefusedRequestError(404, "ManagedIdentityNotFound", text)
        require_version(asked, ("2019-07-01-preview",), "InvalidApiVersion")

    def _missing_code(self) -> str:
        return "ArgumentNullOrEmpty"

    def _document(self, request: GrantRequest) -> dict[str, object]:
        refused = request.asked.parameter("token_sha256_to_refresh")
        issued = self._tokens.issue(request.identity, request.resource, refused)
        return {
            "token_type": "Bearer",
            "access_token": issued.token,
            "expires_on": issued.expires_on,
            "resource": request.resource,
        }

    def _error(self, refused: RefusedRequestError) -> dict[str, object]:
        error = {"code": refused.code, "message": refused.text, "correlationId": str(uuid.uuid4())}
        return {"error": error}
