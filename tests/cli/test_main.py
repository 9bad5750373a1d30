"""The command line, in this process and in a separate one, against an embedded Azure."""

from __future__ import annotations

import importlib
import importlib.metadata
import io
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from importlib.machinery import ModuleSpec, SourceFileLoader
from pathlib import Path
from types import ModuleType
from typing import Any

import attrs
import pytest

import aiomsi
from aiomsi import RefreshPolicy
from aiomsi._cli import main as cli
from aiomsi.testing import DEFAULT_SUBSCRIPTION_ID, EmbeddedAzure, Fault

SUBSCRIPTION = f"/subscriptions/{DEFAULT_SUBSCRIPTION_ID}"
DEVTEST = f"{SUBSCRIPTION}/resourceGroups/DevTest"
VERSION = ("--api-version", "2021-04-01")
COMMANDS = ("demo", "token", "get", "emulator")

pytestmark = pytest.mark.usefixtures("azure_environment")


@attrs.frozen
class Said:
    """The exit code and output of a command."""

    code: int
    out: str
    err: str

    @property
    def complaint(self) -> list[str]:
        """The lines of an error; at most two, without any other output."""
        lines = self.err.splitlines()
        assert self.out == ""
        assert 1 <= len(lines) <= 2, self.err
        assert "Traceback" not in self.err
        return lines


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Callable[..., Said]:
    """Run a command line in this process."""

    def run(*arguments: str) -> Said:
        code = cli.main(arguments)
        out, err = capsys.readouterr()
        return Said(code, out, err)

    return run


def run_process(*arguments: str, **variables: str) -> Said:
    """Run a command line in a separate process."""
    done = subprocess.run(
        [sys.executable, "-m", "aiomsi", *arguments],
        env={**os.environ, **variables},
        check=False,
        capture_output=True,
        text=True,
        timeout=50,
    )
    return Said(done.returncode, done.stdout, done.stderr)


