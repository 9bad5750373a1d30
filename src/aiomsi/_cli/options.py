"""The options that several commands share, and the end of each command's help."""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import attrs
import click

from aiomsi._arm.call import Call
from aiomsi._arm.protocol.request import Options
from aiomsi._arm.session import ArmSession
from aiomsi._cli.output import say
from aiomsi._clouds import CHINA, PUBLIC, US_GOVERNMENT, Cloud
from aiomsi._credentials.managed_identity import ManagedIdentityCredential
from aiomsi._hosts.identity import Identity

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


def identity_options(command: _Command) -> _Command:
    """Add the options for a user-assigned identity; the command receives an `Identity`."""

    @functools.wraps(command)
    def with_identity(
        client_id: str | None, object_id: str | None, resource_id: str | None, **others: Any
    ) -> Any:
        return command(identity=Identity.of(client_id, object_id, resource_id), **others)

    for kind in ("resource", "object", "client"):
        text = f"Use the user-assigned identity with this {kind} id."
        with_identity = click.option(f"--{kind}-id", metavar="ID", help=text)(with_identity)
    return with_identity  # type: ignore[return-value]


def arm_options(command: _Command) -> _Command:
    """Add the options of all commands that call ARM; the command receives a `Target`."""

    @click.option(
        "--cloud",
        type=click.Choice(list(_CLOUDS)),
        default="public",
        show_default=True,
        help="The Azure cloud.",
    )
    @identity_options
    @functools.wraps(command)
    def with_target(cloud: str, identity: Identity, **others: Any) -> Any:
        return command(target=Target(_CLOUDS[cloud], identity), **others)

    return with_target  # type: ignore[return-value]


def open_credential(identity: Identity) -> ManagedIdentityCredential:
    """Create the credential of an identity of this host."""
    ids = {} if identity.kind is None else {identity.kind: identity.value}
    return ManagedIdentityCredential(
        client_id=ids.get("client_id"),
        object_id=ids.get("object_id"),
        resource_id=ids.get("resource_id"),
    )


@attrs.frozen
class Target:
    """The ARM that a command calls, and the identity that the command uses.

    Attributes:
        cloud: the cloud whose ARM is called.
        identity: the identity of this host whose tokens are sent.

    """

    cloud: Cloud
    identity: Identity

    @asynccontextmanager
    async def open_session(self, **options: Any) -> AsyncIterator[CommandSession]:
        """Open a session for the block.

        A looked-up api-version is printed by the end of the block at the latest. `options` are
        further arguments of `ArmSession`.
        """
        async with (
            open_credential(self.identity) as credential,
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
            say(f"api-version {version} was looked up for {call.kind}")
