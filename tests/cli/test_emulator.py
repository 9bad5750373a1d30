"""`aiomsi emulator`, in this process and in a separate one."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from command_line import DEVTEST, SUBSCRIPTION, VERSION, Run, Said, Watched, kill, run_process

from aiomsi import testing
from aiomsi._cli import emulator
from aiomsi._cli import main as cli
from aiomsi.testing import EmbeddedAzure

pytestmark = pytest.mark.usefixtures("azure_environment")


def variables_of(output: str) -> dict[str, str]:
    """Return the variables that the emulator printed for a POSIX shell."""
    return dict(re.findall(r"^export (\w+)=(\S+)$", output, re.MULTILINE))


def run_emulator(
    monkeypatch: pytest.MonkeyPatch,
    *arguments: str,
    use: Callable[[Mapping[str, str]], object] = lambda _: None,
    end: signal.Signals = signal.SIGINT,
) -> tuple[Said, object]:
    """Run the emulator in this process, call `use` in another thread, then end it by a signal."""
    results: list[object] = []

    def client() -> None:
        try:
            results.append(use(variables_of(out.getvalue())))
        finally:
            kill(end)

    thread = threading.Thread(target=client)
    out, err = Watched(), Watched("and try: aiomsi get", thread.start)
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", out)
        patch.setattr(sys, "stderr", err)
        code = cli.main(["emulator", *arguments])
    if thread.ident is not None:
        thread.join()
    return Said(code, out.getvalue(), err.getvalue()), results


@pytest.mark.slow
@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGTERM])
def test_emulator_serves_until_interrupted_and_prints_its_counts(
    monkeypatch: pytest.MonkeyPatch, end: signal.Signals
) -> None:
    before = signal.getsignal(signal.SIGTERM)

    def use(variables: Mapping[str, str]) -> Said:
        return run_process("get", f"{SUBSCRIPTION}/resourceGroups", *VERSION, **variables)

    said, results = run_emulator(monkeypatch, "--groups", "3", "--shell", "sh", use=use, end=end)

    assert isinstance(results, list)
    assert [len(json.loads(result.out)["value"]) for result in results] == [4]
    assert said.code == 0
    assert set(variables_of(said.out)) == {
        "AZURE_POD_IDENTITY_AUTHORITY_HOST",
        "AIOMSI_RESOURCE_MANAGER",
    }
    assert said.err.endswith(
        "IMDS requests: 1 (1 tokens, 0 answers 429)\n"
        "ARM requests: 1 (0 answers 401, 0 answers 403, 0 answers 429)\n"
    )
    assert signal.getsignal(signal.SIGTERM) == before


def test_emulator_environment_makes_clients_trust_its_ca(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def use(variables: Mapping[str, str]) -> Said:
        assert (
            Path(variables["SSL_CERT_FILE"]).read_bytes().startswith(b"-----BEGIN CERTIFICATE-----")
        )
        return run_process("get", DEVTEST, *VERSION, **variables)

    said, results = run_emulator(monkeypatch, "--tls", "--shell", "sh", use=use)

    assert isinstance(results, list)
    assert [json.loads(result.out)["name"] for result in results] == ["DevTest"]
    variables = variables_of(said.out)
    assert variables["AIOMSI_RESOURCE_MANAGER"].startswith("https://")
    assert variables["SSL_CERT_FILE"] == variables["REQUESTS_CA_BUNDLE"]
    assert not Path(variables["SSL_CERT_FILE"]).exists()


@pytest.mark.parametrize(
    ("shell", "pattern"),
    [
        ("sh", r"export AZURE_POD_IDENTITY_AUTHORITY_HOST=http://127\.0\.0\.1:\d+"),
        ("powershell", r"\$env:AZURE_POD_IDENTITY_AUTHORITY_HOST = 'http://127\.0\.0\.1:\d+'"),
        ("cmd", r'set "AZURE_POD_IDENTITY_AUTHORITY_HOST=http://127\.0\.0\.1:\d+"'),
    ],
)
def test_the_emulator_speaks_the_language_of_the_shell(
    monkeypatch: pytest.MonkeyPatch, shell: str, pattern: str
) -> None:
    said, _ = run_emulator(monkeypatch, "--shell", shell)

    assert re.fullmatch(pattern, said.out.splitlines()[0])
    assert len(said.out.splitlines()) == 2


@pytest.mark.parametrize(
    ("platform", "beginning"), [("win32", "$env:"), ("linux", "export "), ("darwin", "export ")]
)
def test_the_shell_is_the_platforms_own_by_default(
    monkeypatch: pytest.MonkeyPatch, platform: str, beginning: str
) -> None:
    assert all(
        emulator.assignment_writer(None, platform)(name, "x").startswith(beginning)
        for name in ("A", "B")
    )


def test_emulator_options_reach_the_embedded_azure(monkeypatch: pytest.MonkeyPatch) -> None:
    created: list[dict[str, Any]] = []

    class RecordingAzure(EmbeddedAzure):
        def __init__(self, **options: Any) -> None:
            created.append(options)
            super().__init__(**options)

    monkeypatch.setattr(testing, "EmbeddedAzure", RecordingAzure)

    said, _ = run_emulator(monkeypatch, "--latency", "300", "--no-imds-limits", "--arm-limits")

    assert said.code == 0
    latencies = created[0]["imds_latency"], created[0]["arm_latency"]
    assert latencies == (0.3, 0.3)
    assert created[0]["imds_limits"] is None
    assert created[0]["arm_limits"].enforced


def test_a_port_that_is_taken_is_wrong_configuration(
    run: Run, embedded_azure: EmbeddedAzure
) -> None:
    said = run("emulator", "--arm-port", embedded_azure.arm_url.rpartition(":")[2])

    assert said.code == 2
    assert "in use" in said.complaint[0] or "address" in said.complaint[0]
    assert said.complaint[1].startswith("Choose another --imds-port or --arm-port")


def test_what_the_embedded_azure_lacks_is_named(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "trustme", None)

    said = run("emulator", "--tls")

    assert said.code == 2
    assert said.complaint == [
        "aiomsi: The embedded Azure needs trustme: pip install 'aiomsi[testing]'"
    ]


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="Windows sends Ctrl-C to a whole console only")
@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGTERM])
def test_the_emulator_in_a_process_of_its_own_ends_cleanly(end: signal.Signals) -> None:
    command = [sys.executable, "-m", "aiomsi", "emulator"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        variables = variables_of(process.stdout.readline() + process.stdout.readline())
        assert "and try: aiomsi get" in process.stderr.readline() + process.stderr.readline()
        client = run_process("token", **variables)
        process.send_signal(end)
        out, err = process.communicate(timeout=50)

    assert client.code == 0
    assert (process.returncode, out) == (0, "")
    assert err.startswith("IMDS requests: 1 (1 tokens, 0 answers 429)\n")
