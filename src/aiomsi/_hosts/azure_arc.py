"""Azure Arc: the agent's token endpoint on a machine outside of Azure.

The agent responds to the first request with 401 and the path of a key file, which only members of a
group may read. The second request carries the content of that file.

Source: https://learn.microsoft.com/azure/azure-arc/servers/managed-identity-authentication
"""

import ntpath
import posixpath
import re
from collections.abc import Mapping
from typing import Any

import attrs

from aiomsi._hosts.base import (
    FileRequest,
    HostSetting,
    TokenError,
    TokenHttpResponse,
    TokenRequest,
    read_error,
    read_object,
)
from aiomsi._hosts.endpoint_host import EndpointHost, add_query, check_endpoint
from aiomsi._tokens.state import FetchRequest
from aiomsi._tokens.token import TokenResponse
from aiomsi._util.foreign import strip_secrets
from aiomsi._util.secret import Secret, SecretBytes, read_secret

DEFAULT_ENDPOINT = "http://localhost:40342/metadata/identity/oauth2/token"
MOST_KEY_BYTES = 4_096

_API_VERSION = "2020-06-01"
_PARAMETERS = {"client_id": "client_id", "object_id": "object_id", "resource_id": "msi_res_id"}
_ECHOES = {
    "client_id": ("client_id",),
    "object_id": ("object_id",),
    "resource_id": ("msi_res_id", "mi_res_id"),
}
_CHALLENGE = re.compile(r"basic realm=(?:\"([^\"]+)\"|([^\",;]+))", re.IGNORECASE)
_PURPOSE = "the key of the Azure Arc agent"
_MAX_SHOWN = 200

_AGENT = (
    "Check the agent with 'azcmagent show' and 'systemctl status himdsd', on Windows "
    "'Get-Service himds'"
)
_NOT_AGENT = (
    f"The server at IDENTITY_ENDPOINT is not the agent of Azure Arc. {_AGENT}, "
    "and correct IDENTITY_ENDPOINT"
)
_MEMBER = (
    "Let this process's user read the agent's keys: on Linux 'usermod -aG himds USER', on Windows "
    "the group 'Hybrid agent extension applications'; then start the process again"
)
_OTHER_IDENTITY = (
    "The agent may not support user-assigned identities, and then responds with the "
    "system-assigned one: update the agent, or leave the id out"
)


def make(setting: HostSetting) -> "AzureArc":
    """Create the host from the environment of an Arc machine, or for an agent without variables.

    Raises:
        ConfigurationError: the endpoint is malformed, or the directory of the keys is not known.

    """
    url = setting.environment.get("IDENTITY_ENDPOINT") or DEFAULT_ENDPOINT
    return AzureArc(
        url=check_endpoint(url, "IDENTITY_ENDPOINT"),
        identity=setting.identity,
        directory=get_key_directory(setting.environment, setting.platform),
        windows=setting.platform == "win32",
        chosen_by=setting.chosen_by,
        surroundings=setting.surroundings,
    )


def get_key_directory(environment: Mapping[str, str], platform: str) -> str:
    """Return the directory in which the agent writes its keys."""
    if platform != "win32":
        return "/var/opt/azcmagent/tokens"
    data = environment.get("ProgramData") or environment.get("PROGRAMDATA") or r"C:\ProgramData"
    return ntpath.join(data, "AzureConnectedMachineAgent", "Tokens")


