"""The package with all defaults, and the tutorial's requests with curl, at Azure's real addresses.

These tests run in the namespaces that `enter.py` creates.

Source:
https://learn.microsoft.com/entra/identity/managed-identities-azure-resources/tutorial-linux-managed-identities-vm-access
"""

import json
import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import attrs
import pytest
from vm import enter
from vm.client import API_VERSION, CALLS, GROUP

from aiomsi import RefreshPolicy
from aiomsi.testing import Counts, EmbeddedAzure

TOKEN_REQUEST = (
    "/metadata/identity/oauth2/token"
    "?api-version=2018-02-01&resource=https%3A%2F%2Fmanagement.azure.com%2F"
)
ARM_REQUEST = f"{GROUP}?api-version={API_VERSION}"
ANSWER = (
    f'{{"id":"{GROUP}","name":"DevTest","location":"westus",'
    '"properties":{"provisioningState":"Succeeded"}}'
)
CLIENT = str(Path(__file__).with_name("client.py"))
INHERITED = ("LANG", "LD_LIBRARY_PATH", "PATH", "TMPDIR")
CLOSED_PORT = "http://127.0.0.1:9"
PATIENCE = 45


@attrs.frozen
class Vm:
    """A runner of programs with the environment of a VM.

    The environment has no variables for Azure or proxies, and variables for certificates with `ca`
    only.

    Attributes:
        home: an empty folder.
        ca: a file with the only trusted certificate authority; None for the machine's authorities.

    """

    home: Path
    ca: Path | None = None

    def environment(self, **more: str) -> dict[str, str]:
        kept = {name: os.environ[name] for name in INHERITED if name in os.environ}
        trusted = (
            {}
            if self.ca is None
            else {"SSL_CERT_FILE": str(self.ca), "SSL_CERT_DIR": str(self.home)}
        )
        return kept | {"HOME": str(self.home)} | trusted | more

    def run(
        self, *command: str, environment: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command,
            env=self.environment(**(environment or {})),
            cwd=self.home,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )

    def output(self, *command: str, environment: Mapping[str, str] | None = None) -> str:
        """Run a program that must succeed with an empty stderr, and return its output."""
        done = self.run(*command, environment=environment)
        assert (done.returncode, done.stderr) == (0, ""), done.stdout
        return done.stdout

    def client(self, job: str, **environment: str) -> dict[str, Any]:
        """Run a job of `client.py`, with warnings as errors, and return its report."""
        report = json.loads(
            self.output(sys.executable, "-W", "error", CLIENT, job, environment=environment)
        )
        assert isinstance(report, dict)
        return report

    def aiomsi(self, *arguments: str) -> str:
        return self.output(sys.executable, "-W", "error", "-m", "aiomsi", *arguments)


@pytest.fixture
def azure() -> Iterator[EmbeddedAzure]:
    with EmbeddedAzure(
        imds_host=enter.IMDS, imds_port=80, arm_host="127.0.0.1", arm_port=443, tls=[enter.ARM]
    ) as azure:
        yield azure


@pytest.fixture
def arm_alone() -> Iterator[EmbeddedAzure]:
    """Serve ARM at its real address, and no IMDS."""
    with EmbeddedAzure(arm_host="127.0.0.1", arm_port=443, tls=[enter.ARM]) as azure:
        yield azure


@pytest.fixture
def home(tmp_path: Path) -> Path:
    home = tmp_path / "home"
    home.mkdir()
    return home


@pytest.fixture
def vm(azure: EmbeddedAzure, tmp_path: Path, home: Path) -> Vm:
    ca = tmp_path / "ca.pem"
    ca.write_bytes(azure.ca_pem)
    return Vm(home, ca)


@pytest.fixture
def curl() -> str:
    found = shutil.which("curl")
    if found is None:
        pytest.skip("curl is not installed")
    return found


def list_requests(azure: EmbeddedAzure) -> list[tuple[str, str, str, str]]:
    return [
        (asked.service, asked.method, asked.path_qs, asked.headers["Host"])
        for asked in azure.requests
    ]


THE_TUTORIALS = [
    ("imds", "GET", TOKEN_REQUEST, "169.254.169.254"),
    ("arm", "GET", ARM_REQUEST, "management.azure.com"),
]


def test_defaults_send_the_tutorials_requests(azure: EmbeddedAzure, vm: Vm) -> None:
    report = vm.client("get")

    assert json.dumps(report["value"], separators=(",", ":")) == ANSWER
    assert list_requests(azure) == THE_TUTORIALS
    assert azure.requests[0].headers["Metadata"] == "true"
    assert azure.requests[1].headers["Authorization"] == "Bearer ***"


def test_a_thousand_cold_calls_at_once_cost_one_token_request(azure: EmbeddedAzure, vm: Vm) -> None:
    report = vm.client("many")

    assert report["value"] == {"answers": CALLS, "different": 1, "failures": []}
    assert azure.counts == Counts(
        imds_requests=1,
        imds_tokens=1,
        imds_most_at_once=1,
        arm_requests=CALLS,
        arm_most_at_once=azure.counts.arm_most_at_once,
    )


