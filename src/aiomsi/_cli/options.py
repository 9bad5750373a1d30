"""The options that several commands share, and the end of each command's help."""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import attrs
import click

from aiomsi._arm.call import Call
from aiomsi._arm.protocol.request import Options
from aiomsi._arm.session import ArmSession
from aiomsi._cli.credentials import EXAMPLE, CredentialSource, load_credential
from aiomsi._cli.output import print_message
from aiomsi._clouds import CHINA, PUBLIC, US_GOVERNMENT, Cloud
from aiomsi._errors import ConfigurationError
from aiomsi._hosts.detect import HOSTS
from aiomsi._hosts.identity import RequestedIdentity

_Command = TypeVar("_Command", bound=Callable[..., Any])

_CLOUDS = {"public": PUBLIC, "usgov": US_GOVERNMENT, "china": CHINA}

EXIT_CODES = (
    "Exit codes: 0 success; 1 the service or the token endpoint refused a request or was "
    "unreachable; 2 wrong usage or configuration; 130 interrupted; 141 the reader of the output "
    "ended."
)


def format_epilog(*examples: str, exit_codes: str = EXIT_CODES) -> str:
    """Return the end of a command's help: examples, and the exit codes."""
    return (
        "\b\nExamples:\n" + "\n".join(f"  {example}" for example in examples) + f"\n\n{exit_codes}"
    )


def add_arm_options(command: _Command) -> _Command:
    """Add the options for cloud and credential; the command receives a `Target`."""

    @click.option(
        "--cloud",
        type=click.Choice(list(_CLOUDS)),
        default="public",
        show_default=True,
        help="The Azure cloud.",
    )
    @_add_credential_options
    @functools.wraps(command)
    def with_target(cloud: str, source: CredentialSource, **others: Any) -> Any:
        return command(target=Target(_CLOUDS[cloud], source), **others)

    return with_target  # type: ignore[return-value]


def _add_credential_options(command: _Command) -> _Command:
    """Add the options for the credential; the command receives a `CredentialSource`."""

    @functools.wraps(command)
    def with_source(
        client_id: str | None,
        object_id: str | None,
        resource_id: str | None,
        host: str | None,
        credential: Sequence[str],
        **others: Any,
    ) -> Any:
        identity = RequestedIdentity.of(client_id, object_id, resource_id)
        given = [] if identity.kind is None else [f"--{identity.kind.replace('_', '-')}"]
        given += [] if host is None else ["--host"]
        if len(credential) > 1:
            msg = "--credential was given more than once"
            raise ConfigurationError(
                msg, help="A command uses one credential: run it once for each tenant"
            )
        if credential and given:
            msg = f"--credential and {given[0]} exclude each other"
            raise ConfigurationError(msg, help="The other options choose an identity of this host")
        source = (
            CredentialSource(identity, host)
            if not credential
            else CredentialSource(inner=load_credential(credential[0]), name=credential[0])
        )
        return command(source=source, **others)

    with_source = click.option(
        "--credential",
        metavar="MODULE:CALLABLE",
        multiple=True,
        help="Use another library's async credential, for example on a laptop "
        f"{EXAMPLE}: a class, a function that returns a credential, or a credential.",
    )(with_source)
    with_source = click.option(
        "--host",
        type=click.Choice(list(HOSTS)),
        help="The kind of this host; by default it is detected.",
    )(with_source)
    for kind in ("resource", "object", "client"):
        text = f"Use the user-assigned identity with this {kind} id."
        with_source = click.option(f"--{kind}-id", metavar="ID", help=text)(with_source)
    return with_source  # type: ignore[return-value]


@attrs.frozen(eq=False, repr=False)
class Target:
    """The ARM that a command calls, and the credential that the command uses.

    Attributes:
        cloud: the cloud whose ARM is called.
        source: the credential whose tokens are sent.

    """

    cloud: Cloud
    source: CredentialSource

    @asynccontextmanager
    async def open_session(self, **options: Any) -> AsyncIterator[CommandSession]:
        """Open a session for the block.

        A looked-up api-version is printed by the end of the block at the latest. `options` are
        further arguments of `ArmSession`.
        """
        async with (
            self.source.open() as credential,
            CommandSession(credential, cloud=self.cloud, **options) as arm,
        ):
            try:
                yield arm
            finally:
                arm.report_version()


class CommandSession(ArmSession):
    """A session that reports an api-version that it looked up, because scripts should name it."""

    _call: Call | None = None

    def _make_call(self, method: str, path: str, options: Options) -> Call:
        self._call = super()._make_call(method, path, options)
        return self._call

    def report_version(self) -> None:
        """Print the api-version of the last call to stderr, once, if it was looked up."""
        call, self._call = self._call, None
        if call is not None and call.kind is not None and not call.lacks_version:
            version = call.url.partition("api-version=")[2].partition("&")[0]
            print_message(f"api-version {version} was looked up for {call.kind}")
