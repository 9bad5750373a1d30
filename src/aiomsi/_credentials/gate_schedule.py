"""Pure decisions of the host-wide gate: whose turn is when, what is stored of that, and which directory will do.

IMDS answers 429 to more than 20 token requests in a second, or 5 at once, of *one VM*, so processes
that know nothing of each other must take turns. They share `PLACES` locks and two times, and a
request is sent in three steps:

1. Take the next turn of the *queue*, one every `QUEUE_SPACING`, and wait for it. A turn is good for
one try:
2. take one of the places, which is kept until the answer is there. If none is free, go back to 1:
   so however many processes wait, one of them looks at a time, and nobody polls.
3. Take the next turn to *send*, one every `SEND_SPACING`, and wait for it. A process that overslept
   its turn of the queue, as many do on a busy machine, therefore still can't send in one burst with
   others.

In any one second at most 16 turns to send come, since the 17th is 1.024 s after the first; at most
`PLACES` requests whose turn came earlier have not been counted by IMDS yet, since each holds a
place. Together that is 20, whatever the scheduler does.

The times are wall-clock time: the one clock that is the same for all processes, containers, Pythons
and systems, and that outlives a restart as a file does. It may jump: a time that lies further ahead
than anybody waits is nonsense and counts as nothing stored, and a shorter jump back costs waiting
until the clock has caught up. Nothing else is stored.

Source:
https://learn.microsoft.com/entra/identity/managed-identities-azure-resources/how-to-use-vm-token#rate-limits
"""

import os
import re
import stat
from collections.abc import Mapping
from pathlib import Path

import attrs

PLACES = 4
"""Requests under way at once: one less than IMDS allows, for one whose sender has died."""
QUEUE_SPACING = 1 / 15
SEND_SPACING = 0.064
FAR = 60.0
"""No turn further ahead than this is given, and none that is found stored is believed."""

_STORED = re.compile(rb"(\d{10}\.\d{6}) (\d{10}\.\d{6})\n")
OWN, GROUP, INHERITED = 0o600, 0o660, -1


@attrs.frozen
class GateState:
    """The next turns that are free, in seconds since the epoch.

    Attributes:
        queue: to look for a place.
        send: to send a request.

    """

    queue: float = 0.0
    send: float = 0.0

    def stored(self) -> bytes:
        """Give the text for the file; it is always of the same length."""
        return b"%017.6f %017.6f\n" % (self.queue, self.send)


def turns_in(text: bytes) -> GateState:
    """Read what is stored; what is no such text, or a piece of one, counts as nothing stored."""
    match = _STORED.fullmatch(text)
    return GateState() if match is None else GateState(*map(float, match.groups()))


def turn_of_queue(turns: GateState, now: float, most: float) -> tuple[float | None, GateState]:
    """Give the seconds until the next turn of the queue, and what is stored then; None if it is more than `most` away."""
    wait, queue = _next(turns.queue, now, most, QUEUE_SPACING)
    return wait, attrs.evolve(turns, queue=queue)


def turn_to_send(turns: GateState, now: float, most: float) -> tuple[float | None, GateState]:
    """Give the same for a turn to send."""
    wait, send = _next(turns.send, now, most, SEND_SPACING)
    return wait, attrs.evolve(turns, send=send)


def held_off(turns: GateState, now: float, seconds: float) -> tuple[float | None, GateState]:
    """Give no more turns for so many seconds, as the endpoint asked."""
    until = now + min(seconds, FAR)
    return 0.0, GateState(
        max(_believed(turns.queue, now), until), max(_believed(turns.send, now), until)
    )


def _next(stored: float, now: float, most: float, spacing: float) -> tuple[float | None, float]:
    at = max(now, _believed(stored, now))
    return (None, at) if at - now > min(most, FAR) else (at - now, at + spacing)


def _believed(stored: float, now: float) -> float:
    return stored if stored <= now + FAR + QUEUE_SPACING else now


# The directory


def default_directory(environment: Mapping[str, str], *, platform: str, user: int | None) -> Path:
    """Name the directory in which this user's processes meet. All of them must: a login session's own would not do.

    `platform` is as `sys.platform`; `user` as `os.geteuid`, None on Windows.
    """
    if platform == "win32":
        return (
            Path(environment.get("LOCALAPPDATA") or environment.get("TEMP") or r"C:\Windows\Temp")
            / "aiomsi"
        )
    return Path(environment.get("TMPDIR") or "/tmp") / f"aiomsi-{user}"  # noqa: S108 (what is found there is checked)


def objection(status: os.stat_result, *, platform: str, user: int | None) -> str | None:
    """Say why a directory, as `os.lstat` sees it, can't be trusted; None: it can.

    Whoever may write there may keep all others waiting, or lead a write elsewhere. On Windows that
    is left to its access
    control lists: a directory in a user's profile is that user's.
    """
    if not stat.S_ISDIR(status.st_mode):
        return "it is a symbolic link" if stat.S_ISLNK(status.st_mode) else "it is not a directory"
    if platform == "win32":
        return None
    if status.st_uid not in (0, user):
        return f"it belongs to user {status.st_uid}, who is neither this one nor root"
    return "others may write there" if status.st_mode & stat.S_IWOTH else None


def objection_to_file(
    status: os.stat_result, directory: os.stat_result, *, platform: str, user: int | None
) -> str | None:
    """Return why an open file of that directory, as `os.fstat` reports it, must not be written; None if it may be.

    In a directory that is shared with a group each member can put a hard link, a pipe or a device
    in the file's place.
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


def file_mode(status: os.stat_result, *, platform: str) -> int:
    """Decide who may use files in that directory: this user, the group that it is shared with, or as the system does."""
    if platform == "win32":
        return INHERITED
    return GROUP if status.st_mode & stat.S_IWGRP else OWN
