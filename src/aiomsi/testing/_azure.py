"""`EmbeddedAzure`: two HTTP servers on loopback, in a thread that runs their event loop.

The thread owns all asynchronous objects. The state that other threads change or read (the world,
the faults, the request log) is guarded by locks that are held for microseconds. Other threads wait
for the servers through `WaitableCounter`, without polling.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Iterable, Mapping
from typing import Self

import anyio.to_thread

from aiomsi._clock import SYSTEM_CLOCK, Clock
from aiomsi._clouds import Cloud
from aiomsi.testing._arm.app import Arm
from aiomsi.testing._arm.call import ArmState
from aiomsi.testing._controls import Controls
from aiomsi.testing._hosts.imds import Imds
from aiomsi.testing._limits.arm_limits import ArmLimits
from aiomsi.testing._limits.throttle import Throttle
from aiomsi.testing._server.faults import FaultQueue
from aiomsi.testing._server.limits import ImdsLimits
from aiomsi.testing._server.request_log import RECORDED, RequestLog
from aiomsi.testing._server.service import HttpService, ServiceContext, imds_limiter
from aiomsi.testing._server.thread import Port, ServerThread
from aiomsi.testing._server.tls import Certificates
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


class EmbeddedAzure(Controls):
    """An Azure on loopback: IMDS on one port, ARM on another, served by one thread.

    A context manager; `async with` works too and does not block the loop while the servers start
    and stop. The services make the checks of the real ones (headers, api-versions, identities,
    roles, a token's signature, audience and lifetime) and respond with the real errors; all times
    in their responses come from `clock`.

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
            request is refused. `arm_limits` may be changed later.
        page_size: the largest number of items on a page of one of ARM's lists.
        strict_versions: accept only the api-versions that a type's provider lists. By default ARM
            also accepts any other well-formed version whose date is neither before the oldest
            listed one's nor after the clock's.
        recorded_requests: the most requests that `requests` keeps; 0 keeps none.
        resources: resources that tokens are issued for, besides ARM and the well-known ones.
        clock: the clock of tokens and limits, by default the system's.
        tls: serve ARM over https with a certificate of a new authority; a sequence of names puts
            these names on the certificate as well.
        host: the address that both services listen on.
        imds_port: IMDS's port; 0 picks a free one.
        arm_port: ARM's port; 0 picks a free one.
        imds_host: the address that IMDS listens on, instead of `host`.
        arm_host: the address that ARM listens on, instead of `host`.

    Raises:
        MissingExtraError: pyjwt or (for TLS) trustme isn't installed.
        ValueError: a subscription id is not a GUID, `page_size` is less than 1, or
            `recorded_requests` is negative.
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
        page_size: int = 1_000,
        strict_versions: bool = False,
        recorded_requests: int = RECORDED,
        resources: Iterable[str] = (),
        clock: Clock | None = None,
        tls: bool | Iterable[str] = False,
        host: str = "127.0.0.1",
        imds_port: int = 0,
        arm_port: int = 0,
        imds_host: str | None = None,
        arm_host: str | None = None,
    ) -> None:
        if page_size < 1:
            msg = f"page_size must be at least 1 and is {page_size!r}"
            raise ValueError(msg)
        if recorded_requests < 0:
            msg = f"recorded_requests must be at least 0 and is {recorded_requests!r}"
            raise ValueError(msg)
        clock = clock or SYSTEM_CLOCK
        world = AzureState(_DEFAULT_WORLD if subscriptions is None else subscriptions)
        authority = TokenAuthority(clock.wall)
        imds = Imds(world, authority, clock.wall, resources)
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
        super().__init__(state, authority, imds, context)
        self.set_token_lifetime(token_lifetime)
        arm = Arm(state, authority)
        names = () if isinstance(tls, bool) else tuple(tls)
        hosts = imds_host or host, arm_host or host
        self._certificates = (
            None if tls is False else Certificates(("localhost", "127.0.0.1", hosts[1], *names))
        )
        limiter = imds_limiter(imds_limits, clock.monotonic)
        imds_http = HttpService("imds", imds, context, imds_latency, limiter)
        arm_http = HttpService("arm", arm, context, arm_latency)
        server_context = self._certificates.server_context if self._certificates else None
        self._ports = (
            Port(imds_http.handle, hosts[0], imds_port),
            Port(arm_http.handle, hosts[1], arm_port, server_context),
        )
        self._thread: ServerThread | None = None
        self._running: tuple[asyncio.AbstractEventLoop, list[int]] | None = None

    def __repr__(self) -> str:
        if self._running is None:
            return "<EmbeddedAzure, stopped>"
        return f"<EmbeddedAzure imds={self.imds_url} arm={self.arm_url}>"

    def start(self) -> Self:
        """Start both servers, and return when their ports are open.

        Raises:
            RuntimeError: the embedded Azure has been started already.
            OSError: an address or port is not available.

        """
        if self._thread is not None:
            msg = "The embedded Azure has been started already"
            raise RuntimeError(msg)
        thread = ServerThread(self._ports)
        self._running = thread.start()
        self._thread = thread
        return self

    def stop(self) -> None:
        """Stop both servers and drop all connections; a no-op when they aren't running."""
        thread, self._thread = self._thread, None
        if thread is not None:
            thread.stop()
            self._running = None

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
    def imds_url(self) -> str:
        """IMDS's address, for example ``"http://127.0.0.1:40001"``."""
        return self._url(0)

    @property
    def arm_url(self) -> str:
        """ARM's address, for example ``"http://127.0.0.1:40002"``."""
        return self._url(1)

    def _url(self, index: int) -> str:
        _, numbers = self._require_running()
        port = self._ports[index]
        scheme = "http" if port.tls is None else "https"
        host = f"[{port.host}]" if ":" in port.host else port.host
        return f"{scheme}://{host}:{numbers[index]}"

    def _loop(self) -> asyncio.AbstractEventLoop:
        return self._require_running()[0]

    def _require_running(self) -> tuple[asyncio.AbstractEventLoop, list[int]]:
        if self._running is None:
            msg = "The embedded Azure isn't running: use it in a with statement, or call start()"
            raise RuntimeError(msg)
        return self._running

    @property
    def environment(self) -> dict[str, str]:
        """The environment variables that direct aiomsi, and other IMDS clients, to the servers."""
        return {
            "AZURE_POD_IDENTITY_AUTHORITY_HOST": self.imds_url,
            "AIOMSI_RESOURCE_MANAGER": self.arm_url,
        }

    @property
    def cloud(self) -> Cloud:
        """The cloud of the embedded ARM, for `aiomsi.ArmSession`."""
        return Cloud(name="EmbeddedAzure", resource_manager=self.arm_url, audience=_ARM_AUDIENCE)

    @property
    def ca_pem(self) -> bytes:
        """The certificate of the authority that signed ARM's certificate, as PEM.

        Raises:
            RuntimeError: the embedded Azure was created without `tls`.

        """
        return self._require_certificates().ca_pem

    def ssl_context(self) -> ssl.SSLContext:
        """Create a client's TLS context that trusts the embedded ARM only.

        Raises:
            RuntimeError: the embedded Azure was created without `tls`.

        """
        return self._require_certificates().client_context()

    def _require_certificates(self) -> Certificates:
        if self._certificates is None:
            msg = "The embedded Azure serves plain http; create it with tls=True"
            raise RuntimeError(msg)
        return self._certificates
