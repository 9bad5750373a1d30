"""Reading a host's key file: paths, links, sizes and kinds of file, off the event loop."""

import asyncio
import errno
import os
import sys
import threading
from pathlib import Path

import pytest

from aiomsi._credentials import key_file
from aiomsi._credentials.key_file import find_path_defect, read_checked, read_file
from aiomsi._hosts.base import FileRequest, TokenError
from aiomsi._util.secret import SecretBytes

pytestmark = pytest.mark.anyio
posix = pytest.mark.skipif(sys.platform == "win32", reason="Windows has neither pipes nor links so")
linux = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
KEY = b"a-very-secret-key"


def make_request(path: Path | str, directory: Path | None = None, suffix: str = "") -> FileRequest:
    where = None if directory is None else str(directory)
    return FileRequest(str(path), where, suffix, 100, "the key of a test", "Ask the owner")


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    """Create a directory of keys, beside a file that is none of them."""
    directory = tmp_path / "keys"
    directory.mkdir()
    (directory / "1.key").write_bytes(KEY)
    (tmp_path / "other.key").write_bytes(KEY)
    return directory


def read_refusal(path: Path | str, directory: Path | None = None, suffix: str = ".key") -> str:
    found = read_checked(make_request(path, directory, suffix))
    assert isinstance(found, TokenError)
    assert not found.transient
    assert KEY.decode() not in f"{found.message} {found.help}"
    assert found.message.startswith("the key of a test, ")
    return found.message


def count_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


