"""The command `aiomsi`: a demo, a token, a call to ARM, and the embedded Azure.

Exit codes: 0 done; 1 the service or the token endpoint said no or could not be reached; 2 wrong
usage or configuration; 130 interrupted. Results go to stdout, everything else to stderr.

Importing this module is running the command, so a missing extra ends the process here.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import shlex
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

try:
    import click
    from rich.console import Console
except ImportError as missing:
    sys.stderr.write(f"The aiomsi command needs {missing.name}: pip install 'aiomsi[cli]'\n")
    raise SystemExit(2) from None

from aiomsi._arm.protocol.response import ArmResponse
from aiomsi._arm.session import ArmSession
from aiomsi._clouds import CHINA, PUBLIC, US_GOVERNMENT, Cloud
from aiomsi._credentials.managed_identity import ManagedIdentityCredential
from aiomsi._errors import AiomsiError, ArmError, ConfigurationError, ForeignHostError
from aiomsi._hosts.detect import make_host
from aiomsi._hosts.identity import Identity
from aiomsi._tokens.token import AccessToken, read_claims
from aiomsi._version import VERSION
from aiomsi.testing import DEFAULT_SUBSCRIPTION_ID, Counts, EmbeddedAzure, ImdsLimits
from aiomsi.testing._state.tokens import MissingExtraError

_Callback = TypeVar("_Callback", bound=Callable[..., Any])

_CLOUDS = {"public": PUBLIC, "usgov": US_GOVERNMENT, "china": CHINA}
_CLAIMS = {
    "audience": ("aud",),
    "tenant_id": ("tid",),
    "object_id": ("oid",),
    "app_id": ("appid", "azp"),
}
_SECRET_HEADERS = frozenset(
    {"set-cookie", "authorization", "proxy-authorization", "authentication-info"}
)
_WORD = re.compile(r"\S+")
_DEVTEST = f"/subscriptions/{DEFAULT_SUBSCRIPTION_ID}/resourceGroups/DevTest"
_SHELLS: dict[str, Callable[[str, str], str]] = {
    "sh": lambda name, value: f"export {name}={shlex.quote(value)}",
    "powershell": lambda name, value: "$env:{} = '{}'".format(name, value.replace("'", "''")),
    "cmd": lambda name, value: f'set "{name}={value}"',
}
"""How each shell sets a variable."""

_EXIT_CODES = (
    "Exit codes: 0 done; 1 the service or the token endpoint said no or could not be reached; "
    "2 wrong usage or configuration; 130 interrupted."
)


def _epilog(*examples: str, exit_codes: str = _EXIT_CODES) -> str:
    return (
        "\b\nExamples:\n" + "\n".join(f"  {example}" for example in examples) + f"\n\n{exit_codes}"
    )


def _identity_options(callback: _Callback) -> _Callback:
    """Add the three options that name a user-assigned identity; they reach the callback as `**ids`."""
    for kind in ("resource", "object", "client"):
        text = f"Use the user-assigned identity with this {kind} id."
        callback = click.option(f"--{kind}-id", metavar="ID", help=text)(callback)
    return callback


@click.group(invoke_without_command=True, epilog=_epilog("aiomsi demo", "aiomsi get --help"))
@click.version_option(VERSION, message="%(prog)s %(version)s")
@click.pass_context
def commands(context: click.Context) -> None:
    """Managed-identity tokens and Azure Resource Manager, from the command line."""
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


@commands.command(epilog=_epilog("aiomsi demo", "aiomsi demo --calls 1000 --compare"))
@click.option(
    "--calls",
    type=click.IntRange(1),
    default=1000,
    show_default=True,
    help="How many concurrent calls.",
)
@click.option(
    "--compare",
    is_flag=True,
    help="Do them again with a credential each: up to 30 s more, longer with --limit.",
)
@click.option(
    "--limit", type=click.IntRange(1), help="Most calls under way at once; by default all."
)
def demo(calls: int, compare: bool, limit: int | None) -> None:
    """Show many ARM calls at the price of one token request.

    Starts an embedded Azure on loopback, does Microsoft's tutorial for a VM's managed identity
    against it, and then many calls at once. Needs no Azure and no network. Fails unless all calls
    succeed with exactly one request to IMDS.
    """
    from aiomsi._cli import demo as _demo

    # Colours that the environment forces would be control characters in a file.
    console = Console(force_terminal=None if sys.stdout.isatty() else False, force_jupyter=False)
    _demo.run(console, calls=calls, compare=compare, limit=limit)


@commands.command(
    epilog=_epilog("aiomsi token", "aiomsi token --resource https://vault.azure.net --json")
)
@click.option(
    "--resource",
    metavar="URL",
    default=PUBLIC.audience,
    show_default=True,
    help="What the token is for.",
)
@_identity_options
@click.option("--show-token", is_flag=True, help="Print the token itself too. It is a secret.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def token(resource: str, show_token: bool, as_json: bool, **ids: str | None) -> None:
    """Ask this host for a token, and print what is known of it.

    Claims are read from the token without checking its signature. The token itself is printed on
    request only.
    """
    facts = _facts(
        asyncio.run(_get_token(_credential(ids), resource)), resource, ids, show_token=show_token
    )
    click.echo(_pretty(facts) if as_json else _listed(facts))


@commands.command(
    epilog=_epilog(
        f"aiomsi get {_DEVTEST} --api-version 2021-04-01",
        "aiomsi get /subscriptions --api-version 2022-12-01 | jq '.value[].displayName'",
        exit_codes=f"{_EXIT_CODES} In Git Bash set MSYS_NO_PATHCONV=1, or it turns the path into a Windows one.",
    )
)
@click.argument("path")
@click.option(
    "--api-version",
    metavar="VERSION",
    help="Of the resource type's API; needed unless PATH has one.",
)
@click.option(
    "--param",
    "params",
    multiple=True,
    metavar="NAME=VALUE",
    help="A query parameter; may be repeated.",
)
@click.option(
    "--cloud",
    type=click.Choice(list(_CLOUDS)),
    default="public",
    show_default=True,
    help="Which Azure.",
)
@_identity_options
@click.option("--include", is_flag=True, help="Print status and headers to stderr.")
def get(
    path: str,
    api_version: str | None,
    params: Sequence[str],
    cloud: str,
    include: bool,
    **ids: str | None,
) -> None:
    """GET a PATH of Azure Resource Manager, and print the answer as JSON."""
    given = _pairs(params)
    if (
        api_version is None
        and "api-version=" not in path.lower()
        and "api-version" not in map(str.lower, given)
    ):
        msg = "the call has no api-version, and ARM requires one"
        raise ConfigurationError(
            msg, help="Add --api-version 2021-04-01, or the version of the resource type's API"
        )
    try:
        response = asyncio.run(_get(_credential(ids), _CLOUDS[cloud], path, api_version, given))
    except ArmError as error:
        if include:
            _show_head(error.response)
        raise
    if include:
        _show_head(response)
    if response.body:
        click.echo(_pretty(response.json()))


@commands.command(
    epilog=_epilog(
        "aiomsi emulator --groups 1000",
        "aiomsi emulator --imds-port 8081 --arm-port 8082 > azure.env &",
        exit_codes=f"{_EXIT_CODES} Ctrl-C, or SIGTERM, is how this command is ended, so that is 0 here.",
    )
)
@click.option(
    "--imds-port",
    type=click.IntRange(0, 65535),
    default=0,
    help="IMDS's port; by default a free one.",
)
@click.option(
    "--arm-port",
    type=click.IntRange(0, 65535),
    default=0,
    help="ARM's port; by default a free one.",
)
@click.option(
    "--latency",
    type=click.FloatRange(0),
    default=0,
    metavar="MS",
    help="Milliseconds that each answer takes.",
)
@click.option(
    "--no-imds-limits",
    is_flag=True,
    help="Let IMDS answer any number of requests; else 20 a second, 5 at once.",
)
@click.option(
    "--groups",
    type=click.IntRange(0),
    default=0,
    help="How many resource groups there are besides DevTest.",
)
@click.option(
    "--tls", is_flag=True, help="Serve ARM over https, with the certificate of a new authority."
)
@click.option(
    "--shell",
    type=click.Choice(list(_SHELLS)),
    help="For which shell to print; by default this platform's.",
)
def emulator(
    imds_port: int,
    arm_port: int,
    latency: float,
    no_imds_limits: bool,
    groups: int,
    tls: bool,
    shell: str | None,
) -> None:
    """Run an embedded Azure, IMDS and ARM on loopback, until Ctrl-C.

    The lines that set the environment of its clients go to stdout, everything else to stderr.
    """
    azure = EmbeddedAzure(
        imds_limits=None if no_imds_limits else ImdsLimits(),
        imds_latency=latency / 1000,
        arm_latency=latency / 1000,
        imds_port=imds_port,
        arm_port=arm_port,
        tls=tls,
    )
    azure.add_resource_groups(DEFAULT_SUBSCRIPTION_ID, groups)
    line = line_for(shell, sys.platform)
    trusted: AbstractContextManager[dict[str, str]] = _trusted(azure) if tls else nullcontext({})
    try:
        with _terminable(), _started(azure), trusted as trust:
            click.echo(
                "\n".join(line(*variable) for variable in {**azure.environment, **trust}.items())
            )
            click.echo(
                f"The embedded Azure is running, with {groups + 1} resource groups. Ctrl-C ends it.",
                err=True,
            )
            click.echo(
                f"Set the variables in another shell and try: aiomsi get {_DEVTEST} --api-version 2021-04-01",
                err=True,
            )
            while True:
                time.sleep(3600)
    except KeyboardInterrupt:
        click.echo(_counted(azure.counts), err=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command line, by default this process's own, and give the exit code."""
    try:
        # An exit code comes back for --help and --version only; a command that returns has done its
        # work.
        code = commands.main(
            arguments, prog_name="aiomsi", standalone_mode=False, windows_expand_args=False
        )
    except (click.Abort, KeyboardInterrupt):
        return _fail(130, "interrupted")
    except click.UsageError as error:
        where = error.ctx.command_path if error.ctx else "aiomsi"
        return _fail(2, error.format_message(), f"See '{where} --help'")
    except AiomsiError as error:
        return _fail(
            2 if isinstance(error, ConfigurationError) else 1, str(error.args[0]), _advice(error)
        )
    except MissingExtraError as error:
        return _fail(2, str(error))
    return code or 0


