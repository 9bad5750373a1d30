"""`EmbeddedAzure`: HTTP servers on loopback, in a thread that runs their event loop.

The thread owns all asynchronous objects. The state that other threads change or read (the world,
the faults, the request log) is guarded by locks that are held for microseconds. Other threads wait
for the servers through `WaitableCounter`, without polling.
"""

from __future__ import annotations

import ssl
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Self

import anyio.to_thread

from aiomsi._clock import SYSTEM_CLOCK, Clock
from aiomsi._clouds import Cloud
from aiomsi.testing._arm.app import Arm
from aiomsi.testing._arm.call import ArmState
from aiomsi.testing._arm.controls import EmbeddedArm
from aiomsi.testing._former_names import FormerNames
from aiomsi.testing._hosts.embedded_hosts import EmbeddedHosts, check_kinds
from aiomsi.testing._hosts.host_maker import HostMaker
from aiomsi.testing._hosts.imds import ImdsProtocol
from aiomsi.testing._hosts.imds_limiter import ImdsLimiter
from aiomsi.testing._hosts.metadata_controls import EmbeddedImds
from aiomsi.testing._hosts.token_issuer import TokenIssuer
from aiomsi.testing._limits.arm_limits import ArmLimits
from aiomsi.testing._limits.throttle import Throttle
from aiomsi.testing._server.counter import call_in_loop
from aiomsi.testing._server.faults import FaultQueue
from aiomsi.testing._server.http_service import HttpService, ServiceContext
from aiomsi.testing._server.imds_limits import ImdsLimits
from aiomsi.testing._server.request_log import RECORDED, Counts, RecordedRequest, RequestLog
from aiomsi.testing._server.server_thread import Port
from aiomsi.testing._server.servers import Servers
from aiomsi.testing._server.tls import Certificates, PemFiles
from aiomsi.testing._state.azure_state import (
    DEFAULT_SUBSCRIPTION_ID,
    AzureState,
    ResourceGroup,
    Subscription,
)
from aiomsi.testing._state.operation_store import OperationStore
from aiomsi.testing._state.provider_registry import ProviderRegistry
from aiomsi.testing._state.resource_store import ResourceStore
from aiomsi.testing._state.tokens import TokenAuthority

_ARM_AUDIENCE = "https://management.azure.com/"
_DEFAULT_WORLD = {
    DEFAULT_SUBSCRIPTION_ID: Subscription(resource_groups=(ResourceGroup("DevTest", "westus"),))
}


