"""The host-wide gate, at which unrelated processes take turns to send token requests to IMDS.

The rules are in `gate_schedule`. Each access to the directory runs without a suspension on the
event loop's thread, and takes about 0.1 ms. Cancellation can't interrupt it, so a lock is either
not held or will be released. No `await` happens while the lock of the turns is held. The locks are
the kernel's, on open files: the kernel releases them when a process dies, and filelock closes them
in a forked child, which would otherwise continue to hold the locks of its parent.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from aiomsi._clock import Clock
from aiomsi._credentials.gate_schedule import (
    GROUP,
    INHERITED,
    MAX_IN_FLIGHT,
    GateState,
    find_distrust_reason,
    find_file_distrust_reason,
    get_default_directory,
    get_file_mode,
    hold_off,
    lengthen_wait,
    parse_state,
    take_queue_turn,
    take_send_turn,
)
from aiomsi._errors import ConfigurationError
from aiomsi._util.compat import OPEN_FLAGS, get_user_id
from aiomsi._util.jitter import Uniform
from aiomsi._util.lazy import make_import_error
from aiomsi._util.running_time import TOLERANCE
from aiomsi._util.secret import MaskedMapping

if TYPE_CHECKING:
    from filelock import BaseFileLock

logger = logging.getLogger("aiomsi")

_Rule = Callable[[GateState, float, float], tuple[float | None, GateState]]

_FIRST_PAUSE, _LONGEST_PAUSE = 0.02, 0.5
"""Longest first pause until the lock of the turns is tried again, and the limit of its doubling."""
_SPREAD = 0.25
"""A process that gives up waits for a further random time, up to this fraction of its patience, so
that processes that started together do not send together."""
_LONGEST_TEXT = 64
_RESOLUTION = time.get_clock_info("monotonic").resolution

_warned: set[tuple[Path, str]] = set()
"""The directories and reasons that this process has logged a warning for."""


class _NoGateError(Exception):
    """The gate can't be used, for the reason in the message."""


class _TooLateError(_NoGateError):
    """No turn came in time."""

    def __init__(self) -> None:
        super().__init__("no turn came in time")


@attrs.define(eq=False)
class _Patience:
    """The time that is left to wait for a turn.

    A sleep that takes longer than requested, because the event loop was blocked or the machine
    suspended, uses up only the requested time.

    Attributes:
        clock: the source of the time.
        until: the monotonic time at which the patience ends.

    """

    clock: Clock
    until: float

    @classmethod
    def of(cls, clock: Clock, seconds: float) -> _Patience:
        """Create a patience that ends in so many seconds."""
        return cls(clock, clock.monotonic() + seconds)

    def left(self) -> float:
        """Return the seconds that are left."""
        return self.until - self.clock.monotonic()

    async def sleep(self, seconds: float) -> None:
        """Sleep by the clock, and extend the patience by the time of oversleeping."""
        due = self.clock.monotonic() + seconds
        await self.clock.sleep(seconds)
        overslept = self.clock.monotonic() - due
        if overslept > TOLERANCE:
            self.until += overslept


def _resolve_directory(given: str | os.PathLike[str] | None) -> Path:
    if given is None:
        return get_default_directory(
            MaskedMapping(os.environ), platform=sys.platform, user=get_user_id()
        ).absolute()
    return _make_path(given).absolute()


def _make_path(given: object) -> Path:
    text = os.fspath(given) if isinstance(given, str | os.PathLike) else None
    if not isinstance(text, str) or not text or "\0" in text:
        msg = f"a gate's directory must be a path and is {given!r}"
        raise ConfigurationError(msg, help="gate=True takes the default directory")
    return Path(text)


def _import_lock() -> type[BaseFileLock]:
    try:
        from filelock import FileLock
    except OSError as error:
        raise make_import_error(error) from None
    except ImportError as error:
        msg = "the host-wide gate needs filelock"
        raise ConfigurationError(msg, help="Install it with: pip install 'aiomsi[gate]'") from error
    return FileLock


