"""App Service, Functions, Container Apps and Automation: the protocol of 2019-08-01.

Source: https://learn.microsoft.com/azure/app-service/overview-managed-identity#rest-endpoint-reference
"""

import attrs

from aiomsi._hosts.base import (
    HostSetting,
    TokenError,
    TokenRequest,
    compare_client_id,
)
from aiomsi._hosts.endpoint_host import EndpointHost, add_query, check_endpoint, read_header
from aiomsi._tokens.state import FetchRequest
from aiomsi._tokens.token import TokenResponse
from aiomsi._util.secret import Secret, SecretBytes

_API_VERSION = "2019-08-01"
_PARAMETERS = {"client_id": "client_id", "object_id": "principal_id", "resource_id": "mi_res_id"}

_ASSIGN = (
    "If the identity is not assigned to this app, assign it (Azure portal: the Identity page of "
    "the app or Automation account; or 'az webapp|functionapp|containerapp identity assign'), "
    "and restart the app"
)
_NAME_ONE = (
    "; if only user-assigned identities are assigned to it, name one with client_id=, "
    "object_id= or resource_id="
)
_HEADER = (
    "The endpoint expects another IDENTITY_HEADER: the value is new at each start of the app, so "
    "restart this process with the variables of the running app"
)


@attrs.frozen(eq=False, repr=False, kw_only=True)
class AppService(EndpointHost):
    """The token endpoint of an app.

    Attributes:
        header: the secret that the endpoint requires.

    """

    kind, variable, program = "App Service", "IDENTITY_ENDPOINT", "the app"

    header: Secret

    def build_request(
        self,
        resource: str,
        fetch_request: FetchRequest,  # noqa: ARG002 (one signature)
        content: SecretBytes | None = None,  # noqa: ARG002 (one signature)
    ) -> TokenRequest:
        """Return the request, without a challenge's claims: this version has no parameter."""
        fields = {"api-version": _API_VERSION, "resource": resource}
        if self.identity.kind is not None:
            fields[_PARAMETERS[self.identity.kind]] = self.identity.value
        # Only Automation requires `Metadata`.
        headers = {"X-IDENTITY-HEADER": self.header, "Metadata": "true"}
        return TokenRequest("GET", add_query(self.url, fields), headers)

    def check_token(self, token: TokenResponse | TokenError) -> TokenResponse | TokenError:
        """Return the result, or an error if the response names another client id."""
        if self.identity.kind != "client_id":
            return token
        return compare_client_id(token, self.identity.value, _ASSIGN)

    def find_remedy(self, status: int, text: str) -> str:  # noqa: ARG002 (one signature)
        """Return the remedy for a refusal whose cause is not known yet, or an empty string."""
        if status in (401, 403):
            return _HEADER
        if status != 400:
            return ""
        named = f"; else correct {self.identity.kind}=" if self.identity.kind else _NAME_ONE
        return f"{_ASSIGN}{named}"


def make(setting: HostSetting) -> AppService:
    """Create the host from its environment.

    Raises:
        ConfigurationError: a variable is missing or malformed.

    """
    return AppService(
        url=check_endpoint(setting.environment.get("IDENTITY_ENDPOINT", ""), "IDENTITY_ENDPOINT"),
        header=read_header(setting.environment, "IDENTITY_HEADER"),
        identity=setting.identity,
        chosen_by=setting.chosen_by,
        surroundings=setting.surroundings,
    )