class EmbeddedAzure(FormerNames):
    """An Azure on loopback: IMDS, ARM and further hosts, each on a port, served by one thread.

    A context manager; `async with` works too and does not block the loop while the servers start
    and stop. `imds`, `arm` and `hosts` carry the controls; any thread may call them.

    The services make the checks of the real ones (headers, api-versions, identities, roles, a
    token's signature, audience and lifetime) and respond with the real errors; all times in their
    responses come from `clock`.

    Args:
        subscriptions: the subscriptions by id; by default one, with the resource group DevTest in
            westus.
        token_lifetime: seconds that a new token lives; 24 hours for managed identities, by
            Microsoft's documentation
            (https://learn.microsoft.com/entra/identity/managed-identities-azure-resources/managed-identities-faq).
        imds_limits: IMDS's limits; None for no limits.
        imds_latency: real seconds until IMDS responds; the request counts against the limits
            meanwhile.
        arm_latency: real seconds until ARM responds.
        arm_limits: ARM's limits; by default response headers report the remaining requests, and no
            request is refused. `arm.limits` may be changed later.
        kinds: further hosts of managed identities: ``"app-service"``, ``"azure-ml"``,
            ``"azure-arc"``, ``"service-fabric"``, ``"cloud-shell"``, ``"workload-identity"``; a
            mapping gives their ports.
        page_size: the largest number of items on a page of one of ARM's lists.
        strict_versions: accept only the api-versions that a type's provider lists. By default ARM
            also accepts any other well-formed version whose date is neither before the oldest
            listed one's nor after the clock's.
        recorded_requests: the most requests that `requests` keeps; 0 keeps none.
        resources: resources that tokens are issued for, besides ARM, the well-known ones and the
            address of this ARM.
        clock: the clock of tokens and limits, by default the system's.
        tls: serve ARM over https with a certificate of a new authority; a sequence of names puts
            these names on the certificate as well.
        certificate: files of a certificate and its key, for ARM and Entra; implies `tls`.
        authority: files of an authority's certificate and key, which signs the certificate of ARM
            and Entra; implies `tls`.
        arc_key_directory: directory of the key files of Azure Arc, which is created; by default a
            temporary one. Clients accept ``/var/opt/azcmagent/tokens`` alone.
        host: the address that both services listen on.
        imds_port: IMDS's port; 0 picks a free one.
        arm_port: ARM's port; 0 picks a free one.
        imds_host: the address that IMDS listens on, instead of `host`.
        arm_host: the address that ARM listens on, instead of `host`.
        entra_host: the address that Entra listens on, instead of `host`; Entra belongs to the kind
            ``"workload-identity"``.

    Attributes:
        imds: IMDS, with the machine's identities and tokens.
        arm: ARM, with its contents and limits.
        hosts: the hosts that `kinds` names.

    Raises:
        MissingExtraError: pyjwt or (for TLS) trustme isn't installed.
        ValueError: a subscription id is not a GUID, `page_size` is less than 1,
            `recorded_requests` is negative, a kind is unknown, or a certificate is not valid.
        OSError: on the start, an address or port is not available.

    """

    def __init__(
        self,
        subscriptions: Mapping[str, Subscription] | None = None,
        *,
        token_lifetime: float = 86_400,
        imds_limits: ImdsLimits | None = ImdsLimits(),  # noqa: B008  # frozen
        imds_latency: float = 0.0,
        arm_latency: float = 0.0,
        arm_limits: ArmLimits = ArmLimits(enforced=False),  # noqa: B008  # frozen
        kinds: Iterable[str] | Mapping[str, int] = (),
        page_size: int = 1_000,
        strict_versions: bool = False,
        recorded_requests: int = RECORDED,
        resources: Iterable[str] = (),
        clock: Clock | None = None,
        tls: bool | Iterable[str] = False,
        certificate: PemFiles | None = None,
        authority: PemFiles | None = None,
        arc_key_directory: str | Path | None = None,
        host: str = "127.0.0.1",
        imds_port: int = 0,
        arm_port: int = 0,
        imds_host: str | None = None,
        arm_host: str | None = None,
        entra_host: str | None = None,
    ) -> None:
        if page_size < 1:
            msg = f"page_size must be at least 1 and is {page_size!r}"
            raise ValueError(msg)
        if recorded_requests < 0:
            msg = f"recorded_requests must be at least 0 and is {recorded_requests!r}"
            raise ValueError(msg)
        clock = clock or SYSTEM_CLOCK
        world = AzureState(_DEFAULT_WORLD if subscriptions is None else subscriptions)
        tokens = TokenAuthority(clock.wall)
        issuer = TokenIssuer(world, tokens, clock.wall, resources)
        context = ServiceContext(RequestLog(recorded_requests), FaultQueue(), clock.wall)
        state = ArmState(
            azure=world,
            registry=ProviderRegistry(),
            resources=ResourceStore(),
            operations=OperationStore(clock.wall, clock.monotonic),
            wall=clock.wall,
            monotonic=clock.monotonic,
            page_size=page_size,
            throttle=Throttle(arm_limits, clock.monotonic, clock.wall),
            strict_versions=strict_versions,
        )
        places = imds_host or host, arm_host or host, entra_host or host
        more = () if isinstance(tls, bool) else tuple(tls)
        names = ("localhost", "127.0.0.1", host, *places[1:], *more)
        secure = tls is not False or certificate is not None or authority is not None
        wanted = check_kinds(kinds)
        self._certificates = (
            Certificates(names, certificate, authority)
            if secure or "workload-identity" in wanted
            else None
        )
        self._secure = secure
        arm_tls = self._certificates.server_context if self._certificates and secure else None
        limiter = None if imds_limits is None else ImdsLimiter(imds_limits, clock.monotonic)
        imds_http = HttpService("imds", ImdsProtocol(issuer), context, imds_latency, limiter)
        arm_http = HttpService("arm", Arm(state, tokens), context, arm_latency)
        self._servers = Servers()
        self._servers.add("imds", Port(imds_http.handle, places[0], imds_port))
        self._servers.add("arm", Port(arm_http.handle, places[1], arm_port, arm_tls))
        self._context = context
        self._arm = state
        self._throttle = state.throttle
        self._issuer = issuer
        self._names = names
        self._directory: tempfile.TemporaryDirectory[str] | None = None
        self.imds: EmbeddedImds = EmbeddedImds(context, self._servers, issuer)
        self.arm: EmbeddedArm = EmbeddedArm(context, self._servers, state, tokens)
        self.imds.set_token_lifetime(token_lifetime)
        files = None if arc_key_directory is None else Path(arc_key_directory)
        maker = HostMaker(
            context, self._servers, issuer, self._certificates, files, host, places[2]
        )
        self.hosts: EmbeddedHosts = EmbeddedHosts(
            maker.make(kind, port, imds_latency) for kind, port in wanted.items()
        )

    def __repr__(self) -> str:
        if not self._servers.running:
            return "<EmbeddedAzure, stopped>"
        return f"<EmbeddedAzure imds={self.imds.url} arm={self.arm.url}>"

    def start(self) -> Self:
        """Start all servers, and return when their ports are open.

        Raises:
            RuntimeError: the embedded Azure has been started already.
            OSError: an address or port is not available.

        """
        if self._servers.running:
            msg = "The embedded Azure has been started already"
            raise RuntimeError(msg)
        self._directory = tempfile.TemporaryDirectory(prefix="aiomsi-")
        try:
            self._prepare(Path(self._directory.name))
            self._servers.start()
        except OSError:
            self._remove_files()
            raise
        self._add_own_audiences()
        if "workload-identity" in self.hosts:
            self._arm.login_url = self.hosts.workload_identity.url
        return self

    def _prepare(self, directory: Path) -> None:
        if self._certificates is not None:
            self._certificates.write(directory)
        self.hosts.prepare(directory)

    def _remove_files(self) -> None:
        self.hosts.close()
        directory, self._directory = self._directory, None
        if directory is not None:
            directory.cleanup()

    def _add_own_audiences(self) -> None:
        """Issue tokens for ARM's own addresses, which clients derive from their `base_url`."""
        scheme, _, rest = self.arm.url.partition("://")
        port = rest.rpartition(":")[2]
        for name in self._names:
            for end in (f":{port}", ""):  # clients omit the default port
                self._issuer.add_resource(f"{scheme}://{name}{end}")

    def stop(self) -> None:
        """Stop all servers and drop all connections; a no-op when they aren't running."""
        self._servers.stop()
        self._remove_files()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    async def __aenter__(self) -> Self:
        return await anyio.to_thread.run_sync(self.start)

    async def __aexit__(self, *_: object) -> None:
        with anyio.CancelScope(shield=True):
            await anyio.to_thread.run_sync(self.stop)

    @property
    def subscription_ids(self) -> tuple[str, ...]:
        """The ids of all subscriptions, as `arm.subscription_ids` gives them."""
        return self.arm.subscription_ids

    @property
    def counts(self) -> Counts:
        """The counts since the start, or since `reset_counts`."""
        return self._context.request_log.counts

    @property
    def requests(self) -> tuple[RecordedRequest, ...]:
        """The latest requests, oldest first: as many as `recorded_requests`."""
        return self._context.request_log.requests

    def reset_counts(self) -> None:
        """Clear the counts, `arm.usages` and the recorded requests."""
        self._context.request_log.reset()
        self._throttle.reset_usage()

    def clear_faults(self) -> None:
        """Drop the queued faults of all services, and let hanging requests continue.

        Raises:
            RuntimeError: the embedded Azure isn't running.

        """
        self._context.faults.clear()
        call_in_loop(self._servers.loop(), self._context.release_hanging)

    @property
    def environment(self) -> dict[str, str]:
        """The environment variables that direct aiomsi, and other IMDS clients, to the servers."""
        return {
            "AZURE_POD_IDENTITY_AUTHORITY_HOST": self.imds.url,
            "AIOMSI_RESOURCE_MANAGER": self.arm.url,
        }

    @property
    def cloud(self) -> Cloud:
        """The cloud of the embedded ARM, for `aiomsi.ArmSession`."""
        return Cloud(name="EmbeddedAzure", resource_manager=self.arm.url, audience=_ARM_AUDIENCE)

    @property
    def ca_pem(self) -> bytes:
        """The certificate of the authority that signed ARM's certificate, as PEM.

        Raises:
            RuntimeError: the embedded Azure was created without `tls`.

        """
        return self._require_certificates().ca_pem

    @property
    def ca_file(self) -> Path:
        """The file with `ca_pem`, while the embedded Azure runs.

        Raises:
            RuntimeError: the embedded Azure was created without `tls`, or isn't running.

        """
        self._servers.loop()
        return self._require_certificates().file

    @property
    def client_arguments(self) -> dict[str, Any]:
        """The arguments that make a client of azure-mgmt send its requests to this ARM.

        An example is ``ComputeManagementClient(credential, id, **azure.client_arguments)``.

        Raises:
            RuntimeError: the embedded Azure was created without `tls`, or isn't running.

        """
        return {
            "base_url": self.arm.url,
            "credential_scopes": [f"{_ARM_AUDIENCE}.default"],
            "connection_verify": str(self.ca_file),
        }

    @property
    def trust(self) -> dict[str, str]:
        """The environment variables that make Python's and Node's clients trust `ca_file`.

        Raises:
            RuntimeError: the embedded Azure was created without `tls`.

        """
        return self._require_certificates().variables

    def ssl_context(self) -> ssl.SSLContext:
        """Create a client's TLS context that trusts the embedded ARM only.

        Raises:
            RuntimeError: the embedded Azure was created without `tls`.

        """
        return self._require_certificates().client_context()

    def _require_certificates(self) -> Certificates:
        if self._certificates is None or not self._secure:
            msg = "The embedded Azure serves plain http; create it with tls=True"
            raise RuntimeError(msg)
        return self._certificates
