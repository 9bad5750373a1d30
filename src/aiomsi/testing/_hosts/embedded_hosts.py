"""`EmbeddedHosts`: the hosts besides IMDS that one embedded Azure serves."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TypeVar

from aiomsi.testing._hosts.app_service import EmbeddedAppService
from aiomsi.testing._hosts.azure_arc import EmbeddedAzureArc
from aiomsi.testing._hosts.cloud_shell import EmbeddedCloudShell
from aiomsi.testing._hosts.embedded_host import EmbeddedHost
from aiomsi.testing._hosts.entra import EmbeddedWorkloadIdentity
from aiomsi.testing._hosts.machine_learning import EmbeddedMachineLearning
from aiomsi.testing._hosts.service_fabric import EmbeddedServiceFabric
from aiomsi.testing._server.request_log import HOST_KINDS

_Host = TypeVar("_Host", bound=EmbeddedHost)


def check_kinds(kinds: Iterable[str] | Mapping[str, int]) -> dict[str, int]:
    """Return the ports of hosts by kind; 0 is a free one.

    Args:
        kinds: one kind, several kinds, or ports by kind.

    Raises:
        ValueError: a kind is unknown.

    """
    wanted = (
        dict(kinds)
        if isinstance(kinds, Mapping)
        else dict.fromkeys((kinds,) if isinstance(kinds, str) else kinds, 0)
    )
    for kind in wanted:
        if kind not in HOST_KINDS:
            msg = f"The embedded Azure has no host {kind!r}; it has {', '.join(HOST_KINDS)}"
            raise ValueError(msg)
    return wanted


class EmbeddedHosts:
    """The hosts that `EmbeddedAzure(kinds=...)` names: `EmbeddedAzure.hosts`.

    A mapping by kind: ``azure.hosts["app-service"]`` is ``azure.hosts.app_service``.
    """

    def __init__(self, hosts: Iterable[EmbeddedHost]) -> None:
        self._hosts = {str(host.kind): host for host in hosts}

    def __iter__(self) -> Iterator[str]:
        return iter(self._hosts)

    def __len__(self) -> int:
        return len(self._hosts)

    def __getitem__(self, kind: str) -> EmbeddedHost:
        try:
            return self._hosts[kind]
        except KeyError:
            (known,) = check_kinds(kind)
            msg = f"This embedded Azure has no {known}: create it with kinds=[{known!r}]"
            raise RuntimeError(msg) from None

    def prepare(self, directory: Path) -> None:
        """Write the files of all hosts."""
        for host in self._hosts.values():
            host.prepare(directory)

    def close(self) -> None:
        """Remove the files that lie outside of the directory of `prepare`."""
        for host in self._hosts.values():
            host.close()

    @property
    def app_service(self) -> EmbeddedAppService:
        """App Service, Functions, Container Apps and Automation."""
        return self._find(EmbeddedAppService)

    @property
    def azure_ml(self) -> EmbeddedMachineLearning:
        """Azure Machine Learning."""
        return self._find(EmbeddedMachineLearning)

    @property
    def azure_arc(self) -> EmbeddedAzureArc:
        """Azure Arc."""
        return self._find(EmbeddedAzureArc)

    @property
    def service_fabric(self) -> EmbeddedServiceFabric:
        """Service Fabric."""
        return self._find(EmbeddedServiceFabric)

    @property
    def cloud_shell(self) -> EmbeddedCloudShell:
        """Cloud Shell."""
        return self._find(EmbeddedCloudShell)

    @property
    def workload_identity(self) -> EmbeddedWorkloadIdentity:
        """Workload identity of AKS, with Entra's token endpoint."""
        return self._find(EmbeddedWorkloadIdentity)

    def _find(self, wanted: type[_Host]) -> _Host:
        host = self[wanted.kind]
        assert isinstance(host, wanted)  # noqa: S101
        return host
