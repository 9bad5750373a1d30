"""`SlotCredential`, the base of the credentials, in the form that Azure SDK clients expect."""

from __future__ import annotations

import contextlib
from abc import ABC, abstractmethod
from collections.abc import Hashable, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, NoReturn, Self

from aiomsi._clock import Clock
from aiomsi._clouds import PUBLIC
from aiomsi._errors import AiomsiError, ConfigurationError
from aiomsi._tokens.access_token import AccessToken, AccessTokenInfo
from aiomsi._tokens.flight import Fetch, wait_until_done
from aiomsi._tokens.policy import RefreshPolicy
from aiomsi._tokens.slot import Slot
from aiomsi._tokens.slot_table import Pace, SlotTable
from aiomsi._util.secret import Secret

if TYPE_CHECKING:
    from aiomsi._tokens.stats import SlotStats
    from aiomsi._tokens.token_identity import TokenIdentity


class SlotCredential(ABC):
    """A credential whose tokens come from slots.

    Subclasses find the slot of a request, and create the fetch that the slot starts.
    """

    def __init__(
        self, table: SlotTable, owner: Hashable, policy: RefreshPolicy, clock: Clock
    ) -> None:
        self._table = table
        # The key of this credential's slots in the table.
        self._owner = owner
        self._policy = policy
        self._clock = clock
        self._wall, self._monotonic = self._clock.wall, self._clock.monotonic
        # The slots that this credential keeps in use until it is closed, each with its fetch.
        self._held: dict[Hashable, tuple[Slot, Fetch]] = {}
        # One item for each `async with` block under way, of any task, loop or thread.
        self._blocks: list[None] = []
        self._pace = Pace()

    @abstractmethod
    async def get_token(
        self,
        *scopes: str,
        claims: str | None = None,
        tenant_id: str | None = None,
        enable_cae: bool = False,
        **options: Any,
    ) -> AccessToken:
        """Return a token."""

    @property
    def is_overridden(self) -> bool:
        """Whether a subclass or an attribute of the user's replaces a token method."""
        package = __name__.partition(".")[0]
        return any(
            name in vars(self) or getattr(type(self), name).__module__.partition(".")[0] != package
            for name in ("get_token", "get_token_info")
        )

    async def get_token_info(
        self, *scopes: str, options: Mapping[str, Any] | None = None
    ) -> AccessTokenInfo:
        """Return the token of `get_token`, with `options` as its keyword arguments."""
        token: Any = await self.get_token(*scopes, **(options or {}))
        # A subclass of the user's may return a token of another class.
        info = getattr(token, "_info", None)
        return info if isinstance(info, AccessTokenInfo) else token

    async def warm_up(self, *resources: str) -> None:
        """Fetch the tokens of these scopes in advance, at start-up or before a fork.

        Args:
            resources: scopes or resources; by default the scope of an `ArmSession` in the public
                cloud.

        Raises:
            CredentialError: as `get_token`.

        """
        for resource in resources or (f"{PUBLIC.audience}/.default",):
            await self.get_token(resource)

    def reject(self, token: str | AccessToken | AccessTokenInfo) -> bool:
        """Drop a token that a service did not accept, so that the next caller gets another one.

        Args:
            token: the rejected token.

        Returns:
            Whether the token was in use. A token that has been replaced already is ignored, and so
            is one that the host issued again after a rejection.

        """
        secret = Secret(token if isinstance(token, str) else token.token)
        return sum(slot.reject(secret) for slot in self._table.list_slots(self._owner)) > 0

    def forget(self) -> None:
        """Drop the tokens and failures of this identity, also for credentials that share them."""
        for slot in self._table.list_slots(self._owner):
            slot.forget()
        self._table.sweep()

    def stats(self) -> dict[str, SlotStats]:
        """Return counts and state for each resource that this credential has requested.

        A resource whose token has expired, and that is not requested any more, is left out after a
        while.
        """
        return {self._label(key): slot.stats() for key, (slot, _) in list(self._held.items())}

    async def close(self) -> None:
        """End the use of the tokens: calls that wait for one raise `CredentialClosedError`.

        Tokens stay available to other credentials and to later calls, and a refresh under way
        continues for them. Only the fetch of a token that no other credential can reach
        (`share=False`) is cancelled. Of several `async with` blocks of one credential, the last one
        to end closes it.
        """
        slots = set()
        # Another thread may close the credential at the same time, and take the last slot.
        with contextlib.suppress(KeyError):
            while True:
                slots.add(self._held.popitem()[1][0])
        flights = [flight for slot in slots if (flight := slot.detach(self)) is not None]
        if flights:
            await wait_until_done(flights, self._policy.loop_ping_timeout)

    async def __aenter__(self) -> Self:
        self._blocks.append(None)
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None = None,
        exc_value: BaseException | None = None,
        traceback: TracebackType | None = None,
    ) -> None:
        # Requests of a service may enter one credential at the same time, and the exit of one must
        # not end the waits of the others. Pops are atomic, and a caller may exit without entering.
        with contextlib.suppress(IndexError):
            self._blocks.pop()
        if not self._blocks:
            await self.close()

    def __repr__(self) -> str:
        if not hasattr(self, "_pace"):
            # An error reporter may show the locals of the constructor's frame, `self` among them.
            return f"<{type(self).__name__}, not created>"
        states = ""
        identities: list[TokenIdentity] = []
        try:
            found = self.stats()
        except AiomsiError:
            # The module of the statistics can't be imported, for example for lack of file
            # descriptors. A repr never raises.
            found = {}
        for resource, stats in found.items():
            states += f", {resource}: {stats.state}"
            if stats.identity is not None:
                identities.append(stats.identity)
        return f"<{type(self).__name__} {self._describe(identities)}{states}>"

    def _release_idle(self) -> None:
        """Release idle slots, whose tokens expired without a later request."""
        if self._pace.is_due(self._monotonic(), len(self._held)):
            for key, (slot, _) in list(self._held.items()):
                if slot.is_idle():
                    self._held.pop(key, None)
                    slot.detach(self)
            self._pace.note_sweep(self._monotonic(), len(self._held))

    @abstractmethod
    def _label(self, key: Any) -> str:
        """Return the name that `stats` shows for a key."""

    @abstractmethod
    def _describe(self, identities: list[TokenIdentity]) -> str:
        """Return a description without secrets, given the identities in the tokens."""


def refuse_claims(claims: object) -> NoReturn:
    """Raise an error for claims that are not a string.

    Raises:
        ConfigurationError: always.

    """
    msg = f"claims are a string, as the challenge has them, not {type(claims).__name__}"
    raise ConfigurationError(
        msg, help="Decode the 'claims' of WWW-Authenticate, and pass the JSON as text"
    )
