"""What every place that gives tokens has in common: requests and answers as values, and how an answer is read."""

import json
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import Any, Protocol
from uuid import UUID

import attrs

from aiomsi._errors import ConfigurationError
from aiomsi._ledger import Order
from aiomsi._pacing import RequestLimits
from aiomsi._secret import Secret, SecretBytes
from aiomsi._token import Grant, Now

_MOST_TEXT = 300


@attrs.frozen
class Identity:
    """Which of the host's identities is meant: the system-assigned one, or a user-assigned one by exactly one id.

    Attributes:
        kind: None for the system-assigned identity, else ``"client_id"``, ``"object_id"`` or ``"resource_id"``.
        value: the id, as it was given.

    """

    kind: str | None = None
    value: str = ""

    @property
    def key(self) -> tuple[str | None, str]:
        """The same for every way to write the id: GUIDs and resource ids compare without case."""
        return self.kind, self.value.lower()

    @classmethod
    def of(cls, client_id: str | None, object_id: str | None, resource_id: str | None) -> "Identity":
        """Make the identity of a credential's arguments.

        Raises:
            ConfigurationError: more than one id, or one that can't be an id of its kind.

        """
        ids = {"client_id": client_id, "object_id": object_id, "resource_id": resource_id}
        given = {kind: value for kind, value in ids.items() if value is not None}
        if len(given) > 1:
            msg = f"at most one of {', '.join(given)} may be given"
            raise ConfigurationError(msg)
        for kind, value in given.items():
            _check_id(kind, value)
            return cls(kind, value)
        return SYSTEM_ASSIGNED


SYSTEM_ASSIGNED = Identity()


def _check_id(kind: str, value: object) -> None:
    if not isinstance(value, str) or not value.strip():
        msg = f"{kind} is empty or no string: {value!r}"
        raise ConfigurationError(msg, help="Leave it out for the system-assigned identity")
    if kind == "resource_id":
        parts = value.split("/")
        if len(parts) < 9 or parts[0] or parts[1].lower() != "subscriptions" or not all(parts[1:]):
            msg = f"resource_id is not the resource id of a managed identity: {value!r}"
            hint = "It looks like '/subscriptions/…/providers/Microsoft.ManagedIdentity/userAssignedIdentities/<name>'"
            raise ConfigurationError(msg, help=hint)
        return
    try:
        well_formed = UUID(value).hex == value.lower().replace("-", "") and len(value) == 36
    except ValueError:
        well_formed = False
    if not well_formed:
        msg = f"{kind} is not a GUID such as '00000000-0000-0000-0000-000000000000': {value!r}"
        raise ConfigurationError(msg)


@attrs.frozen(eq=False)
class TokenRequest:
    """A request for a token, ready to be sent: the URL is encoded already."""

    method: str
    url: str
    headers: Mapping[str, str]


@attrs.frozen(eq=False)
class TokenAnswer:
    """A token endpoint's answer: when it had come in, and how many seconds after its request went out."""

    status: int
    headers: Mapping[str, str]
    body: SecretBytes
    received: Now
    took: float


@attrs.frozen(eq=False)
class Problem:
    """What an answer without a usable token means.

    Attributes:
        message: what the body says, or what is wrong with it.
        code: the body's error code, or None.
        passing: whether asking again may help.
        help: what to do about it.

    """

    message: str
    code: str | None = None
    passing: bool = False
    help: str = ""


class Host(Protocol):
    """A place that gives tokens: pure knowledge of its requests and answers."""

    @property
    def kind(self) -> str:
        """What the host is called in messages."""

    @property
    def endpoint(self) -> str:
        """The address that is asked, without secrets."""

    @property
    def place(self) -> tuple[str, str]:
        """Equal for two hosts that are the same service, whatever the identity: what its limits go by."""

    @property
    def limits(self) -> RequestLimits | None:
        """How many requests all slots of this process send the service; None for any number."""

    @property
    def key(self) -> tuple[object, ...]:
        """Equal for two hosts that give the same tokens."""

    @property
    def unreachable(self) -> str:
        """What to do where nothing answers at all."""

    def request(self, resource: str, order: Order) -> TokenRequest:
        """Make the request for a token of that resource."""

    def understand(self, answer: TokenAnswer) -> Grant | Problem:
        """Read the answer."""


def _masked(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    return {name: Secret(value) if name == "access_token" and isinstance(value, str) else value for name, value in pairs}


def read_object(body: bytes) -> dict[str, Any] | None:
    """Decode a JSON object, with the token in it masked from the start; None for anything else."""
    try:
        document = json.loads(body, object_pairs_hook=_masked)
    except (ValueError, RecursionError):
        # The decoder's exception holds the whole document: it must not become anyone's context.
        return None
    return document if isinstance(document, dict) else None


def seconds(value: object) -> float | None:
    """Read a number that may have come as a string; None if it is none."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except ValueError:
        return None
    return number if abs(number) < 1e11 else None


def http_date(value: str | None) -> float | None:
    """Read an HTTP date as seconds since the epoch; None if it is none."""
    if not value:
        return None
    try:
        return parsedate_to_datetime(value).timestamp()
    except (ValueError, OverflowError):
        return None


def retry_after(headers: Mapping[str, str], now: float) -> float | None:
    """Give the seconds that a `Retry-After` header asks for, whether it is a number or an HTTP date."""
    value = headers.get("Retry-After")
    number = seconds(value)
    if number is None and (moment := http_date(value)) is not None:
        number = moment - now
    return None if number is None else max(0.0, number)


def read_grant(document: Mapping[str, Any] | None, answer: TokenAnswer) -> Grant | Problem:
    """Read the token out of a 200, whose body is the document.

    Life left at receipt is the smaller of what `expires_in`, counted from sending, and `expires_on` say. Where `expires_on`
    looks past already this machine's clock may run ahead: then the answer's `Date` is believed.
    """
    if document is None:
        return Problem("the answer is not a JSON object", passing=True)
    secret = document.get("access_token")
    if not isinstance(secret, Secret) or not secret:
        return Problem("the answer has no access_token", passing=True)
    expires_in, expires_on = seconds(document.get("expires_in")), seconds(document.get("expires_on"))
    if expires_in is None and expires_on is None:
        return Problem("the answer says neither expires_in nor expires_on", passing=True)
    lives = []
    if expires_in is not None:
        lives.append(expires_in - answer.took)
    if expires_on is not None:
        life = expires_on - answer.received.wall
        if life <= 0 and (date := http_date(answer.headers.get("Date"))) is not None and date < answer.received.wall:
            life, expires_on = expires_on - date, None
        lives.append(life)
    return Grant(
        secret,
        life=min(lives),
        expires_on=None if expires_on is None else int(expires_on),
        refresh_in=seconds(document.get("refresh_in")),
    )


def error_text(document: Mapping[str, Any] | None, body: bytes) -> tuple[str | None, str]:
    """Find code and text in an error's body, of whichever of the token hosts' shapes it is."""
    if document is None and b"access_token" in body:
        return None, "the answer is broken JSON with a token in it, and is not shown"
    if document is None:
        text = " ".join(body[: 4 * _MOST_TEXT].decode("utf-8", "replace").split())
        return None, text[:_MOST_TEXT] or "the answer has no body"
    inner = document.get("error")
    if isinstance(inner, dict):
        document, inner = inner, None
    code = inner or document.get("code") or document.get("ErrorCode") or document.get("statusCode")
    said = document.get("error_description") or document.get("message") or document.get("Message")
    return (None if code is None else str(code)), (str(said) if said else "the answer has no error text")