def _fail(code: int, summary: str, advice: str = "") -> int:
    """Print what happened and what to do, a line each, and give the exit code."""
    click.echo(f"aiomsi: {_one_line(summary)}", err=True)
    if advice:
        click.echo(_one_line(advice), err=True)
    return code


def _one_line(text: str) -> str:
    """Put text that a service may have written on one line, without control characters."""
    return " ".join("".join(char if char.isprintable() else " " for char in text).split())


def _advice(error: AiomsiError) -> str:
    if isinstance(error, ForeignHostError):
        return (
            "A token goes to the chosen cloud's ARM only: give the path alone, or another --cloud"
        )
    return error.help


def _credential(ids: Mapping[str, str | None]) -> ManagedIdentityCredential:
    return ManagedIdentityCredential(
        client_id=ids["client_id"], object_id=ids["object_id"], resource_id=ids["resource_id"]
    )


async def _get_token(credential: ManagedIdentityCredential, resource: str) -> AccessToken:
    async with credential:
        return await credential.get_token(resource)


async def _get(
    credential: ManagedIdentityCredential,
    cloud: Cloud,
    path: str,
    api_version: str | None,
    params: Mapping[str, str],
) -> ArmResponse:
    # Who types a command wants to see what ARM says, and at once.
    async with credential, ArmSession(credential, cloud=cloud, retry=None) as arm:
        return await arm.request("GET", path, api_version=api_version, params=params)


