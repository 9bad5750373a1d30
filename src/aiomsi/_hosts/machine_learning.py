"""Azure Machine Learning: the protocol of 2017-09-01.

Source: https://learn.microsoft.com/azure/machine-learning/how-to-identity-based-service-authentication
"""

import attrs

from aiomsi._hosts.base import (
    HostSetting,
    TokenError,
    TokenRequest,
    compare_client_id,
)
from aiomsi._hosts.endpoint_host import (
    EndpointHost,
    add_query,
    check_endpoint,
    read_header,
    refuse_id,
)
from aiomsi._hosts.identity import read_client_id
from aiomsi._tokens.state import FetchRequest
from aiomsi._tokens.token import TokenResponse
from aiomsi._util.secret import Secret, SecretBytes

_API_VERSION = "2017-09-01"
_DEFAULT_VARIABLE = "DEFAULT_IDENTITY_CLIENT_ID"

_ONLY_CLIENT = "Name the user-assigned identity with client_id="
_ASSIGN = (
    "If the identity is not assigned to this compute, assign it (Machine Learning studio: Compute; "
    "or 'az ml compute update')"
)
_DEFAULT = f"; {_DEFAULT_VARIABLE} named it, because no client_id= was given"
_OUTDATED = (
    "The endpoint expects another MSI_SECRET: restart the job or kernel to get its current value"
)


@attrs.frozen(eq=False, repr=False, kw_only=True)
class MachineLearning(EndpointHost):
    """The token endpoint of a compute.

    Attributes:
        secret: the secret that the endpoint requires.
        client_id: the client id that requests contain, from the caller or the environment; None for
            the system-assigned identity.

    """

    kind, variable, program = "Azure Machine Learning", "MSI_ENDPOINT", "the job or kernel"

    secret: Secret
    client_id: str | None

    @property
    def cache_key(self) -> tuple[object, ...]:
        """A key that is equal for two hosts that issue the same tokens."""
        return *self.throttle_key, None if self.client_id is None else self.client_id.lower()

    def build_request(
        self,
        resource: str,
        fetch_request: FetchRequest,  # noqa: ARG002 (one signature)
        content: SecretBytes | None = None,  # noqa: ARG002 (one signature)
    ) -> TokenRequest:
        """Return the request, without a challenge's claims: this version has no parameter."""
        fields = {"api-version": _API_VERSION, "resource": resource}
        if self.client_id is not None:
            fields["clientid"] = self.client_id
        return TokenRequest("GET", add_query(self.url, fields), {"secret": self.secret})

    def check_token(self, token: TokenResponse | TokenError) -> TokenResponse | TokenError:
        """Return the result, or an error if the response names another client id."""
        if self.client_id is None:
            return token
        return compare_client_id(token, self.client_id, self._assign)

    def find_remedy(self, status: int, text: str) -> str:  # noqa: ARG002 (one signature)
        """Return the remedy for a refusal whose cause is not known yet, or an empty string."""
        if status in (401, 403):
            return _OUTDATED
        return self._assign if status == 400 else ""

    @property
    def _assign(self) -> str:
        is_default = self.client_id is not None and self.identity.kind is None
        return f"{_ASSIGN}{_DEFAULT if is_default else ''}"


def make(setting: HostSetting) -> MachineLearning:
    """Create the host from its environment.

    Raises:
        ConfigurationError: the identity is named by another id than its client id, or a variable is
            missing or malformed.

    """
    refuse_id(MachineLearning.kind, setting.identity, _ONLY_CLIENT, accepted=("client_id",))
    client_id = setting.identity.value or setting.environment.get(_DEFAULT_VARIABLE) or None
    if client_id is not None:
        read_client_id(client_id, _DEFAULT_VARIABLE)
    return MachineLearning(
        url=check_endpoint(setting.environment.get("MSI_ENDPOINT", ""), "MSI_ENDPOINT"),
        secret=read_header(setting.environment, "MSI_SECRET"),
        client_id=client_id,
        identity=setting.identity,
        chosen_by=setting.chosen_by,
        surroundings=setting.surroundings,
    )
