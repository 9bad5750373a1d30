"""Four workers of each web service under the load of wrk: no error, and one fetch per worker.

At SIGTERM a request under way gets its response, although the other workers have ended.
"""

import os
import re
import subprocess
from concurrent.futures import ThreadPoolExecutor

import pytest
from example_program import Program, Start, get, read_commands
from loops import wait_in_thread

from aiomsi.testing import EmbeddedAzure

WORKERS = 4
CORRELATION = "x-ms-correlation-request-id"
SECONDS = int(os.environ.get("AIOMSI_LOAD_SECONDS", "2"))
"""The duration of each load; longer ones are run by hand."""
COMMANDS = {
    "fastapi": f"{read_commands('fastapi').start} --workers {WORKERS}",
    "fastapi, preloaded": read_commands("fastapi").others[0],
    "aiohttp_web": read_commands("aiohttp_web").others[0],
    "quart": read_commands("quart").others[0],
}


def find_sessions(azure: EmbeddedAzure) -> set[str]:
    """Return the sessions of the last calls of ARM that the embedded Azure keeps."""
    return {request.headers[CORRELATION] for request in azure.arm.requests}


def use_each_worker(service: Program, azure: EmbeddedAzure) -> set[str]:
    """Send requests over new connections until each worker has had one; return the sessions."""

    def send() -> bool:
        assert get(f"{service.url}/groups/DevTest")[0] == 200
        return len(find_sessions(azure)) == WORKERS

    wait_in_thread(send)
    return find_sessions(azure)


def load(wrk: str, url: str, seconds: int) -> int:
    """Send as many requests as 64 connections can, without an error; return their number."""
    command = [wrk, "--threads=2", "--connections=64", "--timeout=30s", f"--duration={seconds}s"]
    said = subprocess.run([*command, url], check=True, capture_output=True, text=True).stdout
    assert "Non-2xx" not in said, said
    assert "Socket errors" not in said, said
    done = re.search(r"(\d+) requests in", said)
    assert done is not None, said
    return int(done[1])


@pytest.mark.parametrize("case", COMMANDS)
def test_load_on_four_workers_has_no_errors(
    case: str, wrk: str, start_example: Start, azure: EmbeddedAzure
) -> None:
    name = case.partition(",")[0]
    with start_example(name, COMMANDS[case]) as service:
        service.wait_until_ready()
        sessions = use_each_worker(service, azure)
        done = load(wrk, f"{service.url}/groups/DevTest", SECONDS)
        service.terminate()
        assert service.wait() == 0
    print(
        f"{case}: {done} requests in {SECONDS} s, none failed; {azure.counts.imds_requests} of IMDS"
    )
    assert 0 < done <= azure.counts.arm_requests
    assert find_sessions(azure) <= sessions
    assert azure.counts.imds_requests == (1 if "preloaded" in case else WORKERS)


@pytest.mark.parametrize("name", ["fastapi", "aiohttp_web", "quart"])
def test_worker_outlives_the_others_until_its_response(
    name: str, start_example: Start, azure: EmbeddedAzure
) -> None:
    with (
        start_example(name, read_commands(name).others[0]) as service,
        ThreadPoolExecutor(1) as pool,
        azure.arm.hold() as hold,
    ):
        service.wait_until_ready()
        request = pool.submit(get, f"{service.url}/groups/DevTest")
        hold.wait_arrived(1)
        # A worker that has not started yet would end later.
        wait_in_thread(lambda: service.count_children() >= WORKERS)
        children = service.count_children()
        service.terminate()
        wait_in_thread(lambda: service.count_children() <= children - (WORKERS - 1))
        hold.release()
        assert request.result()[0] == 200
        assert service.wait() == 0
