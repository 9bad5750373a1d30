"""Azure's clouds: the endpoint of ARM, its audience, and the hosts that may receive a token."""

from __future__ import annotations

from collections.abc import Coroutine, Mapping
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any
from urllib.parse import SplitResult, urlsplit

import attrs

from aiomsi._errors import ConfigurationError
from aiomsi._util.argument_checks import check_type
from aiomsi._util.lazy import late_import

if TYPE_CHECKING:
    from ssl import SSLContext

RESOURCE_MANAGER_VARIABLE = "AIOMSI_RESOURCE_MANAGER"
"""The environment variable of another ARM endpoint, on loopback only, for tests and commands."""

# Printable ASCII. A set, because a regular expression would be compiled at import.
_IN_ENDPOINT = frozenset(map(chr, range(0x21, 0x7F))) - frozenset("?#\\")


def is_loopback(host: str) -> bool:
    """Return whether the host, a name or an address, is this machine's loopback."""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def is_host(host: str) -> bool:
    """Return whether a host is one that name services and clients accept.

    The encoding of other names fails inside of the client, at each request.
    """
    if host.replace(".", "").isdecimal():
        try:
            ip_address(host)
        except ValueError:
            return False
    return all(0 < len(label) < 64 for label in host.removesuffix(".").split("."))


def mask_url(url: str) -> str:
    """Return a URL for a message, without user, password and query."""
    scheme, separator, rest = url.partition("://")
    if not separator:
        scheme, rest = "", url
    _, at, host = rest.rpartition("@")
    host, query, _ = host.partition("?")
    return f"{scheme}{separator}{'***@' if at else ''}{host}{'?***' if query else ''}"


def _split(url: str) -> SplitResult | None:
    """Split a URL; return None if it has no host, or an impossible host or port."""
    try:
        parts = urlsplit(url)
        return parts if is_host(parts.hostname or "") and parts.port != 0 else None
    except ValueError:
        return None


def split_endpoint(url: str, what: str) -> SplitResult:
    """Split the URL of an endpoint.

    Raises:
        ConfigurationError: the URL is not `https://host[:port]`; plain http is accepted for
            loopback.

    """
    parts = _split(url)
    if (
        parts is None
        or parts.username is not None
        or parts.path.strip("/")
        or not _IN_ENDPOINT.issuperset(url)
    ):
        msg = f"{what} must look like 'https://host' and is {mask_url(url)!r}"
        raise ConfigurationError(msg)
    if parts.scheme == "https" or (parts.scheme == "http" and is_loopback(parts.hostname or "")):
        return parts
    msg = f"{what} must be https (plain http is for loopback only) and is {mask_url(url)!r}"
    raise ConfigurationError(msg)


def _strip_slash(url: str) -> str:
    check_type("resource_manager", url, str)
    return url.rstrip("/")


@attrs.frozen
class Cloud:
    """An Azure cloud, as a client of Azure Resource Manager needs it.

    Attributes:
        name: Azure's name of the cloud, for example ``"AzureCloud"``.
        resource_manager: ARM's endpoint, ``https://host`` (or ``http://`` on loopback).
        audience: the resource of tokens for this ARM, with its trailing slash.

    Source:
    https://learn.microsoft.com/azure/azure-government/compare-azure-government-global-azure,
    https://docs.azure.cn/articles/guidance/developerdifferences

    Raises:
        ConfigurationError: the endpoint is not https and not on loopback, or it has a path; or the
            audience is empty; or one of the three is no string.

    """

    name: str
    resource_manager: str = attrs.field(converter=_strip_slash)
    audience: str
    _endpoint: SplitResult = attrs.field(init=False, repr=False, eq=False)

    @_endpoint.default
    def _validated(self) -> SplitResult:
        check_type("name", self.name, str)
        check_type("audience", self.audience, str)
        if not self.audience:
            msg = "A cloud's audience is empty"
            raise ConfigurationError(msg)
        return split_endpoint(self.resource_manager, "A cloud's resource_manager")

    @classmethod
    def discover(cls, url: str, *, ssl: SSLContext | None = None) -> Coroutine[Any, Any, Cloud]:
        """Return the cloud of an ARM, for example of Azure Stack Hub, from its metadata endpoint.

        It sends one request, over https and without a token. Await it: ``cloud = await
        Cloud.discover("https://management.local.azurestack.external")``. Later processes can create
        that `Cloud` from its three values.

        Args:
            url: ARM's endpoint; the endpoint of a region returns the whole cloud.
            ssl: the TLS context of the request; `ArmSession` takes one too.

        Raises:
            ConfigurationError: the URL is not https and not on loopback, or it has a path.
            ForeignHostError: the response names another host as ARM, or the audience of another
                cloud or of one of Microsoft's own services: a token would reach a host that it is
                not meant for.
            ArmConnectionError: ARM did not respond.
            ArmError: the response is an error, or no description of a cloud.

        """
        # Imported late, because values do no I/O.
        with late_import:
            from aiomsi._arm.discovery import discover

        return discover(url, ssl)

    def is_resource_manager(self, url: str) -> bool:
        """Return whether a token for this cloud may be sent to the URL.

        It may go to ARM's host and its regional hosts (``<region>.management.azure.com``), over the
        same scheme and port. An ARM on loopback has no regional hosts: a name such as
        ``westus.localhost`` may resolve to any address.
        """
        parts, own = _split(url), self._endpoint
        if (
            parts is None
            or parts.username is not None
            or parts.scheme != own.scheme
            or _get_port(parts) != _get_port(own)
        ):
            return False
        if parts.hostname == own.hostname:
            return True
        region, _, rest = (parts.hostname or "").partition(".")
        return (
            rest == own.hostname and region.isascii() and region.isalnum() and not is_loopback(rest)
        )


