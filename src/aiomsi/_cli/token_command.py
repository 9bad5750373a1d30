"""The command `aiomsi token`: a token of this host, and its properties."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Mapping
from datetime import datetime

import click

from aiomsi._cli.options import format_epilog, identity_options, open_credential
from aiomsi._cli.output import print_json, to_line
from aiomsi._clouds import PUBLIC
from aiomsi._hosts.detect import make_host
from aiomsi._hosts.identity import Identity
from aiomsi._tokens.token import AccessToken
from aiomsi._tokens.token_identity import read_claims
from aiomsi._util.secret import MaskedMapping

_CLAIMS = {
    "audience": ("aud",),
    "tenant_id": ("tid",),
    "object_id": ("oid",),
    "app_id": ("appid", "azp"),
}


@click.command(
    epilog=format_epilog("aiomsi token", "aiomsi token --resource https://vault.azure.net --json")
)
@click.option(
    "--resource",
    metavar="URL",
    default=PUBLIC.audience,
    show_default=True,
    help="The resource that the token is for.",
)
@identity_options
@click.option("--show-token", is_flag=True, help="Print the token itself too. It is a secret.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def token(resource: str, identity: Identity, show_token: bool, as_json: bool) -> None:
    """Get a token from this host, and print its properties.

    Claims are read from the token without checking its signature. The token itself is printed
    with --show-token only.
    """
    facts = _collect_facts(
        asyncio.run(_get_token(identity, resource)), resource, identity, show_token=show_token
    )
    if as_json:
        print_json(facts)
    else:
        click.echo(_format_facts(facts))


async def _get_token(identity: Identity, resource: str) -> AccessToken:
    async with open_credential(identity) as credential:
        return await credential.get_token(resource)


def _collect_facts(
    token: AccessToken, resource: str, identity: Identity, *, show_token: bool
) -> dict[str, object]:
    host = make_host(MaskedMapping(os.environ), identity)
    facts: dict[str, object] = {
        "resource": resource,
        "identity": _describe_default(token)
        if identity.kind is None
        else f"{identity.kind} {identity.value}",
        **({} if token.identity.client_id is None else {"client_id": token.identity.client_id}),
        "host": host.kind,
        "endpoint": host.endpoint,
        "token_type": token.token_type,
        "expires_on": _format_time(token.expires_on),
        "seconds_left": int(token.expires_on - time.time()),
        "refresh_on": _format_time(token.refresh_on),
        "claims_not_verified": _find_claims(token.token),
    }
    return {**facts, "access_token": token.token} if show_token else facts


def _format_time(moment: int) -> str:
    return datetime.fromtimestamp(moment).astimezone().isoformat()


def _describe_default(token: AccessToken) -> str:
    """Return the kind of identity that the host chose."""
    return {True: "system-assigned", False: "user-assigned", None: "the host's default"}[
        token.identity.is_system_assigned
    ]


def _find_claims(secret: str) -> dict[str, str] | None:
    """Return the claims for identity and audience, unverified; None if the token is not a JWT."""
    claims = read_claims(secret)
    found = {name: [claims[key] for key in keys if key in claims] for name, keys in _CLAIMS.items()}
    return {name: str(values[0]) for name, values in found.items() if values} if claims else None


def _format_facts(facts: Mapping[str, object]) -> str:
    """Return facts as text, a line for each fact and each claim."""
    lines = []
    for name, value in facts.items():
        if name != "claims_not_verified":
            lines.append((name, str(value)))
        elif isinstance(value, dict):
            lines += [
                (key, f"{claim} (from the token, not verified)") for key, claim in value.items()
            ]
        else:
            lines.append(("claims", "none: the token is not a JWT"))
    return "\n".join(f"{name.replace('_', ' ') + ':':14} {to_line(text)}" for name, text in lines)
