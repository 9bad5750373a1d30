"""The output of `aiomsi demo`, and the state that it restores."""

from __future__ import annotations

import asyncio
import io
import os
import re
import signal
import subprocess
import sys
from collections.abc import Mapping
from contextlib import nullcontext

import pytest
from rich.console import Console

from aiomsi import TokenRefusedError
from aiomsi._cli import main as cli
from aiomsi._cli.demo import crawl, sharing, steps
from aiomsi._cli.demo.console import DemoFailedError, ProgressLevel, show_progress
from aiomsi._cli.demo.tutorial import run_tutorial
from aiomsi.testing import (
    DEFAULT_SUBSCRIPTION_ID,
    ArmBucket,
    ArmUsage,
    EmbeddedAzure,
    Fault,
)

unix = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no limit of open files")
HOSTS: dict[str, dict[str, str]] = {
    "App Service": {"IDENTITY_ENDPOINT": "http://127.0.0.1:1/", "IDENTITY_HEADER": "x"},
    "Service Fabric": {
        "IDENTITY_ENDPOINT": "http://127.0.0.1:1/",
        "IDENTITY_HEADER": "x",
        "IDENTITY_SERVER_THUMBPRINT": "y",
    },
    "Azure Arc": {
        "IDENTITY_ENDPOINT": "http://127.0.0.1:1/",
        "IMDS_ENDPOINT": "http://127.0.0.1:1/",
    },
    "Machine Learning": {"MSI_ENDPOINT": "http://127.0.0.1:1/", "MSI_SECRET": "x"},
    "Cloud Shell": {"MSI_ENDPOINT": "http://127.0.0.1:1/"},
    "workload identity": {
        "AZURE_AUTHORITY_HOST": "x",
        "AZURE_TENANT_ID": "y",
        "AZURE_FEDERATED_TOKEN_FILE": "z",
    },
    "another emulator": {
        "AZURE_POD_IDENTITY_AUTHORITY_HOST": "http://127.0.0.1:1",
        "AIOMSI_RESOURCE_MANAGER": "http://127.0.0.1:1",
    },
}


def make_console(*, terminal: bool = False) -> Console:
    """Create a console that writes to a buffer."""
    return Console(file=io.StringIO(), force_terminal=terminal, width=80)


