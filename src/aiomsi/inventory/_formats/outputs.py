"""The kinds of output of an inventory: a file, a data set, or standard output."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import attrs

from aiomsi._errors import ConfigurationError
from aiomsi._util import json
from aiomsi.inventory._formats.csv import CsvEncoder, check_rows
from aiomsi.inventory._formats.files import WholeFile
from aiomsi.inventory._formats.locations import Location, is_folder, open_place, strip_separator
from aiomsi.inventory._formats.places import LocalPlace, Place, name_aside, sync_folder
from aiomsi.inventory._formats.standard_output import (
    STANDARD_OUTPUT,
    check_standard_output,
    write_standard_output,
)
from aiomsi.inventory._manifest import Manifest, OutputFile
from aiomsi.inventory._plan.scopes import Scope

SUFFIXES = (".jsonl", ".csv", ".parquet")
_PARQUET = ".parquet"
_NAMELESS = ("", "..")
"""The names of the current folder, the root, and the folder above."""
_OWN_NAME = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\..+\.parquet", re.ASCII)
"""The name of a file of a data set: the key of a scope begins with the subscription's id."""
ReadPart: TypeAlias = Callable[[Scope], Iterable[bytes]]
"""Returns the rows of a scope from its part, as JSON Lines in chunks of whole lines."""


class Output(Protocol):
    """An output of rows."""

    def check(self) -> None:
        """Raise ConfigurationError if other files are in the way."""

    def write(self, manifest: Manifest, read_part: ReadPart) -> tuple[OutputFile, ...]:
        """Write the rows of the scopes that were read."""

    def beside(self, name: str) -> Place | None:
        """Return the place of another file beside the output; None for standard output."""


class Encoder(Protocol):
    """An encoder of rows, which writes to a file."""

    def write(self, lines: bytes) -> None:
        """Add rows, given as whole lines of JSON."""

    def close(self) -> None:
        """Write the end of the file."""


@attrs.frozen(eq=False)
class LinesEncoder:
    """JSON Lines: the parts have them already."""

    file: WholeFile

    def write(self, lines: bytes) -> None:
        """Add rows."""
        self.file.write(lines)

    def close(self) -> None:
        """Write nothing."""


@attrs.frozen(eq=False)
class CsvFile:
    """A CSV file while its rows arrive as JSON Lines."""

    file: WholeFile
    encoder: CsvEncoder

    def __attrs_post_init__(self) -> None:
        self.file.write(self.encoder.begin())

    def write(self, lines: bytes) -> None:
        """Add rows."""
        self.file.write(self.encoder.encode(map(json.loads, lines.splitlines())))

    def close(self) -> None:
        """Write nothing."""


def open_output(
    output: Location, *, excel: bool = False, storage_options: Mapping[str, Any] | None = None
) -> Output:
    """Return the output of a path or a URL; no file is created.

    Args:
        output: as for `assemble`.
        excel: as for `assemble`.
        storage_options: as for `assemble`.

    Raises:
        ConfigurationError: as for `assemble`.

    """
    text = os.fspath(output)
    suffix = Path(text).suffix
    if text != STANDARD_OUTPUT and not is_folder(text) and suffix not in SUFFIXES:
        msg = f"the output {Path(text).name!r} ends with none of {', '.join(SUFFIXES)}"
        raise ConfigurationError(msg, help="End a folder with a slash; '-' is standard output")
    if is_folder(text) and Path(strip_separator(text)).name in _NAMELESS:
        msg = f"the output {text!r} names no folder that could be written aside and renamed"
        raise ConfigurationError(msg, help="Name a folder that does not exist, such as './tenant/'")
    if excel and suffix != ".csv":
        msg = "excel= is an option of CSV"
        raise ConfigurationError(msg)
    if text == STANDARD_OUTPUT:
        return StandardOutput()
    if is_folder(text) or suffix == _PARQUET:
        from aiomsi.inventory._formats.parquet import load_arrow

        load_arrow()
    if is_folder(text):
        return DataSet(open_place(strip_separator(text), storage_options))
    return SingleFile(open_place(output, storage_options), suffix, excel)


@attrs.frozen(eq=False)
class StandardOutput:
    """Standard output, with JSON Lines."""

    def check(self) -> None:
        """Raise ConfigurationError if the process has no standard output."""
        check_standard_output()

    def write(self, manifest: Manifest, read_part: ReadPart) -> tuple[OutputFile, ...]:
        """Write the rows."""
        return (write_standard_output(_iter_chunks(manifest.read_scopes, read_part)),)

    def beside(self, name: str) -> None:
        """Return None."""


