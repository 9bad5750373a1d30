"""The arguments of `aiomsi inventory`, from text."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from aiomsi._cli.arguments import read_text
from aiomsi._errors import ConfigurationError

_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*([smhd]?)", re.ASCII)
_SECONDS = {"": 1.0, "s": 1.0, "m": 60.0, "h": 3_600.0, "d": 86_400.0}


def read_names(option: str, texts: Iterable[str]) -> tuple[str, ...]:
    """Return names: each text, the lines of the file after an ``@``, or those of stdin for ``-``.

    In a file, empty lines and lines that begin with ``#`` are left out.

    Raises:
        ConfigurationError: a file can't be read, or has no name.

    """
    names: list[str] = []
    for text in texts:
        if text != "-" and not text.startswith("@"):
            names.append(text)
            continue
        lines = (line.strip() for line in read_text(option, text).splitlines())
        found = [line for line in lines if line and not line.startswith("#")]
        if not found:
            msg = f"{option} {text} has no line with a name"
            raise ConfigurationError(msg, help="Write one id or name on each line")
        names += found
    return tuple(names)


def parse_tags(texts: Sequence[str]) -> dict[str, str]:
    """Return the names and values of ``NAME=VALUE`` options.

    Raises:
        ConfigurationError: an option lacks the name or the equals sign, or repeats a name.

    """
    tags: dict[str, str] = {}
    for text in texts:
        name, separator, value = text.partition("=")
        if not name or not separator or name in tags:
            msg = f"--tag {text!r} is not NAME=VALUE, or its name was given before"
            raise ConfigurationError(msg, help="Write for example --tag env=prod")
        tags[name] = value
    return tags


def parse_duration(text: str) -> float:
    """Return the seconds of a duration such as ``90s``, ``30m``, ``6h`` or ``2d``.

    Raises:
        ConfigurationError: the text is no duration.

    """
    found = _DURATION.fullmatch(text.strip())
    if found is None:
        msg = f"--max-age {text!r} is no duration"
        raise ConfigurationError(msg, help="Write for example --max-age 6h, or 90s, 30m, 2d")
    return float(found[1]) * _SECONDS[found[2]]
