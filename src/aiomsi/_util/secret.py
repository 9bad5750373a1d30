"""Text that must not be shown: the value is there, its representation is not."""

import re
from typing import Any, NoReturn, Self

_NOT_IN_TOKEN = re.compile(r"[^ -~]")
"""HTTP permits a space within a header's value, so a test's made-up token may have one."""


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


def read_secret(text: str) -> Secret | str:
    """Return a token without surrounding white space, or a description of its fault.

    The description does not quote the token.

    A token ends up in a header, so all of it must be printable ASCII. A file's or a command's
    output often ends with a newline.
    """
    token = Secret(text.strip())
    if not token:
        return "is empty"
    if token[:7].lower() == "bearer ":
        return "begins with 'Bearer ', which is the header's: return the token alone"
    found = _NOT_IN_TOKEN.search(token)
    if found is not None:
        return f"has a character that no header takes: U+{ord(found[0]):04X}, at position {found.start()} of {len(token)}"
    return token
