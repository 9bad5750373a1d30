"""The pure rules of the gate: turns, the stored state, and trusted directories and files."""

import os
import random
import stat
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from aiomsi._credentials.gate_schedule import (
    FAR,
    MAX_IN_FLIGHT,
    QUEUE_SPACING,
    SEND_SPACING,
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
from aiomsi.testing import ImdsLimits

NOW = 1_700_000_000.0
ME = 1000


def make_status(mode: int, owner: int = ME, links: int = 1, group: int = 0) -> os.stat_result:
    return os.stat_result((mode, 0, 0, links, owner, group, 0, 0, 0, 0))


def test_the_first_turn_is_now_and_the_next_comes_after_it() -> None:
    wait, turns = take_queue_turn(GateState(), NOW, 20)
    assert (wait, turns) == (0, GateState(queue=NOW + QUEUE_SPACING))
    wait, turns = take_queue_turn(turns, NOW, 20)
    assert wait == pytest.approx(QUEUE_SPACING)
    assert turns.queue == pytest.approx(NOW + 2 * QUEUE_SPACING)
    wait, turns = take_send_turn(turns, NOW, 20)
    assert (wait, turns.send) == (0, NOW + SEND_SPACING)
    assert turns.queue == pytest.approx(NOW + 2 * QUEUE_SPACING)


def test_turns_that_nobody_took_are_gone() -> None:
    assert take_queue_turn(GateState(queue=NOW - 100), NOW, 20) == (
        0,
        GateState(queue=NOW + QUEUE_SPACING),
    )


def test_a_turn_that_comes_too_late_is_not_taken() -> None:
    turns = GateState(queue=NOW + 20, send=NOW + 21)
    assert take_queue_turn(turns, NOW, 20) == (
        20,
        GateState(queue=NOW + 20 + QUEUE_SPACING, send=NOW + 21),
    )
    assert take_send_turn(turns, NOW, 20) == (None, turns)
    far = GateState(queue=NOW + FAR + 0.01)
    assert take_queue_turn(far, NOW, 1_000) == (None, far)


def test_a_time_that_nobody_can_have_stored_is_not_believed() -> None:
    last = take_queue_turn(GateState(queue=NOW + FAR), NOW, 1_000)[1]
    assert take_queue_turn(last, NOW, 1_000) == (None, last)
    for ahead in (FAR + 1, 86_400, 10.0**9):
        wait, turns = take_queue_turn(GateState(queue=NOW + ahead), NOW, 20)
        assert (wait, turns.queue) == (0, NOW + QUEUE_SPACING)


def test_holding_off_moves_all_turns_and_only_on() -> None:
    assert hold_off(GateState(), NOW, 5) == (0, GateState(NOW + 5, NOW + 5))
    assert hold_off(GateState(NOW + 9, NOW + 1), NOW, 5) == (0, GateState(NOW + 9, NOW + 5))
    assert hold_off(GateState(NOW + 86_400), NOW, 5) == (0, GateState(NOW + 5, NOW + 5))
    # However long the delay, the next reader must accept the stored state.
    turns = hold_off(GateState(), NOW, 10_000)[1]
    assert turns == GateState(NOW + FAR, NOW + FAR)
    assert take_queue_turn(turns, NOW, 20) == (None, turns)


def test_what_is_stored_is_two_numbers_and_is_read_back() -> None:
    turns = GateState(NOW + 0.25, NOW + 1 / 3)
    assert turns.stored() == b"1700000000.250000 1700000000.333333\n"
    read = parse_state(turns.stored())
    assert (read.queue, read.send) == pytest.approx((turns.queue, turns.send), abs=1e-6)
    assert len(GateState().stored()) == len(turns.stored())
    assert parse_state(GateState().stored()) == GateState()


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"1700000000.250000",
        b"1700000000.250000 1700000000.33333",
        b"1700000000.250000 1700000000.333333",
        b"1700000000.250000 1700000000.333333\n1",
        b"nan               1700000000.333333\n",
        b"-700000000.250000 1700000000.333333\n",
        b"\x00" * 36,
        b"\xff\xfe" * 18,
        GateState(10.0**12, 0.0).stored(),
        GateState(-1.0, 0.0).stored(),
        GateState(float("inf"), 0.0).stored(),
    ],
)
def test_anything_else_counts_as_nothing_stored(text: bytes) -> None:
    assert parse_state(text) == GateState()


