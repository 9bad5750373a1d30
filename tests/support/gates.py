"""Access to the directory of a host-wide gate in the way of another process."""

from pathlib import Path

from filelock import BaseFileLock, FileLock

from aiomsi._credentials.gate_schedule import MAX_IN_FLIGHT, GateState, parse_state


def hold(path: Path) -> BaseFileLock:
    """Lock a file in the way of another process."""
    path.parent.mkdir(0o700, exist_ok=True)
    lock = FileLock(path, thread_local=False, blocking=False)
    lock.acquire()
    return lock


def hold_all(directory: Path) -> list[BaseFileLock]:
    return [hold(directory / f"place-{number}.lock") for number in range(MAX_IN_FLIGHT)]


def release_all(locks: list[BaseFileLock]) -> None:
    for lock in locks:
        lock.release()


def list_held(directory: Path) -> list[str]:
    """Return the names of the locked files."""
    names = []
    for path in sorted(directory.glob("*.lock")):
        try:
            with FileLock(path, blocking=False):
                pass
        except TimeoutError:
            names.append(path.name)
    return names


def count_free(directory: Path) -> int:
    """Return the number of unlocked places."""
    return MAX_IN_FLIGHT - sum(name.startswith("place-") for name in list_held(directory))


def read_stored(directory: Path) -> GateState:
    return parse_state((directory / "turns").read_bytes())


def store(directory: Path, turns: GateState) -> None:
    directory.mkdir(0o700, exist_ok=True)
    (directory / "turns").write_bytes(turns.stored())
