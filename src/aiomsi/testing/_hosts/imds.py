"""The token endpoint of the Instance Metadata Service (IMDS): its checks and responses.

Source:
https://learn.microsoft.com/entra/identity/managed-identities-azure-resources/how-to-use-vm-token
and https://learn.microsoft.com/azure/virtual-machines/instance-metadata-service
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from aiomsi.testing._server.messages import Answer, Asked, json_answer
from aiomsi.testing._state.api_versions import IMDS_VERSIONS
from aiomsi.testing._state.azure_state import TENANT_ID, AzureState, Identity
from aiomsi.testing._state.tokens import ARM_AUDIENCES, IssuedToken, TokenAuthority

TOKEN_PATH = "/metadata/identity/oauth2/token"  # noqa: S105  # a path
RESOURCES = (
    *ARM_AUDIENCES,
    "https://cognitiveservices.azure.com/",
    "https://cosmos.azure.com",
    "https://database.windows.net/",
    "https://eventhubs.azure.net/",
    "https://graph.microsoft.com",
    "https://redis.azure.com",
    "https://search.azure.com",
    "https://servicebus.azure.net/",
    "https://storage.azure.com/",
    "https://vault.azure.net",
)
"""The resources that nearly every tenant of Entra has; `EmbeddedAzure` takes further ones."""

_NAMED_BY: dict[str, Callable[[Identity], str]] = {
    "client_id": lambda identity: identity.client_id,
    "object_id": lambda identity: identity.object_id,
    "msi_res_id": lambda identity: identity.resource_id,
}


class Imds:
    """IMDS's protocol: checks token requests and responds. `HttpService` adds limits and faults.

    Attributes:
        lifetime: seconds that a new token lives.
        repeats: whether a cached token is returned until it expires.

    """

    def __init__(
        self,
        world: AzureState,
        authority: TokenAuthority,
        wall: Callable[[], float],
        resources: Iterable[str],
    ) -> None:
        self._world = world
        self._authority = authority
        self._wall = wall
        self._resources = {_same_slash(resource) for resource in (*RESOURCES, *resources)}
        self._cache: dict[tuple[Identity, str], IssuedToken] = {}
        self.lifetime: float = 86_400
        self.repeats = False

    def forget(self) -> None:
        """Empty the cache of tokens."""
        self._cache.clear()

    def answer(self, asked: Asked) -> Answer:
        """Return the response to a request."""
        if asked.path.lower() != TOKEN_PATH:
            return json_answer(404, {"error": "Not found"})
        if asked.method != "GET":
            return json_answer(405, {"error": "Method not allowed"}, {"Allow": "GET"})
        refusal = _refusal(asked)
        if refusal is not None:
            return refusal
        resource = asked.parameter("resource") or ""
        if _same_slash(resource) not in self._resources:
            return _unknown_resource(resource)
        identity = self._identity(asked)
        return identity if isinstance(identity, Answer) else self._token_answer(identity, resource)

    def failure(self, status: int) -> Answer:
        """Return an error response with this status, in IMDS's shape."""
        text = f"Injected fault: HTTP {status}"
        return json_answer(status, {"error": "server_error", "error_description": text})

    # ARG002: IMDS copies no value of the request.
    def add_headers(self, asked: Asked, answer: Answer) -> Answer:  # noqa: ARG002
        """Return the response unchanged: IMDS adds no headers to it."""
        return answer

    def _identity(self, asked: Asked) -> Identity | Answer:
        """Return the requested identity, or an error.

        The default is the system-assigned identity, or else the only one.
        """
        assigned = self._world.identities
        for name, value_of in _NAMED_BY.items():
            wanted = asked.parameter(name)
            if wanted is not None:
                found = (
                    identity
                    for identity in assigned
                    if value_of(identity).lower() == wanted.lower()
                )
                return next(found, _invalid_request("Identity not found"))
        own = [identity for identity in assigned if identity.system_assigned] or assigned
        if len(own) > 1:
            return _invalid_request(
                "Multiple user assigned identities exist, please specify the clientId / resourceId "
                "of the identity in the token request"
            )
        return own[0] if own else _invalid_request("Identity not found")

    def _token_answer(self, identity: Identity, resource: str) -> Answer:
        now = int(self._wall())
        issued = self._cache.get((identity, resource)) if self.repeats else None
        if issued is None or issued.expires_on <= now:
            issued = self._authority.issue(identity, resource, self.lifetime)
        if self.repeats:
            self._cache[identity, resource] = issued
        left = str(issued.expires_on - now)
        token = {
            "access_token": issued.token,
            "client_id": identity.client_id,
            "expires_in": left,
            "expires_on": str(issued.expires_on),
            "ext_expires_in": left,
            "not_before": str(issued.not_before),
            "resource": resource,
            "token_type": "Bearer",
        }
        return json_answer(200, token)


def throttled() -> Answer:
    """Return IMDS's response to a request beyond its limits."""
    text = "Too many requests: IMDS allows 20 token requests a second and 5 at once for a VM"
    return json_answer(
        429, {"error": "Too many requests", "error_description": text}, {"Retry-After": "1"}
    )


def _refusal(asked: Asked) -> Answer | None:
    return _refused_headers(asked) or _refused_query(asked)


def _refused_headers(asked: Asked) -> Answer | None:
    if asked.headers.get("Metadata", "").lower() != "true":
        return _invalid_request("Required metadata header not specified")
    if "X-Forwarded-For" in asked.headers:
        return _invalid_request("Requests with an X-Forwarded-For header are not served")
    return None


def _refused_query(asked: Asked) -> Answer | None:
    names = [name.lower() for name, _ in asked.query]
    for name in names:
        if names.count(name) > 1:
            return _invalid_request(f"The query parameter '{name}' occurs more than once")
    if asked.parameter("api-version") not in IMDS_VERSIONS:
        text = (
            "Bad request. api-version is invalid or was not specified in the request. "
            "For more information refer to aka.ms/azureimds"
        )
        return json_answer(400, {"error": text, "newest-versions": IMDS_VERSIONS[:3]})
    if not asked.parameter("resource"):
        return _invalid_request("Required query parameter 'resource' is missing or empty")
    if len(_NAMED_BY.keys() & set(names)) > 1:
        return _invalid_request("Only one of client_id, object_id and msi_res_id may be specified")
    return None


def _invalid_request(text: str) -> Answer:
    return json_answer(400, {"error": "invalid_request", "error_description": text})


def _unknown_resource(resource: str) -> Answer:
    text = (
        f"AADSTS500011: The resource principal named {resource} was not found in the tenant named "
        f"{TENANT_ID}. This can happen if the application has not been installed by the "
        "administrator of the tenant or consented to by any user in the tenant. You might have "
        "sent your authentication request to the wrong tenant."
    )
    return json_answer(400, {"error": "invalid_resource", "error_description": text})


def _same_slash(resource: str) -> str:
    return resource.rstrip("/").lower()