def test_the_numbers_keep_to_the_limits_of_imds() -> None:
    limits = ImdsLimits()
    within_a_second = 1 + int(1 / SEND_SPACING)
    assert within_a_second + MAX_IN_FLIGHT <= limits.per_second
    assert limits.at_once > MAX_IN_FLIGHT
    assert QUEUE_SPACING > SEND_SPACING


@pytest.mark.parametrize("seed", range(5))
def test_any_second_has_at_most_sixteen_turns_to_send(seed: int) -> None:
    rng, now, turns, given = random.Random(seed), NOW, GateState(), []
    for _ in range(300):
        now += rng.choice([0.0, 0.0, 0.0, 0.01, 0.1, 2.0]) * rng.random()
        wait, turns = take_send_turn(parse_state(turns.stored()), now, FAR)
        assert wait is not None
        given.append(now + wait)
    assert max(sum(1 for other in given if at <= other < at + 1) for at in given) == 16


@pytest.mark.parametrize(("known", "most"), [(1 / 64, 16), (0.0, 17)])
def test_timers_of_a_coarse_clock_fire_after_the_turn(known: float, most: int) -> None:
    """All times are multiples of 1/64, and every timer fires as early as it may."""
    tick, turns, sent = 1 / 64, GateState(), []
    now = NOW + tick - 1e-6
    for _ in range(100):
        wait, turns = take_send_turn(turns, NOW, FAR)
        assert wait is not None
        sent.append(now + max(0.0, lengthen_wait(wait, known) - 2 * tick))
    assert max(sum(1 for other in sent if at <= other < at + 1) for at in sent) == most


def test_wait_by_a_fine_clock_is_not_lengthened() -> None:
    assert (lengthen_wait(0.5, 1e-7), lengthen_wait(0.5, 1 / 64)) == (0.5, 0.53125)


# The directory


def test_processes_of_one_user_meet_in_one_directory() -> None:
    usual = Path("/", "tmp", "aiomsi-1000")
    assert get_default_directory({}, platform="linux", user=ME) == usual
    assert get_default_directory({"TMPDIR": ""}, platform="linux", user=ME) == usual
    assert get_default_directory(
        {"TMPDIR": "/var/folders/x/T"}, platform="darwin", user=501
    ) == Path("/var/folders/x/T/aiomsi-501")
    # A service of the same user doesn't use the directory of a login session.
    assert (
        get_default_directory({"XDG_RUNTIME_DIR": "/run/user/1000"}, platform="linux", user=ME)
        == usual
    )


@pytest.mark.parametrize(
    ("environment", "parent"),
    [
        (
            {"LOCALAPPDATA": r"C:\Users\a\AppData\Local", "TEMP": r"C:\T"},
            r"C:\Users\a\AppData\Local",
        ),
        ({"LOCALAPPDATA": "", "TEMP": r"C:\T"}, r"C:\T"),
        ({}, r"C:\Windows\Temp"),
    ],
)
def test_on_windows_they_meet_in_the_users_profile(
    environment: dict[str, str], parent: str
) -> None:
    assert (
        get_default_directory(environment, platform="win32", user=None) == Path(parent) / "aiomsi"
    )


@pytest.mark.parametrize(
    ("mode", "owner", "reason"),
    [
        (stat.S_IFDIR | 0o700, ME, None),
        (stat.S_IFDIR | 0o755, ME, None),
        (stat.S_IFDIR | 0o2770, 0, None),
        (stat.S_IFDIR | 0o700, 1001, "it belongs to user 1001, who is neither this one nor root"),
        (stat.S_IFDIR | 0o702, ME, "others may write there"),
        (stat.S_IFDIR | 0o1777, 0, "others may write there"),
        (stat.S_IFLNK | 0o777, ME, "it is a symbolic link"),
        (stat.S_IFREG | 0o600, ME, "it is not a directory"),
    ],
)
def test_a_directory_that_others_may_change_is_objected_to(
    mode: int, owner: int, reason: str | None
) -> None:
    assert find_distrust_reason(make_status(mode, owner), platform="linux", user=ME) == reason


