"""Pure decisions of the host-wide gate: its turns, its stored state, and which files it trusts.

IMDS responds 429 to more than 20 token requests in a second, or 5 at once, of *one VM*, so
unrelated processes must take turns. They share `MAX_IN_FLIGHT` locks and two times, and a request
is sent in three steps:

1. Take the next turn of the *queue*, one every `QUEUE_SPACING`, and wait for it. A turn allows one
   attempt at step 2.
2. Lock one of the places, and keep it until the response is received. If all are locked, return to
   step 1. However many processes wait, only one of them tries the places at a time, and none polls.
3. Take the next turn to *send*, one every `SEND_SPACING`, and wait for it. Many processes oversleep
   their turn of the queue on a busy machine, and this step prevents that these send in one burst.

In any one second at most 16 turns to send come, since the 17th is 1.024 s after the first. At most
`MAX_IN_FLIGHT` requests whose turn came earlier have not been counted by IMDS yet, since each holds
a place. Together that is 20, whatever the scheduler does.

The times are wall-clock time: the one clock that is the same for all processes, containers, Pythons
and systems, and that outlives a restart as a file does. The clock may jump. A stored time that is
further ahead than any process waits is ignored, and after a shorter jump back the processes wait
until the clock has caught up. The two times are the whole stored state.

A clock with a coarse resolution reads a time that is up to that much old. It is 15.6 ms on Windows
before Python 3.13. Turns then come up to 15.6 ms late, and 17 still take more than a second; and a
wait is lengthened (`lengthen_wait`), because a timer of asyncio could fire before the turn.

Source:
https://learn.microsoft.com/entra/identity/managed-identities-azure-resources/how-to-use-vm-token#rate-limits
"""

import os
import re
import stat
from collections.abc import Mapping
from pathlib import Path

import attrs

MAX_IN_FLIGHT = 4
"""Most requests under way at once: one less than IMDS allows, for a request whose sender died."""
QUEUE_SPACING = 1 / 15
SEND_SPACING = 0.064
FAR = 60.0
"""Seconds that a turn may be ahead: later ones are not assigned, and not read from the file."""

_STORED = re.compile(rb"(\d{10}\.\d{6}) (\d{10}\.\d{6})\n")
OWN, GROUP, INHERITED = 0o600, 0o660, -1
_COARSE = 0.001
_JUNCTION = 0xA0000003
"""`stat.IO_REPARSE_TAG_MOUNT_POINT`, which exists on Windows only."""


@attrs.frozen
class GateState:
    """The next free turns, in seconds since the epoch.

    Attributes:
        queue: the next turn to try the places.
        send: the next turn to send a request.

    """

    queue: float = 0.0
    send: float = 0.0

    def stored(self) -> bytes:
        """Return the content of the file, which always has the same length."""
        return f"{self.queue:017.6f} {self.send:017.6f}\n".encode()


def parse_state(text: bytes) -> GateState:
    """Return the state in the content of the file; the initial state if that is malformed."""
    match = _STORED.fullmatch(text)
    return GateState() if match is None else GateState(*map(float, match.groups()))


def take_queue_turn(turns: GateState, now: float, most: float) -> tuple[float | None, GateState]:
    """Return the seconds until the next turn of the queue, and the new state.

    The seconds are None, and no turn is taken, if there are more than `most`.
    """
    wait, queue = _schedule_next(turns.queue, now, most, QUEUE_SPACING)
    return wait, attrs.evolve(turns, queue=queue)


def take_send_turn(turns: GateState, now: float, most: float) -> tuple[float | None, GateState]:
    """Return the seconds until the next turn to send, and the new state, as `take_queue_turn`."""
    wait, send = _schedule_next(turns.send, now, most, SEND_SPACING)
    return wait, attrs.evolve(turns, send=send)


def hold_off(turns: GateState, now: float, seconds: float) -> tuple[float | None, GateState]:
    """Return a state in which no turn comes within the seconds of a `Retry-After`."""
    until = now + min(seconds, FAR)
    return 0.0, GateState(
        max(_get_plausible(turns.queue, now), until), max(_get_plausible(turns.send, now), until)
    )


def lengthen_wait(wait: float, resolution: float) -> float:
    """Return the seconds to sleep so that a timer of asyncio does not fire before `wait` is over.

    The timer counts from a time that is up to the resolution old, and fires up to the resolution
    early. A resolution below a millisecond does not matter.

    Args:
        wait: seconds until a turn.
        resolution: that of the event loop's clock, in seconds.

    """
    return wait + 2 * resolution if resolution >= _COARSE else wait


def _schedule_next(
    stored: float, now: float, most: float, spacing: float
) -> tuple[float | None, float]:
    at = max(now, _get_plausible(stored, now))
    return (None, at) if at - now > min(most, FAR) else (at - now, at + spacing)


def _get_plausible(stored: float, now: float) -> float:
    return stored if stored <= now + FAR + QUEUE_SPACING else now


# The directory


def get_default_directory(
    environment: Mapping[str, str], *, platform: str, user: int | None
) -> Path:
    """Return the directory that all processes of a user share, across login sessions.

    Args:
        environment: such as `os.environ`.
        platform: such as `sys.platform`.
        user: the result of `os.geteuid`, None on Windows.

    """
    if platform == "win32":
        return (
            Path(environment.get("LOCALAPPDATA") or environment.get("TEMP") or r"C:\Windows\Temp")
            / "aiomsi"
        )
    folder = environment.get("TMPDIR") or "/tmp"  # noqa: S108 (the directory is checked)
    return Path(folder) / f"aiomsi-{user}"


def find_distrust_reason(status: os.stat_result, *, platform: str, user: int | None) -> str | None:
    """Return why a directory, with its status of `os.lstat`, can't be trusted; None if it can.

    A user with write permission could block all processes, or redirect a write. On Windows the
    access control lists decide: a directory in a user's profile is that user's. A junction there is
    a directory by its mode.
    """
    if not stat.S_ISDIR(status.st_mode):
        return "it is a symbolic link" if stat.S_ISLNK(status.st_mode) else "it is not a directory"
    if platform == "win32":
        return "it is a junction" if getattr(status, "st_reparse_tag", 0) == _JUNCTION else None
    if status.st_uid not in (0, user):
        return f"it belongs to user {status.st_uid}, who is neither this one nor root"
    return "others may write there" if status.st_mode & stat.S_IWOTH else None


def find_file_distrust_reason(
    status: os.stat_result, directory: os.stat_result, *, platform: str, user: int | None
) -> str | None:
    """Return why an open file of the directory must not be written; None if it may be.

    The status is that of `os.fstat`. In a directory that is shared with a group each member can
    replace the file by a hard link, a pipe or a device.
    """
    if not stat.S_ISREG(status.st_mode):
        return "it is not a regular file"
    if status.st_nlink > 1:
        return "it has other hard links"
    if platform == "win32" or status.st_uid in (0, user):
        return None
    shared = directory.st_mode & stat.S_IWGRP and status.st_gid == directory.st_gid
    return (
        None if shared else f"it belongs to user {status.st_uid}, who is neither this one nor root"
    )


def get_file_mode(status: os.stat_result, *, platform: str) -> int:
    """Return the mode of new files: for this user, for the group of the directory, or inherited."""
    if platform == "win32":
        return INHERITED
    return GROUP if status.st_mode & stat.S_IWGRP else OWN
