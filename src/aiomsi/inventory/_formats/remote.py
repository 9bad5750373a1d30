"""Places that fsspec reaches by a URL, such as ``abfss://container@account.../path``.

Object stores have no renaming: a file is written to the local disk and uploaded whole. A reader
never sees a part of it, because the store commits an upload at its end.
"""

from __future__ import annotations

import io
import os
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, Self, cast

import attrs

from aiomsi._errors import ConfigurationError
from aiomsi.inventory._extras import require_extra
from aiomsi.inventory._formats.places import CREATE, PRIVATE, name_aside

_AZURE_SCHEMES = ("abfs", "abfss", "az")


class LentCredential:
    """A credential for adlfs, which closes the credential that it gets.

    It has `get_token` alone, the oldest method of the Azure SDK's protocol.
    """

    def __init__(self, credential: Any) -> None:
        self._credential = credential

    async def get_token(self, *scopes: str, **options: Any) -> Any:
        """Return the credential's token."""
        return await self._credential.get_token(*scopes, **options)

    async def close(self) -> None:
        """Leave the credential open, for its owner."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_error: object) -> None:
        """Leave the credential open, for its owner."""


def is_azure(location: object) -> bool:
    """Return whether a location is a URL of adlfs, which takes a credential of Azure."""
    return isinstance(location, str) and location.partition("://")[0].lower() in _AZURE_SCHEMES


def open_remote(url: str, options: Mapping[str, Any]) -> RemotePlace:
    """Return the place of a URL; no request is sent.

    Raises:
        ConfigurationError: as for `open_place`.

    """
    given = dict(options)
    if is_azure(url) and given.get("credential") is not None:
        given["credential"] = LentCredential(given["credential"])
    scheme = url.partition("://")[0]
    with require_extra("files", f"the URL scheme {scheme!r}"):
        from fsspec.core import url_to_fs

        try:
            # A cached file system might hold the credential of an earlier run.
            system, path = url_to_fs(url, skip_instance_cache=True, **given)
        except (TypeError, ValueError) as error:
            msg = f"the URL with the scheme {scheme!r} can't be opened: {error}"
            raise ConfigurationError(
                msg, help="Name the account in the URL, or in storage_options="
            ) from None
    return RemotePlace(system, scheme, PurePosixPath(path))


@attrs.frozen(eq=False)
class RemotePlace:
    """A file or a folder of one of fsspec's file systems.

    Attributes:
        system: the file system.
        scheme: the URL's scheme.
        path: the path in the file system.

    """

    system: Any = attrs.field(repr=False)
    scheme: str
    path: PurePosixPath

    def __str__(self) -> str:
        return f"{self.scheme}://{str(self.path).lstrip('/')}"

    @property
    def name(self) -> str:
        """The last part of the path."""
        return self.path.name

    def child(self, name: str) -> RemotePlace:
        """Return a file in this folder."""
        return attrs.evolve(self, path=self.path / name)

    def sibling(self, name: str) -> RemotePlace:
        """Return another file in the same folder."""
        return attrs.evolve(self, path=self.path.with_name(name))

    def make_folder(self) -> None:
        """Create nothing: an object store has a folder as soon as there is a file in it."""

    def list_names(self) -> list[str]:
        """Return the sorted names in the folder; none if it does not exist."""
        try:
            found = self._call("ls", str(self.path), detail=False, refresh=True)
        except FileNotFoundError:
            return []
        return sorted(PurePosixPath(each).name for each in found)

    def open(self) -> BinaryIO:
        """Download the file, and open the local copy, which is removed when it is closed."""
        local = self.name_aside()
        os.close(os.open(local, CREATE, PRIVATE))
        try:
            self._call("get_file", str(self.path), str(local))
            return cast("BinaryIO", io.BufferedReader(_Download(local)))
        except BaseException:
            local.unlink(missing_ok=True)
            raise

    def name_aside(self) -> Path:
        """Return the name of a local file to write before `put`: in the temporary folder."""
        return name_aside(Path(tempfile.gettempdir()) / f"aiomsi-{self.name}")

    def put(self, aside: Path, *, exclusive: bool = False) -> None:
        """Upload a local file as this one, and remove the local one."""
        mode = "create" if exclusive else "overwrite"
        try:
            self._call("put_file", str(aside), str(self.path), mode=mode)
        finally:
            aside.unlink(missing_ok=True)

    def remove(self) -> None:
        """Remove the file, if it exists."""
        with suppress(FileNotFoundError):
            self._call("rm_file", str(self.path))

    def _call(self, method: str, *arguments: object, **options: object) -> Any:
        """Call a method of the file system.

        Raises:
            OSError: any failure; that of a store's client is kept as text, without its frames.

        """
        try:
            return getattr(self.system, method)(*arguments, **options)
        except OSError:
            raise
        except Exception as error:  # noqa: BLE001 (each store's client has classes of its own)
            text = str(error).partition("\n")[0]
            failure = OSError(f"{self}: {type(error).__name__}: {text}")
        raise failure


class _Download(io.FileIO):
    """A local copy, which is removed when it is closed."""

    def __init__(self, path: Path) -> None:
        self._local = path
        super().__init__(path)

    def close(self) -> None:
        super().close()
        self._local.unlink(missing_ok=True)
