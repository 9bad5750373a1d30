"""azure-core's classes, in a process whose other code has imported them; this package imports none.

Azure SDK clients look for Microsoft's classes, not only for their attributes. So a token or an
error of this package is an instance of such a class as well, if the class exists at that moment.
"""

import sys
from functools import lru_cache
from typing import Any

CREDENTIALS = "azure.core.credentials"
"""The module of `AccessToken` and `AccessTokenInfo`."""
_PUBLIC = "_public_class"


class AzureErrorAttributes(Exception):  # noqa: N818 (a part of errors, never raised itself)
    """The attributes of azure-core's `HttpResponseError`, for an error of this package.

    In the method resolution order this class comes before azure-core's, whose constructors would
    keep the traceback of the exception that is being handled.

    Attributes:
        status_code: the last HTTP status, None without a response.
        exc_msg: the text of the error.

    """

    response = reason = error = model = continuation_token = None
    inner_exception = exc_type = exc_value = exc_traceback = None

    def __init__(self, *args: object) -> None:
        Exception.__init__(self, *args)

    @property
    def status_code(self) -> int | None:
        """The last HTTP status, None without a response."""
        status: int | None = getattr(self, "status", None)
        return status

    @property
    def exc_msg(self) -> str:
        """The text of the error."""
        return str(self)


class _Derived:
    """The first base of derived classes: it keeps a user's `__init_subclass__` from a second run.

    That may require arguments, forbid subclasses, or register the class.
    """

    __slots__ = ()

    def __init_subclass__(cls) -> None:
        """Do nothing."""


def get_public_class(cls: Any) -> Any:
    """Return the class that `add_azure_base` derived this one from, or the class itself."""
    return vars(cls).get(_PUBLIC, cls)


def add_azure_base(cls: Any, *, no_identity: bool) -> Any:
    """Return a subclass of an error's class that azure-core's `except` clauses catch.

    Return the class itself if azure-core's classes are not imported.

    Args:
        cls: the class of the error.
        no_identity: whether a chain of credentials should go on with the next credential.

    """
    cls = get_public_class(cls)
    exceptions = sys.modules.get("azure.core.exceptions")
    base = getattr(exceptions, "ClientAuthenticationError", None)
    if no_identity:
        identity = sys.modules.get("azure.identity")
        base = getattr(identity, "CredentialUnavailableError", base)
    if base is None or issubclass(cls, base):
        return cls
    return _derive(cls, base)


def is_no_identity(error: object) -> bool:
    """Return whether an error tells a chain of credentials to go on with the next one."""
    identity = sys.modules.get("azure.identity")
    return getattr(error, "no_identity", False) is True or isinstance(
        error, getattr(identity, "CredentialUnavailableError", ())
    )


@lru_cache(maxsize=64)
def _derive(cls: Any, base: Any) -> Any:
    names = {"__module__": cls.__module__, "__qualname__": cls.__qualname__, "__doc__": cls.__doc__}
    bases = (_Derived, cls, AzureErrorAttributes, base)
    return type(cls)(cls.__name__, bases, {**names, _PUBLIC: cls})
