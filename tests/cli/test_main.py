"""The behaviour that all commands share."""

from __future__ import annotations

import errno
import importlib
import importlib.metadata
import io
import logging
import re
import signal
import subprocess
import sys
import threading
from functools import partial
from importlib.machinery import ModuleSpec, SourceFileLoader
from pathlib import Path
from types import ModuleType

import click
import pytest
from click.exceptions import Exit
from command_line import DEVTEST, SUBSCRIPTION, VERSION, Run, Said, kill, run_process

import aiomsi
from aiomsi import AiomsiError
from aiomsi._cli import main as cli
from aiomsi.testing import EmbeddedAzure

COMMANDS = ("demo", "doctor", "token", "get", "list", "query", "request", "emulator")

pytestmark = pytest.mark.usefixtures("azure_environment")


@pytest.mark.parametrize("command", COMMANDS)
def test_help_has_a_summary_an_example_and_exit_codes(run: Run, command: str) -> None:
    said = run(command, "--help")

    assert (said.code, said.err) == (0, "")
    assert f"aiomsi {command}" in said.out.partition("Examples:")[2]
    assert "Exit codes: 0 success; 1 " in said.out


def test_without_a_command_there_is_the_list_of_commands(run: Run) -> None:
    said = run()

    assert said.code == 0
    assert all(re.search(rf"^  {command} ", said.out, re.MULTILINE) for command in COMMANDS)


def test_the_version_is_the_packages_own(run: Run) -> None:
    assert run("--version") == Said(0, f"aiomsi {importlib.metadata.version('aiomsi')}\n", "")


@pytest.mark.parametrize(
    ("arguments", "pointer"),
    [
        (("nonsense",), "See 'aiomsi --help'"),
        (("get",), "See 'aiomsi get --help'"),
        (("demo", "--calls", "0"), "See 'aiomsi demo --help'"),
        (("emulator", "--shell", "fish"), "See 'aiomsi emulator --help'"),
        (("token", "--frobnicate"), "See 'aiomsi token --help'"),
        (("emulator", "--reads", "1"), "See 'aiomsi emulator --help'"),
    ],
)
def test_wrong_usage_is_two_lines_and_exit_code_2(
    run: Run, arguments: tuple[str, ...], pointer: str
) -> None:
    said = run(*arguments)

    assert said.code == 2
    assert said.complaint[1] == pointer


@pytest.mark.slow
def test_python_m_aiomsi_is_the_same_command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["whatever", "--version"])
    path = str(Path(aiomsi.__file__).with_name("__main__.py"))
    module = ModuleType("__main__")
    module.__spec__ = ModuleSpec("aiomsi.__main__", None, origin=path)

    with pytest.raises(SystemExit) as exit_:
        SourceFileLoader("__main__", path).exec_module(module)

    assert exit_.value.code == 0
    assert capsys.readouterr().out.startswith("aiomsi ")
    assert run_process("--version").out.startswith("aiomsi ")


def test_importing_main_runs_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    importlib.import_module("aiomsi.__main__")

    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("package", ["click", "rich.console"])
def test_a_missing_extra_is_one_line_that_names_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], package: str
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.delitem(sys.modules, "aiomsi._cli.main")

    with pytest.raises(SystemExit) as exit_:
        importlib.import_module("aiomsi._cli.main")

    assert exit_.value.code == 2
    out, err = capsys.readouterr()
    assert (out, err) == ("", f"The aiomsi command needs {package}: pip install 'aiomsi[cli]'\n")


@pytest.mark.slow
def test_a_missing_extra_is_no_traceback_for_the_console_script() -> None:
    script = (
        "import sys; sys.modules['click'] = None\n"
        "from aiomsi._cli.main import main\n"
        "sys.exit(main())"
    )

    done = subprocess.run(
        [sys.executable, "-c", script], check=False, capture_output=True, text=True, timeout=50
    )

    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.splitlines() == ["The aiomsi command needs click: pip install 'aiomsi[cli]'"]


@pytest.mark.slow
def test_command_that_calls_arm_imports_no_server() -> None:
    script = (
        "import sys; from aiomsi._cli import main\n"
        "print([name for name in sys.modules if name.startswith('aiomsi.testing._arm')])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], check=True, capture_output=True, text=True, timeout=50
    )

    assert done.stdout == "[]\n"


