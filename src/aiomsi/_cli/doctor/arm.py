"""Checks of Azure Resource Manager's answer, and of this machine's clock."""

from __future__ import annotations

import attrs

from aiomsi._cli.doctor.check import ARM, FAILED, OK, SKIPPED, WARNING, Check, fail
from aiomsi._cli.phrases import translate
from aiomsi._errors import (
    AiomsiError,
    ArmConnectionError,
    ArmError,
    AuthenticationError,
    AuthorizationError,
    NotFoundError,
    WrongTenantError,
)

_TOLERANCE = 10.0
"""Seconds by which two clocks may differ; a `Date` has a resolution of one second."""
_SET_CLOCK = (
    "Set the clock, for example by NTP ('timedatectl' or 'chronyc tracking' show its state, on "
    "Windows 'w32tm /query /status'): tokens and certificates are valid between two points in time"
)
_FIREWALL = (
    "A firewall, a DNS server or a proxy between this machine and ARM may block it: "
    "the machine needs outgoing https to the host"
)
_ASSIGN = (
    "Assign a role to the identity: az role assignment create --role Reader "
    "--assignee-object-id {} --assignee-principal-type ServicePrincipal "
    "--scope /subscriptions/ID. A new assignment takes up to ten minutes"
)


@attrs.frozen(eq=False, repr=False)
class ArmAnswer:
    """ARM's response, or its lack.

    Attributes:
        endpoint: ARM's endpoint.
        proxy: the proxy's URL without its password, or an empty string.
        error: the error of the first call that failed; None without one.
        subscriptions: the number of subscriptions on the first page.
        more: whether there are further pages.
        date: the `Date` of a response, in seconds since the epoch; None without one.
        received: the time on this machine's clock at which that response was received.
        wanted: the subscription that the options name, or an empty string.

    """

    endpoint: str
    proxy: str = ""
    error: AiomsiError | None = None
    subscriptions: int = 0
    more: bool = False
    date: float | None = None
    received: float = 0.0
    wanted: str = ""


def check_arm(answer: ArmAnswer, object_id: str | None) -> Check:
    """Return whether ARM serves the token, and to how many subscriptions it gives access."""
    if answer.error is not None:
        return _explain(answer, answer.error, object_id)
    number = f"{answer.subscriptions}{' or more' if answer.more else ''}"
    facts = {"endpoint": answer.endpoint, "subscriptions": answer.subscriptions}
    if not answer.subscriptions:
        return Check(
            ARM,
            FAILED,
            "ARM accepts the token, but the identity has no role in any subscription, "
            "so it sees none",
            _ASSIGN.format(object_id or "OBJECT_ID"),
            facts,
        )
    noun = "subscription is" if number == "1" else "subscriptions are"
    return Check(ARM, OK, f"ARM accepts the token; {number} {noun} visible", facts=facts)


def _explain(answer: ArmAnswer, error: AiomsiError, object_id: str | None) -> Check:
    check = fail(ARM, error)
    match error:
        case ArmConnectionError(untrusted=True):
            hint = f"{translate(error.help)}. A clock that is wrong by months has the same effect"
        case ArmConnectionError():
            through = f" (through the proxy {answer.proxy})" if answer.proxy else ""
            hint = f"{_FIREWALL}{through}"
        case WrongTenantError():
            hint = (
                "The subscription belongs to another tenant: a managed identity works only "
                "in the tenant of its own subscription"
            )
        case AuthenticationError():
            hint = (
                "ARM does not accept the token: check --cloud, the clock, and that the identity "
                "still exists"
            )
        case AuthorizationError() | NotFoundError() if answer.wanted:
            hint = _ASSIGN.format(object_id or "OBJECT_ID").replace("ID.", f"{answer.wanted}.")
        case _:
            hint = translate(error.help)
    facts: dict[str, object] = {"endpoint": answer.endpoint}
    if isinstance(error, ArmError):
        facts |= {"status": error.status, "code": error.code}
    return attrs.evolve(check, help=hint, facts=facts)


def check_clock(answer: ArmAnswer | None, issued: float | None, wall: float) -> Check:
    """Return the skew of this machine's clock.

    Args:
        answer: ARM's answer, whose `Date` is compared.
        issued: the start of the token's validity, which is compared without a `Date`.
        wall: the time on this machine's clock.

    """
    if answer is not None and answer.date is not None:
        skew = answer.received - answer.date
        if abs(skew) <= _TOLERANCE:
            return Check("clock", OK, "this machine's clock agrees with ARM's")
        return _make_skewed(skew, f"of ARM's, {abs(skew):.0f} s apart")
    if issued is not None and issued - wall > _TOLERANCE:
        return _make_skewed(
            wall - issued, "of the token's issuer: the token is not valid yet by this clock"
        )
    return Check("clock", SKIPPED, "no response with a date can be compared with this clock")


def _make_skewed(skew: float, than: str) -> Check:
    side = "ahead" if skew > 0 else "behind"
    facts = {"skew_seconds": round(skew)}
    return Check("clock", WARNING, f"this machine's clock is {side} {than}", _SET_CLOCK, facts)
