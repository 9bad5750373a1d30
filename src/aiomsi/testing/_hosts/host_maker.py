"""`HostMaker`: creates the hosts of an embedded Azure, and their ports."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import attrs

from aiomsi.testing._hosts.app_service import EmbeddedAppService
from aiomsi.testing._hosts.azure_arc import EmbeddedAzureArc
from aiomsi.testing._hosts.cloud_shell import EmbeddedCloudShell
from aiomsi.testing._hosts.embedded_host import EmbeddedHost
from aiomsi.testing._hosts.entra import EmbeddedWorkloadIdentity
from aiomsi.testing._hosts.machine_learning import EmbeddedMachineLearning
from aiomsi.testing._hosts.service_fabric import EmbeddedServiceFabric
from aiomsi.testing._hosts.token_issuer import TokenIssuer
from aiomsi.testing._server.http_service import HttpService, ServiceContext
from aiomsi.testing._server.request_log import HostName
from aiomsi.testing._server.server_thread import Port
from aiomsi.testing._server.servers import Servers
from aiomsi.testing._server.tls import Certificates, SelfSigned


@attrs.frozen(eq=False, repr=False)
class HostMaker:
    """The parts that hosts are made of.

    Attributes:
        context: state that all services share.
        servers: servers that the hosts' ports are added to.
        tokens: issuer of the tokens.
        certificates: certificate of Entra; None without ``"workload-identity"``.
        key_directory: directory of the key files of Azure Arc; None for a temporary one.
        address: address that the hosts listen on.
        entra: address that Entra listens on.

    """

    context: ServiceContext
    servers: Servers
    tokens: TokenIssuer
    certificates: Certificates | None
    key_directory: Path | None
    address: str
    entra: str

    def make(self, kind: str, port: int, latency: float) -> EmbeddedHost:
        """Create a host, and add its port."""
        parts = self.context, self.servers, self.tokens
        host: EmbeddedHost
        address, tls = self.address, None
        match kind:
            case "app-service":
                host = EmbeddedAppService(*parts)
            case "azure-ml":
                host = EmbeddedMachineLearning(*parts)
            case "azure-arc":
                host = EmbeddedAzureArc(*parts, self.key_directory)
            case "service-fabric":
                certificate = SelfSigned(("localhost", "127.0.0.1", self.address))
                tls = certificate.server_context
                host = EmbeddedServiceFabric(*parts, certificate)
            case "cloud-shell":
                host = EmbeddedCloudShell(*parts)
            case _:
                assert self.certificates is not None  # noqa: S101
                tls = self.certificates.server_context
                address = self.entra
                host = EmbeddedWorkloadIdentity(*parts, self.certificates)
        service = HttpService(cast(HostName, host.kind), host, self.context, latency)
        self.servers.add(host.kind, Port(service.handle, address, port, tls))
        return host
