"""The command `aiomsi emulator`: the embedded Azure, until Ctrl-C."""

from __future__ import annotations

import json
import os
import shlex
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from aiomsi._cli.options import EXIT_CODES, format_epilog
from aiomsi._errors import ConfigurationError
from aiomsi._util.compat import list_end_signals
from aiomsi.testing import DEFAULT_SUBSCRIPTION_ID, HOST_KINDS

if TYPE_CHECKING:
    from aiomsi.testing import EmbeddedAzure

_DEVTEST = f"/subscriptions/{DEFAULT_SUBSCRIPTION_ID}/resourceGroups/DevTest"
_SHELLS: dict[str, Callable[[str, str], str]] = {
    "sh": lambda name, value: f"export {name}={shlex.quote(value)}",
    "powershell": lambda name, value: "$env:{} = '{}'".format(name, value.replace("'", "''")),
    "cmd": lambda name, value: f'set "{name}={value}"',
}
"""The function that writes an assignment, by shell."""
_COMMENTS = {"sh": "#", "powershell": "#", "cmd": "rem"}
"""The beginning of a comment, by shell."""
_MGMT_ARGUMENTS = ("base_url", "credential_scopes")
_PEM = click.Path(exists=True, dir_okay=False)


@click.command(
    epilog=format_epilog(
        "aiomsi emulator --groups 1000",
        "aiomsi emulator --imds-port 8081 --arm-port 8082 > azure.env &",
        "aiomsi emulator --kind app-service --resource api://mine",
        "aiomsi emulator --tls --arm-address 0.0.0.0 --tls-name arm.test --arm-port 8443",
        "aiomsi emulator --subscriptions 1000 --resources 1000000 --seed 1 --reads 250 25",
        exit_codes=f"{EXIT_CODES} Ctrl-C or SIGTERM ends this command with 0.",
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
    "--kind",
    type=click.Choice(["imds", *HOST_KINDS]),
    default="imds",
    show_default=True,
    help="Host of managed identities that the printed environment describes.",
)
@click.option(
    "--kind-port",
    type=click.IntRange(0, 65535),
    default=0,
    help="Port of the host of --kind; by default a free one.",
)
@click.option(
    "--imds-address",
    default="127.0.0.1",
    metavar="ADDRESS",
    show_default=True,
    help="Address that IMDS and the host of --kind listen on.",
)
@click.option(
    "--arm-address",
    default="127.0.0.1",
    metavar="ADDRESS",
    show_default=True,
    help="Address that ARM listens on.",
)
@click.option(
    "--arc-key-directory",
    type=click.Path(file_okay=False),
    metavar="DIRECTORY",
    help="Directory of the key files of Azure Arc; by default the agent's, because clients "
    "accept no other one.",
)
@click.option(
    "--resource",
    "audiences",
    multiple=True,
    metavar="AUDIENCE",
    help="Issue tokens for this resource as well. May be repeated.",
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
    "--arm-limits",
    is_flag=True,
    help="Respond 429 beyond ARM's limits; otherwise headers alone report them.",
)
@click.option(
    "--reads",
    type=(click.FloatRange(1), click.FloatRange(0, min_open=True)),
    metavar="SIZE REFILL",
    help="Enforce ARM's limits, with so many reads at once and per second.",
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
    "--troubles",
    is_flag=True,
    help="Give each trouble of large tenants to one generated subscription; stderr names them.",
)
@click.option(
    "--strict-versions",
    is_flag=True,
    help="Accept only the api-versions that a type's provider lists, no later ones.",
)
@click.option(
    "--tls", is_flag=True, help="Serve ARM over https, with the certificate of a new authority."
)
@click.option(
    "--tls-name",
    "tls_names",
    multiple=True,
    metavar="NAME",
    help="Put this name on the certificate as well; implies --tls. May be repeated.",
)
@click.option(
    "--certificate",
    type=(_PEM, _PEM),
    metavar="FILE KEY",
    help="Serve ARM over https with this certificate.",
)
@click.option(
    "--authority",
    type=(_PEM, _PEM),
    metavar="FILE KEY",
    help="Serve ARM over https with a certificate that this authority signs.",
)
@click.option(
    "--shell",
    type=click.Choice(list(_SHELLS)),
    help="The shell to print for; by default this platform's.",
)
def emulator(
    imds_port: int,
    arm_port: int,
    kind: str,
    kind_port: int,
    imds_address: str,
    arm_address: str,
    arc_key_directory: str | None,
    audiences: tuple[str, ...],
    latency: float,
    no_imds_limits: bool,
    arm_limits: bool,
    reads: tuple[float, float] | None,
    groups: int,
    subscriptions: int,
    resources: int,
    seed: int,
    troubles: bool,
    strict_versions: bool,
    tls: bool,
    tls_names: tuple[str, ...],
    certificate: tuple[str, str] | None,
    authority: tuple[str, str] | None,
    shell: str | None,
) -> None:
    """Run an embedded Azure, IMDS and ARM on loopback, until Ctrl-C.

    The lines that set the environment of clients go to stdout, all other output to stderr.
    """
    # The other commands do not need the servers, whose import takes longer than a request.
    from aiomsi.testing import ArmBucket, ArmBuckets, ArmLimits, EmbeddedAzure, ImdsLimits

    if resources and not subscriptions:
        msg = "--resources needs subscriptions to hold them"
        raise ConfigurationError(msg, help="Add for example --subscriptions 100")
    _check_options(
        kind,
        has_port=bool(kind_port),
        keys=arc_key_directory,
        addresses=(imds_address, arm_address),
    )
    buckets = ArmBuckets() if reads is None else ArmBuckets(reads=ArmBucket(*reads))
    try:
        azure = EmbeddedAzure(
            kinds={} if kind == "imds" else {kind: kind_port},
            resources=audiences,
            imds_limits=None if no_imds_limits else ImdsLimits(),
            arm_limits=ArmLimits(buckets=buckets, enforced=arm_limits or reads is not None),
            imds_latency=latency / 1000,
            arm_latency=latency / 1000,
            imds_port=imds_port,
            arm_port=arm_port,
            strict_versions=strict_versions,
            host=imds_address,
            arm_host=arm_address,
            tls=tls_names or tls,
            certificate=certificate,
            authority=authority,
            arc_key_directory=arc_key_directory or find_agent_directory(sys.platform, os.environ),
        )
    except ValueError as error:
        raise ConfigurationError(str(error), help="See aiomsi emulator --help") from error
    azure.arm.add_resource_groups(DEFAULT_SUBSCRIPTION_ID, groups)
    if subscriptions:
        azure.arm.generate(subscriptions=subscriptions, resources=resources, seed=seed)
    if troubles:
        _add_troubles(azure, seed)
    secure = bool(tls or tls_names or certificate or authority)
    try:
        with _catch_end_signals(), _start(azure):
            lines = format_environment(azure, kind, secure=secure, shell=shell)
            click.echo("\n".join(lines))
            click.echo(
                f"The embedded Azure runs, with {groups + 1} resource "
                f"group{'s' if groups else ''}. Ctrl-C ends it.",
                err=True,
            )
            click.echo(
                f"Set the variables in another shell and try: aiomsi get {_DEVTEST}",
                err=True,
            )
            while True:
                time.sleep(find_longest_sleep(sys.platform))
    except KeyboardInterrupt:
        click.echo(_format_counts(azure, kind), err=True)


def _check_options(
    kind: str, *, has_port: bool, keys: str | None, addresses: tuple[str, str]
) -> None:
    """Check the options that would be ignored, or mean something else.

    Raises:
        ConfigurationError: an option belongs to another ``--kind``, or an address is empty.

    """
    if has_port and kind == "imds":
        raise ConfigurationError(
            "--kind-port is the port of another host than IMDS", help="Add --kind, or --imds-port"
        )
    if keys is not None and kind != "azure-arc":
        raise ConfigurationError(
            "--arc-key-directory belongs to Azure Arc", help="Add --kind azure-arc"
        )
    if "" in addresses:
        # A socket would be bound to every interface.
        raise ConfigurationError(
            "--imds-address or --arm-address is empty", help="0.0.0.0 means every interface"
        )


def _add_troubles(azure: EmbeddedAzure, seed: int) -> None:
    """Give the troubles to generated subscriptions, and print these.

    Raises:
        ConfigurationError: the subscriptions are too few.

    """
    try:
        found = azure.arm.add_troubles(seed)
    except ValueError as error:
        raise ConfigurationError(str(error), help="Add for example --subscriptions 100") from error
    for name, subscription_id in found.items():
        click.echo(f"{subscription_id} {name}", err=True)


def find_agent_directory(platform: str, environment: Mapping[str, str]) -> str:
    """Return the directory of the key files of the Azure Arc agent.

    Args:
        platform: a value of `sys.platform`.
        environment: the environment variables.

    """
    if platform == "win32":
        data = environment.get("ProgramData", r"C:\ProgramData")
        return rf"{data}\AzureConnectedMachineAgent\Tokens"
    return "/var/opt/azcmagent/tokens"


def format_environment(
    azure: EmbeddedAzure, kind: str, *, secure: bool, shell: str | None
) -> list[str]:
    """Return the lines that set the environment of clients, and comments for azure-mgmt.

    Args:
        azure: the running embedded Azure.
        kind: kind of the host; ``"imds"`` for IMDS.
        secure: whether ARM speaks https.
        shell: a key of `_SHELLS`, None for the default of the platform.

    """
    variables = azure.environment if kind == "imds" else azure.hosts[kind].environment
    if secure:
        variables = {**variables, **azure.trust}
    line = choose_assignment_writer(shell, sys.platform)
    lines = [line(*variable) for variable in variables.items()]
    if not secure:
        return lines
    comment = _COMMENTS[shell or _choose_shell(sys.platform)]
    arguments = azure.client_arguments
    return [
        *lines,
        f"{comment} Clients of azure-mgmt need these arguments:",
        *(f"{comment}   {name}={json.dumps(arguments[name])}," for name in _MGMT_ARGUMENTS),
    ]


def find_longest_sleep(platform: str) -> float:
    """Return the seconds after which a sleeping main thread handles a signal at the latest.

    On Windows only Ctrl-C interrupts `time.sleep`, and Ctrl-Break does not.

    Args:
        platform: a value of `sys.platform`.

    """
    return 0.5 if platform == "win32" else 3_600.0


@contextmanager
def _catch_end_signals() -> Iterator[None]:
    """Raise KeyboardInterrupt on SIGTERM and Ctrl-Break as on Ctrl-C, for the block."""
    before = {
        number: signal.signal(number, signal.default_int_handler) for number in list_end_signals()
    }
    try:
        yield
    finally:
        for number, earlier in before.items():
            signal.signal(number, earlier)


@contextmanager
def _start(azure: EmbeddedAzure) -> Iterator[None]:
    """Run the embedded Azure for the block.

    Raises:
        ConfigurationError: a port is not available, or a file can't be written.

    """
    try:
        azure.start()
    except OSError as error:
        if error.filename is not None:
            advice = "Run the command as a user that may write there, or give --arc-key-directory"
            raise ConfigurationError(str(error), help=advice) from error
        raise ConfigurationError(
            str(error),
            help="Choose other ports or addresses (--imds-port, --arm-port, --kind-port, "
            "--imds-address, --arm-address), or leave them out",
        ) from error
    try:
        yield
    finally:
        azure.stop()


def choose_assignment_writer(shell: str | None, platform: str) -> Callable[[str, str], str]:
    """Return the function that writes an assignment for the shell.

    Args:
        shell: a key of `_SHELLS`, None for the default of the platform.
        platform: a value of `sys.platform`.

    """
    return _SHELLS[shell or _choose_shell(platform)]


def _choose_shell(platform: str) -> str:
    return "powershell" if platform == "win32" else "sh"


def _format_counts(azure: EmbeddedAzure, kind: str) -> str:
    counts, usage = azure.counts, azure.arm.usage()
    imds = f"{counts.imds_tokens} tokens, {counts.imds_throttled} answers 429"
    throttled = usage.refused + usage.refused_by_providers
    arm = (
        f"{counts.arm_unauthorized} answers 401, {counts.arm_forbidden} answers 403, "
        f"{throttled} answers 429"
    )
    hosts = [] if kind == "imds" else [azure.hosts[kind].counts]
    other = "".join(f"Requests of {kind}: {one.requests} ({one.tokens} tokens)\n" for one in hosts)
    return (
        f"{other}IMDS requests: {counts.imds_requests} ({imds})\n"
        f"ARM requests: {counts.arm_requests} ({arm})"
    )