@attrs.frozen(eq=False, repr=False, kw_only=True)
class AzureArc(EndpointHost):
    """The agent of Azure Arc.

    Attributes:
        directory: the directory of the agent's keys.
        windows: whether paths are those of Windows.

    """

    kind = "Azure Arc"
    variable = "IDENTITY_ENDPOINT"
    program = "the agent"

    directory: str
    windows: bool = False

    @property
    def unreachable_help(self) -> str:
        """The remedy if no connection to the agent succeeds."""
        return f"{_AGENT}{self.surroundings}"

    def build_request(
        self,
        resource: str,
        fetch_request: FetchRequest,  # noqa: ARG002 (one signature)
        content: SecretBytes | None = None,
    ) -> TokenRequest | TokenError:
        """Return the first request, or, with the content of the key file, the second one."""
        parameters = {"api-version": _API_VERSION, "resource": resource}
        if self.identity.kind is not None:
            parameters[_PARAMETERS[self.identity.kind]] = self.identity.value
        headers = {"Metadata": "true"}
        if content is not None:
            key = read_secret(Secret(content.decode("utf-8-sig", "replace")))
            if not isinstance(key, Secret):
                return TokenError(f"{_PURPOSE} {key}", help=_AGENT)
            headers["Authorization"] = Secret(f"Basic {key}")
        return TokenRequest("GET", add_query(self.url, parameters), headers)

    def parse(self, response: TokenHttpResponse) -> TokenResponse | TokenError | FileRequest:
        """Return the token or the error of a response; for a 401, the key file to read."""
        if response.status == 401:
            return self._read_challenge(response)
        result = super().parse(response)
        if self.identity.kind is None or not isinstance(result, TokenResponse):
            return result
        return self._check_echo(result, self.identity.kind, read_object(response.body) or {})

    def find_remedy(self, status: int, text: str) -> str:  # noqa: ARG002 (one signature)
        """Return the remedy for a refused request, or an empty string."""
        return _AGENT if status == 403 else ""

    def make_impostor_error(self, other: str) -> TokenError:
        """Return the error for a response of another server, which `other` describes."""
        return TokenError(
            f"a server other than the agent of Azure Arc responded: {other}",
            help=f"{_NOT_AGENT}{self.surroundings}",
        )

    def _read_challenge(self, response: TokenHttpResponse) -> TokenError | FileRequest:
        header = response.headers.get("WWW-Authenticate")
        if header is None:
            code, text = read_error(read_object(response.body), response.body)
            message = f"a 401 without WWW-Authenticate names no key file, and says: {text}"
            return TokenError(message, code, help=_NOT_AGENT)
        found = _CHALLENGE.fullmatch(header)
        path = "" if found is None else (found[1] or found[2]).strip()
        if not path or not path.isprintable():
            shown = strip_secrets(header)[:_MAX_SHOWN]
            return TokenError(
                f"the 401 names no key file: WWW-Authenticate is {shown!r}, not "
                "'Basic realm=<path>'",
                help=_NOT_AGENT,
            )
        if (defect := self._find_defect(path)) is not None:
            shown = strip_secrets(path)[:_MAX_SHOWN]
            return TokenError(f"the key file {shown!r} {defect}, and is not read", help=_NOT_AGENT)
        return FileRequest(path, self.directory, ".key", MOST_KEY_BYTES, _PURPOSE, _MEMBER)

    def _find_defect(self, path: str) -> str | None:
        """Return the defect of a path as the agent wrote it; links are resolved later."""
        if self.windows:
            where, found = (ntpath.normcase(ntpath.normpath(one)) for one in (self.directory, path))
            inside = found.startswith(f"{where}\\")
            if inside and ":" in found[len(where) :]:
                # On NTFS a file of any name has streams, whose names end the path.
                return "names a stream of a file"
        else:
            where, found = self.directory, posixpath.normpath(path)
            inside = found.startswith(f"{where}/")
        if not inside:
            return f"does not lie in {self.directory}"
        return None if found.endswith(".key") else "does not end in .key"

    def _check_echo(
        self, result: TokenResponse, kind: str, document: Mapping[str, Any]
    ) -> TokenResponse | TokenError:
        """Return the token only if the response names the identity that was requested."""
        wanted = self.identity.value
        echoed = [document[name] for name in _ECHOES[kind] if document.get(name)]
        if not echoed:
            return TokenError(
                f"the response does not confirm that the token is for {kind} {wanted}",
                help=_OTHER_IDENTITY,
            )
        if str(echoed[0]).lower() != wanted.lower():
            other = strip_secrets(str(echoed[0]))[:_MAX_SHOWN]
            return TokenError(
                f"the token is for {kind} {other}, not for {wanted}", help=_OTHER_IDENTITY
            )
        return result
