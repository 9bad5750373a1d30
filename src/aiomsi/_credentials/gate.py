"""The host-wide gate: processes that know nothing of each other take turns to ask IMDS. The rules are in `gate_schedule`.

What is done in the directory is done at once, on the loop's own thread, and takes about a tenth of
a millisecond a time: it can't be cancelled half-way, so a lock is either not held or will be
released. Nothing is awaited while the lock of the turns is held. Locks are the kernel's, on open
files: it releases them when a process dies, and filelock closes them in a forked child, which would
otherwise go on holding its parent's.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from aiomsi._clock import Clock
from aiomsi._credentials.gate_schedule import (
    GROUP,
    INHERITED,
    PLACES,
    GateState,
    default_directory,
    file_mode,
    held_off,
    objection,
    objection_to_file,
    turn_of_queue,
    turn_to_send,
    turns_in,
)
from aiomsi._errors import ConfigurationError
from aiomsi._tokens.token import Uniform
from aiomsi._util.compat import OPEN_FLAGS, user_id
from aiomsi._util.lazy import not_imported
from aiomsi._util.running_time import TOLERANCE

if TYPE_CHECKING:
    from filelock import BaseFileLock

logger = logging.getLogger("aiomsi")

_Rule = Callable[[GateState, float, float], tuple[float | None, GateState]]

_FIRST_PAUSE, _LONGEST_PAUSE = 0.02, 0.5
"""How long to wait at the most for the lock of the turns, which is held for a moment: at first, and doubling up to this."""
_SPREAD = 0.25
"""Who gives up waiting sends within this share of the patience: otherwise all who came together would give up together."""
_LONGEST_TEXT = 64

_warned: set[tuple[Path, str]] = set()
"""What this process has been warned of."""


class _NoGateError(Exception):
    """The gate can't be used; says why."""


class _TooLateError(_NoGateError):
    """The gate could be used, but not in time."""

    def __init__(self) -> None:
        super().__init__("no turn could be had in time")


@attrs.define(eq=False)
class _Patience:
    """The time that is left to wait for a turn.

    A sleep that takes longer than it should, because the event loop was blocked or the machine
    suspended, uses up no more than it should have taken.
    """

    clock: Clock
    until: float

    @classmethod
    def of(cls, clock: Clock, seconds: float) -> _Patience:
        """Return a patience of so many seconds from now on."""
        return cls(clock, clock.monotonic() + seconds)

    def left(self) -> float:
        """Return the seconds that are left."""
        return self.until - self.clock.monotonic()

    async def sleep(self, seconds: float) -> None:
        """Sleep by the clock."""
        due = self.clock.monotonic() + seconds
        await self.clock.sleep(seconds)
        overslept = self.clock.monotonic() - due
        if overslept > TOLERANCE:
            self.until += overslept


def _directory(given: str | os.PathLike[str] | None) -> Path:
    if given is None:
        return default_directory(os.environ, platform=sys.platform, user=user_id()).absolute()
    return _path(given).absolute()


def _path(given: object) -> Path:
    text = os.fspath(given) if isinstance(given, str | os.PathLike) else None
    if not isinstance(text, str) or not text or "\0" in text:
        msg = f"a gate's directory must be a path and is {given!r}"
        raise ConfigurationError(msg, help="gate=True takes the default directory")
    return Path(text)


def _lock_class() -> type[BaseFileLock]:
    try:
        from filelock import FileLock
    except OSError as error:
        raise not_imported(error) from None
    except ImportError as error:
        msg = "the host-wide gate needs filelock"
        raise ConfigurationError(msg, help="Install it with: pip install 'aiomsi[gate]'") from error
    return FileLock


