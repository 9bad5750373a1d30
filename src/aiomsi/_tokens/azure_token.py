"""Tokens as instances of azure-core's classes, one of which is a tuple. No I/O."""

from functools import lru_cache
from typing import Any, NoReturn, Self

import attrs

from aiomsi._tokens.access_token import AccessToken, AccessTokenInfo
from aiomsi._util.secret import Secret


class _Frozen:
    """Refuse changes, because all callers share an object."""

    __slots__ = ()

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise attrs.exceptions.FrozenInstanceError

    def __delattr__(self, name: str) -> NoReturn:
        raise attrs.exceptions.FrozenInstanceError


class _AzureAccessToken(_Frozen, AccessToken):
    """The methods of the subclass of azure-core's `AccessToken`."""

    __slots__ = ()

    def _replace(self, **changes: Any) -> Self:
        """Return another tuple, whose repr hides the token as well."""
        made: Self = tuple.__new__(type(self), super()._replace(**changes))
        vars(made).update(vars(self))
        vars(made).update(authorization=Secret(f"{made.token_type} {made.token}"), _info=None)
        return made

    __replace__ = _replace


class _AzureAccessTokenInfo(_Frozen, AccessTokenInfo):  # type: ignore[misc]  # `refresh_on` is never None
    """The methods of the subclass of azure-core's `AccessTokenInfo`."""


def make_access_token(token: AccessToken, base: Any, info_base: Any) -> AccessToken:
    """Return a token as an instance of azure-core's class.

    Args:
        token: the token.
        base: `azure.core.credentials.AccessToken`.
        info_base: `azure.core.credentials.AccessTokenInfo`; None in versions of azure-core that
            have no such class.

    """
    more = {
        "refresh_on": token.refresh_on,
        "token_type": token.token_type,
        "authorization": token.authorization,
        "_client_id": token._client_id,  # noqa: SLF001 (another form of the same object)
    }
    made: AccessToken = tuple.__new__(
        _derive(_AzureAccessToken, base), (token.token, token.expires_on)
    )
    vars(made).update(more)
    if info_base is not None:
        vars(made)["_info"] = _make_info(token, info_base, more)
    return made


def _make_info(token: AccessToken, base: Any, more: dict[str, Any]) -> Any:
    info = object.__new__(_derive(_AzureAccessTokenInfo, base))
    # Later versions of azure-core may set further attributes. No variable holds the plain object,
    # whose repr shows the token.
    vars(info).update(vars(base(token.token, token.expires_on)))
    vars(info).update(more)
    return info


@lru_cache(maxsize=8)
def _derive(mixin: type, base: type) -> Any:
    public = mixin.__mro__[2]
    names = {"__module__": "aiomsi", "__qualname__": public.__name__, "__doc__": public.__doc__}
    return type(public.__name__, (mixin, base), names)