@attrs.frozen(eq=False)
class SingleFile:
    """One file with all rows.

    Attributes:
        place: the file.
        suffix: its format.
        excel: whether a CSV is for a worksheet.

    """

    place: Place
    suffix: str
    excel: bool = False

    def check(self) -> None:
        """Raise ConfigurationError if the file is a folder."""
        if isinstance(self.place, LocalPlace) and self.place.path.is_dir():
            msg = f"the output {str(self.place)!r} is a folder"
            raise ConfigurationError(msg, help="End a folder with a slash, for a data set")

    def write(self, manifest: Manifest, read_part: ReadPart) -> tuple[OutputFile, ...]:
        """Write the rows, in the order of the plan."""
        if self.excel:
            check_rows(manifest.rows)
        with WholeFile(self.place) as file:
            encoder = self._make_encoder(file, manifest)
            for chunk in _iter_chunks(manifest.read_scopes, read_part):
                encoder.write(chunk)
            encoder.close()
        return (file.describe(),)

    def beside(self, name: str) -> Place:
        """Return the place of another file beside the output."""
        return self.place.sibling(f"{self.place.name.removesuffix(self.suffix)}.{name}")

    def _make_encoder(self, file: WholeFile, manifest: Manifest) -> Encoder:
        if self.suffix == ".csv":
            return CsvFile(file, CsvEncoder(self.excel))
        return _make_parquet(file, manifest) if self.suffix == _PARQUET else LinesEncoder(file)


@attrs.frozen(eq=False)
class DataSet:
    """A folder with one Parquet file for each scope.

    On the local disk the folder is written aside and renamed. Elsewhere each file is whole, and the
    manifest, which names the files, is written last.

    Attributes:
        place: the folder.

    """

    place: Place

    def check(self) -> None:
        """Raise ConfigurationError if the folder has other files."""
        self._check_names()

    def write(self, manifest: Manifest, read_part: ReadPart) -> tuple[OutputFile, ...]:
        """Write the files, and remove those of an earlier inventory.

        Raises:
            ConfigurationError: the folder has other files.

        """
        earlier = self._check_names()
        if isinstance(self.place, LocalPlace):
            return self._write_aside(self.place.path, manifest, read_part)
        files = self._write_files(self.place, manifest, read_part)
        for name in earlier.difference(file.name for file in files):
            self.place.child(name).remove()
        return files

    def beside(self, name: str) -> Place:
        """Return the place of another file, beside the folder."""
        return self.place.sibling(f"{self.place.name}.{name}")

    def _check_names(self) -> set[str]:
        names = self.place.list_names()
        for name in names:
            if _OWN_NAME.fullmatch(name) is None:
                msg = f"the folder {str(self.place)!r} has a file of no inventory: {name}"
                raise ConfigurationError(msg, help="Name a folder that is empty or does not exist")
        return set(names)

    def _write_files(
        self, folder: Place, manifest: Manifest, read_part: ReadPart
    ) -> tuple[OutputFile, ...]:
        files = []
        for scope in manifest.read_scopes:
            with WholeFile(folder.child(f"{scope.key}{_PARQUET}")) as file:
                encoder = _make_parquet(file, manifest)
                for chunk in read_part(scope):
                    encoder.write(chunk)
                encoder.close()
            files.append(file.describe())
        return tuple(files)

    def _write_aside(
        self, path: Path, manifest: Manifest, read_part: ReadPart
    ) -> tuple[OutputFile, ...]:
        aside, old = name_aside(path), name_aside(path)
        try:
            aside.mkdir(mode=0o700)
            files = self._write_files(LocalPlace(aside), manifest, read_part)
            if path.exists():
                path.rename(old)
            try:
                aside.rename(path)
            except OSError:
                if old.exists():
                    old.rename(path)
                raise
        finally:
            shutil.rmtree(aside, ignore_errors=True)
        sync_folder(path.parent)
        shutil.rmtree(old, ignore_errors=True)
        return files


def _make_parquet(file: WholeFile, manifest: Manifest) -> Encoder:
    from aiomsi.inventory._formats.parquet import ParquetEncoder

    return ParquetEncoder(file, manifest.to_metadata())


def _iter_chunks(scopes: Collection[Scope], read_part: ReadPart) -> Iterator[bytes]:
    for scope in scopes:
        yield from read_part(scope)
