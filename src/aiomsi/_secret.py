"""Text that must not be shown: the value is there, its representation is not."""

from typing import Any, NoReturn, Self


class Secret(str):
    """A `str` whose repr is masked and which can't be pickled; everything else is as with any string.

    Formatting and concatenation give the real text, because that is how a header is written.
    """

    __slots__ = ()

    def __repr__(self) -> str:
        return "<secret>"

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        msg = "a token is not pickled: pickle the credential's configuration and let the other process ask for its own"
        raise TypeError(msg)


class SecretBytes(bytes):
    """Bytes read from a token endpoint: they hold a token, so their repr is masked."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "<secret bytes>"
