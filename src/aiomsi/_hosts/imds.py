"""The instance metadata service (IMDS) of a VM or scale set.

Source:
https://learn.microsoft.com/entra/identity/managed-identities-azure-resources/how-to-use-vm-token
"""

from urllib.parse import quote

from aiomsi._clouds import mask_url, split_endpoint
from aiomsi._errors import ConfigurationError
from aiomsi._hosts.base import (
    HostSetting,
    TokenError,
    TokenHttpResponse,
    TokenRequest,
    compare_client_id,
    find_resource_remedy,
    is_absent,
    read_error,
    read_object,
    read_token_response,
)
from aiomsi._hosts.identity import SYSTEM_ASSIGNED, RequestedIdentity
from aiomsi._tokens.host_limits import RequestLimits
from aiomsi._tokens.state import FetchRequest
from aiomsi._tokens.token import TokenResponse
from aiomsi._util.secret import SecretBytes

IMDS_VARIABLE = "AZURE_POD_IDENTITY_AUTHORITY_HOST"
DEFAULT_AUTHORITY = "http://169.254.169.254"
_PATH = "/metadata/identity/oauth2/token"
_API_VERSION = "2018-02-01"
_PARAMETERS = {"client_id": "client_id", "object_id": "object_id", "resource_id": "msi_res_id"}
TRANSIENT = frozenset({404, 408, 410, 429})

_ASSIGN = (
    "Assign the identity to this VM (Azure portal: the VM's Identity page; "
    "or 'az vm identity assign'), then wait a minute; for a user-assigned identity check the id"
)
_NAME_ONE = (
    "Several user-assigned identities are assigned to this VM: name one of them with "
    "client_id=, object_id= or resource_id= ('az vm identity show' lists them; the command line "
    "has --client-id)"
)
_NOT_AZURE = "This does not look like an Azure VM, or a firewall blocks 169.254.169.254"
_OTHER_PLACE = (
    "This machine is not an Azure VM, or a proxy, portal or firewall responds in place of its "
    "metadata service: 169.254.169.254 must be reached directly"
)
_WRONG_AUTHORITY = (
    "AZURE_POD_IDENTITY_AUTHORITY_HOST names {} as IMDS, and that does not look like "
    "an Azure VM's: correct the variable, or unset it"
)
_EMULATOR = "To try things out elsewhere run 'aiomsi emulator' and set the variables that it prints"


