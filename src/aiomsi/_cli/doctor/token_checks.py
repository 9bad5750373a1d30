"""Checks of the token: its endpoint, its identity and its life. None of them shows the token."""

from __future__ import annotations

from aiomsi._cli.credentials import EXAMPLE
from aiomsi._cli.doctor.check import FAILED, OK, SKIPPED, TOKEN, WARNING, Check, fail
from aiomsi._errors import CredentialError, HostUnreachableError
from aiomsi._hosts.base import Host
from aiomsi._hosts.identity import RequestedIdentity
from aiomsi._hosts.token_times import parse_number
from aiomsi._tokens.token_identity import read_claims, read_identity

_SHORT = 600
"""Seconds of life left that some clients take for an expired token."""


def check_endpoint(host: Host, error: CredentialError | None) -> Check:
    """Return whether the token endpoint responds, by the end of the token request."""
    if error is None:
        return Check("endpoint", OK, f"{host.endpoint} responds")
    if isinstance(error, HostUnreachableError):
        hint = f"Off Azure, for example on a laptop, pass --credential {EXAMPLE}"
        return Check("endpoint", FAILED, f"{host.endpoint} can't be reached", hint)
    if not error.attempts:
        return Check("endpoint", SKIPPED, f"no request was sent to {host.endpoint}")
    if error.status is None:
        return Check("endpoint", FAILED, f"{host.endpoint} sent no usable response")
    return Check("endpoint", OK, f"{host.endpoint} responds, with HTTP {error.status}")


def check_token(resource: str, error: CredentialError | None) -> Check:
    """Return whether a token was issued, or the reason of its absence."""
    if error is None:
        return Check(TOKEN, OK, f"a token for {resource} was issued", facts={"resource": resource})
    return fail(TOKEN, error)


def check_identity(token: str, named: RequestedIdentity, host_kind: str) -> Check:
    """Return the identity that the token was issued to, by claims that are not verified.

    Args:
        token: the token.
        named: the identity that the options name.
        host_kind: the kind of the host; empty for another library's credential.

    """
    claims = read_claims(token)
    if not claims:
        return Check("identity", SKIPPED, "the token is not a JWT, so it names no identity")
    found = read_identity(token)
    facts = {
        "client_id": found.client_id,
        "object_id": found.object_id,
        "tenant_id": found.tenant_id,
        "resource_id": found.resource_id,
        "system_assigned": found.is_system_assigned,
    }
    kind = {True: "system-assigned, ", False: "user-assigned, ", None: ""}[found.is_system_assigned]
    ids = {"client id": found.client_id, "object id": found.object_id, "tenant": found.tenant_id}
    text = kind + ", ".join(f"{name} {value}" for name, value in ids.items() if value)
    if found.is_system_assigned is False and named.kind is None and host_kind:
        return Check(
            "identity",
            WARNING,
            f"{text}, and no identity is named: "
            "the request becomes ambiguous with a second user-assigned one",
            f"Name it with --client-id {found.client_id}, in code with client_id=",
            facts,
        )
    return Check("identity", OK, text or "the token names no identity", facts=facts)


def check_lifetime(expires_on: int, wall: float) -> Check:
    """Return how long the token lives."""
    left = int(expires_on - wall)
    facts = {"expires_on": expires_on, "seconds_left": left}
    text = f"the token expires in {_format_duration(left)}"
    if left < _SHORT:
        return Check(
            "lifetime",
            WARNING,
            text,
            "If a later token lives as short, check this machine's clock",
            facts,
        )
    return Check("lifetime", OK, text, facts=facts)


def read_issued(token: str) -> float | None:
    """Return the time from which the token is valid, in seconds since the epoch, or None."""
    claims = read_claims(token)
    times = (parse_number(claims.get(name)) for name in ("nbf", "iat"))
    return max((time for time in times if time is not None), default=None)


def _format_duration(seconds: int) -> str:
    if seconds < 60:
        return f"{seconds} s"
    minutes = seconds // 60
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
