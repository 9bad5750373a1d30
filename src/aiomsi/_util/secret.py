"""Strings, bytes and mappings whose repr does not show their value."""

import re
from collections.abc import Iterator, Mapping
from typing import Any, NoReturn, Self

_NOT_IN_TOKEN = re.compile(r"[^ -~]")
"""HTTP permits a space within a header's value, and the tokens of tests may hold one."""


class Secret(str):
    """A `str` whose repr is masked and which can't be pickled.

    Formatting and concatenation return the real text, because headers are written that way.
    """

    __slots__ = ()

    def __repr__(self) -> str:
        return "<secret>"

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        msg = (
            "a token can't be pickled: pickle the credential's configuration, "
            "and let the other process fetch a token"
        )
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
        return "begins with 'Bearer ', which belongs to the header: return the token alone"
    found = _NOT_IN_TOKEN.search(token)
    if found is not None:
        place = f"at position {found.start()} of {len(token)}"
        return f"has a character that no header accepts: U+{ord(found[0]):04X}, {place}"
    return token


class MaskedMapping(Mapping[str, str]):
    """A view of the environment for functions whose frames may be shown with their locals."""

    __slots__ = ("_values",)

    def __init__(self, values: Mapping[str, str]) -> None:
        self._values = values

    def __getitem__(self, name: str) -> str:
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __repr__(self) -> str:
        return "<masked mapping>"
