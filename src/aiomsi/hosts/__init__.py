"""The places that give tokens, and which of them this process runs on."""

import os
import sys
from collections.abc import Callable, Mapping

from aiomsi._clouds import split_endpoint
from aiomsi._errors import ConfigurationError
from aiomsi.hosts._protocol import Host, Identity
from aiomsi.hosts.imds import DEFAULT_AUTHORITY, Imds

IMDS_VARIABLE = "AZURE_POD_IDENTITY_AUTHORITY_HOST"

SERVICE_FABRIC = "Service Fabric"
APP_SERVICE = "App Service"
AZURE_ARC = "Azure Arc"
MACHINE_LEARNING = "Azure Machine Learning"
CLOUD_SHELL = "Cloud Shell"
WORKLOAD_IDENTITY = "workload identity"
IMDS = "IMDS"


def detect(environment: Mapping[str, str], *, platform: str, exists: Callable[[str], bool]) -> str:
    """Tell which kind of host this is, from its environment and the one file that marks an Arc agent.

    An empty variable counts as unset. `platform` is as `sys.platform`, `exists` as `os.path.exists`.

    Source: https://learn.microsoft.com/entra/identity/managed-identities-azure-resources/overview-for-developers

    Raises:
        ConfigurationError: the variables fit no kind of host.

    """
    has = {name for name, value in environment.items() if value}
    if "IDENTITY_ENDPOINT" in has:
        if "IDENTITY_HEADER" in has:
            return SERVICE_FABRIC if "IDENTITY_SERVER_THUMBPRINT" in has else APP_SERVICE
        if "IMDS_ENDPOINT" in has:
            return AZURE_ARC
        msg = "IDENTITY_ENDPOINT is set, but neither IDENTITY_HEADER nor IMDS_ENDPOINT, so no kind of Azure host fits"
        raise ConfigurationError(msg, help="Set the variable that belongs to it, or unset IDENTITY_ENDPOINT")
    if "MSI_ENDPOINT" in has:
        return MACHINE_LEARNING if "MSI_SECRET" in has else CLOUD_SHELL
    if {"AZURE_AUTHORITY_HOST", "AZURE_TENANT_ID", "AZURE_FEDERATED_TOKEN_FILE"} <= has:
        return WORKLOAD_IDENTITY
    if IMDS_VARIABLE not in has and exists(_arc_agent(environment, platform)):
        return AZURE_ARC
    return IMDS


def _arc_agent(environment: Mapping[str, str], platform: str) -> str:
    if platform == "win32":
        return environment.get("ProgramFiles", r"C:\Program Files") + r"\AzureConnectedMachineAgent\himds.exe"
    return "/opt/azcmagent/bin/himds"


def host_from(
    environment: Mapping[str, str],
    identity: Identity,
    *,
    platform: str = sys.platform,
    exists: Callable[[str], bool] = os.path.exists,
) -> Host:
    """Make the host that this process runs on. Does no network I/O.

    Raises:
        ConfigurationError: the host is of a kind that is not served yet, or its endpoint is malformed.

    """
    kind = detect(environment, platform=platform, exists=exists)
    if kind != IMDS:
        msg = f"this looks like a host of the kind {kind}, which aiomsi does not serve yet"
        raise ConfigurationError(msg, help="On a VM unset the variables that say so (IDENTITY_*, MSI_*, AZURE_FEDERATED_*)")
    authority = (environment.get(IMDS_VARIABLE) or DEFAULT_AUTHORITY).rstrip("/")
    if authority != DEFAULT_AUTHORITY:
        _check_authority(authority)
    return Imds(authority, identity)


def _check_authority(authority: str) -> None:
    scheme, separator, rest = authority.partition("://")
    if not separator or scheme not in ("http", "https") or not rest:
        msg = f"{IMDS_VARIABLE} must look like 'http://host' and is {authority!r}"
        raise ConfigurationError(msg)
    # The metadata service is plain http on a link-local address, so only the form is checked, not the scheme.
    split_endpoint(f"https://{rest}", IMDS_VARIABLE)


__all__ = ["Host", "Identity", "detect", "host_from"]
