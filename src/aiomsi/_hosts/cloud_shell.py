"""Cloud Shell, whose endpoint returns tokens of the signed-in user.

Source: https://learn.microsoft.com/azure/cloud-shell/msi-authorization
"""

import attrs

from aiomsi._hosts.base import HostSetting, TokenRequest
from aiomsi._hosts.endpoint_host import EndpointHost, check_endpoint, make_form_request, refuse_id
from aiomsi._tokens.state import FetchRequest
from aiomsi._util.secret import SecretBytes

_ONLY_USER = "Leave the id out: Cloud Shell has tokens of its signed-in user only"
_AUDIENCE = (
    "Cloud Shell's endpoint serves a fixed list of audiences, ARM's among them; use another "
    "credential, for example that of 'az login', for other ones"
)
_RESTART = "Restart Cloud Shell, because its sign-in may have expired"


@attrs.frozen(eq=False, repr=False, kw_only=True)
class CloudShell(EndpointHost):
    """The token endpoint of a Cloud Shell session."""

    kind, variable, program = "Cloud Shell", "MSI_ENDPOINT", "Cloud Shell"

    def build_request(
        self,
        resource: str,
        fetch_request: FetchRequest,  # noqa: ARG002 (one signature)
        content: SecretBytes | None = None,  # noqa: ARG002 (one signature)
    ) -> TokenRequest:
        """Return the request, without a challenge's claims, which have no parameter."""
        return make_form_request(self.url, {"resource": resource}, {"Metadata": "true"})

    def find_remedy(self, status: int, text: str) -> str:  # noqa: ARG002 (one signature)
        """Return the remedy for a refusal whose cause is not known yet."""
        return _AUDIENCE if "audience" in text.lower() else _RESTART


def make(setting: HostSetting) -> CloudShell:
    """Create the host from its environment.

    Raises:
        ConfigurationError: the identity is named by an id, or `MSI_ENDPOINT` is missing or
            malformed.

    """
    refuse_id(CloudShell.kind, setting.identity, _ONLY_USER)
    return CloudShell(
        url=check_endpoint(setting.environment.get("MSI_ENDPOINT", ""), "MSI_ENDPOINT"),
        identity=setting.identity,
        chosen_by=setting.chosen_by,
        surroundings=setting.surroundings,
    )
