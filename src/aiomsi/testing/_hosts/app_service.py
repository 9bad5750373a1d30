"""App Service, Functions, Container Apps and Automation: protocol 2019-08-01.

Source: https://learn.microsoft.com/azure/app-service/overview-managed-identity
("REST endpoint reference")
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
from aiomsi.testing._server.messages import Asked


class EmbeddedAppService(TokenEndpoint):
    """The token endpoint of App Service. A parameter that it does not know has no effect."""

    kind = "app-service"
    path = "/msi/token/"
    by_parameter: dict[str, str] = {  # noqa: RUF012  # the base class declares it
        "client_id": "client_id",
        "principal_id": "object_id",
        "object_id": "object_id",
        "mi_res_id": "resource_id",
    }
    bad_resource: tuple[int, str] = 500, "server_error"

    def _variables(self) -> dict[str, str]:
        return {"IDENTITY_ENDPOINT": self.token_url, "IDENTITY_HEADER": self._secret}

    def _check(self, asked: Asked) -> None:
        if not check_secret(asked, "X-IDENTITY-HEADER", self._secret):
            text = "The header X-IDENTITY-HEADER is missing or does not match"
            raise RefusedRequestError(401, "unauthorized", text)
        require_version(asked, ("2019-08-01",))

    def _document(self, request: GrantRequest) -> dict[str, object]:
        issued = self._tokens.issue(request.identity, request.resource)
        return {
            "access_token": issued.token,
            "client_id": request.identity.client_id,
            "expires_on": str(issued.expires_on),
            "not_before": str(issued.not_before),
            "resource": request.resource,
            "token_type": "Bearer",
        }

    def _error(self, refused: RefusedRequestError) -> dict[str, object]:
        return {
            "statusCode": refused.status,
            "message": refused.text,
            "correlationId": str(uuid.uuid4()),
        }
