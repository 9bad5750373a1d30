"""The command `aiomsi token`: a token of this host, and its properties."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from datetime import datetime

import click

from aiomsi._cli.credentials import CredentialSource
from aiomsi._cli.options import Target, add_arm_options, format_epilog
from aiomsi._cli.output import print_json, to_line
from aiomsi._cli.phrases import translate
from aiomsi._tokens.access_token import AccessToken
from aiomsi._tokens.token_identity import read_claims

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
    show_default="Azure Resource Manager",
    help="The resource that the token is for.",
)
@add_arm_options
@click.option("--show-token", is_flag=True, help="Print the token itself too. It is a secret.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def token(resource: str | None, target: Target, show_token: bool, as_json: bool) -> None:
    """Get a token from this host, and print its properties.

    Claims are read from the token without checking its signature. The token itself is printed
    with --show-token only.
    """
    wanted = target.cloud.audience if resource is None else resource
    found = asyncio.run(_get_token(target.source, wanted))
    facts = {
        "resource": wanted,
        **_describe_source(found, target.source),
        **_describe_token(found),
        **({"access_token": found.token} if show_token else {}),
    }
    if as_json:
        print_json(facts)
    else:
        click.echo(_format_facts(facts))


async def _get_token(source: CredentialSource, resource: str) -> AccessToken:
    async with source.open() as credential:
        return await credential.get_token(resource)


def _describe_source(token: AccessToken, source: CredentialSource) -> dict[str, object]:
    """Return the identity that was requested, and the host or credential that issued the token."""
    if source.name:
        return {"credential": source.name}
    identity, host = source.identity, source.find_host()
    client_id = token.identity.client_id
    return {
        "identity": _describe_default(token)
        if identity.kind is None
        else f"{identity.kind} {identity.value}",
        **({} if client_id is None else {"client_id": client_id}),
        "host": host.kind,
        "chosen_by": translate(host.chosen_by),
        "endpoint": host.endpoint,
    }


def _describe_token(token: AccessToken) -> dict[str, object]:
    return {
        "token_type": token.token_type,
        "expires_on": _format_time(token.expires_on),
        "seconds_left": int(token.expires_on - time.time()),
        "refresh_on": _format_time(token.refresh_on),
        "claims_not_verified": _find_claims(token.token),
    }


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
