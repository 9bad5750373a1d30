"""Detection of the host that this process runs on, from its environment."""

import os
import sys
from collections.abc import Callable, Mapping
from collections.abc import Set as AbstractSet
from importlib import import_module

from aiomsi._errors import ConfigurationError
from aiomsi._hosts.base import Host, HostSetting, describe_choice
from aiomsi._hosts.identity import RequestedIdentity
from aiomsi._util.lazy import late_import

_AUTHORITY = "AZURE_POD_IDENTITY_AUTHORITY_HOST"


class HostKind:
    """A kind of host.

    Attributes:
        title: the name in messages.
        module: the module in this folder with its protocol, which is imported at its first use.
        why: the variables that select it.

    """

    # Each import creates these classes, so they are plain.
    __slots__ = ("module", "title", "why")

    def __init__(self, title: str, module: str, why: str) -> None:
        self.title, self.module, self.why = title, module, why


HOSTS = {
    "service-fabric": HostKind(
        "Service Fabric",
        "service_fabric",
        "IDENTITY_ENDPOINT, IDENTITY_HEADER and IDENTITY_SERVER_THUMBPRINT are set",
    ),
    "app-service": HostKind(
        "App Service", "app_service", "IDENTITY_ENDPOINT and IDENTITY_HEADER are set"
    ),
    "azure-arc": HostKind("Azure Arc", "azure_arc", "IDENTITY_ENDPOINT and IMDS_ENDPOINT are set"),
    "azure-ml": HostKind(
        "Azure Machine Learning", "machine_learning", "MSI_ENDPOINT and MSI_SECRET are set"
    ),
    "cloud-shell": HostKind(
        "Cloud Shell", "cloud_shell", "MSI_ENDPOINT is set, and MSI_SECRET is not"
    ),
    "workload-identity": HostKind(
        "workload identity",
        "workload_identity",
        "AZURE_AUTHORITY_HOST, AZURE_TENANT_ID and AZURE_FEDERATED_TOKEN_FILE are set",
    ),
    "imds": HostKind("IMDS", "imds", "no variable and no file names another host"),
}
"""The kinds of host by their names in `host=`, in the order of detection."""

_ARC_LEFT_OVER = (
    ". On an Azure VM, where the Arc agent may have been left behind, pass host='imds', "
    f"set {_AUTHORITY}=http://169.254.169.254, or uninstall the agent"
)
_REQUIRED = {
    "IDENTITY_HEADER": ("IDENTITY_ENDPOINT",),
    "IDENTITY_SERVER_THUMBPRINT": ("IDENTITY_ENDPOINT", "IDENTITY_HEADER"),
    "IMDS_ENDPOINT": ("IDENTITY_ENDPOINT",),
    "MSI_SECRET": ("MSI_ENDPOINT",),
    "DEFAULT_IDENTITY_CLIENT_ID": ("MSI_ENDPOINT", "MSI_SECRET"),
    "AZURE_FEDERATED_TOKEN_FILE": ("AZURE_AUTHORITY_HOST", "AZURE_TENANT_ID"),
}
"""Variables of hosts, each with the variables without which it has no effect."""
_PROXIES = ("ALL_PROXY", "HTTP_PROXY", "all_proxy", "http_proxy")


class HostChoice:
    """The chosen host.

    Attributes:
        name: its name in `HOSTS`.
        chosen_by: the variables, the file or the argument that chose it.
        remedy: a sentence in case that the choice is wrong, or an empty string.

    """

    __slots__ = ("chosen_by", "name", "remedy")

    def __init__(self, name: str, chosen_by: str, remedy: str = "") -> None:
        self.name, self.chosen_by, self.remedy = name, chosen_by, remedy