@pytest.fixture
def closed_port() -> Iterator[str]:
    """Reserve an address without listening on it, so that connections are refused."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{held.getsockname()[1]}"


# What all commands have in common


@pytest.mark.parametrize("command", COMMANDS)
def test_help_has_a_summary_an_example_and_exit_codes(
    run: Callable[..., Said], command: str
) -> None:
    said = run(command, "--help")

    assert (said.code, said.err) == (0, "")
    assert f"aiomsi {command}" in said.out.partition("Examples:")[2]
    assert "Exit codes: 0 success; 1 " in said.out


def test_without_a_command_there_is_the_list_of_commands(run: Callable[..., Said]) -> None:
    said = run()

    assert said.code == 0
    assert all(re.search(rf"^  {command} ", said.out, re.MULTILINE) for command in COMMANDS)


def test_the_version_is_the_packages_own(run: Callable[..., Said]) -> None:
    assert run("--version") == Said(0, f"aiomsi {importlib.metadata.version('aiomsi')}\n", "")


@pytest.mark.parametrize(
    ("arguments", "pointer"),
    [
        (("nonsense",), "See 'aiomsi --help'"),
        (("get",), "See 'aiomsi get --help'"),
        (("demo", "--calls", "0"), "See 'aiomsi demo --help'"),
        (("emulator", "--shell", "fish"), "See 'aiomsi emulator --help'"),
        (("token", "--frobnicate"), "See 'aiomsi token --help'"),
    ],
)
def test_wrong_usage_is_two_lines_and_exit_code_2(
    run: Callable[..., Said], arguments: tuple[str, ...], pointer: str
) -> None:
    said = run(*arguments)

    assert said.code == 2
    assert said.complaint[1] == pointer


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


def test_a_reader_that_has_gone_is_no_traceback() -> None:
    command = [sys.executable, "-m", "aiomsi", "get", DEVTEST, *VERSION]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == ""
        assert process.wait(50) == 1


# token


def test_token_prints_what_is_known_and_hides_the_secret(
    run: Callable[..., Said], embedded_azure: EmbeddedAzure
) -> None:
    secret = json.loads(run("token", "--json", "--show-token").out)["access_token"]

    said = run("token")

    assert secret.count(".") == 2
    assert (said.code, said.err) == (0, "")
    assert not any(part in said.out for part in secret.split("."))
    known = dict(re.findall(r"^(.*?): +(.*)$", said.out, re.MULTILINE))
    assert known["host"] == "IMDS"
    assert known["endpoint"].startswith(embedded_azure.imds_url)
    assert known["identity"] == "system-assigned"
    assert known["token type"] == "Bearer"
    assert known["audience"].startswith("https://management.azure.com/ ")
    assert (
        known["object id"]
        == f"{embedded_azure.identities[0].object_id} (from the token, not verified)"
    )
    assert known["app id"].startswith(embedded_azure.identities[0].client_id)
    assert 86_000 < int(known["seconds left"]) <= 86_400
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d\d:\d\d", known["expires on"])
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d\d:\d\d", known["refresh on"])


@pytest.mark.slow
def test_token_in_a_process_shows_the_secret_on_request_only(
    embedded_azure: EmbeddedAzure,
) -> None:
    embedded_azure.repeat_tokens()

    shown = run_process("token", "--show-token")
    hidden, as_json = run_process("token"), run_process("token", "--json")

    secret = re.search(r"^access token: +(\S+)$", shown.out, re.MULTILINE)
    assert secret is not None
    assert shown.code == hidden.code == as_json.code == 0
    for said in (hidden, as_json):
        assert secret[1].rpartition(".")[2] not in said.out + said.err
    assert (
        json.loads(as_json.out)["claims_not_verified"]["audience"]
        == "https://management.azure.com/"
    )


@pytest.mark.parametrize("kind", ["client_id", "object_id", "resource_id"])
def test_token_for_a_user_assigned_identity(
    run: Callable[..., Said], embedded_azure: EmbeddedAzure, kind: str
) -> None:
    identity = embedded_azure.assign_identity()
    value = getattr(identity, kind)

    said = run("token", "--json", f"--{kind.replace('_', '-')}", value)

    facts = json.loads(said.out)
    assert facts["identity"] == f"{kind} {value}"
    assert facts["claims_not_verified"]["object_id"] == identity.object_id


def test_token_of_the_only_identity_says_which_one_that_is(
    run: Callable[..., Said], embedded_azure: EmbeddedAzure
) -> None:
    for identity in embedded_azure.identities:
        embedded_azure.remove_identity(identity)
    only = embedded_azure.assign_identity()

    facts = json.loads(run("token", "--json").out)

    assert (facts["identity"], facts["client_id"]) == ("user-assigned", only.client_id)


def test_token_for_another_resource(run: Callable[..., Said]) -> None:
    said = run("token", "--json", "--resource", "https://vault.azure.net")

    assert json.loads(said.out)["claims_not_verified"]["audience"] == "https://vault.azure.net"


@pytest.mark.parametrize(
    "secret", ["opaque", "a.b.c", "x.NDI.y"], ids=["no dots", "no JSON", "no object"]
)
def test_token_that_is_no_jwt_has_no_claims(
    run: Callable[..., Said], embedded_azure: EmbeddedAzure, secret: str
) -> None:
    body = {"access_token": secret, "expires_in": "86400", "token_type": "Bearer"}
    embedded_azure.inject("imds", Fault(200, body=body), times=1)

    assert "claims:        none: the token is not a JWT" in run("token").out
    assert json.loads(run("token", "--json").out)["claims_not_verified"] is None


def test_token_of_two_identities_at_once_is_wrong_usage(
    run: Callable[..., Said], embedded_azure: EmbeddedAzure
) -> None:
    guid = "00000000-0000-0000-0000-000000000000"

    said = run("token", "--client-id", guid, "--object-id", guid)

    assert said.code == 2
    assert said.complaint == ["aiomsi: at most one of client_id, object_id may be given"]
    assert embedded_azure.counts.imds_requests == 0


def test_token_that_is_refused_says_what_to_do(run: Callable[..., Said]) -> None:
    said = run("token", "--client-id", "00000000-0000-0000-0000-000000000000")

    assert said.code == 1
    assert "400 invalid_request: Identity not found" in said.complaint[0]
    assert said.complaint[1].startswith("Assign the identity to this VM")


def test_token_without_an_imds_fails_soon_and_names_the_emulator(
    run: Callable[..., Said], monkeypatch: pytest.MonkeyPatch, closed_port: str
) -> None:
    monkeypatch.setenv("AZURE_POD_IDENTITY_AUTHORITY_HOST", closed_port)
    said = run("token")

    assert said.code == 1
    assert "no connection to IMDS" in said.complaint[0]
    assert f"({RefreshPolicy().max_attempts_unreachable} requests in" in said.complaint[0]
    assert "aiomsi emulator" in said.complaint[1]


def test_a_host_that_is_not_served_is_wrong_configuration(
    run: Callable[..., Said], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MSI_ENDPOINT", "http://127.0.0.1:1/")

    said = run("token")

    assert said.code == 2
    assert "Cloud Shell" in said.complaint[0]


# get


def test_get_prints_only_json_in_the_order_of_the_response(
    run: Callable[..., Said],
) -> None:
    said = run("get", DEVTEST, *VERSION)

    assert (said.code, said.err) == (0, "")
    assert list(json.loads(said.out)) == ["id", "name", "type", "location", "properties"]
    assert '\n  "name": "DevTest",\n' in said.out


@pytest.mark.parametrize(
    "arguments",
    [
        (f"{DEVTEST}?api-version=2021-04-01",),
        (DEVTEST, "--param", "api-version=2021-04-01"),
        (f"{DEVTEST}?API-version=2021-04-01", *VERSION),
    ],
)
def test_get_takes_the_api_version_where_it_is(
    run: Callable[..., Said], arguments: tuple[str, ...]
) -> None:
    assert json.loads(run("get", *arguments).out)["name"] == "DevTest"


def test_get_passes_parameters_on(run: Callable[..., Said], embedded_azure: EmbeddedAzure) -> None:
    embedded_azure.add_resource_groups(DEFAULT_SUBSCRIPTION_ID, 3)

    said = run(
        "get",
        f"{SUBSCRIPTION}/resourceGroups",
        *VERSION,
        "--param",
        "$top=2",
        "--param",
        "$expand=a=b c",
    )

    assert len(json.loads(said.out)["value"]) == 2
    assert (
        "%24top=2" in embedded_azure.requests[-1].path_qs
        or "$top=2" in embedded_azure.requests[-1].path_qs
    )
    assert embedded_azure.requests[-1].path_qs.endswith("a%3Db%20c")


@pytest.mark.parametrize("params", [("x",), ("=x",), ("a=1", "a=2")])
def test_get_with_a_malformed_parameter_is_wrong_usage(
    run: Callable[..., Said], params: tuple[str, ...]
) -> None:
    said = run("get", DEVTEST, *VERSION, *(part for param in params for part in ("--param", param)))

    assert said.code == 2
    assert f"--param {params[-1]!r} is not NAME=VALUE" in said.complaint[0]


def test_get_in_another_cloud_asks_for_that_clouds_audience(
    run: Callable[..., Said], embedded_azure: EmbeddedAzure
) -> None:
    said = run("get", DEVTEST, *VERSION, "--cloud", "usgov")

    assert said.code == 1
    assert "https://management.usgovcloudapi.net/" in said.complaint[0]
    assert (
        "resource=https%3A%2F%2Fmanagement.usgovcloudapi.net%2F"
        in embedded_azure.requests[-1].path_qs
    )


def test_get_without_a_role_is_a_403_that_says_what_to_grant(
    run: Callable[..., Said], embedded_azure: EmbeddedAzure
) -> None:
    who = embedded_azure.identities[0].object_id
    embedded_azure.revoke(who)

    said = run("get", DEVTEST, *VERSION)

    assert said.code == 1
    assert "returned 403 AuthorizationFailed" in said.complaint[0]
    assert f"grant Reader to the identity with object id {who}" in said.complaint[1]


def test_get_of_what_is_not_there_is_a_404(run: Callable[..., Said]) -> None:
    said = run("get", f"{SUBSCRIPTION}/resourceGroups/Nope", *VERSION)

    assert said.code == 1
    assert "returned 404 ResourceGroupNotFound" in said.complaint[0]
    assert said.complaint[1] == "Check the group's name and the subscription's id"


@pytest.mark.parametrize(
    ("arguments", "summary", "advice"),
    [
        ((DEVTEST,), "the call has no api-version", "Add --api-version 2021-04-01"),
        (("subscriptions", *VERSION), "the path must begin with a slash", "Write '/subscriptions'"),
        (
            ("https://evil.example/subscriptions", *VERSION),
            "'https://evil.example/subscriptions' is not on",
            "Tokens are sent to the chosen cloud's ARM only: pass the path, or another --cloud",
        ),
    ],
)
def test_get_that_can_not_be_sent_is_wrong_usage_and_asks_nobody(
    run: Callable[..., Said],
    embedded_azure: EmbeddedAzure,
    arguments: tuple[str, ...],
    summary: str,
    advice: str,
) -> None:
    said = run("get", *arguments)

    assert said.code == 2
    assert summary in said.complaint[0]
    assert said.complaint[1].startswith(advice)
    assert embedded_azure.requests == ()


def test_get_where_arm_does_not_answer(
    run: Callable[..., Said], monkeypatch: pytest.MonkeyPatch, closed_port: str
) -> None:
    monkeypatch.setenv("AIOMSI_RESOURCE_MANAGER", closed_port)

    said = run("get", DEVTEST, *VERSION)

    assert said.code == 1
    assert "got no answer from 127.0.0.1" in said.complaint[0]


def test_get_of_what_is_no_json_is_an_error(
    run: Callable[..., Said], embedded_azure: EmbeddedAzure
) -> None:
    embedded_azure.inject("arm", Fault.garbage())

    said = run("get", DEVTEST, *VERSION)

    assert said.code == 1
    assert "a body that is not JSON" in said.complaint[0]


def test_get_of_an_empty_answer_prints_nothing(
    run: Callable[..., Said], embedded_azure: EmbeddedAzure
) -> None:
    embedded_azure.inject("arm", Fault(204, body=""))

    assert run("get", DEVTEST, *VERSION) == Said(0, "", "")


def test_an_error_is_one_line_whatever_the_service_wrote(
    run: Callable[..., Said], embedded_azure: EmbeddedAzure
) -> None:
    message = "first\nsecond\r\n\x1b[31mthird\x07"
    embedded_azure.inject("arm", Fault(400, body={"error": {"code": "Bad", "message": message}}))

    said = run("get", DEVTEST, *VERSION)

    assert said.code == 1
    assert "returned 400 Bad: first second [31mthird" in said.complaint[0]
    assert said.err.replace("\n", "").isprintable()


def test_include_adds_status_and_headers_without_secrets(
    run: Callable[..., Said], embedded_azure: EmbeddedAzure
) -> None:
    headers = {
        "Set-Cookie": "session=hush",
        "Location": "https://arm.example/operations/1?t=2&sig=hush",
        "x-plain": "plain",
    }
    embedded_azure.inject("arm", Fault(200, headers, {"name": "x"}))

    said = run("get", DEVTEST, *VERSION, "--include")

    assert json.loads(said.out) == {"name": "x"}
    lines = said.err.splitlines()
    assert lines[0] == "HTTP 200"
    assert {
        "Set-Cookie: ***",
        "Location: https://arm.example/operations/1?***",
        "x-plain: plain",
    } <= set(lines)
    assert "hush" not in said.out + said.err
    assert "Bearer" not in said.out + said.err


def test_include_shows_the_headers_of_an_error_too(run: Callable[..., Said]) -> None:
    said = run("get", f"{SUBSCRIPTION}/resourceGroups/Nope", *VERSION, "--include")

    assert said.code == 1
    assert said.err.startswith("HTTP 404\n")
    assert "x-ms-failure-cause: gateway\n" in said.err


def test_half_a_surrogate_is_written_as_an_escape() -> None:
    assert cli._format_json({"cut": "\ud83d"}) == '{\n  "cut": "\\ud83d"\n}'


def test_get_prints_half_a_surrogate_as_an_escape(embedded_azure: EmbeddedAzure) -> None:
    embedded_azure.inject("arm", Fault(200, body='{"text": "cut \\ud83d", "name": "Jürgen"}'))

    done = subprocess.run(
        [sys.executable, "-m", "aiomsi", "get", SUBSCRIPTION, *VERSION],
        env={**os.environ, "PYTHONIOENCODING": "utf-8"},
        check=False,
        capture_output=True,
        timeout=50,
    )

    assert json.loads(done.stdout) == {"text": "cut \ud83d", "name": "Jürgen"}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("encoding", "expected"), [("utf-8", '"Jürgen"'), ("ascii", '"J\\u00fcrgen"')]
)
def test_get_prints_json_that_stdout_can_take(
    embedded_azure: EmbeddedAzure, encoding: str, expected: str
) -> None:
    embedded_azure.add_resource_groups(
        DEFAULT_SUBSCRIPTION_ID, ["tagged"], tags={"owner": "Jürgen"}
    )

    done = subprocess.run(
        [sys.executable, "-m", "aiomsi", "get", f"{SUBSCRIPTION}/resourceGroups/tagged", *VERSION],
        env={**os.environ, "PYTHONIOENCODING": encoding},
        check=False,
        capture_output=True,
        timeout=50,
    )

    assert expected in done.stdout.decode(encoding)
    assert json.loads(done.stdout)["tags"] == {"owner": "Jürgen"}


# emulator


def kill(number: signal.Signals) -> None:
    """Send a signal to this process's main thread, from another thread."""
    main_thread = threading.main_thread().ident
    if sys.platform == "win32" or main_thread is None:
        signal.raise_signal(number)
    else:
        signal.pthread_kill(main_thread, number)