def test_log_of_the_library_is_on_stderr(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    logger = logging.getLogger("aiomsi")
    command = click.Command("wait", callback=partial(logger.info, "waits for %d s", 9))
    monkeypatch.setitem(cli.run_commands.commands, "wait", command)
    before = logger.level, list(logger.handlers)

    assert run("wait") == Said(0, "", "aiomsi: waits for 9 s\n")
    assert (logger.level, logger.handlers) == before


class NoReader(io.StringIO):
    """An output whose reader has ended."""

    def write(self, text: str, /) -> int:
        raise BrokenPipeError


@pytest.mark.parametrize(
    "arguments",
    [
        ("--help",),
        ("get", DEVTEST, *VERSION),
        ("list", SUBSCRIPTION + "/resourceGroups", *VERSION),
        ("list", SUBSCRIPTION + "/resourceGroups", *VERSION, "--table"),
    ],
)
def test_output_without_a_reader_ends_quietly_with_141(
    run: Run, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...]
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", NoReader())
        code = cli.main(arguments)

    assert (code, run("--version").err) == (141, "")


class Full(io.StringIO):
    """An output on a full disk."""

    def write(self, text: str, /) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")


def test_output_that_can_not_be_written_is_an_error(
    run: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", Full())
        code = cli.main(("get", DEVTEST, *VERSION))

    assert (code, capsys.readouterr().err) == (1, "aiomsi: [Errno 28] No space left on device\n")


@pytest.mark.slow
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_process_on_a_full_disk_ends_with_one_line() -> None:
    with Path("/dev/full").open("w", encoding="utf-8") as full:
        done = subprocess.run(
            [sys.executable, "-m", "aiomsi", "get", DEVTEST, *VERSION],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
            timeout=50,
        )

    assert (done.returncode, len(done.stderr.splitlines())) == (1, 1)


@pytest.mark.parametrize("table", [(), ("--table",)])
def test_closed_outputs_are_no_error(
    monkeypatch: pytest.MonkeyPatch, table: tuple[str, ...]
) -> None:
    monkeypatch.setattr(sys, "stdout", None)
    monkeypatch.setattr(sys, "stderr", None)

    code = cli.main(("list", f"{SUBSCRIPTION}/resourceGroups", *VERSION, *table))

    for stream in (sys.stdout, sys.stderr):
        stream.close()
    assert code == 0


def test_output_without_a_reader_ends_quietly_on_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    # Without descriptors, which would be those of this process.
    monkeypatch.setattr(sys, "stdout", io.StringIO())
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    error = OSError(errno.EINVAL, "Invalid argument")
    with pytest.raises(Exit) as caught, cli._exit_quietly("nt"):
        raise error
    assert caught.value.exit_code == 141
    with pytest.raises(OSError, match="Invalid") as kept, cli._exit_quietly("posix"):
        raise error
    assert kept.value is error


@pytest.mark.parametrize(
    ("encoding", "errors", "expected"),
    [
        # Redirected, on Windows; a console, or UTF-8 mode; and the choice of PYTHONIOENCODING.
        ("cp1252", "strict", b"J\xfcrgen \\u6771"),
        ("utf-8", "strict", b"J\xc3\xbcrgen \xe6\x9d\xb1"),
        ("ascii", "replace", b"J?rgen ?"),
    ],
)
def test_text_that_the_output_can_not_encode_is_escaped(
    monkeypatch: pytest.MonkeyPatch, encoding: str, errors: str, expected: bytes
) -> None:
    stream = io.TextIOWrapper(io.BytesIO(), encoding, errors)
    monkeypatch.setattr(sys, "stdout", stream)
    cli._open_streams()
    print("Jürgen 東", end="", flush=True)
    assert stream.buffer.getvalue() == expected


@pytest.mark.slow
def test_process_without_a_reader_ends_quietly_with_141() -> None:
    command = [sys.executable, "-m", "aiomsi", "get", DEVTEST, *VERSION]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == ""
        assert process.wait(50) == 141


@pytest.mark.parametrize(
    ("summary", "help_", "lines"),
    [
        (
            "x",
            "Pass api_version='2021-04-01', or not",
            ["x", "Pass --api-version 2021-04-01, or not"],
        ),
        (
            "timeout= takes seconds",
            "Pass api_version=",
            ["--timeout takes seconds", "Pass --api-version"],
        ),
        (
            "the header is ours",
            "Pass ArmSession(credential=..., auxiliary=...) to use other identities",
            ["the header is ours", "Use --client-id, --object-id or --resource-id"],
        ),
        (
            "no version",
            "Pass an api_version that the type has",
            ["no version", "Pass an --api-version that the type has"],
        ),
        (
            "throttled",
            "9 s; a larger ArmRetry(total_budget=...) or timeout= lets the call wait for that",
            ["throttled", "9 s"],
        ),
        (
            "paused; a larger timeout= or ArmRetry(total_budget=...) lets the call wait for that",
            "Wait",
            ["paused", "Wait"],
        ),
        (
            "no token",
            "Ask, or pass the ArmSession a Cloud with the right one",
            ["no token", "Ask, or choose the cloud with --cloud"],
        ),
        (
            "no TLS",
            "For a proxy pass ssl= with its authority",
            ["no TLS", "For a proxy name its authority in SSL_CERT_FILE"],
        ),
        (
            "no items",
            "If elsewhere, pass item_name='rows'",
            ["no items", "If elsewhere, use 'aiomsi get'"],
        ),
        (
            "no end",
            "It may be normal. request() sends such a call without waiting for its end",
            ["no end", "It may be normal"],
        ),
        (
            "no list",
            "It is one: use get() for that",
            ["no list", "It is one: use 'aiomsi get' for that"],
        ),
        (
            "no JSON",
            "Use request() to get the body as bytes",
            ["no JSON", "Use 'aiomsi request GET PATH' to get the body as bytes"],
        ),
        (
            "late",
            "It continues; wait for it again, or save its state and resume it later",
            ["late", "It continues; read the resource to see its end"],
        ),
    ],
)
def test_error_names_the_command_line_and_not_python(
    run: Run, monkeypatch: pytest.MonkeyPatch, summary: str, help_: str, lines: list[str]
) -> None:
    def fail() -> None:
        raise AiomsiError(summary, help=help_)

    monkeypatch.setitem(cli.run_commands.commands, "fail", click.Command("fail", callback=fail))

    said = run("fail")

    assert said.code == 1
    assert said.complaint == [f"aiomsi: {lines[0]}", lines[1]]


def test_an_interrupt_while_waiting_for_a_token_is_exit_code_130(
    run: Run, embedded_azure: EmbeddedAzure
) -> None:
    with embedded_azure.imds.hold() as hold:

        def interrupt() -> None:
            hold.wait_arrived()
            kill(signal.SIGINT)

        thread = threading.Thread(target=interrupt)
        thread.start()
        said = run("token")
        thread.join()

    assert said.code == 130
    assert said.err.strip() == "aiomsi: interrupted"
    assert said.out == ""