def detect(
    environment: Mapping[str, str], *, platform: str, exists: Callable[[str], bool]
) -> HostChoice:
    """Return the choice of a host by its environment and the file that marks an Arc agent.

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
    name = _match(has)
    if name != "imds":
        return HostChoice(name, HOSTS[name].why)
    if _AUTHORITY in has:
        return HostChoice(name, f"{_AUTHORITY} is set")
    agent = _find_arc_agent(environment, platform)
    if exists(agent):
        return HostChoice("azure-arc", f"the file {agent} exists", _ARC_LEFT_OVER)
    return HostChoice(name, HOSTS[name].why)


def _match(has: set[str]) -> str:
    """Return the name of the host whose variables are set."""
    if "IDENTITY_ENDPOINT" in has:
        if "IDENTITY_HEADER" in has:
            return "service-fabric" if "IDENTITY_SERVER_THUMBPRINT" in has else "app-service"
        if "IMDS_ENDPOINT" in has:
            return "azure-arc"
        msg = (
            "IDENTITY_ENDPOINT is set, but neither IDENTITY_HEADER nor IMDS_ENDPOINT, "
            "so no kind of Azure host fits"
        )
        raise ConfigurationError(
            msg,
            help="Set the variable that belongs to it, unset IDENTITY_ENDPOINT, "
            "or name the kind of host with host=",
        )
    if "MSI_ENDPOINT" in has:
        return "azure-ml" if "MSI_SECRET" in has else "cloud-shell"
    if {"AZURE_AUTHORITY_HOST", "AZURE_TENANT_ID", "AZURE_FEDERATED_TOKEN_FILE"} <= has:
        return "workload-identity"
    return "imds"


def _find_arc_agent(environment: Mapping[str, str], platform: str) -> str:
    if platform == "win32":
        folder = environment.get("ProgramFiles") or r"C:\Program Files"
        return rf"{folder}\AzureConnectedMachineAgent\himds.exe"
    return "/opt/azcmagent/bin/himds"


def make_host(
    environment: Mapping[str, str],
    identity: RequestedIdentity,
    *,
    host: str | None = None,
    platform: str = sys.platform,
    exists: Callable[[str], bool] = os.path.exists,
) -> Host:
    """Return the host that this process runs on, without network I/O.

    Args:
        environment: such as `os.environ`.
        identity: the identity whose tokens are requested.
        host: the name of the host in `HOSTS`; None to detect it.
        platform: such as `sys.platform`.
        exists: such as `os.path.exists`.

    Raises:
        ConfigurationError: `host` is no name of a host, the variables match no kind of host, one of
            them is missing or malformed, or the host can't serve the kind of id.

    """
    if host is None:
        choice = detect(environment, platform=platform, exists=exists)
    else:
        choice = HostChoice(_check_name(host), f"host={host!r}")
    kind = HOSTS[choice.name]
    with late_import:
        module = import_module(f"aiomsi._hosts.{kind.module}")
    setting = HostSetting(
        environment,
        identity,
        chosen_by=choice.chosen_by,
        surroundings=_describe_surroundings(environment) + choice.remedy,
        platform=platform,
    )
    try:
        made: Host = module.make(setting)
    except ConfigurationError as error:
        chosen = describe_choice(kind.title, choice.chosen_by) + choice.remedy
        error.help = f"{error.help}. {chosen}" if error.help else chosen
        raise
    return made


def _check_name(host: object) -> str:
    if isinstance(host, str) and host in HOSTS:
        return host
    msg = f"host must be one of {', '.join(map(repr, HOSTS))}, and is {host!r}"
    raise ConfigurationError(msg, help="Leave it out to have the host detected")


def describe_left_over(has: AbstractSet[str]) -> list[str]:
    """Return a sentence about each set variable of a host that lacks other variables.

    Args:
        has: the names of the variables that are set and not empty.

    """
    lacks = {
        name: [other for other in needed if other not in has]
        for name, needed in _REQUIRED.items()
        if name in has
    }
    return [
        f"{name} is set without {' and '.join(missing)}, so it has no effect"
        for name, missing in lacks.items()
        if missing
    ]


def _describe_surroundings(environment: Mapping[str, str]) -> str:
    """Return sentences about variables that may explain why the host does not respond."""
    has = {name for name, value in environment.items() if value}
    sentences = [f". {sentence}" for sentence in describe_left_over(has)]
    if proxies := sorted(has.intersection(_PROXIES)):
        sentences.append(
            f". {proxies[0]} is set, but a token endpoint is never reached through a proxy"
        )
    return "".join(sentences)