async def test_file_is_read_in_another_thread(keys: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    threads = []
    read = key_file._read

    def note(*arguments: object) -> object:
        threads.append(threading.get_ident())
        return read(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(key_file, "_read", note)
    content = await read_file(make_request(keys / "1.key", keys, ".key"))
    assert content == KEY
    assert isinstance(content, SecretBytes)
    assert threads != [threading.get_ident()]


def test_executor_that_is_shut_down_is_an_error(keys: Path) -> None:
    async def read() -> SecretBytes | TokenError:
        await asyncio.get_running_loop().shutdown_default_executor()
        return await read_file(make_request(keys / "1.key"))

    found = asyncio.run(read())
    assert isinstance(found, TokenError)
    assert found.transient
    assert "shutdown" in found.message


@posix
def test_directory_may_be_a_link_itself(keys: Path, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(keys)
    assert read_checked(make_request(link / "1.key", link, ".key")) == KEY
    assert read_checked(make_request(keys / "1.key", link, ".key")) == KEY


@posix
def test_link_within_the_directory_is_followed(keys: Path) -> None:
    (keys / "2.key").symlink_to(keys / "1.key")
    assert read_checked(make_request(keys / "2.key", keys, ".key")) == KEY


def test_file_outside_of_the_directory_is_refused(keys: Path, tmp_path: Path) -> None:
    assert "does not lie in" in read_refusal(tmp_path / "other.key", keys)
    assert "does not lie in" in read_refusal(keys / ".." / "other.key", keys)
    beside = tmp_path / "keys2"
    beside.mkdir()
    (beside / "1.key").write_bytes(KEY)
    assert "does not lie in" in read_refusal(beside / "1.key", keys)


@posix
def test_link_out_of_the_directory_is_refused(keys: Path, tmp_path: Path) -> None:
    (keys / "out.key").symlink_to(tmp_path / "other.key")
    assert "does not lie in" in read_refusal(keys / "out.key", keys)
    (keys / "folder").symlink_to(tmp_path)
    assert "does not lie in" in read_refusal(keys / "folder" / "other.key", keys)


@posix
def test_suffix_of_the_resolved_path_counts(keys: Path) -> None:
    (keys / "secret.pem").write_bytes(KEY)
    assert "does not end in .key" in read_refusal(keys / "secret.pem", keys)
    (keys / "link.key").symlink_to(keys / "secret.pem")
    assert "does not end in .key" in read_refusal(keys / "link.key", keys)


@posix
def test_link_that_replaces_the_file_is_not_followed(
    keys: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file is replaced after its path was resolved."""
    find = key_file.find_path_defect

    def replace(*arguments: str) -> str | None:
        (keys / "1.key").unlink()
        (keys / "1.key").symlink_to(tmp_path / "other.key")
        return find(*arguments)

    monkeypatch.setattr(key_file, "find_path_defect", replace)
    assert "OSError" in read_refusal(keys / "1.key", keys)


@linux
def test_link_that_replaces_a_folder_is_not_followed(
    keys: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The folder is replaced after its path was resolved."""
    folder = keys / "a" / "b"
    folder.mkdir(parents=True)
    (folder / "other.key").write_bytes(KEY)
    before = count_descriptors()
    assert read_checked(make_request(folder / "other.key", keys, ".key")) == KEY
    find = key_file.find_path_defect

    def replace(*arguments: str) -> str | None:
        folder.rename(tmp_path / "moved")
        folder.symlink_to(tmp_path)
        return find(*arguments)

    monkeypatch.setattr(key_file, "find_path_defect", replace)
    assert "NotADirectoryError" in read_refusal(folder / "other.key", keys)
    assert count_descriptors() == before


@posix
@pytest.mark.parametrize("walks", [True, False])
def test_pipe_that_replaces_the_file_blocks_nothing(
    keys: Path, monkeypatch: pytest.MonkeyPatch, walks: bool
) -> None:
    """The file is replaced between its check and its opening."""
    path, opened = keys / "1.key", os.open

    def replace(name: str, flags: int, *, dir_fd: int | None = None) -> int:
        if str(name).endswith("1.key"):
            path.unlink()
            os.mkfifo(path)
        return opened(name, flags, dir_fd=dir_fd)

    monkeypatch.setattr(os, "open", replace)
    monkeypatch.setattr(os, "supports_dir_fd", {replace} if walks else set())
    assert "not a regular file" in read_refusal(path, keys)


@posix
@pytest.mark.parametrize("in_directory", [False, True])
def test_pipe_is_not_opened(keys: Path, in_directory: bool) -> None:
    os.mkfifo(keys / "pipe.key")
    assert "not a regular file" in read_refusal(keys / "pipe.key", keys if in_directory else None)


@posix
@pytest.mark.parametrize("path", ["/dev/zero", "/dev/tty", "/"])
def test_device_and_directory_are_refused(path: str) -> None:
    assert read_refusal(path, None, "")


def test_size_is_limited(keys: Path) -> None:
    (keys / "1.key").write_bytes(b"x" * 100)
    assert read_checked(make_request(keys / "1.key", keys, ".key")) == b"x" * 100
    (keys / "1.key").write_bytes(b"x" * 101)
    assert "more than 100 bytes" in read_refusal(keys / "1.key", keys)


@linux
def test_size_counts_what_is_read() -> None:
    assert Path("/proc/self/status").stat().st_size == 0
    assert "more than 100 bytes" in read_refusal("/proc/self/status", None, "")


@posix
def test_missing_file_is_named(keys: Path) -> None:
    found = read_checked(make_request(keys / "2.key", keys, ".key"))
    assert isinstance(found, TokenError)
    assert f"{keys / '2.key'}, can't be read: FileNotFoundError" in found.message
    assert "does not exist" in found.help
    (keys / "loop.key").symlink_to(keys / "loop.key")
    read_refusal(keys / "loop.key", keys)
    read_refusal(keys / "nul\0.key", keys)


@pytest.mark.parametrize(
    ("number", "transient", "hint"),
    [
        (errno.EACCES, False, "Ask the owner"),
        (errno.EMFILE, True, "ulimit"),
        (errno.EIO, False, ""),
    ],
)
def test_error_of_the_system_has_its_remedy(
    keys: Path, monkeypatch: pytest.MonkeyPatch, number: int, transient: bool, hint: str
) -> None:
    def fail(*_: object) -> int:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "open", fail)
    found = read_checked(make_request(keys / "1.key"))
    assert isinstance(found, TokenError)
    assert found.transient is transient
    assert hint in found.help
    assert os.strerror(number) in found.message


@posix
def test_path_of_a_response_is_shown_on_one_line(keys: Path) -> None:
    message = read_refusal(keys / "a\n\x1b[31m.key", keys)
    assert message.isprintable()


@linux
def test_descriptor_is_closed(keys: Path) -> None:
    before = count_descriptors()
    read_checked(make_request(keys / "1.key", keys, ".key"))
    assert count_descriptors() == before


TOKENS = r"C:\ProgramData\AzureConnectedMachineAgent\Tokens"


@pytest.mark.parametrize(
    ("platform", "path", "defect"),
    [
        ("win32", rf"{TOKENS}\a.key", None),
        ("win32", rf"{TOKENS.lower()}\sub\a.KEY", None),
        ("win32", r"C:\ProgramData\a.key", "does not lie in"),
        ("win32", rf"D:{TOKENS[2:]}\a.key", "does not lie in"),
        ("win32", rf"{TOKENS}2\a.key", "does not lie in"),
        ("win32", rf"\\server\share{TOKENS[2:]}\a.key", "does not lie in"),
        ("win32", rf"{TOKENS}\a.txt", "does not end in .key"),
        ("linux", "/keys/a.key", None),
        ("linux", "/keys/a.KEY", "does not end in .key"),
        ("linux", "/Keys/a.key", "does not lie in"),
        ("linux", "/keys2/a.key", "does not lie in"),
    ],
)
def test_resolved_path_lies_in_the_directory_of_the_keys(
    platform: str, path: str, defect: str | None
) -> None:
    directory = TOKENS if platform == "win32" else "/keys"
    found = find_path_defect(path, directory, ".key", platform=platform)
    assert (found is None) if defect is None else (found is not None and defect in found)


@pytest.mark.parametrize(("winerror", "transient"), [(32, True), (33, True), (5, False)])
def test_file_in_use_on_windows_passes(
    keys: Path, monkeypatch: pytest.MonkeyPatch, winerror: int, transient: bool
) -> None:
    error = PermissionError(errno.EACCES, "in use")
    error.winerror = winerror  # type: ignore[attr-defined, unused-ignore]  # on Windows alone

    def refuse(path: str, directory: str | None) -> int:
        raise error

    monkeypatch.setattr(key_file, "_open", refuse)
    problem = read_checked(make_request(keys / "1.key", keys, ".key"))
    assert isinstance(problem, TokenError)
    assert problem.transient is transient