class Imds:
    """IMDS at an authority such as ``http://169.254.169.254``, with requests for one identity.

    Attributes:
        authority: scheme and host of the service.
        identity: the identity whose tokens are requested.
        surroundings: sentences about the environment that may explain a failure.
        chosen_by: the variable, the file or the argument that chose IMDS.

    """

    # Each import creates this class on a VM, so it is plain.
    __slots__ = ("authority", "chosen_by", "identity", "surroundings")

    kind = "IMDS"
    # IMDS allows a VM 5 requests at once. One is reserved, because IMDS may still serve a request
    # that its client has cancelled.
    limits = RequestLimits(per_second=20, at_once=4)

    def __init__(
        self,
        authority: str = DEFAULT_AUTHORITY,
        identity: RequestedIdentity = SYSTEM_ASSIGNED,
        *,
        surroundings: str = "",
        chosen_by: str = "",
    ) -> None:
        self.authority, self.identity = authority, identity
        self.surroundings, self.chosen_by = surroundings, chosen_by

    @property
    def unreachable_help(self) -> str:
        """The remedy if no connection to IMDS succeeds."""
        where = (
            _NOT_AZURE
            if self.authority == DEFAULT_AUTHORITY
            else _WRONG_AUTHORITY.format(self.authority)
        )
        return f"{where}. {_EMULATOR}{self.surroundings}"

    @property
    def endpoint(self) -> str:
        """The URL of the token endpoint."""
        return f"{self.authority}{_PATH}"

    @property
    def throttle_key(self) -> tuple[str, str]:
        """A key that is equal for all hosts with the same rate limits, whatever their identity."""
        return self.kind, self.authority.lower()

    @property
    def cache_key(self) -> tuple[object, ...]:
        """A key that is equal for two hosts that issue the same tokens."""
        return *self.throttle_key, self.identity.key

    def build_request(
        self,
        resource: str,
        fetch_request: FetchRequest,  # noqa: ARG002 (one signature)
        content: SecretBytes | None = None,  # noqa: ARG002 (one signature)
    ) -> TokenRequest:
        """Return the request, without a challenge's claims: IMDS has no parameter for them."""
        query = f"api-version={_API_VERSION}&resource={quote(resource, safe='')}"
        url = f"{self.authority}{_PATH}?{query}"
        if self.identity.kind is not None:
            url += f"&{_PARAMETERS[self.identity.kind]}={quote(self.identity.value, safe='')}"
        return TokenRequest("GET", url, {"Metadata": "true"})

    def parse(self, response: TokenHttpResponse) -> TokenResponse | TokenError:
        """Return the token or the error of a response: 404, 408, 410, 429 and 5xx are temporary."""
        document = read_object(response.body)
        if response.status == 200 and document is not None and "access_token" in document:
            result = read_token_response(document, response)
            # An endpoint that ignores the parameter responds with the system-assigned identity's
            # token.
            if self.identity.kind == "client_id":
                return compare_client_id(result, self.identity.value, _ASSIGN)
            return result
        # Late: a good response does not need it.
        from aiomsi._hosts.not_imds import describe_impostor

        if (other := describe_impostor(response, document)) is not None:
            return self.make_impostor_error(other)
        if response.status == 200:
            return read_token_response(document, response)
        code, text = read_error(document, response.body)
        if response.status in TRANSIENT or response.status >= 500:
            return TokenError(text, code, transient=True)
        return TokenError(
            text, code, help=self._help(code, text), no_identity=is_absent(code, text)
        )

    def make_impostor_error(self, other: str) -> TokenError:
        """Return the error for a response of another server, which `other` describes."""
        where = (
            _OTHER_PLACE
            if self.authority == DEFAULT_AUTHORITY
            else _WRONG_AUTHORITY.format(self.authority)
        )
        return TokenError(
            f"a server other than Azure's IMDS responded: {other}",
            help=f"{where}{self.surroundings}",
            no_identity=True,
        )

    def _help(self, code: str | None, text: str) -> str:
        if is_absent(code, text):
            return _ASSIGN
        if "multiple user assigned identities" in text.lower():
            return _NAME_ONE
        return find_resource_remedy(code, text)


def make(setting: HostSetting) -> Imds:
    """Create the host from its environment.

    Raises:
        ConfigurationError: the variable with another authority is malformed.

    """
    authority = (setting.environment.get(IMDS_VARIABLE) or DEFAULT_AUTHORITY).rstrip("/")
    if authority != DEFAULT_AUTHORITY:
        _check_authority(authority)
    return Imds(
        authority, setting.identity, surroundings=setting.surroundings, chosen_by=setting.chosen_by
    )


def _check_authority(authority: str) -> None:
    """Check the form of an authority.

    Raises:
        ConfigurationError: it is malformed.

    """
    scheme, _, rest = authority.partition("://")
    is_well_formed = scheme.lower() in ("http", "https")
    try:
        # `split_endpoint` checks the form. It accepts https only, and IMDS is plain http.
        split_endpoint(f"https://{rest}", IMDS_VARIABLE)
    except ConfigurationError:
        is_well_formed = False
    if not is_well_formed:
        msg = (
            f"{IMDS_VARIABLE} must be 'http://host' or 'http://host:port', without a path, "
            f"and is {mask_url(authority)!r}"
        )
        raise ConfigurationError(
            msg, help=f"On an Azure VM unset it, which means '{DEFAULT_AUTHORITY}'"
        )