@attrs.frozen
class HostGate:
    """Keeps all processes of a machine that use it under IMDS's limits: 20 token requests a second and 5 at once per VM.

    Give the same one, or ``gate=True``, to the credentials of all processes. It needs the extra
    ``aiomsi[gate]``.

    Stored are two points in time and a few empty lock files, never a token. When a process dies,
    the kernel releases its locks. A directory that can't be trusted or used, and a turn that can't
    be had in time (`RefreshPolicy.gate_share`), are logged once as a warning; token requests then
    go on without the gate.

    Making one does no I/O. It may be pickled, shared by threads and kept over a fork.

    Attributes:
        directory: where the processes meet, on a local file system; by default one for each user,
            in the folder for temporary files (on Windows in ``%LOCALAPPDATA%``). It must belong to
            this user or root, and nobody else may be able to write there, other than the members of
            its group: ``install -d -g GROUP -m 2770 DIRECTORY`` makes one for several users.

    Raises:
        ConfigurationError: `directory` is no path, or filelock is not installed.

    Source:
        https://learn.microsoft.com/entra/identity/managed-identities-azure-resources/how-to-use-vm-token#rate-limits

    """

    directory: Path = attrs.field(default=None, converter=_directory)

    def __attrs_post_init__(self) -> None:
        _lock_class()

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.directory,)

    @asynccontextmanager
    async def admission(self, clock: Clock, patience: float, draw: Uniform) -> AsyncIterator[None]:
        """Wait until one request may be sent, and count it as under way until the end of the block.

        Args:
            clock: where time comes from.
            patience: for how many seconds to wait, before going on in any case.
            draw: as `random.uniform`.

        """
        patience = max(0.0, patience)
        with ExitStack() as held:
            waiting = _Patience.of(clock, patience)
            try:
                await self._enter(held, waiting, draw)
            except _TooLateError as error:
                held.close()
                await clock.sleep(max(0.0, waiting.left()) + draw(0, patience * _SPREAD))
                self._warn(error)
            except _NoGateError as error:
                self._warn(error)
            yield

    async def hold_off(self, seconds: float, clock: Clock, draw: Uniform) -> None:
        """Have all processes wait for so many seconds, or until their patience ends, because the endpoint asked for it."""
        waiting = _Patience.of(clock, _LONGEST_PAUSE)
        with contextlib.suppress(_NoGateError):
            await self._take(
                lambda turns, now, _: held_off(turns, now, seconds), self._status(), waiting, draw
            )

    async def _enter(self, held: ExitStack, waiting: _Patience, draw: Uniform) -> None:
        status, place = self._status(), None
        while place is None:
            await self._take(turn_of_queue, status, waiting, draw)
            place = self._free_place(status)
        held.callback(_release, place)
        await self._take(turn_to_send, status, waiting, draw)

    async def _take(
        self, rule: _Rule, status: os.stat_result, waiting: _Patience, draw: Uniform
    ) -> None:
        """Take a turn, and wait for it."""
        longest = _FIRST_PAUSE
        while (lock := self._try("turns.lock", status)) is None:
            pause, longest = draw(0, longest), min(longest * 2, _LONGEST_PAUSE)
            if pause > waiting.left():
                raise _TooLateError
            await waiting.sleep(pause)
        try:
            wait = self._change(rule, status, waiting.clock.wall(), waiting.left())
        finally:
            _release(lock)
        if wait is None:
            raise _TooLateError
        if wait:
            await waiting.sleep(wait)

    # Everything below is done at once

    def _status(self) -> os.stat_result:
        """Create the directory if it is missing, check that it can be trusted, and return its status."""
        try:
            with contextlib.suppress(FileExistsError):
                self.directory.mkdir(0o700)
            status = self.directory.lstat()
        except OSError as error:
            raise _NoGateError(_words(error)) from error
        reason = objection(status, platform=sys.platform, user=user_id())
        if reason is not None:
            raise _NoGateError(reason)
        return status

    def _free_place(self, status: os.stat_result) -> BaseFileLock | None:
        for number in range(PLACES):
            lock = self._try(f"place-{number}.lock", status)
            if lock is not None:
                return lock
        return None

    def _try(self, name: str, status: os.stat_result) -> BaseFileLock | None:
        try:
            # Checked before filelock opens it, because some versions truncate what they have
            # locked.
            os.close(self._open(name, status))
            # Tried once; the kernel's lock or none at all. The file has its mode already.
            lock = _lock_class()(
                self.directory / name,
                mode=INHERITED,
                blocking=False,
                thread_local=False,
                fallback_to_soft=False,
            )
            lock.acquire()
        except TimeoutError:
            return None
        except OSError as error:
            raise _NoGateError(_words(error)) from error
        return lock

    def _open(self, name: str, status: os.stat_result) -> int:
        """Open a file of the directory, create it if it is missing, and check it before it is changed in any way."""
        mode = file_mode(status, platform=sys.platform)
        file = os.open(self.directory / name, os.O_RDWR | os.O_CREAT | OPEN_FLAGS, mode & 0o777)
        try:
            reason = objection_to_file(
                os.fstat(file), status, platform=sys.platform, user=user_id()
            )
            if reason is not None:
                raise _NoGateError(f"{name}: {reason}")
            if mode == GROUP:
                with contextlib.suppress(PermissionError):
                    os.fchmod(file, mode)
        except BaseException:
            os.close(file)
            raise
        return file

    def _change(self, rule: _Rule, status: os.stat_result, now: float, most: float) -> float | None:
        """Apply a rule to what is stored; the lock of the turns is held."""
        try:
            file = self._open("turns", status)
            try:
                wait, turns = rule(turns_in(os.read(file, _LONGEST_TEXT)), now, most)
                text = turns.stored()
                os.lseek(file, 0, os.SEEK_SET)
                os.write(file, text)
                os.ftruncate(file, len(text))
            finally:
                os.close(file)
        except OSError as error:
            raise _NoGateError(_words(error)) from error
        return wait

    def _warn(self, error: _NoGateError) -> None:
        key = (self.directory, str(error))
        if key not in _warned:
            _warned.add(key)
            logger.warning(
                "the gate in %s is passed by: %s. Token requests of this process may be answered 429, and are then repeated",
                self.directory,
                error,
            )


def gate_from(gate: HostGate | str | os.PathLike[str] | bool | None) -> HostGate | None:
    """Make a gate of what was given for one: None and False are none, True is the one in the default directory.

    Raises:
        ConfigurationError: it is nothing of that kind, or filelock is not installed.

    """
    if gate is None or gate is False:
        return None
    if isinstance(gate, HostGate):
        return gate
    return HostGate(None if gate is True else gate)


def _release(lock: BaseFileLock) -> None:
    # Should the system fail to release it: closing the file, at the latest when the process ends,
    # does.
    with contextlib.suppress(OSError):
        lock.release()


def _words(error: OSError) -> str:
    return f"{type(error).__name__}: {error.strerror or error}"
