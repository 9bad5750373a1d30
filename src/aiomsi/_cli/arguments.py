"""Arguments of commands, from text: parameters, headers, and bodies in files."""

from __future__ import annotations

import codecs
import sys
from collections.abc import Mapping, MutableMapping, Sequence
from pathlib import Path

from multidict import CIMultiDict

from aiomsi._errors import ConfigurationError
from aiomsi._util.json import dumps, loads


def parse_pairs(
    option: str, texts: Sequence[str], *, example: str = "name=value"
) -> dict[str, str]:
    """Return the names and values of ``NAME=VALUE`` options.

    Args:
        option: the name of the option, for errors.
        texts: the values of the option.
        example: a value of the option, for errors.

    Raises:
        ConfigurationError: an option lacks the name or the equals sign, or repeats a name.

    """
    pairs: dict[str, str] = {}
    for text in texts:
        name, separator, value = text.partition("=")
        if not name or not separator or name in pairs:
            # The value may be secret.
            msg = f"{option} {name!r} is not NAME=VALUE, or its name was given before"
            raise ConfigurationError(msg, help=f"Write for example {option} {example}")
        pairs[name] = value
    return pairs


def parse_params(params: Sequence[str]) -> dict[str, str]:
    """Return the query parameters of ``--param`` options; errors as for `parse_pairs`."""
    return parse_pairs("--param", params, example="'$top=10'")


def parse_headers(headers: Sequence[str]) -> MutableMapping[str, str]:
    """Return the names and values of ``NAME:VALUE`` options, in a mapping that ignores case.

    Raises:
        ConfigurationError: an option lacks the name or the colon, or repeats a name.

    """
    pairs: MutableMapping[str, str] = CIMultiDict()
    for text in headers:
        name, separator, value = text.partition(":")
        if not name or not separator or name in pairs:
            # The value may be secret.
            msg = f"--header {name!r} is not NAME:VALUE, or its name was given before"
            raise ConfigurationError(msg, help="Write for example --header 'If-Match: *'")
        pairs[name] = value.strip()
    return pairs


def read_body(text: str, headers: Mapping[str, str]) -> bytes:
    """Return the body that ``--body`` names.

    Raises:
        ConfigurationError: the file can't be read; or the body is not JSON, and no header names
            another type.

    """
    content = read_argument("--body", text)
    if "Content-Type" in headers:
        return content
    try:
        # A file of PowerShell may be in UTF-16, and ARM reads UTF-8.
        return dumps(loads(content))
    except ValueError as error:
        # Not chained: the frames of the decoder hold the body.
        msg = f"--body is not JSON: {error}"
    raise ConfigurationError(
        msg, help="Name the type of another body, for example --header 'Content-Type: text/plain'"
    )


def read_text(name: str, text: str) -> str:
    """Return an argument as by `read_argument`, decoded from UTF-8, or UTF-16 with its mark.

    Raises:
        ConfigurationError: the file can't be read, or is in another encoding.

    """
    content = read_argument(name, text)
    # A file of PowerShell may be in UTF-16.
    is_utf16 = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        return content.decode("utf-16" if is_utf16 else "utf-8-sig")
    except UnicodeDecodeError as error:
        msg = f"{name} is not text in UTF-8: {error.reason} at byte {error.start}"
    raise ConfigurationError(msg, help="Save the file in UTF-8")


def read_argument(name: str, text: str) -> bytes:
    """Return an argument: the file after an ``@``, stdin for ``-``, or else the text itself.

    Raises:
        ConfigurationError: the file can't be read, or stdin is closed.

    """
    if text == "-":
        if sys.stdin is None:
            msg = f"{name} is '-', but stdin is closed"
            raise ConfigurationError(msg, help="Write @FILE, or open stdin")
        return sys.stdin.buffer.read()
    if not text.startswith("@"):
        return text.encode(errors="surrogateescape")
    try:
        return Path(text[1:]).read_bytes()
    except OSError as error:
        msg = f"the file in {name} can't be read: {text[1:]}: {error.strerror}"
        raise ConfigurationError(msg, help="Write @FILE, with the path of a file") from error
