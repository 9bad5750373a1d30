"""`aiomsi get`, `list`, `query` and `request`, against an embedded Azure."""

from __future__ import annotations

import io
import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import AsyncGenerator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from command_line import DEVTEST, SUBSCRIPTION, VERSION, Run, Said, Watched, kill

from aiomsi._cli import main as cli
from aiomsi._cli import options
from aiomsi.testing import DEFAULT_SUBSCRIPTION_ID, EmbeddedAzure, Fault, ManualClock

pytestmark = pytest.mark.usefixtures("azure_environment")


# get


def test_get_prints_only_json_in_the_order_of_the_response(
    run: Run,
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
def test_get_takes_the_api_version_where_it_is(run: Run, arguments: tuple[str, ...]) -> None:
    assert json.loads(run("get", *arguments).out)["name"] == "DevTest"


def test_get_passes_parameters_on(run: Run, embedded_azure: EmbeddedAzure) -> None:
    embedded_azure.arm.add_resource_groups(DEFAULT_SUBSCRIPTION_ID, 3)

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
def test_get_with_a_malformed_parameter_is_wrong_usage(run: Run, params: tuple[str, ...]) -> None:
    said = run("get", DEVTEST, *VERSION, *(part for param in params for part in ("--param", param)))

    assert said.code == 2
    assert f"--param {params[-1].partition('=')[0]!r} is not NAME=VALUE" in said.complaint[0]


def test_get_in_another_cloud_asks_for_that_clouds_audience(
    run: Run, embedded_azure: EmbeddedAzure
) -> None:
    said = run("get", DEVTEST, *VERSION, "--cloud", "usgov")

    assert said.code == 1
    assert "https://management.usgovcloudapi.net/" in said.complaint[0]
    assert (
        "resource=https%3A%2F%2Fmanagement.usgovcloudapi.net%2F"
        in embedded_azure.requests[-1].path_qs
    )


def test_get_without_a_role_is_a_403_that_says_what_to_grant(
    run: Run, embedded_azure: EmbeddedAzure
) -> None:
    who = embedded_azure.imds.identities[0].object_id
    embedded_azure.arm.revoke(who)

    said = run("get", DEVTEST, *VERSION)

    assert said.code == 1
    assert "returned 403 AuthorizationFailed" in said.complaint[0]
    assert f"grant Reader to the identity with object id {who}" in said.complaint[1]


def test_pause_of_a_limit_is_logged_without_names_of_python(
    run: Run, embedded_azure: EmbeddedAzure
) -> None:
    embedded_azure.arm.inject(Fault(429, {"Retry-After": "3000"}), times=1)

    said = run("get", DEVTEST, *VERSION, "--timeout", "60")

    assert said.code == 1
    logged, failed, _ = said.err.splitlines()
    assert re.fullmatch(r"aiomsi: ARM's limit .* its requests wait for 30\d\d s", logged)
    assert "returned 429" in failed


def test_get_of_what_is_not_there_is_a_404(run: Run) -> None:
    said = run("get", f"{SUBSCRIPTION}/resourceGroups/Nope", *VERSION)

    assert said.code == 1
    assert "returned 404 ResourceGroupNotFound" in said.complaint[0]
    assert said.complaint[1] == "Check the group's name and the subscription's id"


@pytest.mark.parametrize(
    ("arguments", "summary", "advice"),
    [
        (("/",), "no resource type can be read from '/'", "Pass --api-version"),
        (("subscriptions", *VERSION), "the path must begin with a slash", "Write '/subscriptions'"),
        (
            ("https://evil.example/subscriptions", *VERSION),
            "'https://evil.example/subscriptions' is not on",
            "Tokens are sent to the chosen cloud's ARM only: pass the path, or --cloud",
        ),
    ],
)
def test_get_that_can_not_be_sent_is_wrong_usage_and_asks_nobody(
    run: Run,
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


ELSEWHERE = "https://evil.example/x"


@pytest.mark.parametrize(
    ("arguments", "fault", "advice"),
    [
        (
            ("list", f"{SUBSCRIPTION}/resourceGroups"),
            Fault(200, body={"value": [], "nextLink": ELSEWHERE}),
            "The link was not followed, because tokens are sent to the cloud's ARM only",
        ),
        (
            ("request", "DELETE", DEVTEST),
            Fault(202, {"Location": ELSEWHERE}, body=""),
            "The URL is not on the cloud's ARM, and tokens are sent to that only",
        ),
    ],
)
def test_link_of_the_service_elsewhere_is_no_wrong_usage(
    run: Run, embedded_azure: EmbeddedAzure, arguments: tuple[str, ...], fault: Fault, advice: str
) -> None:
    embedded_azure.arm.inject(fault, times=1)

    said = run(*arguments, *VERSION)

    assert said.code == 1
    assert ELSEWHERE in said.complaint[0]
    assert said.complaint[1].startswith(advice)


def test_get_where_arm_does_not_answer(
    run: Run, monkeypatch: pytest.MonkeyPatch, closed_port: str
) -> None:
    monkeypatch.setenv("AIOMSI_RESOURCE_MANAGER", closed_port)

    said = run("get", DEVTEST, *VERSION, "--timeout", "0.5")

    assert said.code == 1
    assert "got no answer from 127.0.0.1" in said.complaint[0]


def test_get_is_repeated_by_the_retry_rule(run: Run, embedded_azure: EmbeddedAzure) -> None:
    embedded_azure.arm.inject(Fault(503, {"Retry-After": "0"}))

    said = run("get", DEVTEST, *VERSION)

    assert said.code == 0
    assert json.loads(said.out)["name"] == "DevTest"
    assert sum("DevTest" in each.path_qs for each in embedded_azure.requests) == 2


def test_get_of_what_is_no_json_is_an_error(run: Run, embedded_azure: EmbeddedAzure) -> None:
    embedded_azure.arm.inject(Fault.garbage())

    said = run("get", DEVTEST, *VERSION)

    assert said.code == 1
    assert "a body that is not JSON" in said.complaint[0]


def test_get_of_an_empty_answer_prints_nothing(run: Run, embedded_azure: EmbeddedAzure) -> None:
    embedded_azure.arm.inject(Fault(204, body=""))

    assert run("get", DEVTEST, *VERSION) == Said(0, "", "")


def test_an_error_is_one_line_whatever_the_service_wrote(
    run: Run, embedded_azure: EmbeddedAzure
) -> None:
    message = "first\nsecond\r\n\x1b[31mthird\x07"
    embedded_azure.arm.inject(Fault(400, body={"error": {"code": "Bad", "message": message}}))

    said = run("get", DEVTEST, *VERSION)

    assert said.code == 1
    assert "returned 400 Bad: first second [31mthird" in said.complaint[0]
    assert said.err.replace("\n", "").isprintable()


def test_include_adds_status_and_headers_without_secrets(
    run: Run, embedded_azure: EmbeddedAzure
) -> None:
    headers = {
        "Set-Cookie": "session=hush",
        "Location": "https://arm.example/operations/1?t=2&sig=hush",
        "x-plain": "plain",
    }
    embedded_azure.arm.inject(Fault(200, headers, {"name": "x"}))

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


def test_include_shows_the_headers_of_an_error_too(run: Run) -> None:
    said = run("get", f"{SUBSCRIPTION}/resourceGroups/Nope", *VERSION, "--include")

    assert said.code == 1
    assert said.err.startswith("HTTP 404\n")
    assert "x-ms-failure-cause: gateway\n" in said.err


@pytest.mark.slow
def test_get_prints_half_a_surrogate_as_an_escape(embedded_azure: EmbeddedAzure) -> None:
    embedded_azure.arm.inject(Fault(200, body='{"text": "cut \\ud83d", "name": "Jürgen"}'))

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
    embedded_azure.arm.add_resource_groups(
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


def test_get_without_an_api_version_looks_it_up(run: Run, embedded_azure: EmbeddedAzure) -> None:
    said = run("get", DEVTEST)

    version = re.fullmatch(
        r"aiomsi: api-version (\d{4}-\d\d-\d\d) was looked up for "
        r"Microsoft.Resources/subscriptions/resourceGroups\n",
        said.err,
    )
    assert version is not None
    assert json.loads(said.out)["name"] == "DevTest"
    assert embedded_azure.requests[-1].path_qs.endswith(f"?api-version={version[1]}")


def test_get_that_fails_reports_the_api_version_too(run: Run) -> None:
    said = run("get", f"{SUBSCRIPTION}/resourceGroups/Nope")

    looked_up, error, _ = said.err.splitlines()
    assert "was looked up for" in looked_up
    assert "returned 404 ResourceGroupNotFound" in error


def test_get_whose_look_up_fails_reports_no_version(
    run: Run, embedded_azure: EmbeddedAzure
) -> None:
    embedded_azure.arm.inject(Fault(403), path="/providers/")

    said = run("get", DEVTEST)

    assert said.code == 1
    assert "returned 403" in said.complaint[0]


def test_details_of_an_error_are_its_second_line(run: Run, embedded_azure: EmbeddedAzure) -> None:
    details = [
        {"code": "Inner", "message": "first", "details": [{"message": "deep"}]},
        {"code": "Same", "message": "outer text"},
    ]
    error = {"code": "Bad", "message": "outer text", "details": details}
    embedded_azure.arm.inject(Fault(400, body={"error": error}))

    assert run("get", DEVTEST, *VERSION).complaint[1] == "Inner: first. deep"


# list and query


def test_list_prints_a_line_of_json_for_each_item(run: Run, embedded_azure: EmbeddedAzure) -> None:
    names = embedded_azure.arm.add_resource_groups(DEFAULT_SUBSCRIPTION_ID, 3)

    said = run("list", f"{SUBSCRIPTION}/resourceGroups", *VERSION, "--param", "$top=2")

    assert (said.code, said.err) == (0, "")
    assert [json.loads(line)["name"] for line in said.out.splitlines()] == ["DevTest", *names]
    assert sum("resourceGroups" in each.path_qs for each in embedded_azure.requests) == 2


def test_list_writes_a_page_before_the_last_one_arrives(
    embedded_azure: EmbeddedAzure, monkeypatch: pytest.MonkeyPatch
) -> None:
    embedded_azure.arm.add_resource_groups(DEFAULT_SUBSCRIPTION_ID, 9)
    requests_at_first_line: list[int] = []
    out = Watched("DevTest", lambda: requests_at_first_line.append(len(embedded_azure.requests)))
    path = f"{SUBSCRIPTION}/resourceGroups"
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", out)
        assert cli.main(["list", path, *VERSION, "--param", "$top=1"]) == 0

    assert len(out.getvalue().splitlines()) == 10
    assert requests_at_first_line[0] < 5


def test_list_without_an_api_version_looks_it_up_once(
    run: Run, embedded_azure: EmbeddedAzure
) -> None:
    embedded_azure.arm.add_resource_groups(DEFAULT_SUBSCRIPTION_ID, 3)

    said = run("list", f"{SUBSCRIPTION}/resourceGroups", "--param", "$top=2")

    assert len(said.out.splitlines()) == 4
    assert len(said.err.splitlines()) == 1
    assert "was looked up for Microsoft.Resources/subscriptions/resourceGroups" in said.err


def test_list_that_fails_later_says_that_it_is_incomplete(
    run: Run, embedded_azure: EmbeddedAzure
) -> None:
    embedded_azure.arm.add_resource_groups(DEFAULT_SUBSCRIPTION_ID, 3)
    embedded_azure.arm.inject(Fault(403), path="skiptoken", times=None)

    said = run("list", f"{SUBSCRIPTION}/resourceGroups", *VERSION, "--param", "$top=2")

    assert said.code == 1
    assert len(said.out.splitlines()) == 2
    assert said.err.splitlines()[1].startswith("The list is incomplete: it failed after 2 items")


def test_table_that_fails_later_has_the_rows_before(
    run: Run, embedded_azure: EmbeddedAzure
) -> None:
    embedded_azure.arm.add_resource_groups(DEFAULT_SUBSCRIPTION_ID, ["one", "two"])
    embedded_azure.arm.inject(Fault(403), path="skiptoken", times=None)

    said = run("list", f"{SUBSCRIPTION}/resourceGroups", *VERSION, "--param", "$top=2", "--table")

    assert said.code == 1
    assert [line.split()[0] for line in said.out.splitlines()[2:]] == ["DevTest", "one"]
    assert "The list is incomplete: it failed after 2 items" in said.err


def test_table_that_fails_at_once_has_no_rows(run: Run, embedded_azure: EmbeddedAzure) -> None:
    embedded_azure.arm.inject(Fault(403), times=None)

    said = run("list", f"{SUBSCRIPTION}/resourceGroups", *VERSION, "--table")

    assert (said.code, said.out) == (1, "")


def test_list_of_a_single_resource_names_the_other_command(run: Run) -> None:
    said = run("list", DEVTEST, *VERSION)

    assert said.code == 1
    assert said.complaint[1].endswith("use 'aiomsi get' for that")


def test_list_as_a_table_has_a_row_for_each_item(run: Run, embedded_azure: EmbeddedAzure) -> None:
    embedded_azure.arm.add_resource_groups(DEFAULT_SUBSCRIPTION_ID, ["one", "two"])

    said = run("list", f"{SUBSCRIPTION}/resourceGroups", *VERSION, "--table")

    heading, _, *rows = said.out.splitlines()
    assert heading.split() == ["name", "type", "location", "provisioningState"]
    assert [row.split()[0] for row in rows] == ["DevTest", "one", "two"]
    assert said.err == "aiomsi: 3 rows; columns left out: id\n"


@pytest.fixture
def vaults(embedded_azure: EmbeddedAzure) -> list[str]:
    """Create two vaults, and return their names."""
    names = ["one", "two"]
    for name in names:
        embedded_azure.arm.add_resource(f"{DEVTEST}/providers/Microsoft.KeyVault/vaults/{name}", {})
    return names


QUERY = "Resources | project name, location"


def test_query_prints_a_line_of_json_for_each_row(run: Run, vaults: list[str]) -> None:
    said = run("query", QUERY, "--subscription", DEFAULT_SUBSCRIPTION_ID)

    assert (said.code, said.err) == (0, "")
    assert [json.loads(line)["name"] for line in said.out.splitlines()] == vaults


def test_query_as_a_table_shows_the_chosen_columns(run: Run, vaults: list[str]) -> None:
    said = run("query", QUERY, "--table")

    heading, _, *rows = said.out.splitlines()
    assert heading.split() == ["name", "location"]
    assert [row.split()[0] for row in rows] == vaults


@pytest.mark.parametrize(
    ("option", "subscriptions", "groups"),
    [("--subscription", ("a", "b"), None), ("--management-group", None, ("a", "b"))],
)
def test_query_passes_the_scopes_on(
    run: Run,
    monkeypatch: pytest.MonkeyPatch,
    option: str,
    subscriptions: tuple[str, ...] | None,
    groups: tuple[str, ...] | None,
) -> None:
    scopes: list[tuple[object, object]] = []

    class RecordingSession(options.CommandSession):
        def query(self, kql: str, **arguments: Any) -> AsyncGenerator[Any, None]:
            scopes.append((arguments["subscriptions"], arguments["management_groups"]))
            return super().query(kql, **arguments)

    monkeypatch.setattr(options, "CommandSession", RecordingSession)

    run("query", QUERY, option, "a", option, "b")

    assert scopes == [(subscriptions, groups)]


def test_query_of_both_kinds_of_scope_is_wrong_usage(
    run: Run, embedded_azure: EmbeddedAzure
) -> None:
    said = run("query", QUERY, "--subscription", "x", "--management-group", "y")

    assert said.code == 2
    assert "exclude each other" in said.complaint[0]
    assert embedded_azure.requests == ()


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_query_is_read_from_a_file(
    run: Run, vaults: list[str], tmp_path: Path, encoding: str
) -> None:
    file = tmp_path / "query.kql"
    file.write_text(QUERY, encoding=encoding)

    assert len(run("query", f"@{file}").out.splitlines()) == 2


def test_query_in_another_encoding_is_wrong_usage(
    run: Run, embedded_azure: EmbeddedAzure, tmp_path: Path
) -> None:
    file = tmp_path / "query.kql"
    file.write_text("Resources | where name == 'Jürgen'", encoding="latin-1")

    said = run("query", f"@{file}")

    assert said.code == 2
    assert said.complaint[0].startswith("aiomsi: KQL is not text in UTF-8: ")
    assert embedded_azure.requests == ()


# request


NETWORK = f"{DEVTEST}/providers/Microsoft.Network/virtualNetworks/net"
LOCATION = '{"location": "westus"}'


@pytest.fixture
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let sessions sleep on a clock that jumps."""
    clock = ManualClock(autoadvance=True).clock
    monkeypatch.setattr(options, "CommandSession", partial(options.CommandSession, clock=clock))


@pytest.mark.usefixtures("_no_pauses")
def test_request_reports_the_progress_of_an_operation(
    run: Run, embedded_azure: EmbeddedAzure
) -> None:
    kind = "Microsoft.Network/virtualNetworks"
    embedded_azure.arm.long_running(kind, "azure-async-operation", polls=3)

    said = run("request", "put", NETWORK, "--body", LOCATION)

    assert said.code == 0
    assert json.loads(said.out)["name"] == "net"
    looked_up, *progress = said.err.splitlines()
    assert f"was looked up for {kind}" in looked_up
    assert len(progress) >= 3
    assert all(re.fullmatch(r"[A-Za-z]+(, \d+ %)?, after \d+ s", line) for line in progress)
    assert re.search(r"^\w+, \d+ %", progress[1])
    assert progress[-1].startswith("Succeeded, 100 %, ")


@pytest.mark.usefixtures("_no_pauses")
def test_request_whose_operation_fails_is_an_error(run: Run, embedded_azure: EmbeddedAzure) -> None:
    kind = "Microsoft.Network/virtualNetworks"
    error = {"code": "SubnetInUse", "message": "The subnet is in use"}
    embedded_azure.arm.long_running(kind, "both", outcome="Failed", error=error)

    said = run("request", "PUT", NETWORK, "--body", LOCATION)

    assert (said.code, said.out) == (1, "")
    assert "SubnetInUse: The subnet is in use" in said.err


def test_request_that_is_done_at_once_shows_no_progress(run: Run) -> None:
    said = run("request", "PATCH", DEVTEST, *VERSION, "--body", '{"tags": {"a": "b"}}')

    assert (said.code, said.err) == (0, "")
    assert json.loads(said.out)["tags"] == {"a": "b"}


def test_request_without_a_result_prints_nothing(run: Run, embedded_azure: EmbeddedAzure) -> None:
    embedded_azure.arm.long_running("Microsoft.KeyVault/vaults", None, methods=("DELETE",))
    vault = f"{DEVTEST}/providers/Microsoft.KeyVault/vaults/kv"
    embedded_azure.arm.add_resource(vault, {})

    assert run("request", "DELETE", vault, "--api-version", "2023-07-01") == Said(0, "", "")


@pytest.mark.usefixtures("_no_pauses")
def test_request_that_runs_out_of_time_says_that_it_continues(
    run: Run, embedded_azure: EmbeddedAzure
) -> None:
    embedded_azure.arm.long_running(
        "Microsoft.Network/virtualNetworks", "location", polls=None, retry_after=600
    )

    said = run("request", "PUT", NETWORK, "--body", LOCATION, "--timeout", "60")

    assert said.code == 1
    *_, error, advice = said.err.splitlines()
    assert error == "aiomsi: the operation was not over in time: InProgress"
    assert advice == "It continues; read the resource to see its end"


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGUSR1")
def test_interrupted_request_says_that_it_may_be_carried_out(
    run: Run, embedded_azure: EmbeddedAzure
) -> None:
    over = threading.Event()
    with embedded_azure.arm.hold() as hold:

        def interrupt() -> None:
            hold.wait_arrived()
            kill(signal.SIGINT)
            # A signal that arrives just before the event loop waits is handled after that wait
            # only, so that another one has to end it.
            while not over.wait(0.1):
                kill(signal.SIGUSR1)

        before = signal.signal(signal.SIGUSR1, lambda *_: None)
        thread = threading.Thread(target=interrupt)
        thread.start()
        said = run("request", "PUT", NETWORK, "--body", LOCATION, "--api-version", "2024-05-01")
        over.set()
        thread.join()
        signal.signal(signal.SIGUSR1, before)

    assert said.code == 130
    assert [line for line in said.err.splitlines() if line] == [
        f"aiomsi: PUT {NETWORK} may be carried out: read the resource",
        "aiomsi: interrupted",
    ]


def test_interrupted_operation_is_said_to_continue(
    embedded_azure: EmbeddedAzure, monkeypatch: pytest.MonkeyPatch
) -> None:
    kind = "Microsoft.Network/virtualNetworks"
    embedded_azure.arm.long_running(kind, "azure-async-operation", polls=None, retry_after=600)
    err = Watched("after 0 s", partial(signal.raise_signal, signal.SIGINT))
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stderr", err)
        code = cli.main(["request", "PUT", NETWORK, "--body", LOCATION])

    assert code == 130
    *_, doubt, end = (line for line in err.getvalue().splitlines() if line)
    assert doubt == "aiomsi: the operation continues: read the resource to see its end"
    assert end == "aiomsi: interrupted"


def test_request_sends_headers_and_parameters(run: Run, embedded_azure: EmbeddedAzure) -> None:
    said = run(
        "request",
        "PATCH",
        f"{DEVTEST}",
        *VERSION,
        "--body",
        '{"tags": {}}',
        "--header",
        "If-Match: *",
        "--header",
        "x-mine:  a: b ",
        "--param",
        "a=b",
    )

    assert said.code == 0
    sent = embedded_azure.requests[-1]
    assert (sent.headers["If-Match"], sent.headers["x-mine"]) == ("*", "a: b")
    assert sent.headers["Content-Type"] == "application/json"
    assert sent.path_qs.endswith("&a=b")


@pytest.mark.parametrize("headers", [("x",), (":x",), ("A: secret", "a: secret")])
def test_request_with_a_malformed_header_is_wrong_usage(
    run: Run, embedded_azure: EmbeddedAzure, headers: tuple[str, ...]
) -> None:
    options = (part for header in headers for part in ("--header", header))
    said = run("request", "PUT", DEVTEST, "--body", LOCATION, *options)

    assert said.code == 2
    assert "is not NAME:VALUE" in said.complaint[0]
    assert "secret" not in said.err
    assert embedded_azure.requests == ()


def test_request_body_comes_from_a_file_in_any_encoding(
    run: Run, embedded_azure: EmbeddedAzure, tmp_path: Path
) -> None:
    file = tmp_path / "body.json"
    file.write_text('{"tags": {"owner": "Jürgen"}}', encoding="utf-16")

    said = run("request", "PATCH", DEVTEST, *VERSION, "--body", f"@{file}")

    assert json.loads(said.out)["tags"] == {"owner": "Jürgen"}


def test_request_body_comes_from_stdin(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    stdin = io.TextIOWrapper(io.BytesIO(b'{"tags": {"a": "b"}}'), encoding="utf-8")
    monkeypatch.setattr(sys, "stdin", stdin)

    said = run("request", "PATCH", DEVTEST, *VERSION, "--body", "-")

    assert json.loads(said.out)["tags"] == {"a": "b"}


def test_closed_stdin_is_wrong_usage(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", None)

    said = run("query", "-")

    assert said.code == 2
    assert said.complaint[0] == "aiomsi: KQL is '-', but stdin is closed"


def test_request_body_with_a_type_of_its_own_is_not_changed(
    run: Run, embedded_azure: EmbeddedAzure
) -> None:
    embedded_azure.arm.inject(Fault(200, body={"name": "x"}))

    said = run(
        "request", "PUT", DEVTEST, *VERSION, "--body", "<a>", "--header", "content-type: text/xml"
    )

    assert said.code == 0
    sent = embedded_azure.requests[-1].headers
    assert (sent["Content-Type"], sent["Content-Length"]) == ("text/xml", "3")


@pytest.mark.parametrize(
    ("body", "summary"),
    [("{", "--body is not JSON: "), ("@nowhere/body.json", "the file in --body can't be read: ")],
)
def test_request_with_an_unreadable_body_is_wrong_usage(
    run: Run, embedded_azure: EmbeddedAzure, body: str, summary: str
) -> None:
    said = run("request", "PUT", DEVTEST, "--body", body)

    assert said.code == 2
    assert said.complaint[0].startswith(f"aiomsi: {summary}")
    assert len(said.complaint) == 2
    assert embedded_azure.requests == ()


def test_request_that_reads_prints_json(run: Run) -> None:
    assert json.loads(run("request", "get", DEVTEST, *VERSION).out)["name"] == "DevTest"


def test_request_that_reads_prints_other_bodies_unchanged(
    run: Run, embedded_azure: EmbeddedAzure
) -> None:
    embedded_azure.arm.inject(Fault(200, body="a,b\n1,2\n"))

    assert run("request", "GET", DEVTEST, *VERSION) == Said(0, "a,b\n1,2\n", "")


def test_request_of_head_prints_nothing(run: Run) -> None:
    assert run("request", "HEAD", DEVTEST, *VERSION) == Said(0, "", "")
    assert run("request", "HEAD", f"{DEVTEST}2", *VERSION).code == 1


@pytest.mark.parametrize("seconds", ["0", "-1", "soon"])
def test_timeout_that_is_no_duration_is_wrong_usage(run: Run, seconds: str) -> None:
    assert run("get", DEVTEST, "--timeout", seconds).complaint[1] == "See 'aiomsi get --help'"


def test_timeout_ends_a_call(run: Run, embedded_azure: EmbeddedAzure) -> None:
    with embedded_azure.arm.hold():
        said = run("get", DEVTEST, *VERSION, "--timeout", "0.05")

    assert said.code == 1
    assert len(said.complaint) == 2
