"""Ctrl-C and SIGTERM, sent to a run in a child process, and handled in this one."""

import asyncio
import errno
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import loops
import pytest
from click.exceptions import Exit
from rich.console import Console

from aiomsi._cli.credentials import CredentialSource
from aiomsi._cli.inventory import inventory_run as run_module
from aiomsi._cli.inventory.ending import finish
from aiomsi._cli.inventory.inventory_run import InventoryRun, RunOptions, run_in_thread
from aiomsi._cli.inventory.output_mask import Mask
from aiomsi._cli.inventory.printers import RecordingPrinter
from aiomsi._cli.inventory.signals import Interruption, catch_signals
from aiomsi._cli.options import Target
from aiomsi._clouds import PUBLIC
from aiomsi._util.compat import list_end_signals
from aiomsi.inventory import read_manifest
from aiomsi.inventory._parts.folder import PartFolder
from aiomsi.testing import DEFAULT_SUBSCRIPTION_ID, EmbeddedAzure, Fault

SIGNALS = [(signal.SIGINT, 130), (signal.SIGTERM, 143)]
UNIX = pytest.mark.skipif(sys.platform == "win32", reason="a signal ends a process on Windows")
FOREVER = 600.0


class Child:
    """A run in a child process, whose list of one subscription does not end."""

    def __init__(self, azure: EmbeddedAzure, folder: Path, *options: str) -> None:
        # The last list in the order of the requests: the first ones learn the size of a page.
        last = max(azure.arm.generate(subscriptions=5, resources=50))
        assert last > DEFAULT_SUBSCRIPTION_ID
        self.hanging = f"(?i)/subscriptions/{last}/resources"
        azure.arm.inject(Fault.delay(FOREVER), None, self.hanging)
        self.azure, self.folder, self.options = azure, folder, options
        self.parts = folder / "x.jsonl.parts"
        self.process = self.start(folder, *options)

    def start(self, folder: Path, *options: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "aiomsi", "inventory", "-o", "x.jsonl", *options]
        environment = {**os.environ, **self.azure.environment, "SOURCE_DATE_EPOCH": "1000"}
        return subprocess.Popen(
            command, cwd=folder, env=environment, stderr=subprocess.PIPE, text=True
        )

    def resume(self) -> None:
        """Resume the run, now that no list hangs, until it has the file of an undisturbed run."""
        self.azure.clear_faults()
        before = len(self.azure.arm.requests)
        self.process = self.start(self.folder, "--resume")
        assert self.end()[0] == 0
        # The list of subscriptions, their count, and the one list that was missing.
        assert len(self.azure.arm.requests) - before == 3
        other = self.folder / "undisturbed"
        other.mkdir()
        self.process = self.start(other)
        assert self.end()[0] == 0
        assert (self.folder / "x.jsonl").read_bytes() == (other / "x.jsonl").read_bytes()

    def wait_for_parts(self) -> None:
        """Wait until all lists but one are read: each of 6 subscriptions has two."""
        loops.wait_in_thread(lambda: len([*self.parts.glob("*.part")]) == 11)

    def end(self) -> tuple[int, str]:
        _, err = self.process.communicate(timeout=30)
        assert "Traceback" not in err
        return self.process.returncode, err


@UNIX
@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), SIGNALS)
def test_signal_ends_a_run_that_can_be_resumed(
    embedded_azure: EmbeddedAzure, tmp_path: Path, number: signal.Signals, code: int
) -> None:
    child = Child(embedded_azure, tmp_path)
    child.wait_for_parts()

    child.process.send_signal(number)
    ended, err = child.end()

    assert ended == code
    lines = err.splitlines()
    assert lines[0] == "listing subscriptions"
    # The last parts may be written before the run notices their ends.
    assert any(re.match(r"interrupted: \d of 6 subscriptions, ", line) for line in lines)
    advice = "Repeat the command with --resume to continue; the parts are in x.jsonl.parts"
    assert lines[-1] == advice
    assert not [path for path in tmp_path.iterdir() if path != child.parts]
    assert not list(child.parts.glob("*.tmp-*"))
    interrupted = read_manifest(child.parts / "manifest.json")
    assert interrupted.completeness == "interrupted"
    assert "pending" in {result.state for result in interrupted.results}

    child.resume()
    manifest = read_manifest(tmp_path / "x.manifest.json")
    assert (manifest.completeness, manifest.exit_code) == ("complete", 0)
    assert not child.parts.exists()


@UNIX
@pytest.mark.slow
def test_ctrl_c_twice_ends_the_process_at_once(
    embedded_azure: EmbeddedAzure, tmp_path: Path
) -> None:
    child = Child(embedded_azure, tmp_path, "--progress", "none")
    child.wait_for_parts()
    # The first signal alone would end the run, too; both arrive before the process runs again.
    child.process.send_signal(signal.SIGSTOP)
    child.process.send_signal(signal.SIGTERM)
    child.process.send_signal(signal.SIGINT)
    child.process.send_signal(signal.SIGCONT)

    code, err = child.end()

    assert code in (130, 143)
    assert err == ""
    assert len([*child.parts.glob("*.part")]) == 11
    child.resume()