class Watched(io.StringIO):
    """An output that calls a function once, when a text has been written to it."""

    def __init__(self, text: str = "", callback: Callable[[], object] = lambda: None) -> None:
        super().__init__()
        self.text, self.callback = text, callback

    def write(self, text: str, /) -> int:
        written = super().write(text)
        if self.text and self.text in self.getvalue():
            self.text = ""
            self.callback()
        return written


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
        "ARM requests: 1 (0 answers 401, 0 answers 403)\n"
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
        cli.assignment_writer(None, platform)(name, "x").startswith(beginning)
        for name in ("A", "B")
    )


def test_emulator_options_reach_the_embedded_azure(monkeypatch: pytest.MonkeyPatch) -> None:
    created: list[dict[str, Any]] = []

    class RecordingAzure(EmbeddedAzure):
        def __init__(self, **options: Any) -> None:
            created.append(options)
            super().__init__(**options)

    monkeypatch.setattr(cli, "EmbeddedAzure", RecordingAzure)

    said, _ = run_emulator(monkeypatch, "--latency", "300", "--no-imds-limits", "--shell", "sh")

    assert said.code == 0
    latencies = created[0]["imds_latency"], created[0]["arm_latency"]
    assert latencies == (0.3, 0.3)
    assert created[0]["imds_limits"] is None


def test_a_port_that_is_taken_is_wrong_configuration(
    run: Callable[..., Said], embedded_azure: EmbeddedAzure
) -> None:
    said = run("emulator", "--arm-port", embedded_azure.arm_url.rpartition(":")[2])

    assert said.code == 2
    assert "in use" in said.complaint[0] or "address" in said.complaint[0]
    assert said.complaint[1].startswith("Choose another --imds-port or --arm-port")


def test_what_the_embedded_azure_lacks_is_named(
    run: Callable[..., Said], monkeypatch: pytest.MonkeyPatch
) -> None:
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


# Ctrl-C elsewhere


def test_an_interrupt_while_waiting_for_a_token_is_exit_code_130(
    run: Callable[..., Said], embedded_azure: EmbeddedAzure
) -> None:
    with embedded_azure.hold("imds") as hold:

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
