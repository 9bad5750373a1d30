"""Cloud Shell: a token of the signed-in user, by a POST.

Source: https://learn.microsoft.com/azure/cloud-shell/msi-authorization
"""

from __future__ import annotations

from aiomsi.testing._hosts.embedded_host import (
    GrantRequest,
    RefusedRequestError,
    TokenEndpoint,
    parse_form,
    require_metadata,
)
from aiomsi.testing._hosts.imds import make_token_document
from aiomsi.testing._server.messages import Asked


class EmbeddedCloudShell(TokenEndpoint):
    """The token endpoint of Cloud Shell."""

    kind = "cloud-shell"
    path = "/oauth2/token"
    method = "POST"

    def _variables(self) -> dict[str, str]:
        return {"MSI_ENDPOINT": self.token_url}

    def _check(self, asked: Asked) -> None:
        require_metadata(asked)

    def _resource(self, asked: Asked) -> str:
        resource = parse_form(asked).get("resource")
        if not resource:
            text = "Required parameter 'resource' is missing or empty"
            raise RefusedRequestError(400, "InvalidRequest", text)
        return resource

    def _document(self, request: GrantRequest) -> dict[str, object]:
        return make_token_document(self._tokens, request.identity, request.resource)

    def _error(self, refused: RefusedRequestError) -> dict[str, object]:
        return {"error": {"code": refused.code, "message": refused.text}}
