"""The command `aiomsi`: a demo, a token, a call to ARM, and the embedded Azure.

Exit codes: 0 success; 1 the service or the token endpoint refused a request or was unreachable;
2 wrong usage or configuration; 130 interrupted. Results go to stdout, all other output to stderr.

A missing extra ends the process on import, because only the command imports this module.
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
from aiomsi.testing import (
    DEFAULT_SUBSCRIPTION_ID,
    ArmBucket,
    ArmBuckets,
    ArmLimits,
    Counts,
    EmbeddedAzure,
    ImdsLimits,
)
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
"""The function that writes an assignment, by shell."""

_EXIT_CODES = (
    "Exit codes: 0 success; 1 the service or the token endpoint refused a request or was "
    "unreachable; 2 wrong usage or configuration; 130 interrupted."
)


def _epilog(*examples: str, exit_codes: str = _EXIT_CODES) -> str:
    return (
        "\b\nExamples:\n" + "\n".join(f"  {example}" for example in examples) + f"\n\n{exit_codes}"
    )


def _identity_options(callback: _Callback) -> _Callback:
    """Add the three options for a user-assigned identity; the callback receives them as `**ids`."""
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
    help="Number of concurrent calls.",
)
@click.option(
    "--compare",
    is_flag=True,
    help="Repeat them with a credential each: up to 30 s more, longer with --limit.",
)
@click.option(
    "--limit", type=click.IntRange(1), help="Most calls under way at once; by default all."
)
def demo(calls: int, compare: bool, limit: int | None) -> None:
    """Make many ARM calls with one token request.

    Starts an embedded Azure on loopback, runs Microsoft's tutorial for a VM's managed identity
    against it, and then many calls at once. Needs no Azure and no network. Fails unless all calls
    succeed with exactly one request to IMDS.
    """
    from aiomsi._cli import demo as _demo

    # Otherwise FORCE_COLOR could write control characters to a file.
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
    help="The resource that the token is for.",
)
@_identity_options
@click.option("--show-token", is_flag=True, help="Print the token itself too. It is a secret.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def token(resource: str, show_token: bool, as_json: bool, **ids: str | None) -> None:
    """Get a token from this host, and print its properties.

    Claims are read from the token without checking its signature. The token itself is printed
    with --show-token only.
    """
    facts = _token_facts(
        asyncio.run(_get_token(_credential(ids), resource)), resource, ids, show_token=show_token
    )
    click.echo(_format_json(facts) if as_json else _format_facts(facts))


@commands.command(
    epilog=_epilog(
        f"aiomsi get {_DEVTEST} --api-version 2021-04-01",
        "aiomsi get /subscriptions --api-version 2022-12-01 | jq '.value[].displayName'",
        exit_codes=(
            f"{_EXIT_CODES} In Git Bash set MSYS_NO_PATHCONV=1, so that the path does not become "
            "a Windows path."
        ),
    )
)
@click.argument("path")
@click.option(
    "--api-version",
    metavar="VERSION",
    help="Version of the resource type's API; required unless PATH has one.",
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
    help="The Azure cloud.",
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
    """GET a PATH of Azure Resource Manager, and print the response as JSON."""
    pairs = _parse_params(params)
    if (
        api_version is None
        and "api-version=" not in path.lower()
        and "api-version" not in map(str.lower, pairs)
    ):
        msg = "the call has no api-version, and ARM requires one"
        raise ConfigurationError(
            msg, help="Add --api-version 2021-04-01, or the version of the resource type's API"
        )
    try:
        response = asyncio.run(_get(_credential(ids), _CLOUDS[cloud], path, api_version, pairs))
    except ArmError as error:
        if include:
            _show_head(error.response)
        raise
    if include:
        _show_head(response)
    if response.body:
        click.echo(_format_json(response.json()))


@commands.command(
    epilog=_epilog(
        "aiomsi emulator --groups 1000",
        "aiomsi emulator --imds-port 8081 --arm-port 8082 > azure.env &",
        "aiomsi emulator --subscriptions 1000 --resources 1000000 --seed 1 --reads 250 25",
        exit_codes=f"{_EXIT_CODES} Ctrl-C or SIGTERM ends this command with 0.",
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
    help="Milliseconds until each response.",
)
@click.option(
    "--no-imds-limits",
    is_flag=True,
    help="Remove IMDS's limits of 20 requests a second and 5 at once.",
)
@click.option(
    "--groups",
    type=click.IntRange(0),
    default=0,
    help="Number of resource groups besides DevTest.",
)
@click.option(
    "--subscriptions",
    type=click.IntRange(0),
    default=0,
    help="Number of generated, read-only subscriptions.",
)
@click.option(
    "--resources",
    type=click.IntRange(0),
    default=0,
    help="Number of resources in all generated subscriptions; takes no memory.",
)
@click.option(
    "--seed",
    type=int,
    default=1,
    show_default=True,
    help="Seed of the generated subscriptions: the same one gives the same tenant.",
)
@click.option(
    "--reads",
    type=(click.FloatRange(1), click.FloatRange(0, min_open=True)),
    metavar="SIZE REFILL",
    help="Enforce ARM's limits, with so many reads at once and per second.",
)
@click.option(
    "--tls", is_flag=True, help="Serve ARM over https, with the certificate of a new authority."
)
@click.option(
    "--shell",
    type=click.Choice(list(_SHELLS)),
    help="The shell to print for; by default this platform's.",
)
def emulator(
    imds_port: int,
    arm_port: int,
    latency: float,
    no_imds_limits: bool,
    groups: int,
    subscriptions: int,
    resources: int,
    seed: int,
    reads: tuple[float, float] | None,
    tls: bool,
    shell: str | None,
) -> None:
    """Run an embedded Azure, IMDS and ARM on loopback, until Ctrl-C.

    The lines that set the environment of clients go to stdout, all other output to stderr.
    """
    if resources and not subscriptions:
        msg = "--resources needs subscriptions to hold them"
        raise ConfigurationError(msg, help="Add for example --subscriptions 100")
    limits = ArmLimits(enforced=False)
    if reads is not None:
        limits = ArmLimits(buckets=ArmBuckets(reads=ArmBucket(*reads)))
    azure = EmbeddedAzure(
        arm_limits=limits,
        imds_limits=None if no_imds_limits else ImdsLimits(),
        imds_latency=latency / 1000,
        arm_latency=latency / 1000,
        imds_port=imds_port,
        arm_port=arm_port,
        tls=tls,
    )
    azure.add_resource_groups(DEFAULT_SUBSCRIPTION_ID, groups)
    if subscriptions:
        azure.generate(subscriptions=subscriptions, resources=resources, seed=seed)
    line = assignment_writer(shell, sys.platform)
    trusted: AbstractContextManager[dict[str, str]] = _trusted(azure) if tls else nullcontext({})
    try:
        with _terminable(), _started(azure), trusted as trust:
            click.echo(
                "\n".join(line(*variable) for variable in {**azure.environment, **trust}.items())
            )
            click.echo(
                f"The embedded Azure runs, with {groups + 1} resource groups. Ctrl-C ends it.",
                err=True,
            )
            click.echo(
                "Set the variables in another shell and try: "
                f"aiomsi get {_DEVTEST} --api-version 2021-04-01",
                err=True,
            )
            while True:
                time.sleep(3600)
    except KeyboardInterrupt:
        click.echo(_format_counts(azure.counts), err=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command line, by default this process's, and return the exit code."""
    try:
        # click returns an exit code for --help and --version only; a command that returns has
        # succeeded.
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
    """Print the error and the advice, a line each, and return the exit code."""
    click.echo(f"aiomsi: {_one_line(summary)}", err=True)
    if advice:
        click.echo(_one_line(advice), err=True)
    return code


