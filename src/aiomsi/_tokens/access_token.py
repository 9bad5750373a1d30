"""The public classes of access tokens; for type checkers, azure-core's are their bases. No I/O."""

from typing import TYPE_CHECKING, Any, ClassVar, NoReturn, Self

from aiomsi._util.lazy import late_import
from aiomsi._util.secret import Secret

if TYPE_CHECKING:
    # If azure-core is not installed, a type checker reports these imports, and no further line of
    # this package.
    from azure.core.credentials import AccessToken as AzureAccessToken
    from azure.core.credentials import AccessTokenInfo as AzureAccessTokenInfo

    from aiomsi._tokens.token_identity import TokenIdentity
else:
    AzureAccessToken = AzureAccessTokenInfo = object
    # `typing.get_type_hints` cannot resolve a lazily imported class, so it sees this stand-in.
    TokenIdentity = object


class TokenFields:
    """The attributes that all classes of tokens have, and their protection against display."""

    __slots__ = ()

    token: str
    expires_on: int
    refresh_on: int
    token_type: str
    authorization: Secret
    _client_id: str | None
    _shown_as: ClassVar[str]

    @property
    def identity(self) -> TokenIdentity:
        """The identity that the token was issued to."""
        with late_import:
            from aiomsi._tokens.token_identity import read_identity

        return read_identity(self.token, self._client_id)

    def __repr__(self) -> str:
        times = f"expires_on={self.expires_on!r}, refresh_on={self.refresh_on!r}"
        return f"{self._shown_as}({times}, token_type={self.token_type!r})"

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        self.authorization.__reduce_ex__(protocol)


class AccessTokenInfo(TokenFields, AzureAccessTokenInfo):  # type: ignore[misc]  # `refresh_on` is never None
    """An access token, as Azure SDK clients expect it of `get_token_info`.

    It has the attributes of `AccessToken`. Where ``azure.core.credentials`` is imported, it is an
    instance of that module's `AccessTokenInfo`.
    """

    __slots__ = ()

    _shown_as = "AccessTokenInfo"


class AccessToken(TokenFields, AzureAccessToken):
    """An access token, as Azure SDK clients expect it of `get_token`.

    Where ``azure.core.credentials`` is imported, it is an instance of that module's `AccessToken`,
    a tuple of `token` and `expires_on`; otherwise it can't be unpacked. Its repr hides the token,
    and it can't be pickled.

    Attributes:
        token: the token itself, an exact `str`, as C extensions require.
        expires_on: the expiry, in whole seconds since the epoch.
        refresh_on: the time of the next `get_token`, in whole seconds since the epoch. It is a
            little after this package's own refresh point. A call at that time returns the same
            token at once, and starts the refresh in the background.
        token_type: ``"Bearer"``.
        authorization: the value of the `Authorization` header.

    """

    __slots__ = ()

    _shown_as = "AccessToken"
    _info: ClassVar[AccessTokenInfo | None] = None