@UNIX
@pytest.mark.slow
def test_signal_before_the_plan_leaves_no_file(
    embedded_azure: EmbeddedAzure, tmp_path: Path
) -> None:
    with embedded_azure.arm.hold() as hold:
        child = Child(embedded_azure, tmp_path)
        hold.wait_arrived()
        child.process.send_signal(signal.SIGINT)
        code, err = child.end()

    assert code == 130
    assert err.splitlines()[-1] == "aiomsi: interrupted before the first list was read"
    assert not list(tmp_path.iterdir())


def test_cancellation_without_a_signal_is_raised(
    embedded_azure: EmbeddedAzure, azure_environment: object, tmp_path: Path
) -> None:
    async def main() -> None:
        options = RunOptions(str(tmp_path / "x.jsonl"))
        run = InventoryRun(options, RecordingPrinter(), Mask(), Interruption(print))
        task = asyncio.ensure_future(run.run(Target(PUBLIC, CredentialSource())))
        with embedded_azure.arm.hold() as hold:
            await hold.arrived()
            task.cancel()
            await task

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(main())
    assert not list(tmp_path.iterdir())


def test_first_error_is_raised_although_the_parts_fail_too(
    embedded_azure: EmbeddedAzure,
    azure_environment: object,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*_: object) -> None:
        raise OSError(errno.EIO, "the disk")

    def fail_first(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "the first error")

    options = RunOptions(str(tmp_path / "x.jsonl"))
    run = InventoryRun(options, RecordingPrinter(), Mask(), Interruption(print))
    monkeypatch.setattr(run_module, "assemble", fail_first)
    monkeypatch.setattr(PartFolder, "read_plan", fail)
    # The plan is read before the run too.
    monkeypatch.setattr(run_module, "must_clear", lambda *_, **__: True)
    monkeypatch.setattr(PartFolder, "open", lambda _, plan: plan)
    with pytest.raises(OSError, match="the first error"):
        asyncio.run(run.run(Target(PUBLIC, CredentialSource())))
    assert run.parts == str(tmp_path / "x.jsonl.parts")


@pytest.mark.parametrize(
    ("held", "shown"),
    [
        ("subscriptions[?]", "interrupted before the first list was read"),
        ("/resources[?]", "interrupted: 1 of 1 subscriptions, "),
    ],
)
def test_first_signal_ends_the_run_with_what_is_known(
    embedded_azure: EmbeddedAzure,
    azure_environment: object,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    held: str,
    shown: str,
) -> None:
    embedded_azure.arm.inject(Fault.hang(), None, held)
    interruption = Interruption(print)
    options = RunOptions(str(tmp_path / "x.jsonl"))
    run = InventoryRun(options, RecordingPrinter(), Mask(), interruption)

    async def main() -> None:
        task = asyncio.ensure_future(run.run(Target(PUBLIC, CredentialSource())))
        await loops.wait_until(lambda: embedded_azure.counts.faults > 0)
        interruption.handle(signal.SIGINT)
        await task

    asyncio.run(main())
    assert finish(run, Console(file=sys.stderr, width=200)) == 130
    assert shown in capsys.readouterr().err
    path = tmp_path / "x.jsonl.parts" / "manifest.json"
    assert path.exists() == (run.manifest is not None)
    if run.manifest is not None:
        assert read_manifest(path) == run.manifest
        assert run.manifest.completeness == "interrupted"


def test_second_signal_ends_the_process() -> None:
    ends: list[object] = []

    async def main() -> None:
        task = asyncio.current_task()
        assert task is not None
        with interruption.cancelling(task):
            signal.raise_signal(signal.SIGTERM)
            signal.raise_signal(signal.SIGINT)
            await asyncio.sleep(FOREVER)

    before = [signal.getsignal(number) for number, _ in SIGNALS]
    with catch_signals(lambda: ends.append("before"), ends.append) as interruption:
        with pytest.raises(asyncio.CancelledError):
            asyncio.run(main())
        assert interruption.exit_code == 143
    assert ends == ["before", 130]
    assert [signal.getsignal(number) for number, _ in SIGNALS] == before


@pytest.mark.parametrize(("number", "code"), SIGNALS)
def test_signal_without_a_task_ends_the_command(number: signal.Signals, code: int) -> None:
    with pytest.raises(Exit) as caught, catch_signals(str, print):
        signal.raise_signal(number)

    assert caught.value.exit_code == code


def test_ctrl_break_has_an_exit_code_of_its_own() -> None:
    interruption = Interruption(print)
    with pytest.raises(KeyboardInterrupt):
        interruption.handle(list_end_signals(SimpleNamespace(SIGBREAK=21))[0])

    assert interruption.exit_code == 149


def test_signal_while_the_output_is_written_stops_the_thread() -> None:
    ended: list[bool] = []

    async def main() -> None:
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        assert task is not None

        def write(check: Callable[[], None]) -> None:
            def is_stopped() -> bool:
                check()
                return False

            loop.call_soon_threadsafe(task.cancel)
            try:
                loops.wait_in_thread(is_stopped)
            finally:
                ended.append(True)

        try:
            await run_in_thread(write)
        except asyncio.CancelledError:
            assert ended
            raise

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(main())
