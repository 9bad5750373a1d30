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
import trustme
from command_line import DEVTEST, SUBSCRIPTION, VERSION, Run, Said, Watched, kill, run_process

from aiomsi import testing
from aiomsi._cli import emulator
from aiomsi._cli import main as cli
from aiomsi.testing import ArmBucket, EmbeddedAzure

pytestmark = pytest.mark.usefixtures("azure_environment")


def parse_variables(output: str) -> dict[str, str]:
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
            results.append(use(parse_variables(out.getvalue())))
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
    assert set(parse_variables(said.out)) == {
        "AZURE_POD_IDENTITY_AUTHORITY_HOST",
        "AIOMSI_RESOURCE_MANAGER",
    }
    assert said.err.endswith(
        "IMDS requests: 1 (1 tokens, 0 answers 429)\n"
        "ARM requests: 1 (0 answers 401, 0 answers 403, 0 answers 429)\n"
    )
    assert signal.getsignal(signal.SIGTERM) == before


@pytest.mark.slow
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
    variables = parse_variables(said.out)
    assert variables["AIOMSI_RESOURCE_MANAGER"].startswith("https://")
    names = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "NODE_EXTRA_CA_CERTS")
    assert len({variables[name] for name in names}) == 1
    base_url = variables["AIOMSI_RESOURCE_MANAGER"]
    assert said.out.splitlines()[-3:] == [
        "# Clients of azure-mgmt need these arguments:",
        f'#   base_url="{base_url}",',
        '#   credential_scopes=["https://management.azure.com/.default"],',
    ]
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

    said, _ = run_emulator(monkeypatch, "--shell", shell, "--tls")
    comment = "rem" if shell == "cmd" else "#"
    assert f"{comment} Clients of azure-mgmt need these arguments:" in said.out.splitlines()


@pytest.mark.parametrize(
    ("platform", "beginning"), [("win32", "$env:"), ("linux", "export "), ("darwin", "export ")]
)
def test_the_shell_is_the_platforms_own_by_default(
    monkeypatch: pytest.MonkeyPatch, platform: str, beginning: str
) -> None:
    assert all(
        emulator.choose_assignment_writer(None, platform)(name, "x").startswith(beginning)
        for name in ("A", "B")
    )


@pytest.fixture
def created(monkeypatch: pytest.MonkeyPatch) -> list[EmbeddedAzure]:
    """Return the list of the embedded Azures that the command creates."""
    azures: list[EmbeddedAzure] = []

    def create(**options: Any) -> EmbeddedAzure:
        azures.append(EmbeddedAzure(**options))
        return azures[-1]

    monkeypatch.setattr(testing, "EmbeddedAzure", create)
    return azures


def test_emulator_options_reach_the_embedded_azure(monkeypatch: pytest.MonkeyPatch) -> None:
    options: list[dict[str, Any]] = []

    def create(**given: Any) -> EmbeddedAzure:
        options.append(given)
        return EmbeddedAzure(**given)

    monkeypatch.setattr(testing, "EmbeddedAzure", create)

    said, _ = run_emulator(monkeypatch, "--latency", "300", "--no-imds-limits", "--strict-versions")

    assert said.code == 0
    assert (options[0]["imds_latency"], options[0]["arm_latency"]) == (0.3, 0.3)
    assert options[0]["imds_limits"] is None
    assert options[0]["strict_versions"]


def test_emulator_enforces_limits_on_request(
    monkeypatch: pytest.MonkeyPatch, created: list[EmbeddedAzure]
) -> None:
    for options in ((), ("--arm-limits",), ("--reads", "250", "25")):
        run_emulator(monkeypatch, *options)
    limits = [azure.arm.limits for azure in created]

    assert [one.enforced for one in limits] == [False, True, True]
    assert limits[2].buckets.reads == ArmBucket(250, 25)


def test_emulator_serves_a_generated_tenant(
    monkeypatch: pytest.MonkeyPatch, created: list[EmbeddedAzure]
) -> None:
    said, _ = run_emulator(monkeypatch, "--subscriptions", "3", "--resources", "50", "--seed", "2")

    assert said.code == 0
    generated = EmbeddedAzure().arm.generate(subscriptions=3, resources=50, seed=2)
    assert created[0].arm.subscription_ids[1:] == generated


