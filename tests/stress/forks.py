"""Forks while a credential is warm, fetches, or is otherwise in use.

The tests run ``python tests/stress/forks.py JOB`` in a separate process, so that errors of a child
appear on its stderr. Each job prints one JSON object. The jobs that fork during a fetch first wait
for a line on stdin. Tokens are printed as digests only.
"""

import asyncio
import hashlib
import json
import multiprocessing
import os
import sys
import threading
import time
from collections.abc import Callable
from multiprocessing.queues import SimpleQueue
from multiprocessing.reduction import ForkingPickler
from typing import Any

from aiomsi import Clock, ManagedIdentityCredential

ARM = "https://management.azure.com/"
CHILDREN = 8
PATIENCE = 20.0
Told = dict[str, Any]


def hash_token(token: str) -> str:
    """Return a digest that identifies a token without revealing it."""
    return hashlib.sha256(token.encode()).hexdigest()[:16]


class MovableClock:
    """The system's clock, moved by `ahead` seconds."""

    def __init__(self) -> None:
        self.ahead = 0.0
        self.clock = Clock(
            wall=lambda: time.time() + self.ahead, monotonic=lambda: time.monotonic() + self.ahead
        )


async def use(credential: ManagedIdentityCredential) -> Told:
    """Get a token as a program does, and close the credential twice."""
    async with credential:
        token = (await credential.get_token(ARM)).token
        stats = credential.stats()[ARM]
        await credential.close()
    return {"pid": os.getpid(), "token": hash_token(token), "failures": stats.failures}


def refresh_point(credential: ManagedIdentityCredential, clock: MovableClock) -> float:
    """Return the seconds until the token is due for a refresh."""
    earliest, latest = 0.0, 86_400.0
    while latest - earliest > 0.01:
        clock.ahead = (earliest + latest) / 2
        if credential.stats()[ARM].state == "fresh":
            earliest = clock.ahead
        else:
            latest = clock.ahead
    clock.ahead = 0.0
    return earliest


def run_in_children(
    method: str, count: int, job: Callable[..., Told], *arguments: object
) -> list[Told]:
    """Run a job in `count` processes, and return their reports; one that hangs is killed."""
    context: Any = multiprocessing.get_context(method)
    told: SimpleQueue[Told] = context.SimpleQueue()
    children = [
        context.Process(target=_put_report, args=(told, job, *arguments)) for _ in range(count)
    ]
    for child in children:
        child.start()
    deadline = time.monotonic() + PATIENCE
    for child in children:
        child.join(max(0.0, deadline - time.monotonic()))
        child.kill()
        child.join()
    return [told.get() for child in children if child.exitcode == 0]


def _put_report(told: "SimpleQueue[Told]", job: Callable[..., Told], *arguments: object) -> None:
    told.put(job(*arguments))


def run_use(credential: ManagedIdentityCredential) -> Told:
    """Use the credential in a new event loop."""
    return asyncio.run(use(credential))


def run_use_and_measure(credential: ManagedIdentityCredential, clock: MovableClock) -> Told:
    """Use the credential, and report when its token is due."""
    asyncio.run(credential.warm_up())
    return {"refresh": refresh_point(credential, clock)} | asyncio.run(use(credential))


def run_pickled(credential: ManagedIdentityCredential) -> Told:
    """Use an unpickled credential; report its stats from before."""
    return {"stats": len(credential.stats())} | run_use(credential)


def warm() -> Told:
    """Fork while the token is fresh."""
    clock = MovableClock()
    credential = ManagedIdentityCredential(clock=clock.clock)
    asyncio.run(credential.warm_up())
    refresh = refresh_point(credential, clock)
    children = run_in_children("fork", CHILDREN, run_use_and_measure, credential, clock)
    return {"refresh": refresh, "children": children, "parent": run_use(credential)}


def fork_beside_thread() -> Told:
    """Fork while another thread fetches."""
    credential = ManagedIdentityCredential()
    told: list[Told] = []
    fetching = threading.Thread(target=lambda: told.append(run_use(credential)))
    fetching.start()
    input()
    children = run_in_children("fork", 1, run_use, credential)
    fetching.join()
    return {"children": children, "parent": told[0]}


def fork_in_loop() -> Told:
    """Fork in the event loop that fetches."""

    async def main() -> Told:
        credential = ManagedIdentityCredential()
        fetching = asyncio.ensure_future(use(credential))
        await asyncio.to_thread(input)
        return {
            "children": run_in_children("fork", 1, run_use, credential),
            "parent": await fetching,
        }

    return asyncio.run(main())


def fork_by_os() -> Told:
    """Fork by `os.fork` while another thread fetches; the child exits by `sys.exit`."""
    credential = ManagedIdentityCredential()
    told: list[Told] = []
    fetching = threading.Thread(target=lambda: told.append(run_use(credential)))
    fetching.start()
    input()
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(write, json.dumps(run_use(credential)).encode())
        sys.exit()
    _, status = os.waitpid(child, 0)
    fetching.join()
    return {
        "children": [json.loads(os.read(read, 1_000))] if status == 0 else [],
        "parent": told[0],
    }


def fork_with_held_lock() -> Told:
    """Fork while another thread holds the slot's lock: `reject` has called the clock."""
    asked, go_on = threading.Event(), threading.Event()

    def wall() -> float:
        if threading.current_thread() is rejecting:
            asked.set()
            go_on.wait(PATIENCE)
        return time.time()

    credential = ManagedIdentityCredential(clock=Clock(wall=wall))
    rejecting = threading.Thread(target=credential.reject, args=("another token",))
    asyncio.run(credential.warm_up())
    rejecting.start()
    asked.wait()
    children = run_in_children("fork", 2, run_use, credential)
    go_on.set()
    rejecting.join()
    return {"children": children, "parent": run_use(credential)}


def fork_under_load() -> Told:
    """Fork repeatedly while other threads call the methods of the same credential."""
    credential = ManagedIdentityCredential()
    asyncio.run(credential.warm_up())
    # Imports the late modules, because a child that is forked during an import waits for that
    # import for ever.
    credential.stats()
    done = threading.Event()

    def hammer() -> None:
        while not done.is_set():
            credential.reject("another token")
            credential.stats()
            run_use(ManagedIdentityCredential())

    threads = [threading.Thread(target=hammer) for _ in range(3)]
    for each in threads:
        each.start()
    children = [told for _ in range(5) for told in run_in_children("fork", 4, run_use, credential)]
    done.set()
    for each in threads:
        each.join()
    return {"children": children, "parent": run_use(credential)}


def pass_pickled() -> Told:
    """Pass a warm credential to processes that are not forks of this process."""
    credential = ManagedIdentityCredential()
    token = asyncio.run(credential.get_token(ARM)).token
    data = bytes(ForkingPickler.dumps(credential))
    children = run_in_children("spawn", 1, run_pickled, credential) + run_in_children(
        "forkserver", 1, run_pickled, credential
    )
    return {"children": children, "parent": run_use(credential), "leaks": token.encode() in data}


JOBS: dict[str, Callable[[], Told]] = {
    "warm": warm,
    "thread": fork_beside_thread,
    "loop": fork_in_loop,
    "bare": fork_by_os,
    "held": fork_with_held_lock,
    "hammered": fork_under_load,
    "pickled": pass_pickled,
}

if __name__ == "__main__":
    print(json.dumps(JOBS[sys.argv[1]]()))
