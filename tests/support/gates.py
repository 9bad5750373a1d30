"""What lies in the directory of a host-wide gate, seen and held as another process would."""

from pathlib import Path

from filelock import BaseFileLock, FileLock

from aiomsi._credentials.gate_schedule import PLACES, GateState, turns_in


def hold(path: Path) -> BaseFileLock:
    """Hold a lock as another process would."""
    path.parent.mkdir(0o700, exist_ok=True)
    lock = FileLock(path, thread_local=False, blocking=False)
    lock.acquire()
    return lock


def hold_all(directory: Path) -> list[BaseFileLock]:
    return [hold(directory / f"place-{number}.lock") for number in range(PLACES)]


def release_all(locks: list[BaseFileLock]) -> None:
    for lock in locks:
        lock.release()


def held(directory: Path) -> list[str]:
    """Name the locks that nobody else could take."""
    names = []
    for path in sorted(directory.glob("*.lock")):
        try:
            with FileLock(path, blocking=False):
                pass
        except TimeoutError:
            names.append(path.name)
    return names


def free(directory: Path) -> int:
    """Count the places that nobody holds."""
    return PLACES - sum(name.startswith("place-") for name in held(directory))


def stored(directory: Path) -> GateState:
    return turns_in((directory / "turns").read_bytes())


def store(directory: Path, turns: GateState) -> None:
    directory.mkdir(0o700, exist_ok=True)
    (directory / "turns").write_bytes(turns.stored())