def _facts(
    given: AccessToken, resource: str, ids: Mapping[str, str | None], *, show_token: bool
) -> dict[str, object]:
    identity = Identity.of(ids["client_id"], ids["object_id"], ids["resource_id"])
    host = make_host(os.environ, identity)
    facts: dict[str, object] = {
        "resource": resource,
        "identity": _default_kind(given)
        if identity.kind is None
        else f"{identity.kind} {identity.value}",
        **({} if given.identity.client_id is None else {"client_id": given.identity.client_id}),
        "host": host.kind,
        "endpoint": host.endpoint,
        "token_type": given.token_type,
        "expires_on": _local(given.expires_on),
        "seconds_left": int(given.expires_on - time.time()),
        "refresh_on": _local(given.refresh_on),
        "claims_not_verified": _claims(given.token),
    }
    return {**facts, "access_token": given.token} if show_token else facts


def _local(moment: int) -> str:
    return datetime.fromtimestamp(moment).astimezone().isoformat()


def _default_kind(given: AccessToken) -> str:
    """Return the kind of the identity that the host chose."""
    return {True: "system-assigned", False: "user-assigned", None: "the host's default"}[
        given.identity.is_system_assigned
    ]


def _claims(secret: str) -> dict[str, str] | None:
    """Read the claims that say for whom and for what a token is; None if it is not a JWT. Its signature is not checked."""
    claims = read_claims(secret)
    found = {name: [claims[key] for key in keys if key in claims] for name, keys in _CLAIMS.items()}
    return {name: str(values[0]) for name, values in found.items() if values} if claims else None