def test_the_tutorials_two_requests_with_curl(azure: EmbeddedAzure, vm: Vm, curl: str) -> None:
    quiet = (curl, "--silent", "--show-error", "--max-time", "20")
    token_url = "http://169.254.169.254" + TOKEN_REQUEST

    token = json.loads(vm.output(*quiet, token_url, "-H", "Metadata:true"))
    bearer = f"Authorization: Bearer {token['access_token']}"
    answer = vm.output(
        *quiet, "--cacert", str(vm.ca), "https://management.azure.com" + ARM_REQUEST, "-H", bearer
    )

    assert (token["resource"], token["token_type"]) == ("https://management.azure.com/", "Bearer")
    assert answer == ANSWER
    assert list_requests(azure) == THE_TUTORIALS


def test_the_command_line_gets_the_group(azure: EmbeddedAzure, vm: Vm) -> None:
    assert json.loads(vm.aiomsi("get", GROUP, "--api-version", API_VERSION)) == json.loads(ANSWER)
    assert list_requests(azure) == THE_TUTORIALS


def test_the_command_line_tells_of_the_token_and_not_the_token(
    azure: EmbeddedAzure, vm: Vm
) -> None:
    azure.imds.repeat_tokens()
    secret = json.loads(ask_imds())["access_token"]

    told = vm.aiomsi("token")

    assert "https://management.azure.com/" in told
    assert [part for part in secret.split(".") if part in told] == []
    assert list_requests(azure)[1:] == THE_TUTORIALS[:1]


def ask_imds() -> bytes:
    connection = HTTPConnection(enter.IMDS, timeout=10)
    try:
        connection.request("GET", TOKEN_REQUEST, headers={"Metadata": "true"})
        return connection.getresponse().read()
    finally:
        connection.close()


@pytest.fixture
def silence() -> Iterator[None]:
    """Neither accept nor refuse connections to IMDS's address, as a firewall that drops packets."""
    with ExitStack() as stack:
        full = stack.enter_context(socket.create_server((enter.IMDS, 80), backlog=3))
        for _ in range(4):
            stack.enter_context(socket.create_connection(full.getsockname(), timeout=10))
        yield


@pytest.mark.parametrize("nobody", ["refused", "silence"])
def test_missing_imds_is_reported_after_few_tries_with_advice(
    arm_alone: EmbeddedAzure, home: Path, nobody: str, request: pytest.FixtureRequest
) -> None:
    if nobody == "silence":
        request.getfixturevalue("silence")

    report = Vm(home).client("get")

    assert report["error"] == "HostUnreachableError"
    assert "http://169.254.169.254/metadata/identity/oauth2/token" in report["text"]
    assert "'aiomsi emulator'" in report["text"]
    # In silence the deadline may end the fetch before its last try.
    tried = re.search(r"\((\d+) requests in", report["text"])
    assert tried is not None
    assert 2 <= int(tried[1]) <= RefreshPolicy().max_attempts_unreachable
    assert arm_alone.counts == Counts()


@pytest.mark.parametrize("name", [str.upper, str.lower])
def test_a_token_is_never_asked_for_through_a_proxy(
    azure: EmbeddedAzure, vm: Vm, name: Any
) -> None:
    proxies = {
        name(variable): CLOSED_PORT for variable in ("http_proxy", "https_proxy", "all_proxy")
    }

    assert vm.client("token", **proxies)["value"]["life"] > 3_600
    assert list_requests(azure) == THE_TUTORIALS[:1]

    # The variables are effective: requests to ARM go to the proxy, whose port is closed, unless
    # `no_proxy` excepts ARM.
    assert vm.client("get", **proxies)["error"] == "ArmConnectionError"
    assert azure.counts.arm_requests == 0
    excepted = {name("no_proxy"): enter.ARM}
    assert vm.client("get", **proxies, **excepted)["value"] == json.loads(ANSWER)


def test_no_token_goes_to_an_arm_of_an_unknown_authority(azure: EmbeddedAzure, home: Path) -> None:
    report = Vm(home).client("get")

    assert report["error"] == "ArmConnectionError"
    assert "CERTIFICATE_VERIFY_FAILED" in report["text"]
    assert list_requests(azure) == THE_TUTORIALS[:1]


def run_enter(path: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    command: Sequence[str] = [sys.executable, "-W", "error", enter.__file__, "--collect-only"]
    return Vm(path).run(*command, environment={"PATH": str(path), **environment})


def test_missing_namespaces_are_reported_and_fail_in_ci(home: Path) -> None:
    at_home, in_ci = run_enter(home, CI=""), run_enter(home, CI="true")

    assert (at_home.returncode, at_home.stdout) == (
        0,
        "tests/vm skipped: unshare (of util-linux) is not installed\n",
    )
    assert in_ci.returncode == 1
    assert "unshare (of util-linux) is not installed" in in_ci.stdout
    assert at_home.stderr == in_ci.stderr == ""


def test_the_tests_know_when_they_are_outside(tmp_path: Path) -> None:
    other = tmp_path / "hosts"
    other.write_text("127.0.0.1 localhost\n")

    assert enter.explain_outside() is None
    assert enter.explain_outside(hosts=str(other)) == f"{other} is not the one of tests/vm"
    assert (
        enter.explain_outside(address="192.0.2.1") == "192.0.2.1 is not an address of this machine"
    )
