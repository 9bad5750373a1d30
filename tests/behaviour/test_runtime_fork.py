"""Real forks and other new processes: a token is kept, a fetch under way is the parent's."""

import json
import os
import re
import subprocess
import sys
import urllib.request
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from loops import PATIENCE, wait_in_thread

from aiomsi.testing import EmbeddedAzure

pytestmark = [
    pytest.mark.slow,
    pytest.mark.usefixtures("azure_environment"),
    pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform has no fork"),
]

STRESS = Path(__file__).parents[1] / "stress"
# Python's own advice, since 3.12, against what is tested here.
PYTHON = [sys.executable, "-W", "error", "-W", "ignore:This process:DeprecationWarning"]
WORKERS = 4
LISTENING = re.compile(r"Listening at: http://127\.0\.0\.1:(\d+)")
READY = "Worker is ready"


@contextmanager
def start_job(name: str) -> Iterator["subprocess.Popen[str]"]:
    command = [*PYTHON, str(STRESS / "forks.py"), name]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def read_result(process: "subprocess.Popen[str]") -> dict[str, Any]:
    output, errors = process.communicate(timeout=PATIENCE)
    assert (process.returncode, errors) == (0, "")
    told: dict[str, Any] = json.loads(output)
    return told


def test_forked_children_keep_the_token_and_draw_a_refresh_each(
    embedded_azure: EmbeddedAzure,
) -> None:
    with start_job("warm") as process:
        told = read_result(process)
    children = told["children"]
    assert len({child["pid"] for child in children}) == 8
    assert {child["token"] for child in children} == {told["parent"]["token"]}
    # Drawn anew in each child, and never earlier than the parent's: 8 numbers out of more than an
    # hour.
    points = sorted(child["refresh"] for child in children)
    assert points[-1] - points[0] > 60
    assert told["refresh"] - 1 < points[0]
    assert points[-1] < told["refresh"] + 86_400 * 0.06
    assert embedded_azure.counts.imds_requests == 1


@pytest.mark.parametrize("name", ["thread", "loop", "bare"])
def test_fork_during_a_fetch_leaves_it_to_the_parent(
    embedded_azure: EmbeddedAzure, name: str
) -> None:
    with embedded_azure.imds.hold() as hold, start_job(name) as process:
        assert process.stdin is not None
        hold.wait_arrived(1)
        process.stdin.write("fork\n")
        process.stdin.flush()
        hold.wait_arrived(2)
        hold.release()
        told = read_result(process)
    (child,), parent = told["children"], told["parent"]
    assert child["token"] != parent["token"]
    assert child["failures"] == parent["failures"] == {}
    assert embedded_azure.counts.imds_requests == 2


@pytest.mark.parametrize(("name", "count"), [("held", 2), ("hammered", 20)])
def test_fork_at_any_line_of_other_threads_hangs_no_child(
    embedded_azure: EmbeddedAzure, name: str, count: int
) -> None:
    with start_job(name) as process:
        told = read_result(process)
    assert len(told["children"]) == count
    assert {child["token"] for child in told["children"]} == {told["parent"]["token"]}
    assert embedded_azure.counts.imds_requests == 1


def test_credential_sent_to_a_spawned_process_fetches_a_token(
    embedded_azure: EmbeddedAzure,
) -> None:
    with start_job("pickled") as process:
        told = read_result(process)
    assert not told["leaks"]
    assert [child["stats"] for child in told["children"]] == [0, 0]
    assert len({each["token"] for each in (*told["children"], told["parent"])}) == 3
    assert embedded_azure.counts.imds_requests == 3


def ask(port: int) -> dict[str, Any]:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=PATIENCE) as response:
        told: dict[str, Any] = json.load(response)
        return told


@contextmanager
def run_gunicorn(folder: Path, threads: int) -> Iterator[int]:
    """Serve the warm app from several workers on a port, without an error until the end."""
    log, config = folder / "log", folder / "config.py"
    config.write_text(f"""
preload_app, workers, threads, bind = True, {WORKERS}, {threads}, "127.0.0.1:0"
errorlog, chdir = {str(log)!r}, {str(STRESS)!r}
control_socket_disable = True  # in those versions that have one

def post_worker_init(worker):
    worker.log.info({READY!r})
""")
    # gunicorn's workers leave their listener to the garbage collector.
    command = [
        *PYTHON,
        "-W",
        "ignore:unclosed <socket.socket:ResourceWarning",
        "-m",
        "gunicorn",
        "-c",
        str(config),
        "preload_app:respond",
    ]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        try:
            # A worker that is told to end before it is ready does not hear it.
            wait_in_thread(
                lambda: (
                    process.poll() is not None
                    or (log.exists() and log.read_text().count(READY) == WORKERS)
                )
            )
            listening = LISTENING.search(log.read_text())
            assert listening is not None
            yield int(listening[1])
            process.terminate()
            output, _ = process.communicate(timeout=PATIENCE)
        finally:
            process.kill()
    assert (process.returncode, output) == (0, "")
    assert not re.search("error|warning|traceback", log.read_text(), re.IGNORECASE)


def test_gunicorn_workers_of_a_warm_app_send_no_token_request(
    embedded_azure: EmbeddedAzure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIOMSI_TOGETHER", str(WORKERS))
    with run_gunicorn(tmp_path, threads=1) as port, ThreadPoolExecutor(WORKERS) as pool:
        answers = [answer for _ in range(5) for answer in pool.map(ask, [port] * WORKERS)]
    assert set(Counter(answer["pid"] for answer in answers).values()) == {5}
    assert len({answer["token"] for answer in answers}) == 1
    assert embedded_azure.counts.imds_requests == 1


def test_gunicorns_workers_with_threads_ask_for_no_token_either(
    embedded_azure: EmbeddedAzure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIOMSI_TOGETHER", "1")
    answers: list[dict[str, Any]] = []
    with run_gunicorn(tmp_path, threads=2) as port, ThreadPoolExecutor(8) as pool:

        def several_workers() -> bool:
            answers.extend(pool.map(ask, [port] * 32))
            return len({answer["pid"] for answer in answers}) > 1

        wait_in_thread(several_workers)
    assert len({answer["token"] for answer in answers}) == 1
    assert embedded_azure.counts.imds_requests == 1