def test_on_windows_only_the_kind_of_thing_counts() -> None:
    # On Windows, Python reports each directory as owned by 0 and writable for all users.
    assert (
        find_distrust_reason(make_status(stat.S_IFDIR | 0o777, 0), platform="win32", user=None)
        is None
    )
    assert (
        find_distrust_reason(make_status(stat.S_IFLNK | 0o777, 0), platform="win32", user=None)
        == "it is a symbolic link"
    )
    assert (
        find_distrust_reason(make_status(stat.S_IFREG | 0o666, 0), platform="win32", user=None)
        == "it is not a directory"
    )


@pytest.mark.parametrize(
    ("tag", "reason"),
    # A junction or mount point, and a folder whose content OneDrive downloads.
    [(0xA0000003, "it is a junction"), (0x9000001A, None), (0, None)],
)
def test_junction_on_windows_is_objected_to(tag: int, reason: str | None) -> None:
    found: Any = SimpleNamespace(st_mode=stat.S_IFDIR | 0o777, st_uid=0, st_reparse_tag=tag)
    assert find_distrust_reason(found, platform="win32", user=None) == reason


def test_files_are_for_the_same_people_as_the_directory() -> None:
    assert get_file_mode(make_status(stat.S_IFDIR | 0o755), platform="linux") == 0o600
    assert get_file_mode(make_status(stat.S_IFDIR | 0o2770), platform="linux") == 0o660
    assert get_file_mode(make_status(stat.S_IFDIR | 0o777), platform="win32") == -1


OTHERS = "it belongs to user 1001, who is neither this one nor root"


@pytest.mark.parametrize(
    ("file", "directory", "reason"),
    [
        (make_status(stat.S_IFREG | 0o600), make_status(stat.S_IFDIR | 0o700), None),
        (make_status(stat.S_IFREG | 0o600, 0), make_status(stat.S_IFDIR | 0o700), None),
        (make_status(stat.S_IFREG | 0o600, 1001), make_status(stat.S_IFDIR | 0o700), OTHERS),
        (
            make_status(stat.S_IFREG | 0o660, 1001, group=5),
            make_status(stat.S_IFDIR | 0o2770, group=5),
            None,
        ),
        (
            make_status(stat.S_IFREG | 0o660, 1001, group=6),
            make_status(stat.S_IFDIR | 0o2770, group=5),
            OTHERS,
        ),
        (
            make_status(stat.S_IFREG | 0o600, links=2),
            make_status(stat.S_IFDIR | 0o700),
            "it has other hard links",
        ),
        (
            make_status(stat.S_IFIFO | 0o600),
            make_status(stat.S_IFDIR | 0o700),
            "it is not a regular file",
        ),
        (
            make_status(stat.S_IFCHR | 0o600),
            make_status(stat.S_IFDIR | 0o700),
            "it is not a regular file",
        ),
        (
            make_status(stat.S_IFDIR | 0o700),
            make_status(stat.S_IFDIR | 0o700),
            "it is not a regular file",
        ),
    ],
)
def test_file_that_is_not_the_gates_own_is_objected_to(
    file: os.stat_result, directory: os.stat_result, reason: str | None
) -> None:
    assert find_file_distrust_reason(file, directory, platform="linux", user=ME) == reason


def test_file_on_windows_is_distrusted_for_kind_and_links_only() -> None:
    directory = make_status(stat.S_IFDIR | 0o777, 0)
    assert (
        find_file_distrust_reason(
            make_status(stat.S_IFREG | 0o666), directory, platform="win32", user=None
        )
        is None
    )
    linked = make_status(stat.S_IFREG | 0o666, links=2)
    assert (
        find_file_distrust_reason(linked, directory, platform="win32", user=None)
        == "it has other hard links"
    )
