"""`HostGate`: its turns and places for tasks on a virtual clock, and for real processes."""

import asyncio
import errno
import itertools
import json
import logging
import os
import pickle
import random
import subprocess
import sys
import threading
import types
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fake_host import return_middle
from filelock import BaseFileLock
from gates import count_free, hold, hold_all, read_stored, release_all, store
from virtual_loop import EPOCH, VirtualLoop, run

from aiomsi import Clock, ConfigurationError, HostGate
from aiomsi._credentials import gate as _gate
from aiomsi._credentials.gate import make_gate
from aiomsi._credentials.gate_schedule import (
    FAR,
    MAX_IN_FLIGHT,
    QUEUE_SPACING,
    SEND_SPACING,
    GateState,
    parse_state,
)
from aiomsi.testing import EmbeddedAzure, ImdsLimits
from aiomsi.testing._server.imds_limits import SlidingWindow

HERE = Path(__file__).parents[1] / "support"
PATIENCE = 20.0
forks = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")


@pytest.fixture(autouse=True)
def _as_in_a_new_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_gate, "_warned", set())
    # Virtual time is exact.
    monkeypatch.setattr(_gate, "_RESOLUTION", 0.0)


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """Return the path of a directory that does not exist yet."""
    return tmp_path / "gate"


@pytest.fixture
def gate(directory: Path) -> HostGate:
    return HostGate(directory)


@pytest.fixture
def loop() -> Iterator[VirtualLoop]:
    loop = VirtualLoop()
    yield loop
    loop.close()


def make_strict_clock(clock: Clock) -> Clock:
    """Return a clock that rejects a negative sleep, as the real one does."""

    async def sleep(seconds: float) -> None:
        assert seconds >= 0
        await clock.sleep(seconds)

    return Clock(wall=clock.wall, monotonic=clock.monotonic, sleep=sleep)


async def pass_gate(
    gate: HostGate,
    loop: VirtualLoop,
    took: float = 0.0,
    patience: float = PATIENCE,
    clock: Clock | None = None,
) -> float:
    """Send a request through the gate, and return the time of its sending."""
    async with gate.admission(make_strict_clock(clock or loop.clock), patience, return_middle):
        at = loop.time()
        await asyncio.sleep(took)
    return at


def list_warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [
        record.getMessage()
        for record in caplog.records
        if record.name == "aiomsi" and record.levelno == logging.WARNING
    ]


# Arguments of a gate


def test_making_a_gate_touches_nothing(directory: Path) -> None:
    gate = HostGate(str(directory))
    assert gate.directory == directory
    assert not directory.exists()
    assert gate == HostGate(directory)
    assert hash(gate) == hash(HostGate(directory))
    assert str(directory) in repr(gate)


