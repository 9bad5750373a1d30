"""Four workers of each web service under the load of wrk: no error, and one fetch per worker."""

import re
import subprocess

import pytest
from example_program import Program, Start, get, read_commands
from loops import when

from aiomsi.testing import EmbeddedAzure

WORKERS = 4
CORRELATION = "x-ms-correlation-request-id"
SECONDS = {"fastapi": 10, "fastapi, preloaded": 10, "aiohttp_web": 2, "quart": 2}
"""The seconds of each load."""
COMMANDS = {
    "fastapi": f"{read_commands('fastapi').start} --workers {WORKERS}",
    "fastapi, preloaded": read_commands("fastapi").others[0],
    "aiohttp_web": read_commands("aiohttp_web").others[0],
    "quart": read_commands("quart").others[0],
}


def count_sessions(azure: EmbeddedAzure) -> int:
    """Return the number of sessions that have called ARM: one in each worker."""
    return len({request.headers[CORRELATION] for request in azure.arm.requests})


def use_each_worker(service: Program, azure: EmbeddedAzure) -> None:
    """Send requests over new connections until each worker has had one."""

    def send() -> bool:
        assert get(f"{service.url}/groups/DevTest")[0] == 200
        return count_sessions(azure) == WORKERS

    when(send)


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
        use_each_worker(service, azure)
        done = load(wrk, f"{service.url}/groups/DevTest", SECONDS[case])
        service.terminate()
        assert service.wait() == 0
    print(f"{case}: {done} requests")
    assert 0 < done <= azure.counts.arm_requests
    assert count_sessions(azure) == WORKERS
    assert azure.counts.imds_requests == (1 if "preloaded" in case else WORKERS)