def test_emulator_names_the_troubles(
    monkeypatch: pytest.MonkeyPatch, created: list[EmbeddedAzure]
) -> None:
    said, _ = run_emulator(monkeypatch, "--subscriptions", "20", "--seed", "2", "--troubles")
    expected = EmbeddedAzure()
    expected.arm.generate(subscriptions=20, resources=0, seed=2)

    assert said.code == 0
    for name, subscription_id in expected.arm.add_troubles(seed=2).items():
        assert f"{subscription_id} {name}\n" in said.err
    assert created[0].arm.subscription_ids == expected.arm.subscription_ids


def test_troubles_without_subscriptions_are_wrong_usage(run: Run) -> None:
    said = run("emulator", "--troubles")

    assert said.code == 2
    assert "17 troubles need as many generated subscriptions" in said.complaint[0]


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        ("imds", {"AZURE_POD_IDENTITY_AUTHORITY_HOST"}),
        ("app-service", {"IDENTITY_ENDPOINT", "IDENTITY_HEADER"}),
        ("azure-ml", {"MSI_ENDPOINT", "MSI_SECRET"}),
        ("azure-arc", {"IDENTITY_ENDPOINT", "IMDS_ENDPOINT"}),
        (
            "service-fabric",
            {"IDENTITY_ENDPOINT", "IDENTITY_HEADER", "IDENTITY_SERVER_THUMBPRINT"},
        ),
        ("cloud-shell", {"MSI_ENDPOINT"}),
        (
            "workload-identity",
            {
                "AZURE_AUTHORITY_HOST",
                "AZURE_CLIENT_ID",
                "AZURE_FEDERATED_TOKEN_FILE",
                "AZURE_TENANT_ID",
                "NODE_EXTRA_CA_CERTS",
                "REQUESTS_CA_BUNDLE",
                "SSL_CERT_FILE",
            },
        ),
    ],
)
def test_environment_is_that_of_the_kind(
    monkeypatch: pytest.MonkeyPatch, kind: str, names: set[str], tmp_path: Path
) -> None:
    directory = ("--arc-key-directory", str(tmp_path)) if kind == "azure-arc" else ()
    said, _ = run_emulator(monkeypatch, "--kind", kind, "--shell", "sh", *directory)

    assert said.code == 0
    assert set(parse_variables(said.out)) == names | {"AIOMSI_RESOURCE_MANAGER"}
    assert "#" not in said.out
    assert "runs, with 1 resource group. Ctrl-C" in said.err
    assert said.err.count(f"\nRequests of {kind}: 0 (0 tokens)\n") == (kind != "imds")


@pytest.mark.skipif(sys.platform == "darwin", reason="macOS has one address of loopback")
def test_addresses_names_audiences_and_keys_are_options(
    monkeypatch: pytest.MonkeyPatch, created: list[EmbeddedAzure], tmp_path: Path
) -> None:
    def use(variables: Mapping[str, str]) -> None:
        assert variables["IDENTITY_ENDPOINT"].startswith("http://127.0.0.2:")
        assert variables["AIOMSI_RESOURCE_MANAGER"].startswith("https://127.0.0.3:")
        assert created[0].hosts.azure_arc.key_directory == tmp_path / "keys"
        assert created[0].imds._tokens.knows("api://mine")
        assert created[0].imds._tokens.knows("api://yours")

    said, results = run_emulator(
        monkeypatch,
        *("--kind", "azure-arc", "--arc-key-directory", str(tmp_path / "keys")),
        *("--imds-address", "127.0.0.2", "--arm-address", "127.0.0.3", "--tls-name", "arm.test"),
        *("--resource", "api://mine", "--resource", "api://yours", "--shell", "sh"),
        use=use,
    )

    assert (said.code, results) == (0, [None])
    assert "# Clients of azure-mgmt need these arguments:" in said.out


