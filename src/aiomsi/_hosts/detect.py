"""Detection of the host that this process runs on, from its environment."""

import os
import sys
from collections.abc import Callable, Mapping

from aiomsi._clouds import masked_url, split_endpoint
from aiomsi._errors import ConfigurationError
from aiomsi._hosts.base import Host
from aiomsi._hosts.identity import Identity
from aiomsi._hosts.imds import DEFAULT_AUTHORITY, Imds

IMDS_VARIABLE = "AZURE_POD_IDENTITY_AUTHORITY_HOST"

SERVICE_FABRIC = "Service Fabric"
APP_SERVICE = "App Service"
AZURE_ARC = "Azure Arc"
MACHINE_LEARNING = "Azure Machine Learning"
CLOUD_SHELL = "Cloud Shell"
WORKLOAD_IDENTITY = "workload identity"
IMDS = "IMDS"

_WHY = {
    SERVICE_FABRIC: "IDENTITY_ENDPOINT, IDENTITY_HEADER and IDENTITY_SERVER_THUMBPRINT are set",
    APP_SERVICE: "IDENTITY_ENDPOINT and IDENTITY_HEADER are set",
    AZURE_ARC: "IDENTITY_ENDPOINT and IMDS_ENDPOINT are set",
    MACHINE_LEARNING: "MSI_ENDPOINT and MSI_SECRET are set",
    CLOUD_SHELL: "MSI_ENDPOINT is set",
    WORKLOAD_IDENTITY: (
        "AZURE_AUTHORITY_HOST, AZURE_TENANT_ID and AZURE_FEDERATED_TOKEN_FILE are set"
    ),
}
_UNSET = "On a VM unset the variables that say so (IDENTITY_*, MSI_*, AZURE_FEDERATED_*)"
_ARC_LEFT_OVER = (
    "On an Azure VM, where the Arc agent may have been left behind, "
    f"set {IMDS_VARIABLE}={DEFAULT_AUTHORITY}, or uninstall the agent"
)
_TOGETHER = (
    ("IDENTITY_HEADER", "IDENTITY_ENDPOINT"),
    ("IMDS_ENDPOINT", "IDENTITY_ENDPOINT"),
    ("MSI_SECRET", "MSI_ENDPOINT"),
    ("AZURE_FEDERATED_TOKEN_FILE", "AZURE_TENANT_ID"),
    ("AZURE_FEDERATED_TOKEN_FILE", "AZURE_AUTHORITY_HOST"),
)
"""Variables that name another host, each with the second variable that this requires."""
_PROXIES = ("ALL_PROXY", "HTTP_PROXY", "all_proxy", "http_proxy")


def detect(environment: Mapping[str, str], *, platform: str, exists: Callable[[str], bool]) -> str:
    """Return the kind of host, from its environment and the file that marks an Arc agent.

    An empty variable counts as unset.

    Args:
        environment: such as `os.environ`.
        platform: such as `sys.platform`.
        exists: such as `os.path.exists`.

    Source:
    https://learn.microsoft.com/entra/identity/managed-identities-azure-resources/overview-for-developers

    Raises:
        ConfigurationError: the variables match no kind of host.

    """
    has = {name for name, value in environment.items() if value}
    if "IDENTITY_ENDPOINT" in has:
        if "IDENTITY_HEADER" in has:
            return SERVICE_FABRIC if "IDENTITY_SERVER_THUMBPRINT" in has else APP_SERVICE
        if "IMDS_ENDPOINT" in has:
            return AZURE_ARC
        msg = (
            "IDENTITY_ENDPOINT is set, but neither IDENTITY_HEADER nor IMDS_ENDPOINT, "
            "so no kind of Azure host fits"
        )
        raise ConfigurationError(
            msg, help="Set the variable that belongs to it, or unset IDENTITY_ENDPOINT"
        )
    if "MSI_ENDPOINT" in has:
        return MACHINE_LEARNING if "MSI_SECRET" in has else CLOUD_SHELL
    if {"AZURE_AUTHORITY_HOST", "AZURE_TENANT_ID", "AZURE_FEDERATED_TOKEN_FILE"} <= has:
        return WORKLOAD_IDENTITY
    if IMDS_VARIABLE not in has and exists(_arc_agent(environment, platform)):
        return AZURE_ARC
    return IMDS


def _arc_agent(environment: Mapping[str, str], platform: str) -> str:
    if platform == "win32":
        return (
            environment.get("ProgramFiles", r"C:\Program Files")
            + r"\AzureConnectedMachineAgent\himds.exe"
        )
    return "/opt/azcmagent/bin/himds"


def make_host(
    environment: Mapping[str, str],
    identity: Identity,
    *,
    platform: str = sys.platform,
    exists: Callable[[str], bool] = os.path.exists,
) -> Host:
    """Return the host that this process runs on, without network I/O.

    Raises:
        ConfigurationError: the host is of a kind that is not served yet, or its endpoint is
            malformed.

    """
    kind = detect(environment, platform=platform, exists=exists)
    if kind != IMDS:
        why, hint = _WHY[kind], _UNSET
        if kind == AZURE_ARC and not environment.get("IDENTITY_ENDPOINT"):
            why, hint = f"the file {_arc_agent(environment, platform)} exists", _ARC_LEFT_OVER
        msg = f"this looks like a host of the kind {kind}, which aiomsi does not serve yet: {why}"
        raise ConfigurationError(msg, help=hint)
    authority = (environment.get(IMDS_VARIABLE) or DEFAULT_AUTHORITY).rstrip("/")
    if authority != DEFAULT_AUTHORITY:
        _check_authority(authority)
    return Imds(authority, identity, surroundings=_surroundings(environment))


def _surroundings(environment: Mapping[str, str]) -> str:
    """Return sentences about variables that may explain why IMDS does not respond."""
    has = {name for name, value in environment.items() if value}
    sentences = [
        f". {name} is set without {other}, so it has no effect"
        for name, other in _TOGETHER
        if name in has and other not in has
    ]
    if proxies := sorted(has.intersection(_PROXIES)):
        sentences.append(
            f". {proxies[0]} is set, but a token endpoint is never reached through a proxy"
        )
    return "".join(sentences)


def _check_authority(authority: str) -> None:
    scheme, _, rest = authority.partition("://")
    try:
        if scheme.lower() not in ("http", "https"):
            raise ConfigurationError(scheme)
        # The metadata service is plain http on a link-local address, so the form is checked, not
        # the scheme.
        split_endpoint(f"https://{rest}", IMDS_VARIABLE)
    except ConfigurationError:
        msg = (
            f"{IMDS_VARIABLE} must be 'http://host' or 'http://host:port', without a path, "
            f"and is {masked_url(authority)!r}"
        )
        raise ConfigurationError(
            msg, help=f"On an Azure VM unset it, which means '{DEFAULT_AUTHORITY}'"
        ) from None
