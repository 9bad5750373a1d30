"""The arguments of `aiomsi inventory`, from text."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

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


def split_names(option: str, texts: Collection[str]) -> tuple[str, ...]:
    """Return the names of lists with commas.

    Raises:
        ConfigurationError: the lists are empty.

    """
    names = tuple(name for text in texts for each in text.split(",") if (name := each.strip()))
    if texts and not names:
        msg = f"{option} has no names"
        raise ConfigurationError(msg, help="Check the variable that they come from")
    return names


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


def check_places(
    output: str, report: str | None, *, excel: bool, storage: Mapping[str, str]
) -> None:
    """Check the output and the report; no file is created.

    Raises:
        ConfigurationError: a format is not known, a package is missing, a folder does not exist, or
            the report has the name of another file of the run.

    """
    if excel and not output.endswith(".csv"):
        raise ConfigurationError("--excel is an option of CSV", help="Write for example -o x.csv")
    from aiomsi.inventory._assemble import BESIDE
    from aiomsi.inventory._formats.outputs import open_output

    target = open_output(output, excel=excel, storage_options=storage)
    if report is not None:
        beside = map(target.beside, BESIDE)
        own = {output, *(str(place) for place in beside if place is not None)}
        if Path(report).resolve() in {Path(name).resolve() for name in own}:
            msg = f"the report {report!r} would replace a file of the output"
            raise ConfigurationError(msg, help="Write for example --report inventory.html")
        from aiomsi.inventory._report.widgets import check_extra

        check_extra()
    local = [path for path in (output, report) if path and "://" not in path and path != "-"]
    for path in local:
        folder = Path(path).parent
        if not folder.is_dir():
            msg = f"the folder {str(folder)!r} does not exist"
            raise ConfigurationError(msg, help="Create it, or write to another one")
