"""The workers: signals, one fetch for all tasks, and the hook at the end."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from example_program import (
    EXAMPLES,
    Start,
    find_free_port,
    make_variables,
    read_commands,
    watch_sessions,
)
from loops import PATIENCE

from aiomsi.testing import DEFAULT_SUBSCRIPTION_ID, EmbeddedAzure

GROUP = f"/subscriptions/{DEFAULT_SUBSCRIPTION_ID}/resourceGroups/DevTest"


@pytest.fixture
def redis_url(redis_server: str, tmp_path: Path) -> Iterator[str]:
    """Run a Redis that stores nothing."""
    port = find_free_port()
    options = ["--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
    with subprocess.Popen(
        [redis_server, *options], stdout=subprocess.PIPE, text=True, cwd=tmp_path
    ) as process:
        try:
            assert process.stdout is not None
            assert any("Ready to accept connections" in line for line in process.stdout)
            yield f"redis://127.0.0.1:{port}"
        finally:
            process.terminate()


def test_worker_reports_and_ends_by_sigterm(start_example: Start, azure: EmbeddedAzure) -> None:
    with start_example("worker", **watch_sessions()) as worker:
        worker.wait_for(GROUP)
        worker.terminate()
        assert worker.wait() == 0
        assert worker.read_log().startswith(f"{GROUP}\nwitnessed ")
        assert worker.count_closed_sessions() == 1


def test_worker_finishes_its_report_after_sigterm(
    start_example: Start, azure: EmbeddedAzure
) -> None:
    with start_example("worker") as worker:
        with azure.arm.hold() as hold:
            hold.wait_arrived(1)
            worker.terminate()
        assert worker.wait() == 0
        assert worker.read_log() == f"{GROUP}\n"


def test_worker_reports_again_with_the_same_token(
    start_example: Start, azure: EmbeddedAzure
) -> None:
    with start_example("worker", INTERVAL="0.01") as worker:
        worker.wait_for(GROUP, times=5)
        worker.terminate()
        assert worker.wait() == 0
    assert azure.counts.imds_requests == 1


def test_taskiq_worker_runs_many_tasks_with_one_fetch(
    start_example: Start, azure: EmbeddedAzure, environments: Path, redis_url: str
) -> None:
    with start_example("taskiq", REDIS_URL=redis_url) as worker:
        worker.wait_for("Listening started")
        done = subprocess.run(
            ["sh", "-c", f"{read_commands('taskiq').others[0]} {'DevTest ' * 98} nope"],
            cwd=EXAMPLES / "taskiq",
            env=make_variables(
                environments / "taskiq",
                {"REDIS_URL": redis_url, "AZURE_SUBSCRIPTION_ID": DEFAULT_SUBSCRIPTION_ID},
            ),
            capture_output=True,
            text=True,
            check=True,
            timeout=PATIENCE,
        )
    *good, bad = done.stdout.splitlines()
    assert good == ["DevTest westus"] * 99
    assert "NotFoundError" in bad
    assert azure.counts.imds_requests == 1
    assert azure.counts.arm_requests == 100


def test_idle_taskiq_worker_ends_by_sigterm_and_runs_its_hook(
    start_example: Start, redis_url: str
) -> None:
    with start_example("taskiq", REDIS_URL=redis_url, **watch_sessions()) as worker:
        worker.wait_for("Listening started")
        worker.terminate()
        assert worker.wait() == 0
        assert worker.count_closed_sessions() == 1
