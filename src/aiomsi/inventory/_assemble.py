"""`assemble`: the output made of the parts of a run, with its manifest and errors beside it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from aiomsi._clock import SYSTEM_CLOCK, Clock
from aiomsi._util import json
from aiomsi.inventory._formats.files import write_file
from aiomsi.inventory._formats.json_lines import encode_json
from aiomsi.inventory._formats.locations import Location, open_place
from aiomsi.inventory._formats.outputs import open_output
from aiomsi.inventory._manifest import Manifest, make_manifest
from aiomsi.inventory._parts.folder import PartFolder
from aiomsi.inventory._plan.plan import Plan
from aiomsi.inventory._plan.scopes import Scope
from aiomsi.inventory._times import make_now

BESIDE = ERRORS_NAME, MANIFEST_NAME = "errors.jsonl", "manifest.json"
"""The ends of the names of the files beside an output."""


def assemble(
    plan: Plan,
    folder: Location,
    output: Location,
    *,
    excel: bool = False,
    storage_options: Mapping[str, Any] | None = None,
    clock: Clock = SYSTEM_CLOCK,
    check: Callable[[], None] | None = None,
) -> Manifest:
    """Write the rows of all parts to an output, in the order of the plan; return the manifest.

    Beside ``x.jsonl`` the files ``x.errors.jsonl`` and ``x.manifest.json`` are written; for
    standard output they are in the folder of the parts. A scope without a part is pending in the
    manifest. The function blocks.

    Args:
        plan: the plan of the run.
        folder: the path or URL of the folder of the parts.
        output: a path or URL that ends with ``.jsonl``, ``.csv`` or ``.parquet``; one that ends
            with a slash, for a folder with a Parquet file for each scope; or ``"-"`` for JSON Lines
            on standard output.
        excel: write the CSV for a worksheet: with a byte order mark, and with no more rows than a
            worksheet has.
        storage_options: options of fsspec's file system for URLs, for example ``{"credential":
            credential, "account_name": "name"}``.
        clock: the clock of `Manifest.ended_at`.
        check: called before each chunk of rows; an exception that it raises ends the writing, and
            leaves the files as before.

    Raises:
        ConfigurationError: the format is not known, a package is missing, a worksheet has too few
            rows, the folder has another run, or that of the output has other files.
        OSError: a file can't be written; the files of the output are whole or as before.
        BrokenPipeError: standard output was closed; it has no buffer with bytes left.

    """
    target = open_output(output, excel=excel, storage_options=storage_options)
    parts = PartFolder(open_place(folder, storage_options))
    parts.check_plan(plan)
    found = [parts.read_result(scope) for scope in parts.find_present(plan.scopes)]
    results = [result for result in found if result is not None]
    now = make_now(clock.wall)
    manifest = make_manifest(plan, results, now())

    def iter_chunks(scope: Scope) -> Iterator[bytes]:
        for chunk in parts.iter_chunks(scope):
            if check is not None:
                check()
            yield chunk

    files = target.write(manifest, iter_chunks)
    errors = (encode_json(each.to_json()) + b"\n" for each in manifest.errors)
    files += (write_file(target.beside(ERRORS_NAME) or parts.place.child(ERRORS_NAME), errors),)
    manifest = make_manifest(plan, results, now(), files)
    described = encode_json(manifest.to_json()) + b"\n"
    write_file(target.beside(MANIFEST_NAME) or parts.place.child(MANIFEST_NAME), [described])
    return manifest


def read_manifest(path: Location, *, storage_options: Mapping[str, Any] | None = None) -> Manifest:
    """Return the manifest in a file that `assemble` wrote.

    Args:
        path: the path or URL of the file.
        storage_options: as for `assemble`.

    Raises:
        OSError: the file can't be read.
        ConfigurationError: the file is no manifest.

    """
    with open_place(path, storage_options).open() as file:
        return Manifest.from_json(json.loads(file.read()))