@pytest.mark.parametrize(
    ("platform", "environment", "directory"),
    [
        ("linux", {}, "/var/opt/azcmagent/tokens"),
        ("win32", {"ProgramData": "D:\\Data"}, r"D:\Data\AzureConnectedMachineAgent\Tokens"),
        ("win32", {}, r"C:\ProgramData\AzureConnectedMachineAgent\Tokens"),
    ],
)
def test_directory_of_keys_is_the_agents(
    platform: str, environment: dict[str, str], directory: str
) -> None:
    assert emulator.find_agent_directory(platform, environment) == directory


def test_directory_that_cannot_be_written_is_wrong_configuration(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()

    said = run("emulator", "--kind", "azure-arc", "--arc-key-directory", str(file / "keys"))

    assert said.code == 2
    assert said.complaint[1].endswith("or give --arc-key-directory")


def test_certificate_and_authority_are_options(
    monkeypatch: pytest.MonkeyPatch, created: list[EmbeddedAzure], tmp_path: Path
) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    authority.private_key_pem.write_to_path(str(tmp_path / "ca.key"))
    server = authority.issue_cert("localhost", "127.0.0.1")
    server.cert_chain_pems[0].write_to_path(str(tmp_path / "server.pem"))
    server.private_key_pem.write_to_path(str(tmp_path / "server.key"))
    for option, name in (("--authority", "ca"), ("--certificate", "server")):
        files = str(tmp_path / f"{name}.pem"), str(tmp_path / f"{name}.key")
        said, _ = run_emulator(monkeypatch, option, *files, "--shell", "sh")
        assert parse_variables(said.out)["AIOMSI_RESOURCE_MANAGER"].startswith("https://")

    assert created[0].ca_pem == authority.cert_pem.bytes()
    assert created[1].ca_pem == server.cert_chain_pems[0].bytes()


def test_key_of_another_certificate_is_wrong_configuration(run: Run, tmp_path: Path) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    trustme.CA().private_key_pem.write_to_path(str(tmp_path / "other.key"))

    said = run("emulator", "--certificate", str(tmp_path / "ca.pem"), str(tmp_path / "other.key"))

    assert said.code == 2
    assert "are not a certificate and its key" in said.complaint[0]


def test_resources_without_subscriptions_are_wrong_usage(run: Run) -> None:
    said = run("emulator", "--resources", "5")

    assert said.code == 2
    assert "--resources needs subscriptions" in said.complaint[0]


def test_a_port_that_is_taken_is_wrong_configuration(
    run: Run, embedded_azure: EmbeddedAzure
) -> None:
    said = run("emulator", "--arm-port", embedded_azure.arm.url.rpartition(":")[2])

    assert said.code == 2
    assert "in use" in said.complaint[0] or "address" in said.complaint[0]
    assert said.complaint[1].startswith("Choose other ports or addresses (--imds-port")


def test_what_the_embedded_azure_lacks_is_named(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "trustme", None)

    said = run("emulator", "--tls")

    assert said.code == 2
    assert said.complaint == [
        "aiomsi: The embedded Azure needs trustme: pip install 'aiomsi[testing]'"
    ]


@pytest.mark.parametrize(("platform", "seconds"), [("win32", 0.5), ("linux", 3_600.0)])
def test_sleep_is_short_where_signals_do_not_interrupt_it(platform: str, seconds: float) -> None:
    assert emulator.find_longest_sleep(platform) == seconds


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
        variables = parse_variables(process.stdout.readline() + process.stdout.readline())
        assert "and try: aiomsi get" in process.stderr.readline() + process.stderr.readline()
        client = run_process("token", **variables)
        process.send_signal(end)
        out, err = process.communicate(timeout=50)

    assert client.code == 0
    assert (process.returncode, out) == (0, "")
    assert err.startswith("IMDS requests: 1 (1 tokens, 0 answers 429)\n")


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("--kind-port", "8080"), "--kind-port is the port of another host than IMDS"),
        (("--arc-key-directory", "keys"), "--arc-key-directory belongs to Azure Arc"),
        (("--arm-address", ""), "--imds-address or --arm-address is empty"),
        (("--imds-address", ""), "--imds-address or --arm-address is empty"),
    ],
)
def test_options_without_effect_are_refused(
    run: Run, arguments: tuple[str, ...], text: str
) -> None:
    said = run("emulator", *arguments)

    assert said.code == 2
    assert text in said.complaint[0]