def read_console(console: Console) -> str:
    """Return the text printed to the console so far."""
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def run_demo(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run the demo in a separate process."""
    return subprocess.run(
        [sys.executable, "-m", "aiomsi", "demo", *arguments],
        env={**os.environ, **variables},
        check=False,
        capture_output=True,
        text=True,
        timeout=55,
    )


# As a user runs it


@pytest.mark.slow
def test_a_thousand_calls_cost_one_request_to_imds() -> None:
    done = run_demo()

    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert {"Calls: 1000", "Failures: 0", "IMDS requests: 1"} <= set(lines)
    counts = re.fullmatch(r"ARM requests: (\d+), (\d+) answers of 429", lines[-1])
    assert counts is not None
    sent, throttled = map(int, counts.groups())
    assert sent == 1_000 + throttled
    # None, unless the machine is so slow that counts are read long after their responses arrived.
    assert throttled <= 20
    assert re.search(r"^Seconds: \d+\.\d\d$", done.stdout, re.MULTILINE)
    assert re.search(r"^Calls/s: \d+$", done.stdout, re.MULTILINE)


@pytest.mark.slow
def test_tutorial_requests_and_responses_are_shown_unchanged(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert cli.main(["demo", "--calls", "50"]) == 0

    out = capsys.readouterr().out
    step_1, step_2, step_3, step_4 = out.split("\n\n")
    query = "api-version=2018-02-01&resource=https%3A%2F%2Fmanagement.azure.com%2F"
    assert f"> GET /metadata/identity/oauth2/token?{query}\n" in step_1
    assert "> Metadata: true\n" in step_1
    assert '<   "token_type": "Bearer"\n' in step_1
    assert re.search(r'^<   "access_token": "\*\*\* \(\d+ characters\)",$', step_1, re.MULTILINE)
    path = f"/subscriptions/{DEFAULT_SUBSCRIPTION_ID}/resourceGroups/DevTest?api-version=2016-06-01"
    assert f"> GET {path}\n" in step_2
    assert "> Authorization: Bearer ***\n" in step_2
    assert '<   "name": "DevTest",\n<   "location": "westus",\n' in step_2
    assert "< 200\n" in step_1
    assert "< 200\n" in step_2
    assert step_3.endswith("\nIMDS requests: 1")
    assert step_4.startswith("Step 4: 50 GETs against a bucket of 250 reads, which refills 100 a")
    assert step_4.endswith("\nARM requests: 50, 0 answers of 429\n")
    assert "eyJ" not in out


@pytest.mark.slow
def test_without_sharing_the_servers_count_moves(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["demo", "--calls", "24", "--compare"]) == 0

    out = capsys.readouterr().out
    assert "IMDS requests: 1\n" in out
    found = [(name, cells.split("│")) for name, cells in re.findall(r"│ (on|off) +│(.*)│", out)]
    rows, crawls = dict(found[:2]), dict(found[2:])
    assert [int(crawls["off"][index]) for index in (0, 1, 3, 4)] == [24, 0, 24, 0]
    assert [int(rows["on"][index]) for index in (0, 1, 3, 4)] == [24, 0, 1, 0]
    calls, failures, requests, throttled = (int(rows["off"][index]) for index in (0, 1, 3, 4))
    assert calls == 24
    assert requests >= 24
    assert requests - throttled == calls - failures


def test_a_limit_is_obeyed() -> None:
    with EmbeddedAzure() as azure, steps.replace_environment(azure.environment):
        names = azure.arm.add_resource_groups(DEFAULT_SUBSCRIPTION_ID, 30)
        shared = asyncio.run(sharing.run_shared(make_console(), azure, names, 3))

    assert shared.counts.arm_most_at_once <= 3
    assert shared.counts.arm_requests == 30


def test_limit_holds_in_all_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    # Without a latency, each request would be over before the next one arrives.
    azure = EmbeddedAzure(arm_latency=0.01)
    monkeypatch.setattr(steps, "EmbeddedAzure", lambda: azure)

    steps.run(make_console(), calls=8, compare=False, limit=1)

    assert azure.counts.arm_most_at_once == 1


def test_crawl_has_only_so_many_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crawl, "MOST_CALLS", 3)
    console = make_console()

    steps.run(console, calls=5, compare=False, limit=None)

    out = read_console(console)
    assert "Step 3: 5 concurrent" in out
    assert "Step 4: 3 GETs" in out


@pytest.mark.slow
def test_output_to_a_file_has_no_colours_even_if_forced() -> None:
    done = run_demo(
        "--calls",
        "8",
        FORCE_COLOR="1",
        TTY_INTERACTIVE="1",
        TTY_COMPATIBLE="1",
        PYTHONIOENCODING="utf-8",
    )

    assert done.returncode == 0
    assert done.stdout.replace("\n", "").isprintable()
    assert [line for line in done.stdout.splitlines() if line.endswith("calls done")] == [
        f"  {number} of 8 calls done" for number in (2, 4, 6, 8)
    ]


@pytest.mark.slow
def test_the_output_can_be_written_in_ascii() -> None:
    done = run_demo("--calls", "2", "--compare", PYTHONIOENCODING="ascii")

    assert (done.returncode, done.stderr) == (0, "")
    assert "| off     |" in done.stdout


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")
def test_on_a_terminal_there_is_a_progress_bar() -> None:
    import pty

    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "aiomsi", "demo", "--calls", "20"]
    environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "100"}
    with subprocess.Popen(
        command, stdin=theirs, stdout=theirs, stderr=theirs, env=environment
    ) as process:
        os.close(theirs)
        out = b""
        try:
            while part := os.read(ours, 65_536):
                out += part
        except OSError:  # Linux reports the closed other end in this way
            pass
        os.close(ours)

    assert process.returncode == 0
    assert b"20/20" in out
    assert b"\x1b[" in out
    assert b"IMDS requests: 1" in out


def test_interrupt_ends_the_demo_and_restores_the_environment(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    class Interrupting(io.StringIO):
        def write(self, text: str, /) -> int:
            if "10 of 40 calls done" in text:
                signal.raise_signal(signal.SIGINT)
            return super().write(text)

    monkeypatch.setenv("IDENTITY_ENDPOINT", "mine")
    out = Interrupting()
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", out)
        code = cli.main(["demo", "--calls", "40", "--limit", "1"])

    assert code == 130
    assert "IMDS requests" not in out.getvalue()
    assert capfd.readouterr().err.strip() == "aiomsi: interrupted"
    assert os.environ["IDENTITY_ENDPOINT"] == "mine"
    assert "AIOMSI_RESOURCE_MANAGER" not in os.environ


# The environment


@pytest.mark.parametrize("variables", HOSTS.values(), ids=HOSTS)
def test_the_users_own_host_does_not_disturb_it_and_is_put_back(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    variables: Mapping[str, str],
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    before = dict(os.environ)

    assert cli.main(["demo", "--calls", "2"]) == 0

    assert dict(os.environ) == before
    assert "IMDS requests: 1\n" in capsys.readouterr().out


# When it goes wrong


def test_a_failed_call_is_a_failed_demo() -> None:
    with EmbeddedAzure() as azure, steps.replace_environment(azure.environment):
        names = azure.arm.add_resource_groups(DEFAULT_SUBSCRIPTION_ID, 4)
        azure.arm.inject(Fault(403))
        azure.arm.inject(Fault(200, body={"name": "another"}))
        shared = asyncio.run(sharing.run_shared(make_console(), azure, names, 1))

    assert len(shared.failures) == 2
    assert shared.failures[1] == f"requested {names[1]}, received another"
    with pytest.raises(
        DemoFailedError, match=r"2 of 4 calls failed; the first failure: .* returned 403"
    ) as caught:
        sharing.judge(shared)
    assert caught.value.help


def test_a_second_request_to_imds_is_a_failed_demo() -> None:
    with EmbeddedAzure() as azure, steps.replace_environment(azure.environment):
        names = azure.arm.add_resource_groups(DEFAULT_SUBSCRIPTION_ID, 4)
        azure.imds.inject(Fault(503))
        shared = asyncio.run(sharing.run_shared(make_console(), azure, names, 4))

    assert shared.failures == ()
    with pytest.raises(DemoFailedError, match="4 calls took 2 requests to IMDS and should take 1"):
        sharing.judge(shared)


def test_a_refused_token_ends_the_tutorial() -> None:
    console = make_console()
    with EmbeddedAzure() as azure, steps.replace_environment(azure.environment):
        azure.imds.inject(
            Fault(
                400, body={"error": "invalid_request", "error_description": "Identity not found"}
            ),
        )
        with pytest.raises(TokenRefusedError, match="Identity not found"):
            asyncio.run(run_tutorial(console, azure))

    assert read_console(console) == ""


def test_a_failed_demo_is_exit_code_1_and_two_lines(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Failing(EmbeddedAzure):
        def reset_counts(self) -> None:
            super().reset_counts()
            self.arm.inject(Fault(403))

    monkeypatch.setattr(steps, "EmbeddedAzure", Failing)

    assert cli.main(["demo", "--calls", "3"]) == 1

    out, err = capsys.readouterr()
    assert "Failures: 1\n" in out
    assert len(err.splitlines()) == 2
    assert err.startswith("aiomsi: 1 of 3 calls failed")


# The crawl


SMALL = ArmBucket(20, 100)


def crawl_small(console: Console, *faults: Fault, pacing: bool = True) -> crawl.Crawl:
    """Crawl 40 groups against a bucket of 20 reads."""
    with EmbeddedAzure() as azure, steps.replace_environment(azure.environment):
        for fault in faults:
            azure.arm.inject(fault)
        return asyncio.run(crawl.crawl(console, azure, 40, 40, pacing=pacing, bucket=SMALL))


def test_crawl_beyond_the_bucket_gets_no_429() -> None:
    console = make_console()

    done = crawl_small(console)
    crawl.summarize(console, done)
    crawl.judge(done)

    assert (done.calls, done.failures, done.best) == (40, (), 0.2)
    assert (done.usage.requests, done.usage.refused) == (40, 0)
    *quarters, calls, failures, seconds, requests = read_console(console).splitlines()
    assert all(
        re.fullmatch(r"  \d0 of 40 calls done, \d+ reads left", quarter) for quarter in quarters
    )
    assert len(quarters) == 4
    assert (calls, failures) == ("Calls: 40", "Failures: 0")
    assert re.fullmatch(r"Seconds: \d+\.\d\d, at least 0\.20 for this bucket", seconds)
    assert requests == "ARM requests: 40, 0 answers of 429"


@pytest.mark.slow
def test_crawl_without_pacing_shows_no_gauge() -> None:
    console = make_console()

    done = crawl_small(console, pacing=False)

    assert (done.pacing, done.failures) == (False, ())
    assert "40 of 40 calls done\n" in read_console(console)


def test_crawl_with_a_failed_call_fails() -> None:
    done = crawl_small(make_console(), Fault(403))

    assert len(done.failures) == 1
    with pytest.raises(
        DemoFailedError, match=r"1 of 40 calls of the crawl failed; .* returned 403"
    ):
        crawl.judge(done)


@pytest.mark.parametrize(
    ("calls", "refused", "fails"), [(1_000, 10, False), (1_000, 11, True), (990, 10, True)]
)
def test_crawl_with_many_429s_fails(*, calls: int, refused: int, fails: bool) -> None:
    done = crawl.Crawl(True, calls, (), 1.0, 1.0, ArmUsage(calls + refused, refused))

    text = f"{refused} requests of {calls} calls"
    with pytest.raises(DemoFailedError, match=text) if fails else nullcontext():
        crawl.judge(done)


# Its parts


@pytest.mark.parametrize("level", [3, None])
def test_gauge_is_a_second_bar_on_a_terminal(level: int | None) -> None:
    console = make_console(terminal=True)

    with show_progress(console, 2, ProgressLevel("reads", 9, lambda: level)) as advance:
        advance()

    assert "1/2" in read_console(console)
    assert f"{level or 0}/9" in read_console(console)


def test_a_bar_is_drawn_on_a_terminal_only() -> None:
    for terminal in (True, False):
        console = make_console(terminal=terminal)
        with EmbeddedAzure() as azure, steps.replace_environment(azure.environment):
            names = azure.arm.add_resource_groups(DEFAULT_SUBSCRIPTION_ID, 4)
            asyncio.run(sharing.run_shared(console, azure, names, 4))
        assert ("4/4" in read_console(console), "4 of 4 calls done" in read_console(console)) == (
            terminal,
            not terminal,
        )


@unix
def test_more_files_may_be_open_for_the_demo_only() -> None:
    import resource

    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    few = 256
    resource.setrlimit(resource.RLIMIT_NOFILE, (few, before[1]))
    try:
        for wanted in (few - 1, few + 1):
            with steps.open_files(wanted) as files:
                assert files == wanted
                assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] == max(few, wanted)
            assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] == few
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


@pytest.mark.slow
def test_low_limit_of_open_files_limits_calls_under_way(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(steps, "open_files", lambda _: nullcontext(100))

    assert cli.main(["demo", "--calls", "50"]) == 0

    assert (
        "  at most 9 at once, since this process may open 100 files only\n"
        in capsys.readouterr().out
    )


def test_files_are_no_reason_for_a_lower_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(steps, "open_files", lambda _: nullcontext(100))
    console = make_console()

    steps.run(console, calls=50, compare=False, limit=2)

    assert "files only" not in read_console(console)


@unix
@pytest.mark.slow
def test_a_hard_limit_on_open_files_makes_nothing_fail() -> None:
    script = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256))\n"
        "from aiomsi._cli.main import main; sys.exit(main(['demo', '--calls', '300']))"
    )

    done = subprocess.run(
        [sys.executable, "-c", script], check=False, capture_output=True, text=True, timeout=50
    )

    assert (done.returncode, done.stderr) == (0, "")
    assert "may open 256 files only\n" in done.stdout
    assert "Failures: 0\nSeconds" in done.stdout


def test_where_no_such_limit_is_known_the_demo_goes_without(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "resource", None)

    with steps.open_files(10**9) as files:
        assert files == 10**9