def _listed(facts: Mapping[str, object]) -> str:
    """Write facts for people: a line each, the claims on lines of their own."""
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
    return "\n".join(f"{name.replace('_', ' ') + ':':14} {_one_line(text)}" for name, text in lines)


def _pretty(document: object) -> str:
    """Write JSON for people, in the order in which it came; escaped where stdout can't take every letter."""
    every = (sys.stdout.encoding or "").lower().replace("-", "") == "utf8"
    text = json.dumps(document, indent=2, ensure_ascii=not every)
    try:
        text.encode()
    except UnicodeEncodeError:
        # Half of a surrogate pair, as a service cut it: no encoding has that.
        return json.dumps(document, indent=2)
    return text


def _pairs(params: Sequence[str]) -> dict[str, str]:
    """Take ``NAME=VALUE`` apart.

    Raises:
        ConfigurationError: there is no name, no equals sign, or a name twice.

    """
    pairs: dict[str, str] = {}
    for text in params:
        name, separator, value = text.partition("=")
        if not name or not separator or name in pairs:
            msg = f"--param {text!r} is not NAME=VALUE, or its name was given before"
            raise ConfigurationError(msg, help="Write for example --param '$top=10'")
        pairs[name] = value
    return pairs


def _show_head(response: ArmResponse) -> None:
    """Print status and headers to stderr; the signed part of URLs and what may hold a secret are masked."""
    click.echo(f"HTTP {response.status}", err=True)
    for name, value in response.headers.items():
        shown = "***" if name.lower() in _SECRET_HEADERS else _masked(value)
        click.echo(f"{name}: {_one_line(shown)}", err=True)


def _masked(value: str) -> str:
    """Mask the queries of the URLs in a header: ARM signs some."""
    return _WORD.sub(lambda word: _without_query(word[0]), value)


def _without_query(word: str) -> str:
    scheme = word.find("://")
    query = word.find("?", scheme)
    return word if scheme < 0 or query < 0 else f"{word[:query]}?***"


@contextmanager
def _terminable() -> Iterator[None]:
    """Let SIGTERM do what Ctrl-C does, for the block."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def _started(azure: EmbeddedAzure) -> Iterator[None]:
    """Run the embedded Azure for the block.

    Raises:
        ConfigurationError: a port can't be had.

    """
    try:
        azure.start()
    except OSError as error:
        raise ConfigurationError(
            str(error), help="Choose another --imds-port or --arm-port, or leave them out"
        ) from error
    try:
        yield
    finally:
        azure.stop()


@contextmanager
def _trusted(azure: EmbeddedAzure) -> Iterator[dict[str, str]]:
    """Give the variables by which clients come to trust the embedded ARM, with the file that they name."""
    with tempfile.TemporaryDirectory(prefix="aiomsi-") as folder:
        file = Path(folder, "ca.pem")
        file.write_bytes(azure.ca_pem)
        yield {"SSL_CERT_FILE": str(file), "REQUESTS_CA_BUNDLE": str(file)}


def line_for(shell: str | None, platform: str) -> Callable[[str, str], str]:
    """Give the function that writes an assignment for the shell, by default the platform's (as `sys.platform`)."""
    return _SHELLS[shell or ("powershell" if platform == "win32" else "sh")]


def _counted(counts: Counts) -> str:
    return (
        f"IMDS requests: {counts.imds_requests} ({counts.imds_tokens} tokens, {counts.imds_throttled} answers 429)\n"
        f"ARM requests: {counts.arm_requests} ({counts.arm_unauthorized} answers 401, {counts.arm_forbidden} answers 403)"
    )