@attrs.frozen
class HostGate:
    """A gate that keeps the processes of a machine under IMDS's limits.

    These are 20 token requests a second and 5 at once per VM. Pass an equal gate, or ``gate=True``,
    to the credentials of all processes. The gate needs the extra ``aiomsi[gate]``.

    Its directory stores two points in time and a few empty lock files, never a token. When a
    process dies, the kernel releases its locks. If the directory can't be trusted or used, or no
    turn comes in time (`RefreshPolicy.gate_share`), the gate logs one warning, and the token
    request is sent without it.

    Creating a gate does no I/O. A gate may be pickled, shared by threads and kept over a fork.

    Attributes:
        directory: the directory that the processes share, on a local file system; by default one
            for each user, in the folder for temporary files (on Windows in ``%LOCALAPPDATA%``). It
            must belong to this user or root, and only its owner and the members of its group may
            have write permission: ``install -d -g GROUP -m 2770 DIRECTORY`` creates one for several
            users.

    Raises:
        ConfigurationError: `directory` is not a path, or filelock is not installed.

    Source:
        https://learn.microsoft.com/entra/identity/managed-identities-azure-resources/how-to-use-vm-token#rate-limits

    """

    directory: Path = attrs.field(default=None, converter=_resolve_directory)

    def __attrs_post_init__(self) -> None:
        _import_lock()

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.directory,)

    @asynccontextmanager
    async def admission(
        self, clock: Clock, patience: float, uniform: Uniform
    ) -> AsyncIterator[None]:
        """Wait until one request may be sent, and count it as under way until the end of the block.

        Args:
            clock: the source of the time.
            patience: the seconds after which the block is entered without a turn.
            uniform: such as `random.uniform`.

        """
        patience = max(0.0, patience)
        with ExitStack() as held:
            waiting = _Patience.of(clock, patience)
            try:
                await self._enter(held, waiting, uniform)
            except _TooLateError as error:
                held.close()
                await clock.sleep(max(0.0, waiting.left()) + uniform(0, patience * _SPREAD))
                self._warn(error)
            except _NoGateError as error:
                self._warn(error)
            yield

    async def hold_off(self, seconds: float, clock: Clock, uniform: Uniform) -> None:
        """Hold off all processes for a `Retry-After` in seconds, or until their patience ends."""
        waiting = _Patience.of(clock, _LONGEST_PAUSE)
        with contextlib.suppress(_NoGateError):
            await self._take(
                lambda turns, now, _: hold_off(turns, now, seconds),
                self._status(),
                waiting,
                uniform,
            )

    async def _enter(self, held: ExitStack, waiting: _Patience, uniform: Uniform) -> None:
        status, place = self._status(), None
        while place is None:
            await self._take(take_queue_turn, status, waiting, uniform)
            place = self._free_place(status)
        held.callback(_release, place)
        await self._take(take_send_turn, status, waiting, uniform)

    async def _take(
        self, rule: _Rule, status: os.stat_result, waiting: _Patience, uniform: Uniform
    ) -> None:
        """Take a turn, and wait for it."""
        longest = _FIRST_PAUSE
        while (lock := self._try("turns.lock", status)) is None:
            pause, longest = uniform(0, longest), min(longest * 2, _LONGEST_PAUSE)
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
            await waiting.sleep(lengthen_wait(wait, _RESOLUTION))

    # The methods below run without a suspension

    def _status(self) -> os.stat_result:
        """Create the directory if it is missing, check it, and return its status."""
        try:
            with contextlib.suppress(FileExistsError):
                self.directory.mkdir(0o700)
            status = self.directory.lstat()
        except OSError as error:
            raise _NoGateError(_describe_error(error)) from error
        reason = find_distrust_reason(status, platform=sys.platform, user=get_user_id())
        if reason is not None:
            raise _NoGateError(reason)
        return status

    def _free_place(self, status: os.stat_result) -> BaseFileLock | None:
        for number in range(MAX_IN_FLIGHT):
            lock = self._try(f"place-{number}.lock", status)
            if lock is not None:
                return lock
        return None

    def _try(self, name: str, status: os.stat_result) -> BaseFileLock | None:
        try:
            # The file is checked before filelock opens it, because some versions of filelock
            # truncate a file that they lock.
            os.close(self._open(name, status))
            # One attempt, at a lock of the kernel only. The file has its mode already.
            lock = _import_lock()(
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
            raise _NoGateError(_describe_error(error)) from error
        return lock

    def _open(self, name: str, status: os.stat_result) -> int:
        """Open a file of the directory, created if missing, and check it before any change."""
        mode = get_file_mode(status, platform=sys.platform)
        file = os.open(self.directory / name, os.O_RDWR | os.O_CREAT | OPEN_FLAGS, mode & 0o777)
        try:
            reason = find_file_distrust_reason(
                os.fstat(file), status, platform=sys.platform, user=get_user_id()
            )
            if reason is not None:
                raise _NoGateError(f"{name}: {reason}")
            if mode == GROUP and sys.platform != "win32":
                with contextlib.suppress(PermissionError):
                    os.fchmod(file, mode)
        except BaseException:
            os.close(file)
            raise
        return file

    def _change(self, rule: _Rule, status: os.stat_result, now: float, most: float) -> float | None:
        """Apply a rule to the stored state, while the lock of the turns is held."""
        try:
            file = self._open("turns", status)
            try:
                wait, turns = rule(parse_state(os.read(file, _LONGEST_TEXT)), now, most)
                text = turns.stored()
                os.lseek(file, 0, os.SEEK_SET)
                os.write(file, text)
                os.ftruncate(file, len(text))
            finally:
                os.close(file)
        except OSError as error:
            raise _NoGateError(_describe_error(error)) from error
        return wait

    def _warn(self, error: _NoGateError) -> None:
        key = (self.directory, str(error))
        if key not in _warned:
            _warned.add(key)
            logger.warning(
                "the gate in %s is not used: %s. Token requests of this process may get status "
                "429, and are then repeated",
                self.directory,
                error,
            )


def make_gate(gate: HostGate | str | os.PathLike[str] | bool | None) -> HostGate | None:
    """Return the gate of a credential's argument: True is a gate in the default directory.

    Raises:
        ConfigurationError: `gate` is none of these types, or filelock is not installed.

    """
    if gate is None or gate is False:
        return None
    if isinstance(gate, HostGate):
        return gate
    return HostGate(None if gate is True else gate)


def _release(lock: BaseFileLock) -> None:
    # If the system call fails, the lock is released when its file is closed, at the latest at the
    # end of the process.
    with contextlib.suppress(OSError):
        lock.release()


def _describe_error(error: OSError) -> str:
    return f"{type(error).__name__}: {error.strerror or error}"
