"""The Instance Metadata Service (IMDS): its checks and responses.

Source:
https://learn.microsoft.com/entra/identity/managed-identities-azure-resources/how-to-use-vm-token
and https://learn.microsoft.com/azure/virtual-machines/instance-metadata-service
"""

from __future__ import annotations

import attrs

from aiomsi.testing._hosts.instance_metadata import METADATA_PATHS, answer_metadata
from aiomsi.testing._hosts.token_issuer import (
    IdKind,
    NoIdentityError,
    TokenIssuer,
    describe_unknown_resource,
)
from aiomsi.testing._server.messages import Answer, Asked, make_json_answer
from aiomsi.testing._state.api_versions import IMDS_VERSIONS
from aiomsi.testing._state.azure_state import Identity

TOKEN_PATH = "/metadata/identity/oauth2/token"  # noqa: S105  # a path
_NAMED_BY: dict[str, IdKind] = {
    "client_id": "client_id",
    "object_id": "object_id",
    "msi_res_id": "resource_id",
}
"""The kind of each id, by the name of the query parameter."""


class ImdsProtocol:
    """IMDS's protocol: checks requests and responds. `HttpService` adds limits and faults."""

    def __init__(self, tokens: TokenIssuer) -> None:
        self._tokens = tokens

    def answer(self, asked: Asked) -> Answer:
        """Return the response to a request."""
        path = asked.path.lower()
        if path != TOKEN_PATH and not path.startswith(METADATA_PATHS):
            return make_json_answer(404, {"error": "Not found"})
        if asked.method != "GET":
            return make_json_answer(405, {"error": "Method not allowed"}, {"Allow": "GET"})
        refusal = _refuse_headers(asked)
        if refusal is not None:
            return refusal
        if path == TOKEN_PATH:
            return self._answer_token(asked)
        return attrs.evolve(answer_metadata(asked), counted=False)

    def _answer_token(self, asked: Asked) -> Answer:
        refusal = _refuse_query(asked)
        if refusal is not None:
            return refusal
        resource = asked.parameter("resource") or ""
        if not self._tokens.knows(resource):
            text = describe_unknown_resource(resource)
            return make_json_answer(400, {"error": "invalid_resource", "error_description": text})
        try:
            identity = self._find_identity(asked)
        except NoIdentityError as error:
            return _make_invalid_request(error.text)
        return make_json_answer(200, make_token_document(self._tokens, identity, resource))

    def _find_identity(self, asked: Asked) -> Identity:
        for name, kind in _NAMED_BY.items():
            wanted = asked.parameter(name)
            if wanted is not None:
                return self._tokens.find_identity(kind, wanted)
        return self._tokens.find_identity()

    def failure(self, status: int) -> Answer:
        """Return an error response with this status, in IMDS's shape."""
        text = f"Injected fault: HTTP {status}"
        return make_json_answer(status, {"error": "server_error", "error_description": text})

    # ARG002: IMDS copies no value of the request.
    def add_headers(self, asked: Asked, answer: Answer) -> Answer:  # noqa: ARG002
        """Return the response unchanged: IMDS adds no headers to it."""
        return answer


def make_token_document(
    tokens: TokenIssuer, identity: Identity, resource: str
) -> dict[str, object]:
    """Return the body of a response with a token, as IMDS and Azure Arc have it."""
    issued = tokens.issue(identity, resource)
    left = str(tokens.seconds_left(issued))
    return {
        "access_token": issued.token,
        "client_id": identity.client_id,
        "expires_in": left,
        "expires_on": str(issued.expires_on),
        "ext_expires_in": left,
        "not_before": str(issued.not_before),
        "resource": resource,
        "token_type": "Bearer",
    }


def _refuse_headers(asked: Asked) -> Answer | None:
    if asked.headers.get("Metadata", "").lower() != "true":
        return _make_invalid_request("Required metadata header not specified")
    if "X-Forwarded-For" in asked.headers:
        return _make_invalid_request("Requests with an X-Forwarded-For header are not served")
    return None


def _refuse_query(asked: Asked) -> Answer | None:
    names = [name.lower() for name, _ in asked.query]
    for name in names:
        if names.count(name) > 1:
            return _make_invalid_request(f"The query parameter '{name}' occurs more than once")
    if asked.parameter("api-version") not in IMDS_VERSIONS:
        text = (
            "Bad request. api-version is invalid or was not specified in the request. "
            "For more information refer to aka.ms/azureimds"
        )
        return make_json_answer(400, {"error": text, "newest-versions": IMDS_VERSIONS[:3]})
    if not asked.parameter("resource"):
        return _make_invalid_request("Required query parameter 'resource' is missing or empty")
    if len(_NAMED_BY.keys() & set(names)) > 1:
        return _make_invalid_request(
            "Only one of client_id, object_id and msi_res_id may be specified"
        )
    return None


def _make_invalid_request(text: str) -> Answer:
    return make_json_answer(400, {"error": "invalid_request", "error_description": text})
