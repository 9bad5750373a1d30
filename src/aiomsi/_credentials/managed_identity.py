"""`ManagedIdentityCredential`, the credential for this host's managed identity."""

from __future__ import annotations

import os
from functools import partial
from sys import modules
from typing import TYPE_CHECKING, Any, NoReturn
from weakref import WeakSet

from aiomsi._azure_core import CREDENTIALS
from aiomsi._clock import SYSTEM_CLOCK, Clock
from aiomsi._clouds import parse_resource
from aiomsi._credentials.fetch import TokenFetch
from aiomsi._credentials.slot_credential import SlotCredential, refuse_claims
from aiomsi._errors import ConfigurationError
from aiomsi._hosts.base import describe_choice
from aiomsi._hosts.detect import make_host
from aiomsi._hosts.identity import RequestedIdentity
from aiomsi._tokens.access_token import AccessToken
from aiomsi._tokens.failure import SlotOrigin
from aiomsi._tokens.flight import Fetch
from aiomsi._tokens.policy import DEFAULT_POLICY, RefreshPolicy
from aiomsi._tokens.slot import Slot
from aiomsi._tokens.slot_table import SlotTable, get_shared_backoff, get_shared_slots
from aiomsi._util.argument_checks import check_type, choose_clock
from aiomsi._util.lazy import late_import
from aiomsi._util.secret import MaskedMapping

if TYPE_CHECKING:
    from aiomsi._credentials.gate import HostGate
    from aiomsi._tokens.token_identity import TokenIdentity
else:
    # `typing.get_type_hints` cannot resolve a lazily imported class, so it sees this stand-in.
    HostGate = object


