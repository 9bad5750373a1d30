"""`assemble`: one file of the parts of a run, with its manifest and its errors beside it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from aiomsi._clock import SYSTEM_CLOCK, Clock
from aiomsi._errors import ConfigurationError
from aiomsi._util import json
from aiomsi.inventory._formats.csv import CsvEncoder
from aiomsi.inventory._formats.files import write_file
from aiomsi.inventory._formats.json_lines import encode_json
from aiomsi.inventory._manifest import Manifest, make_manifest
from aiomsi.inventory._parts.folder import PartFolder
from aiomsi.inventory._plan.plan import Plan
from aiomsi.inventory._plan.scopes import Scope
from aiomsi.inventory._times import make_now

_FORMATS = (".jsonl", ".csv")


def assemble(
    plan: Plan,
    folder: str | os.PathLike[str],
    output: str | os.PathLike[str],
    *,
    excel: bool = False,
    clock: Clock = SYSTEM_CLOCK,
    check: Callable[[], None] | None = None,
) -> Manifest:
    """Write the rows of all parts to one file, in the order of the plan; return the manifest.

    Beside ``x.jsonl`` the files ``x.errors.jsonl`` and ``x.manifest.json`` are written. A scope
    without a part is pending in the manifest.

    Args:
        plan: the plan of the run.
        folder: the folder of the parts.
        output: a path that ends with ``.jsonl`` or ``.csv``.
        excel: write the CSV for a spreadsheet: with a byte order mark, and with an apostrophe
            before cells that a spreadsheet would read as formulas.
        clock: the clock of `Manifest.ended_at`.
        check: called before each chunk of rows; an exception that it raises ends the writing, and
            leaves the files as before.

    Raises:
        ConfigurationError: the format is not known, a worksheet has too few rows, or the folder has
            another run.
        OSError: a file can't be written; the files of the output are whole or as before.

    """
    path = Path(output)
    if path.suffix not in _FORMATS:
        msg = f"the output {path.name!r} ends with none of {', '.join(_FORMATS)}"
        raise ConfigurationError(msg)
    if excel and path.suffix != ".csv":
        msg = "excel= is an option of CSV"
        raise ConfigurationError(msg)
    parts = PartFolder(Path(folder))
    parts.check_plan(plan)
    results = [each for scope in plan.scopes if (each := parts.read_result(scope)) is not None]
    read = [result.scope for result in results if result.state == "read"]
    manifest = make_manifest(plan, results, make_now(clock.wall)())
    encoder = CsvEncoder(excel) if path.suffix == ".csv" else None
    chunks = _iter_checked(_iter_chunks(parts, read, encoder), check)
    errors = (encode_json(each.to_json()) + b"\n" for each in manifest.errors)
    files = (write_file(path, chunks), write_file(path.with_suffix(".errors.jsonl"), errors))
    manifest = make_manifest(plan, results, manifest.ended_at, files)
    described = encode_json(manifest.to_json()) + b"\n"
    write_file(path.with_suffix(".manifest.json"), [described])
    return manifest


def read_manifest(path: str | os.PathLike[str]) -> Manifest:
    """Return the manifest in a file that `assemble` wrote.

    Raises:
        OSError: the file can't be read.
        ValueError: the file is no manifest.

    """
    return Manifest.from_json(json.loads(Path(path).read_bytes()))


def _iter_checked(chunks: Iterable[bytes], check: Callable[[], None] | None) -> Iterator[bytes]:
    for chunk in chunks:
        if check is not None:
            check()
        yield chunk


def _iter_chunks(
    parts: PartFolder, scopes: Iterable[Scope], encoder: CsvEncoder | None
) -> Iterator[bytes]:
    """Yield the bytes of the output; those of parts are JSON Lines already."""
    if encoder is not None:
        yield encoder.begin()
    for scope in scopes:
        for chunk in parts.iter_chunks(scope):
            if encoder is None:
                yield chunk
            else:
                yield encoder.encode(json.loads(line) for line in chunk.splitlines())
