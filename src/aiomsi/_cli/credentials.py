"""The credential that a command uses: an identity of this host, or another library's credential."""

from __future__ import annotations

import difflib
import importlib
import inspect
import os
from typing import Any

import attrs

from aiomsi._credentials.managed_identity import ManagedIdentityCredential
from aiomsi._credentials.shared import SharedCredential
from aiomsi._errors import ConfigurationError
from aiomsi._hosts.base import Host
from aiomsi._hosts.detect import make_host
from aiomsi._hosts.identity import SYSTEM_ASSIGNED, RequestedIdentity
from aiomsi._util.foreign import strip_secrets
from aiomsi._util.secret import MaskedMapping

EXAMPLE = "azure.identity.aio:AzureCliCredential"
_PACKAGES = {"azure": "azure-identity", "aiohttp": "aiohttp"}


@attrs.frozen(eq=False, repr=False)
class CredentialSource:
    """The credential that the options of a command choose.

    Attributes:
        identity: the identity of this host.
        host: the kind of host that `--host` names; None without that option.
        inner: the value that `--credential` names; None without that option.
        name: the argument of `--credential`; empty without that option.

    """

    identity: RequestedIdentity = SYSTEM_ASSIGNED
    host: str | None = None
    inner: Any = None
    name: str = ""

    def open(self) -> ManagedIdentityCredential | SharedCredential:
        """Create the credential.

        Raises:
            ConfigurationError: the host does not serve the identity, or the value of `--credential`
                is no asynchronous credential.

        """
        if self.name:
            return SharedCredential(self.inner)
        ids = {} if self.identity.kind is None else {self.identity.kind: self.identity.value}
        return ManagedIdentityCredential(
            client_id=ids.get("client_id"),
            object_id=ids.get("object_id"),
            resource_id=ids.get("resource_id"),
            host=self.host,
        )

    def find_host(self) -> Host:
        """Return the host whose identity is used, without network I/O.

        Raises:
            ConfigurationError: as by `open`.

        """
        return make_host(MaskedMapping(os.environ), self.identity, host=self.host)


def load_credential(text: str) -> Any:
    """Return the value that ``MODULE:CALLABLE`` names.

    Raises:
        ConfigurationError: the text has another form, the module can't be imported, it has no such
            attribute, or the callable needs arguments.

    """
    if "=" in text:
        msg = f"--credential {text!r} names a tenant, and a command uses one credential"
        raise ConfigurationError(msg, help="Run the command once for each tenant")
    module_name, _, path = text.partition(":")
    if not module_name or not all(name.isidentifier() for name in path.split(".")):
        msg = f"--credential {text!r} is not MODULE:CALLABLE"
        raise ConfigurationError(msg, help=f"Write for example --credential {EXAMPLE}")
    value: Any = _import(module_name)
    for name in path.split("."):
        if not hasattr(value, name):
            raise _make_missing_error(text, value, name)
        value = getattr(value, name)
    if isinstance(value, type) and (needed := _list_needed(value)):
        msg = f"--credential {text} needs the arguments {', '.join(needed)}"
        raise ConfigurationError(
            msg, help="Name a function of your own that takes none and returns the credential"
        )
    return value


def _import(name: str) -> object:
    try:
        return importlib.import_module(name)
    except Exception as error:  # noqa: BLE001 (any code may run in a module of the user's)
        why = f"{type(error).__name__}: {strip_secrets(str(error))}"
        missing = getattr(error, "name", None) if isinstance(error, ImportError) else None
    package = _PACKAGES.get((missing or "").partition(".")[0])
    hint = (
        f"Install it, for example with 'pip install {package}'"
        if package
        else "A module of your own is found in the directories that PYTHONPATH lists"
    )
    msg = f"the module of --credential {name} can't be imported: {why}"
    raise ConfigurationError(msg, help=hint)


def _make_missing_error(text: str, owner: object, name: str) -> ConfigurationError:
    similar = difflib.get_close_matches(name, [each for each in dir(owner) if each[0] != "_"], 3)
    return ConfigurationError(
        f"--credential {text}: there is no {name} in {text.partition(':')[0]}",
        help=f"Similar names are {', '.join(similar)}" if similar else "",
    )


def _list_needed(cls: type) -> list[str]:
    """Return the names of the arguments that a class can't be called without."""
    try:
        parameters = inspect.signature(cls).parameters.values()
    except (TypeError, ValueError):
        return []
    return [
        parameter.name
        for parameter in parameters
        if parameter.default is parameter.empty
        and parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
    ]