def _one_line(text: str) -> str:
    """Return a text, perhaps a service's, on one line and without control characters."""
    return " ".join("".join(char if char.isprintable() else " " for char in text).split())


def _advice(error: AiomsiError) -> str:
    if isinstance(error, ForeignHostError):
        return "Tokens are sent to the chosen cloud's ARM only: pass the path, or another --cloud"
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
    # Without retries, so that the command prints ARM's first response at once.
    async with credential, ArmSession(credential, cloud=cloud, retry=None) as arm:
        return await arm.request("GET", path, api_version=api_version, params=params)


def _token_facts(
    token: AccessToken, resource: str, ids: Mapping[str, str | None], *, show_token: bool
) -> dict[str, object]:
    identity = Identity.of(ids["client_id"], ids["object_id"], ids["resource_id"])
    host = make_host(os.environ, identity)
    facts: dict[str, object] = {
        "resource": resource,
        "identity": _default_kind(token)
        if identity.kind is None
        else f"{identity.kind} {identity.value}",
        **({} if token.identity.client_id is None else {"client_id": token.identity.client_id}),
        "host": host.kind,
        "endpoint": host.endpoint,
        "token_type": token.token_type,
        "expires_on": _local_time(token.expires_on),
        "seconds_left": int(token.expires_on - time.time()),
        "refresh_on": _local_time(token.refresh_on),
        "claims_not_verified": _claims(token.token),
    }
    return {**facts, "access_token": token.token} if show_token else facts