def test_the_default_directory_is_the_users(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("TMPDIR", "LOCALAPPDATA"):
        monkeypatch.setenv(name, str(tmp_path))
    assert HostGate().directory.parent == tmp_path
    assert make_gate(True) == HostGate()


def test_a_relative_directory_stays_where_it_is(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    gate = HostGate("here")
    monkeypatch.chdir("/")
    assert gate.directory == tmp_path / "here"


@pytest.mark.parametrize("given", [b"/tmp/x", "", "a\0b", 5, 1.5, object()])
def test_what_is_no_path_is_an_error(given: str) -> None:
    with pytest.raises(ConfigurationError, match="a gate's directory must be a path"):
        HostGate(given)
    with pytest.raises(ConfigurationError):
        make_gate(given)


def test_what_may_be_given_for_a_gate(gate: HostGate, directory: Path) -> None:
    assert make_gate(None) is None
    assert make_gate(False) is None
    assert make_gate(gate) is gate
    assert make_gate(directory) == gate
    assert make_gate(str(directory)) == gate


def test_missing_filelock_is_an_error_with_the_remedy(
    monkeypatch: pytest.MonkeyPatch, gate: HostGate, directory: Path
) -> None:
    pickled = pickle.dumps(gate)
    monkeypatch.setitem(sys.modules, "filelock", None)
    for make in (HostGate, lambda: make_gate(True), lambda: pickle.loads(pickled)):  # noqa: S301 (our own)
        with pytest.raises(ConfigurationError, match=r"pip install 'aiomsi\[gate\]'"):
            make()
    assert not directory.exists()


@pytest.mark.slow
def test_filelock_is_imported_only_for_a_gate() -> None:
    code = (
        "import aiomsi, sys; print('filelock' in sys.modules); "
        "aiomsi.HostGate(); print('filelock' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=30
    )
    assert done.stdout.split() == ["False", "True"]


def test_a_gate_can_be_pickled(gate: HostGate) -> None:
    assert pickle.loads(pickle.dumps(gate)) == gate  # noqa: S301 (our own)


# Turns and places


def test_single_request_does_not_wait_and_stores_two_times(
    gate: HostGate, directory: Path, loop: VirtualLoop
) -> None:
    assert run(pass_gate(gate, loop), loop) == 0
    assert read_stored(directory) == parse_state(
        GateState(EPOCH + QUEUE_SPACING, EPOCH + SEND_SPACING).stored()
    )
    assert sorted(path.name for path in directory.iterdir()) == [
        "place-0.lock",
        "turns",
        "turns.lock",
    ]
    assert [path.name for path in directory.iterdir() if path.stat().st_size] == ["turns"]
    assert directory.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in directory.iterdir()} == {0o600}


def test_many_at_once_are_sent_one_after_another_in_order(
    gate: HostGate, loop: VirtualLoop
) -> None:
    async def main() -> list[float]:
        return await asyncio.gather(*(pass_gate(gate, loop) for _ in range(60)))

    sent = run(main(), loop)
    assert sent == pytest.approx([number * QUEUE_SPACING for number in range(60)], abs=1e-3)


def test_a_place_is_kept_until_the_answer_is_there(
    gate: HostGate, directory: Path, loop: VirtualLoop
) -> None:
    async def main() -> list[float]:
        tasks = [asyncio.create_task(pass_gate(gate, loop, 1.0)) for _ in range(6)]
        await asyncio.sleep(0.9)
        assert count_free(directory) == 0
        return await asyncio.gather(*tasks)

    sent = sorted(run(main(), loop))
    assert sent[:4] == pytest.approx([number * QUEUE_SPACING for number in range(4)], abs=1e-3)
    assert 1.0 <= sent[4] <= 1.0 + 2 * QUEUE_SPACING
    assert sent[5] >= 1.0 + QUEUE_SPACING
    assert count_free(directory) == MAX_IN_FLIGHT


def test_without_a_place_it_tries_again_once_in_the_next_turn(
    gate: HostGate, directory: Path
) -> None:
    sleeps = []

    async def sleep(seconds: float) -> None:
        sleeps.append(seconds)
        await asyncio.sleep(seconds)

    async def main() -> None:
        places = hold_all(directory)
        asyncio.get_running_loop().call_later(1.0, release_all, places)
        async with gate.admission(clock, PATIENCE, return_middle):
            assert 1.0 <= loop.time() <= 1.0 + QUEUE_SPACING + 1e-3

    loop = VirtualLoop()
    clock = Clock(wall=loop.clock.wall, monotonic=loop.time, sleep=sleep)
    run(main(), loop)
    assert len(sleeps) == 15


@pytest.mark.parametrize(
    "seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(1, 6))]
)
def test_imds_never_answers_429_however_late_everybody_wakes(gate: HostGate, seed: int) -> None:
    """All sleeps of many tasks last too long; both limits count requests at their arrival."""
    rng, limits = random.Random(seed), ImdsLimits()
    limiter = SlidingWindow(limits.per_second)
    under_way, most, sent, throttled = 0, 0, 0, 0
    lag, way, took = (
        rng.choice([0.0, 0.05, 0.5]),
        rng.choice([0.0, 0.3]),
        rng.choice([0.0, 0.02, 0.4]),
    )
    loop = VirtualLoop()

    async def sleep(seconds: float) -> None:
        await asyncio.sleep(seconds + lag * rng.random())

    async def one() -> None:
        nonlocal under_way, most, sent, throttled
        await asyncio.sleep(rng.random())
        async with gate.admission(clock, 55.0, rng.uniform):
            await asyncio.sleep(way * rng.random())
            under_way, sent = under_way + 1, sent + 1
            most = max(most, under_way)
            throttled += not limiter.admit(loop.time())
            await asyncio.sleep(took * rng.random())
            under_way -= 1

    async def main() -> None:
        await asyncio.gather(*(one() for _ in range(80)))

    clock = Clock(wall=loop.clock.wall, monotonic=loop.time, sleep=sleep)
    run(main(), loop)
    assert (sent, throttled) == (80, 0)
    assert most <= limits.at_once


@pytest.mark.slow
def test_a_machine_that_stood_still_does_not_send_all_at_once(
    gate: HostGate, loop: VirtualLoop
) -> None:
    async def main() -> list[float]:
        tasks = [asyncio.create_task(pass_gate(gate, loop, 0.01)) for _ in range(40)]
        await asyncio.sleep(0.01)
        loop.now += 10.0
        return sorted(await asyncio.gather(*tasks))

    sent = run(main(), loop)[1:]
    assert sent[0] >= 10.0
    assert min(after - before for before, after in itertools.pairwise(sent)) >= SEND_SPACING - 1e-3


def test_holding_off_stops_everybody(gate: HostGate, loop: VirtualLoop) -> None:
    async def main() -> list[float]:
        first = asyncio.create_task(pass_gate(gate, loop, 3.0))
        await asyncio.sleep(1)
        await gate.hold_off(5, loop.clock, return_middle)
        return [await pass_gate(gate, loop), await first]

    assert run(main(), loop) == pytest.approx([6, 0], abs=1e-3)


def test_holding_off_is_given_up_when_it_can_not_be_stored(
    gate: HostGate, directory: Path, loop: VirtualLoop
) -> None:
    async def main() -> None:
        with hold(directory / "turns.lock"):
            await gate.hold_off(5, loop.clock, return_middle)

    run(main(), loop)
    assert loop.now <= 0.5
    assert not (directory / "turns").exists()


@pytest.mark.parametrize(
    "text", [b"", b"nonsense", b"x" * 1000, GateState(EPOCH + 86_400, EPOCH + 86_400).stored()]
)
def test_nonsense_that_is_stored_is_replaced(
    gate: HostGate, directory: Path, loop: VirtualLoop, text: bytes
) -> None:
    directory.mkdir(0o700)
    (directory / "turns").write_bytes(text)
    assert run(pass_gate(gate, loop), loop) == 0
    assert (directory / "turns").read_bytes() == read_stored(directory).stored()
    assert read_stored(directory).queue == pytest.approx(EPOCH + QUEUE_SPACING)


def test_wall_clock_that_is_put_back_costs_at_most_the_jump(
    gate: HostGate, loop: VirtualLoop
) -> None:
    async def main() -> float:
        await pass_gate(gate, loop)
        loop.skew -= 7
        return await pass_gate(gate, loop)

    assert run(main(), loop) == pytest.approx(7 + QUEUE_SPACING, abs=1e-3)


# Cancellation and errors


@pytest.mark.parametrize(
    "turns", [GateState(queue=EPOCH + 5), GateState(send=EPOCH + 5), GateState()]
)
def test_a_cancelled_request_leaves_nothing_held(
    gate: HostGate, directory: Path, loop: VirtualLoop, turns: GateState
) -> None:
    """In each step: waiting for the queue, waiting for the turn to send, and under way."""
    store(directory, turns)

    async def main() -> None:
        task = asyncio.create_task(pass_gate(gate, loop, 5.0))
        await asyncio.sleep(1)
        assert count_free(directory) == MAX_IN_FLIGHT - (not turns.queue)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    run(main(), loop)
    assert count_free(directory) == MAX_IN_FLIGHT
    hold(directory / "turns.lock").release()


def test_cancelled_while_the_turns_are_another_processs(
    gate: HostGate, directory: Path, loop: VirtualLoop
) -> None:
    async def main() -> None:
        with hold(directory / "turns.lock"), pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await pass_gate(gate, loop)
        assert await pass_gate(gate, loop) == pytest.approx(0.1)

    run(main(), loop)
    assert count_free(directory) == MAX_IN_FLIGHT


def test_error_of_the_request_releases_its_place_and_is_raised(
    gate: HostGate, directory: Path, loop: VirtualLoop
) -> None:
    async def main() -> None:
        async with gate.admission(loop.clock, PATIENCE, return_middle):
            assert count_free(directory) == MAX_IN_FLIGHT - 1
            raise OSError("the request's own")

    with pytest.raises(OSError, match="the request's own"):
        run(main(), loop)
    assert count_free(directory) == MAX_IN_FLIGHT


def test_a_request_that_is_abandoned_may_be_ended_by_any_thread(
    gate: HostGate, directory: Path
) -> None:
    """A closed loop leaves such coroutines to the garbage collector."""

    @types.coroutine
    def for_ever() -> Iterator[None]:
        while True:
            yield

    async def request() -> None:
        async with gate.admission(Clock(), PATIENCE, return_middle):
            await for_ever()

    abandoned = request()
    thread = threading.Thread(target=abandoned.send, args=(None,))
    thread.start()
    thread.join()
    assert count_free(directory) == MAX_IN_FLIGHT - 1
    abandoned.close()
    assert count_free(directory) == MAX_IN_FLIGHT


def test_a_lock_that_can_not_be_released_is_nobodys_error(
    gate: HostGate, directory: Path, loop: VirtualLoop, monkeypatch: pytest.MonkeyPatch
) -> None:
    release, calls = BaseFileLock.release, []

    def fail(self: BaseFileLock, force: bool = False) -> None:
        release(self, force=force)
        calls.append(self.lock_file)
        raise OSError("the disk is on fire")

    with monkeypatch.context() as patch:
        patch.setattr(BaseFileLock, "release", fail)
        assert run(pass_gate(gate, loop), loop) == 0
    assert {Path(name).name for name in calls} == {"turns.lock", "place-0.lock"}
    assert count_free(directory) == MAX_IN_FLIGHT


# When the gate can't be used


def spoil_link(directory: Path) -> None:
    (directory.parent / "elsewhere").mkdir()
    directory.symlink_to(directory.parent / "elsewhere")


def spoil_file(directory: Path) -> None:
    directory.write_text("", encoding="utf-8")


def spoil_open(directory: Path) -> None:
    directory.mkdir()
    directory.chmod(0o1777)


def spoil_turns(directory: Path) -> None:
    directory.mkdir(0o700)
    (directory / "turns").symlink_to(directory.parent / "elsewhere")


def spoil_lock(directory: Path) -> None:
    directory.mkdir(0o700)
    (directory / "turns.lock").symlink_to(directory.parent / "elsewhere")


def spoil_place(directory: Path) -> None:
    directory.mkdir(0o700)
    (directory / "place-0.lock").mkdir()


NAMES = ("turns", "turns.lock", "place-0.lock")
needs_links = pytest.mark.skipif(
    sys.platform == "win32", reason="links and modes are another matter there"
)


@needs_links
@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("name", NAMES)
def test_file_with_another_hard_link_is_never_changed(
    gate: HostGate,
    directory: Path,
    loop: VirtualLoop,
    name: str,
    shared: bool,
    caplog: pytest.LogCaptureFixture,
) -> None:
    directory.mkdir()
    directory.chmod(0o2770 if shared else 0o700)
    victim = directory.parent / "victim"
    victim.write_text("precious " * 20)
    victim.chmod(0o600)
    os.link(victim, directory / name)
    before = victim.stat()

    async def main() -> None:
        await gate.hold_off(5, loop.clock, return_middle)
        await pass_gate(gate, loop)

    run(main(), loop)
    after = victim.stat()
    assert victim.read_text() == "precious " * 20
    assert (after.st_mode, after.st_mtime_ns) == (before.st_mode, before.st_mtime_ns)
    assert list_warnings(caplog)[0].startswith(
        f"the gate in {directory} is not used: {name}: it has other hard links. "
    )


@needs_links
@pytest.mark.parametrize("name", NAMES)
def test_file_that_is_a_pipe_is_not_used(
    gate: HostGate, directory: Path, loop: VirtualLoop, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    directory.mkdir(0o700)
    os.mkfifo(directory / name, 0o600)
    run(pass_gate(gate, loop), loop)
    assert list_warnings(caplog)[0].startswith(
        f"the gate in {directory} is not used: {name}: it is not a regular file. "
    )


def test_turn_is_waited_for_longer_by_a_coarse_clock(
    gate: HostGate, directory: Path, loop: VirtualLoop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_gate, "_RESOLUTION", 1 / 64)

    async def main() -> float:
        await pass_gate(gate, loop)
        return await pass_gate(gate, loop)

    # For the queue, and for the turn to send.
    assert run(main(), loop) >= QUEUE_SPACING + 2 / 64


def test_giant_file_is_read_in_part_and_replaced(
    gate: HostGate, directory: Path, loop: VirtualLoop
) -> None:
    directory.mkdir(0o700)
    with (directory / "turns").open("wb") as file:
        file.truncate(1 << 40)
    assert run(pass_gate(gate, loop), loop) == 0
    assert (directory / "turns").stat().st_size == len(GateState().stored())


@pytest.mark.parametrize("block", [15.0, 1_000.0])
def test_blocked_loop_uses_up_no_patience(
    gate: HostGate,
    directory: Path,
    loop: VirtualLoop,
    block: float,
    caplog: pytest.LogCaptureFixture,
) -> None:
    store(directory, GateState(queue=EPOCH + 15, send=EPOCH + 15))

    async def main() -> float:
        loop.call_later(1.0, lambda: setattr(loop, "now", loop.now + block))
        return await pass_gate(gate, loop)

    assert run(main(), loop) == pytest.approx(max(15.0, 1.0 + block), abs=0.1)
    assert list_warnings(caplog) == []


@pytest.mark.skipif(
    sys.platform == "win32", reason="links, and who may write, are another matter there"
)
@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (spoil_link, "it is a symbolic link"),
        (spoil_file, "it is not a directory"),
        (spoil_open, "others may write there"),
        (spoil_turns, "OSError: Too many levels of symbolic links"),
        (spoil_lock, "OSError: Too many levels of symbolic links"),
        (spoil_place, "IsADirectoryError: Is a directory"),
    ],
)
def test_unusable_gate_is_not_used_and_warns_once(
    gate: HostGate,
    directory: Path,
    loop: VirtualLoop,
    spoil: Callable[[Path], None],
    reason: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    spoil(directory)

    async def main() -> list[float]:
        await gate.hold_off(5, loop.clock, return_middle)
        return [await pass_gate(gate, loop) for _ in range(3)]

    assert run(main(), loop)[0] in (0, 5)
    (warning,) = list_warnings(caplog)
    assert warning.startswith(f"the gate in {directory} is not used: {reason}. ")
    assert not (directory.parent / "elsewhere").is_file()
    assert list(directory.parent.glob("elsewhere/*")) == []


def test_a_directory_whose_parent_is_missing_is_not_made_up(
    tmp_path: Path, loop: VirtualLoop, caplog: pytest.LogCaptureFixture
) -> None:
    assert run(pass_gate(HostGate(tmp_path / "no" / "gate"), loop), loop) == 0
    assert "FileNotFoundError: No such file or directory" in list_warnings(caplog)[0]
    assert not (tmp_path / "no").exists()


def test_each_reason_and_each_directory_is_warned_of(
    tmp_path: Path, loop: VirtualLoop, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        for name in ("a", "b", "a"):
            await pass_gate(HostGate(tmp_path / name), loop)
        (tmp_path / "a").unlink()
        (tmp_path / "a").symlink_to(tmp_path)
        await pass_gate(HostGate(tmp_path / "a"), loop)

    for name in ("a", "b"):
        (tmp_path / name).touch()
    run(main(), loop)
    assert len(list_warnings(caplog)) == 3


@pytest.mark.skipif(sys.platform == "win32", reason="there are no groups there")
def test_directory_shared_with_a_group_gets_files_for_the_group(
    gate: HostGate, directory: Path, loop: VirtualLoop
) -> None:
    directory.mkdir()
    directory.chmod(0o2770)
    before = os.umask(0o077)
    try:
        run(pass_gate(gate, loop), loop)
    finally:
        os.umask(before)
    assert {path.stat().st_mode & 0o777 for path in directory.iterdir()} == {0o660}


def test_files_of_another_member_of_the_group_keep_their_mode(
    gate: HostGate,
    directory: Path,
    loop: VirtualLoop,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def refuse(file: int, mode: int) -> None:
        raise PermissionError

    directory.mkdir()
    directory.chmod(0o2770)
    monkeypatch.setattr(os, "fchmod", refuse)
    assert run(pass_gate(gate, loop), loop) == 0
    assert list_warnings(caplog) == []


@pytest.mark.slow
@pytest.mark.parametrize("what", ["turns", "places", "queue", "send", "crowd"])
def test_a_turn_that_can_not_be_had_in_time_is_not_waited_for(
    gate: HostGate, directory: Path, loop: VirtualLoop, what: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Patience is 20 s; the request follows at a random time of the next 5 s, here the middle."""
    held = []
    if what == "turns":
        held = [hold(directory / "turns.lock")]
    elif what == "places":
        held = hold_all(directory)
    elif what == "queue":
        store(directory, GateState(queue=EPOCH + FAR))
    elif what == "send":
        store(directory, GateState(send=EPOCH + FAR))
    else:
        store(directory, GateState(queue=EPOCH + 20.01, send=EPOCH))

    async def main() -> list[float]:
        both = asyncio.gather(pass_gate(gate, loop), pass_gate(gate, loop))
        await asyncio.sleep(1)
        # A task that gave up, or has no turn to send yet, locks no place.
        assert count_free(directory) == MAX_IN_FLIGHT - (len(held) if what == "places" else 0)
        return [*await both]

    assert run(main(), loop) == pytest.approx([22.5, 22.5])
    (warning,) = list_warnings(caplog)
    assert "no turn came in time" in warning
    release_all(held)


def test_a_lock_that_others_keep_is_tried_less_and_less_often(
    gate: HostGate, directory: Path
) -> None:
    pauses = []

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)
        await asyncio.sleep(seconds)

    loop = VirtualLoop()
    with hold(directory / "turns.lock"):
        run(
            pass_gate(
                gate, loop, clock=Clock(wall=loop.clock.wall, monotonic=loop.time, sleep=sleep)
            ),
            loop,
        )
    assert pauses[:6] == [0.01, 0.02, 0.04, 0.08, 0.16, 0.25]
    assert set(pauses[6:-1]) == {0.25}


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no flock")
def test_a_system_without_kernel_locks_has_no_gate(
    gate: HostGate,
    directory: Path,
    loop: VirtualLoop,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A lock that consists of a file's existence would outlive a process that dies."""
    import fcntl

    def flock(file: int, operation: int) -> None:
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", flock)
    assert run(pass_gate(gate, loop), loop) == 0
    assert "OSError: Function not implemented" in list_warnings(caplog)[0]


def test_without_patience_left_there_is_no_wait(
    gate: HostGate, directory: Path, loop: VirtualLoop
) -> None:
    store(directory, GateState(queue=EPOCH + 5))
    assert run(pass_gate(gate, loop, patience=0.0), loop) == 0
    assert run(pass_gate(gate, loop, patience=-3.0), VirtualLoop()) == 0


# Processes

HOLDER = """
import asyncio, gc, os, random, sys
import filelock
from aiomsi import Clock, HostGate

async def keep(gate, inside):
    async with gate.admission(Clock(), 20, random.uniform):
        inside.release()
        await asyncio.Event().wait()

async def main(directory, fork):
    inside = asyncio.Semaphore(0)
    tasks = [asyncio.create_task(keep(HostGate(directory), inside)) for _ in range(4)]
    for _ in tasks:
        await inside.acquire()
    if not fork or os.fork() == 0:
        if fork:
            locks = [each for each in gc.get_objects() if isinstance(each, filelock.BaseFileLock)]
            for lock in locks:
                lock.release(force=True)
                lock.__del__()
        print("ready", flush=True)
        os.read(0, 1)
        os._exit(0)
    await asyncio.Event().wait()

asyncio.run(main(sys.argv[1], sys.argv[2:] == ["fork"]))
"""


@pytest.mark.slow
@pytest.mark.parametrize("fork", [False, pytest.param(True, marks=forks)])
def test_the_kernel_releases_what_a_killed_process_held(directory: Path, fork: bool) -> None:
    """With `fork` a child survives, with copies of all open files, which it tried to release."""
    command = [sys.executable, "-c", HOLDER, str(directory), *(["fork"] if fork else [])]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            assert process.stdout.readline() == "ready\n"
            assert count_free(directory) == 0
            process.kill()
            process.wait(30)
            # By SIGKILL, or on Windows by TerminateProcess.
            assert process.returncode in (-9, 1)
            assert count_free(directory) == MAX_IN_FLIGHT
        finally:
            process.kill()
            process.stdin.close()
            assert process.stdout.read() == ""


def run_crowd(azure: EmbeddedAzure, number: int, *directory: str) -> list[float | None]:
    """Return the seconds that each of so many processes waited for a token, or None without one."""
    command = [sys.executable, str(HERE / "crowd.py"), str(number), *directory]
    environment = {**os.environ, **azure.environment}
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, check=True, timeout=55
    )
    waited: list[float | None] = json.loads(done.stdout)
    assert len(waited) == number
    return waited


@pytest.mark.slow
@forks
@pytest.mark.parametrize("number", [60, pytest.param(200, marks=pytest.mark.crowd)])
def test_many_processes_with_the_gate_are_never_throttled(directory: Path, number: int) -> None:
    with EmbeddedAzure(imds_latency=0.02) as azure:
        waited = run_crowd(azure, number, str(directory))
        counts = azure.counts
    assert None not in waited
    assert (counts.imds_requests, counts.imds_throttled) == (number, 0)


@pytest.mark.slow
@forks
def test_many_processes_without_it_are(directory: Path) -> None:
    with EmbeddedAzure(imds_latency=0.2) as azure:
        run_crowd(azure, 60)
        counts = azure.counts
    assert counts.imds_throttled > 0