def _get_port(parts: SplitResult) -> int:
    return parts.port or (443 if parts.scheme == "https" else 80)


PUBLIC = Cloud("AzureCloud", "https://management.azure.com", "https://management.azure.com/")
US_GOVERNMENT = Cloud(
    "AzureUSGovernment",
    "https://management.usgovcloudapi.net",
    "https://management.usgovcloudapi.net/",
)
CHINA = Cloud(
    "AzureChinaCloud", "https://management.chinacloudapi.cn", "https://management.chinacloudapi.cn/"
)

# Entra matches a v1 resource to the letter, and these are registered with the slash.
_ARM_AUDIENCES = {
    audience.rstrip("/"): audience
    for audience in (
        PUBLIC.audience,
        US_GOVERNMENT.audience,
        CHINA.audience,
        "https://management.core.windows.net/",
        "https://management.core.usgovcloudapi.net/",
        "https://management.core.chinacloudapi.cn/",
    )
}

_EXAMPLE = "https://management.azure.com/.default"


def parse_resource(scope: object) -> str:
    """Return the resource of a scope, as it is sent to the token endpoint.

    A literal trailing ``/.default`` is removed. ARM's audiences in the known clouds are sent with
    their slash, with or without one in the scope; every other resource stays byte for byte.

    Raises:
        ConfigurationError: the scope is not a string, or names no resource.

    """
    if not isinstance(scope, str):
        msg = f"a scope is a string such as {_EXAMPLE!r}, not {type(scope).__name__}"
        raise ConfigurationError(msg)
    resource = scope.removesuffix("/.default")
    if not resource.strip():
        msg = f"the scope {scope!r} names no resource; for ARM it is {_EXAMPLE!r}"
        raise ConfigurationError(msg)
    if " " in scope or not scope.isprintable():
        # A line of a file may end with a newline, for example.
        msg = f"a scope has no white space, and this one does: {scope!r}"
        raise ConfigurationError(msg)
    return _ARM_AUDIENCES.get(resource.removesuffix("/"), resource)


def normalize_audience(scope: str) -> str:
    """Return one spelling for all scopes of the same ARM audience, and any other scope unchanged.

    Entra treats ARM's audiences alike with and without the slash. Other services may compare the
    token's audience literally.
    """
    audience = _ARM_AUDIENCES.get(scope.removesuffix("/.default").removesuffix("/"))
    return scope if audience is None else f"{audience}/.default"


def choose_cloud(cloud: Cloud, environment: Mapping[str, str]) -> Cloud:
    """Return the cloud with the endpoint that the environment names, if it names one.

    Raises:
        ConfigurationError: the host of the variable is not on loopback.

    """
    url = environment.get(RESOURCE_MANAGER_VARIABLE)
    if not url:
        return cloud
    if not is_loopback(split_endpoint(url, RESOURCE_MANAGER_VARIABLE).hostname or ""):
        msg = f"{RESOURCE_MANAGER_VARIABLE} is for an embedded ARM on loopback and is {url!r}"
        raise ConfigurationError(msg, help="For another real cloud pass cloud=aiomsi.Cloud(...)")
    return attrs.evolve(cloud, resource_manager=url)