def _local_time(moment: int) -> str:
    return datetime.fromtimestamp(moment).astimezone().isoformat()


def _default_kind(token: AccessToken) -> str:
    """Return the kind of identity that the host chose."""
    return {True: "system-assigned", False: "user-assigned", None: "the host's default"}[
        token.identity.is_system_assigned
    ]


def _claims(secret: str) -> dict[str, str] | None:
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
    return "\n".join(f"{name.replace('_', ' ') + ':':14} {_one_line(text)}" for name, text in lines)


def _format_json(document: object) -> str:
    """Return indented JSON, members in their order; non-ASCII is escaped unless stdout is UTF-8."""
    is_utf8 = (sys.stdout.encoding or "").lower().replace("-", "") == "utf8"
    text = json.dumps(document, indent=2, ensure_ascii=not is_utf8)
    try:
        text.encode()
    except UnicodeEncodeError:
        # A service can cut a surrogate pair in half, and UTF-8 cannot encode a half.
        return json.dumps(document, indent=2)
    return text


def _parse_params(params: Sequence[str]) -> dict[str, str]:
    """Return the names and values of ``NAME=VALUE`` options.

    Raises:
        ConfigurationError: an option lacks the name or the equals sign, or repeats a name.

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
    """Print status and headers to stderr; mask secret headers and the queries of URLs."""
    click.echo(f"HTTP {response.status}", err=True)
    for name, value in response.headers.items():
        shown = "***" if name.lower() in _SECRET_HEADERS else _mask(value)
        click.echo(f"{name}: {_one_line(shown)}", err=True)


def _mask(value: str) -> str:
    """Mask the queries of the URLs in a header, because a query may hold ARM's signature."""
    return _WORD.sub(lambda word: _without_query(word[0]), value)


def _without_query(word: str) -> str:
    scheme = word.find("://")
    query = word.find("?", scheme)
    return word if scheme < 0 or query < 0 else f"{word[:query]}?***"


@contextmanager
def _terminable() -> Iterator[None]:
    """Raise KeyboardInterrupt on SIGTERM as on Ctrl-C, for the block."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def _started(azure: EmbeddedAzure) -> Iterator[None]:
    """Run the embedded Azure for the block.

    Raises:
        ConfigurationError: a port is not available.

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
    """Write the embedded ARM's CA to a file for the block.

    Yields the variables that make clients trust that CA.
    """
    with tempfile.TemporaryDirectory(prefix="aiomsi-") as folder:
        file = Path(folder, "ca.pem")
        file.write_bytes(azure.ca_pem)
        yield {"SSL_CERT_FILE": str(file), "REQUESTS_CA_BUNDLE": str(file)}


def assignment_writer(shell: str | None, platform: str) -> Callable[[str, str], str]:
    """Return the function that writes an assignment for the shell.

    Args:
        shell: a key of `_SHELLS`, None for the default of the platform.
        platform: a value of `sys.platform`.

    """
    return _SHELLS[shell or ("powershell" if platform == "win32" else "sh")]


def _format_counts(counts: Counts) -> str:
    imds = f"{counts.imds_tokens} tokens, {counts.imds_throttled} answers 429"
    arm = f"{counts.arm_unauthorized} answers 401, {counts.arm_forbidden} answers 403"
    return (
        f"IMDS requests: {counts.imds_requests} ({imds})\n"
        f"ARM requests: {counts.arm_requests} ({arm})"
    )
