"""The command `aiomsi inventory diff`: the differences of two inventories."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click
from click.exceptions import Exit

from aiomsi._cli.options import format_epilog
from aiomsi._cli.output import join_first, print_line, print_message
from aiomsi._errors import ConfigurationError

if TYPE_CHECKING:
    from aiomsi.inventory import Difference, Manifest

_EXIT_CODES = (
    "Exit codes: 0 no difference; 2 wrong usage or configuration; 3 a list is missing in one of "
    "the inventories, or its filters leave rows out, so that a difference may be hidden; 4 there "
    "are differences; 130 interrupted; 141 the reader of the output ended."
)
_UNKNOWN, _DIFFERENT = 3, 4
_MOST_SHOWN = 3
_CHANGES = ("added", "removed", "changed", "unknown")


@click.command(
    epilog=format_epilog(
        "aiomsi inventory diff monday.jsonl tuesday.jsonl",
        "aiomsi inventory diff old.jsonl new.jsonl --json | jq 'select(.change == \"removed\").id'",
        exit_codes=_EXIT_CODES,
    )
)
@click.argument("old", type=click.Path(path_type=Path))
@click.argument("new", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print a line of JSON for each difference.")
def diff(old: Path, new: Path, as_json: bool) -> None:
    """Print the differences of two inventories, OLD and NEW, which are outputs of runs.

    Each is a .jsonl, .csv or .parquet file, or a folder, and needs its manifest beside it. A row
    that is missing in a list that was not read whole is "unknown", and never "removed". Times of
    reading are not compared.
    """
    from aiomsi.inventory import compare_rows, find_known_scopes
    from aiomsi.inventory._formats.inputs import read_rows

    manifests = _read_manifest(old), _read_manifest(new)
    for path, manifest in zip((old, new), manifests, strict=True):
        _check_file(path, manifest)
    known_old, known_new = map(find_known_scopes, manifests)
    differences = compare_rows(read_rows(old), read_rows(new), known_old, known_new)
    counts = _print_as_json(differences) if as_json else _print_table(differences)
    unknown = list_unknown(*manifests)
    print_message(", ".join(f"{counts[change]:,} {change}" for change in _CHANGES))
    if unknown:
        print_message(f"not read whole in both: {join_first(unknown, _MOST_SHOWN)}")
    if code := _UNKNOWN if unknown or counts["unknown"] else _DIFFERENT if counts.total() else 0:
        raise Exit(code)


def list_unknown(old: Manifest, new: Manifest) -> list[str]:
    """Return the keys of the scopes that one of the inventories does not have whole, sorted."""
    known = [{each.scope for each in one.results if each.is_certain} for one in (old, new)]
    planned = {each.scope for one in (old, new) for each in one.results}
    return sorted(scope.key for scope in planned - (known[0] & known[1]))


def _read_manifest(path: Path) -> Manifest:
    """Return the manifest of an inventory.

    Raises:
        ConfigurationError: the inventory is no output of a run, or its manifest can't be read.

    """
    from aiomsi.inventory import read_manifest
    from aiomsi.inventory._assemble import MANIFEST_NAME
    from aiomsi.inventory._formats.outputs import SUFFIXES

    if not path.is_dir() and path.suffix not in SUFFIXES:
        msg = f"{str(path)!r} is no folder, and ends with none of {', '.join(SUFFIXES)}"
        raise ConfigurationError(msg, help="Compare the outputs of two inventories")
    beside = _find_beside(path, MANIFEST_NAME)
    try:
        return read_manifest(beside)
    except OSError as error:
        msg = f"the manifest {str(beside)!r} can't be read: {error.strerror}"
    except ValueError as error:
        msg = f"{str(beside)!r} is no manifest: {error}"
    raise ConfigurationError(
        msg, help="The manifest shows which lists were read; 'aiomsi inventory' writes it"
    )


def _find_beside(path: Path, name: str) -> Path:
    """Return the path of a file beside an inventory."""
    if not path.is_dir():
        return path.with_suffix(f".{name}")
    # The folder . has a name in its absolute path alone.
    whole = Path(os.path.abspath(path))  # noqa: PTH100 (links stay as they are)
    return whole.parent / f"{whole.name}.{name}"


def _check_file(path: Path, manifest: Manifest) -> None:
    """Check that files are those that a manifest describes, or rows may be missing in them.

    Raises:
        ConfigurationError: it is another one, or can't be read.

    """
    try:
        if path.is_dir():
            # The last file of a manifest is that of the errors.
            described = sorted((file.name, file.sha256) for file in manifest.files[:-1])
            found = sorted((each.name, _find_digest(each)) for each in path.iterdir())
        else:
            described = [("", file.sha256) for file in manifest.files[:1]]
            found = [("", _find_digest(path))]
    except OSError as error:
        msg = f"{str(path)!r} can't be read: {error.strerror}"
        raise ConfigurationError(msg, help="Write the inventory again") from None
    if found != described:
        msg = f"{str(path)!r} is not what its manifest describes: it was cut or changed"
        raise ConfigurationError(
            msg,
            help="Write the inventory again; x.csv and x.jsonl share the manifest of the later",
        )


def _find_digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _print_as_json(differences: Iterator[Difference]) -> Counter[str]:
    counts: Counter[str] = Counter()
    for each in differences:
        counts[each.change] += 1
        print_line(each.to_json())
    return counts


def _print_table(differences: Iterator[Difference]) -> Counter[str]:
    from aiomsi._cli.table import print_table

    counts: Counter[str] = Counter()
    rows = []
    for each in differences:
        counts[each.change] += 1
        columns = (f"{name}: {old!s} -> {new!s}" for name, (old, new) in each.columns.items())
        rows.append({"change": each.change, "id": each.id, "columns": "; ".join(columns)})
    if rows:
        print_table(rows, chosen=True)
    return counts