class ManagedIdentityCredential(SlotCredential):
    """A credential for this Azure host's managed identity, with one fetch for all callers.

    The class works as a credential for any async Azure SDK client. All credentials of one process
    with the same host, identity and policy share one token and one fetch, in every event loop and
    thread. A token past its refresh point is returned at once and refreshed in the background; a
    failed refresh never discards a usable token.

    Creating a credential does no network I/O and needs no event loop. A closed credential may be
    used again.

    Args:
        client_id, object_id, resource_id: the id of a user-assigned identity; at most one. The
            default is the host's default identity: the system-assigned one, or, if none is
            assigned, for IMDS the only user-assigned one. `stats` and the token's `identity` name
            it.
        host: the kind of host: ``"imds"``, ``"app-service"``, ``"azure-ml"``, ``"azure-arc"``,
            ``"service-fabric"``, ``"cloud-shell"`` or ``"workload-identity"``. The default is the
            kind that the environment's variables name, else IMDS. ``docs/hosts.md`` lists the
            variables, and the kinds of id that each host serves.
        share: False makes this credential's tokens and fetches separate from other credentials'.
            IMDS's limits apply to these fetches, too.
        gate: True, a directory or a `HostGate`: the processes of this machine with an equal gate
            take turns to send token requests, so that all of them together stay under IMDS's
            limits. A gate needs ``aiomsi[gate]``; the default is no gate. It applies to the fetches
            that this credential starts, so pass it to all credentials that share a token.
        policy: the times of refreshes, and the limits of waits and requests.
        clock: the source of the time; for tests.

    Raises:
        ConfigurationError: more than one id is given, an id is malformed, the host can't serve that
            kind of id, a variable of the host is missing or malformed, the variables match no
            kind of host, `host` is no name of a kind, `gate` is no gate, or `policy` or `clock` has
            a wrong type.

    Source:
        https://learn.microsoft.com/entra/identity/managed-identities-azure-resources/overview

    """

    def __init__(
        self,
        *,
        client_id: str | None = None,
        object_id: str | None = None,
        resource_id: str | None = None,
        host: str | None = None,
        share: bool = True,
        gate: HostGate | str | os.PathLike[str] | bool | None = None,
        policy: RefreshPolicy = DEFAULT_POLICY,
        clock: Clock | None = None,
    ) -> None:
        check_type("policy", policy, RefreshPolicy)
        clock = choose_clock(clock)
        self._identity = RequestedIdentity.of(client_id, object_id, resource_id)
        self._named_host = host
        self._host = make_host(MaskedMapping(os.environ), self._identity, host=host)
        choice = describe_choice(self._host.kind, self._host.chosen_by)
        self._origin = SlotOrigin(self._host.kind, self._host.endpoint, choice)
        self._gate = None if gate is None else _make_gate(gate)
        self._share = share
        table = get_shared_slots(clock) if share else SlotTable(clock)
        super().__init__(table, (self._host.cache_key, policy.key), policy, clock)
        # The host's limits also apply to a credential whose tokens are not shared.
        self._backoff = get_shared_backoff(clock, self._host.throttle_key, self._host.limits)

    async def get_token(
        self,
        *scopes: str,
        claims: str | None = None,
        tenant_id: str | None = None,  # noqa: ARG002 (part of the protocol)
        enable_cae: bool = False,  # noqa: ARG002 (part of the protocol)
        **_options: Any,
    ) -> AccessToken:
        """Return a token for one scope, for example ``"https://management.azure.com/.default"``.

        Args:
            scopes: exactly one scope or resource.
            claims: the claims of a challenge; the current token is then not returned. An empty
                string counts as None.
            tenant_id, enable_cae: accepted and without effect, because a managed identity belongs
                to one tenant.

        Raises:
            ConfigurationError: not exactly one scope is given, or the claims are not a string.
            UsageError: no asyncio event loop is running.
            CredentialError: no usable token is available. Each caller raises a separate exception.

        """
        held = (
            self._held.get(scopes[0]) if len(scopes) == 1 and isinstance(scopes[0], str) else None
        )
        if held is None:
            held = self._hold(scopes)
        slot, fetch = held
        # `SharedCredential.get_token` has the same statements: a common function would make each
        # warm call slower.
        token = slot.token
        if token is None or claims or not token.is_fresh(self._wall(), self._monotonic()):
            if claims and not isinstance(claims, str):
                refuse_claims(claims)
            token = await slot.get(self, fetch, claims or None)
        module, azure_token = token.azure
        if module is not modules.get(CREDENTIALS):
            return token.to_azure_core()
        return azure_token or token

    def __reduce__(self) -> tuple[Any, ...]:
        arguments: dict[str, Any] = {"share": self._share, "policy": self._policy}
        if self._identity.kind is not None:
            arguments[self._identity.kind] = self._identity.value
        if self._named_host is not None:
            arguments["host"] = self._named_host
        if self._gate is not None:
            arguments["gate"] = self._gate
        if self._clock is not SYSTEM_CLOCK:
            arguments["clock"] = self._clock
        return partial(type(self), **arguments), ()

    def _hold(self, scopes: tuple[str, ...]) -> tuple[Slot, Fetch]:
        if len(scopes) != 1 or not isinstance(scopes[0], str):
            _refuse_scopes(scopes)
        resource = parse_resource(scopes[0])
        name = f"{self._host.kind} {resource}"
        users: WeakSet[object] = WeakSet((self,))
        make = partial(
            Slot,
            name,
            self._clock,
            self._policy,
            backoff=self._backoff,
            private=not self._share,
            users=users,
            origin=self._origin,
        )
        if self._held:
            self._release_idle()
        slot = self._table.attach(self._owner, resource, self, make)
        fetch = TokenFetch(
            self._host, resource, self._policy, self._clock, gate=self._gate, backoff=self._backoff
        )
        held = self._held[scopes[0]] = slot, fetch
        return held

    def _label(self, key: str) -> str:
        return parse_resource(key)

    def _describe(self, identities: list[TokenIdentity]) -> str:
        host = f"{self._host.kind} ({self._host.chosen_by}; host= chooses another)"
        if self._identity.kind is not None:
            return f"{host}, {self._identity.kind}={self._identity.value}"
        if not identities:
            # Without a system-assigned identity IMDS issues the token of a single user-assigned
            # one.
            return f"{host}, default identity"
        kind = {True: "system-assigned ", False: "user-assigned ", None: ""}[
            identities[-1].is_system_assigned
        ]
        return f"{host}, default identity: {kind}{identities[-1]}"


def _make_gate(gate: HostGate | str | os.PathLike[str] | bool) -> HostGate | None:
    # Imported here, because most credentials have no gate.
    with late_import:
        from aiomsi._credentials.gate import make_gate

    return make_gate(gate)


def _refuse_scopes(scopes: tuple[object, ...]) -> NoReturn:
    msg = f"get_token takes exactly one scope, as a string, and got {scopes!r}"
    raise ConfigurationError(msg, help="For ARM it is 'https://management.azure.com/.default'")
