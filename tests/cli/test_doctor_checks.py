"""The checks of `aiomsi doctor`, as functions of values."""

from __future__ import annotations

import base64
import io
import json
from typing import Any

import pytest
from rich.console import Console

from aiomsi import AiomsiError, ArmConnectionError, ConfigurationError, TokenUnavailableError
from aiomsi._cli.doctor.arm import ArmAnswer, check_arm, check_clock
from aiomsi._cli.doctor.check import FAILED, OK, SKIPPED, WARNING, Check, get_exit_code
from aiomsi._cli.doctor.environment import check_host, check_proxy, check_variables
from aiomsi._cli.doctor.report import print_checks
from aiomsi._cli.doctor.token_checks import (
    check_endpoint,
    check_identity,
    check_lifetime,
    read_issued,
)
from aiomsi._hosts.identity import SYSTEM_ASSIGNED, RequestedIdentity
from aiomsi._hosts.imds import Imds

GUID = "00000000-0000-0000-0000-000000000007"
USER_ASSIGNED = (
    "/subscriptions/s/resourcegroups/g/providers/Microsoft.ManagedIdentity/userAssignedIdentities/i"
)
IMDS = Imds(chosen_by="host='imds'")
ENDPOINT = "http://169.254.169.254/metadata/identity/oauth2/token"


def make_token(**claims: object) -> str:
    payload = base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("=")
    return f"e30.{payload}.c2lnbmF0dXJl"


def make_connection_error(**more: Any) -> ArmConnectionError:
    return ArmConnectionError(
        "no connection",
        help="Pass ssl= with its authority; pass ssl= with its authority",
        method="GET",
        url="https://management.azure.com/subscriptions",
        client_request_id="id",
        attempts=1,
        elapsed=0.1,
        **more,
    )


# The environment


def test_host_is_named_in_the_words_of_the_command_line() -> None:
    check = check_host(IMDS)
    assert (check.state, check.text) == (OK, "IMDS: --host imds")
    assert check.facts == {"kind": "IMDS", "endpoint": ENDPOINT}


def test_host_that_can_not_be_detected_has_failed() -> None:
    check = check_host(ConfigurationError("no kind fits", help="or name it with host="))
    assert (check.state, check.text, check.help) == (
        FAILED,
        "no kind fits",
        "or name it with --host",
    )


@pytest.mark.parametrize(
    ("environment", "text"),
    [
        ({"IDENTITY_HEADER": "x"}, "IDENTITY_HEADER is set without IDENTITY_ENDPOINT"),
        (
            {"IDENTITY_SERVER_THUMBPRINT": "x"},
            "IDENTITY_SERVER_THUMBPRINT is set without IDENTITY_ENDPOINT and IDENTITY_HEADER",
        ),
        ({"IMDS_ENDPOINT": "x"}, "IMDS_ENDPOINT is set without IDENTITY_ENDPOINT"),
        ({"MSI_SECRET": "x"}, "MSI_SECRET is set without MSI_ENDPOINT"),
        (
            {"DEFAULT_IDENTITY_CLIENT_ID": "x", "MSI_ENDPOINT": "y"},
            "DEFAULT_IDENTITY_CLIENT_ID is set without MSI_SECRET",
        ),
        (
            {"AZURE_FEDERATED_TOKEN_FILE": "x", "AZURE_TENANT_ID": "y"},
            "AZURE_FEDERATED_TOKEN_FILE is set without AZURE_AUTHORITY_HOST",
        ),
    ],
)
def test_variable_without_its_partner_is_a_warning(environment: dict[str, str], text: str) -> None:
    check = check_variables(environment, SYSTEM_ASSIGNED, "IMDS")
    assert (check.state, check.text) == (WARNING, f"{text}, so it has no effect")


@pytest.mark.parametrize(
    ("environment", "identity", "kind", "state"),
    [
        ({"AZURE_CLIENT_ID": GUID}, SYSTEM_ASSIGNED, "IMDS", WARNING),
        ({"AZURE_CLIENT_ID": ""}, SYSTEM_ASSIGNED, "IMDS", OK),
        ({"AZURE_CLIENT_ID": GUID}, RequestedIdentity("client_id", GUID), "IMDS", OK),
        ({"AZURE_CLIENT_ID": GUID}, SYSTEM_ASSIGNED, "workload identity", OK),
        ({"IDENTITY_ENDPOINT": "x", "IDENTITY_HEADER": "y"}, SYSTEM_ASSIGNED, "App Service", OK),
    ],
)
def test_client_id_of_other_clients_is_a_warning_unless_used(
    environment: dict[str, str], identity: RequestedIdentity, kind: str, state: str
) -> None:
    assert check_variables(environment, identity, kind).state == state


@pytest.mark.parametrize(
    ("environment", "endpoint", "state"),
    [
        ({}, ENDPOINT, OK),
        ({"HTTPS_PROXY": "http://p"}, ENDPOINT, OK),
        ({"HTTP_PROXY": ""}, ENDPOINT, OK),
        ({"HTTP_PROXY": "http://p"}, ENDPOINT, WARNING),
        ({"http_proxy": "http://p"}, ENDPOINT, WARNING),
        ({"ALL_PROXY": "socks5://p"}, ENDPOINT, WARNING),
        ({"HTTPS_PROXY": "http://p"}, "https://localhost:2377/x", WARNING),
        ({"HTTP_PROXY": "http://p", "NO_PROXY": "a, 169.254.169.254"}, ENDPOINT, OK),
        ({"HTTP_PROXY": "http://p", "no_proxy": "*"}, ENDPOINT, OK),
        ({"HTTP_PROXY": "http://p", "NO_PROXY": "example.com"}, ENDPOINT, WARNING),
    ],
)
def test_proxy_for_the_endpoint_is_a_warning(
    environment: dict[str, str], endpoint: str, state: str
) -> None:
    assert check_proxy(environment, endpoint).state == state


def test_password_of_a_proxy_is_not_shown() -> None:
    check = check_proxy({"HTTP_PROXY": "http://user:hunter22@proxy:3128"}, ENDPOINT)
    assert "hunter22" not in repr(check)
    assert "http://***@proxy:3128" in check.text


# The token


def test_endpoint_without_a_response_has_failed() -> None:
    error = TokenUnavailableError("no response in time", attempts=1)
    assert check_endpoint(IMDS, error).state == FAILED


@pytest.mark.parametrize(
    ("claims", "named", "host", "state"),
    [
        ({"appid": GUID, "xms_mirid": USER_ASSIGNED}, SYSTEM_ASSIGNED, "IMDS", WARNING),
        (
            {"appid": GUID, "xms_mirid": USER_ASSIGNED},
            RequestedIdentity("client_id", GUID),
            "IMDS",
            OK,
        ),
        ({"appid": GUID, "xms_mirid": USER_ASSIGNED}, SYSTEM_ASSIGNED, "", OK),
        ({"appid": GUID, "xms_mirid": "/subscriptions/s/vm"}, SYSTEM_ASSIGNED, "IMDS", OK),
        ({"azp": GUID}, SYSTEM_ASSIGNED, "IMDS", OK),
        ({"ver": "1.0"}, SYSTEM_ASSIGNED, "IMDS", OK),
        ({}, SYSTEM_ASSIGNED, "IMDS", SKIPPED),
    ],
)
def test_identity_is_a_warning_if_only_chance_names_it(
    claims: dict[str, object], named: RequestedIdentity, host: str, state: str
) -> None:
    check = check_identity(make_token(**claims), named, host)
    assert check.state == state
    assert "c2lnbmF0dXJl" not in repr(check)


@pytest.mark.parametrize(
    ("seconds", "state", "text"),
    [
        (86_399, OK, "23 h 59 min"),
        (3_599, OK, "59 min"),
        (599, WARNING, "9 min"),
        (59, WARNING, "59 s"),
        (-5, WARNING, "-5 s"),
    ],
)
def test_short_life_is_a_warning(seconds: int, state: str, text: str) -> None:
    check = check_lifetime(1_000_000 + seconds, 1_000_000.5)
    assert check.state == state
    assert check_lifetime(1_000_000 + seconds, 1_000_000).text == f"the token expires in {text}"


@pytest.mark.parametrize(
    ("claims", "issued"),
    [({"nbf": 5, "iat": "7"}, 7), ({"nbf": 5}, 5), ({"nbf": True}, None), ({}, None)],
)
def test_start_of_validity_is_the_later_claim(
    claims: dict[str, object], issued: float | None
) -> None:
    assert read_issued(make_token(**claims)) == issued


# ARM and the clock


def test_blocked_arm_names_firewall_and_proxy() -> None:
    error = make_connection_error()
    plain = check_arm(ArmAnswer("https://management.azure.com", error=error), None)
    proxied = check_arm(ArmAnswer("https://x", "http://***@proxy", error), None)
    assert (plain.state, proxied.state) == (FAILED, FAILED)
    assert "A firewall" in plain.help
    assert "through the proxy http://***@proxy" in proxied.help


def test_untrusted_certificate_is_explained() -> None:
    check = check_arm(ArmAnswer("https://x", error=make_connection_error(untrusted=True)), None)
    assert "SSL_CERT_FILE" in check.help
    assert "clock" in check.help


def test_other_error_of_arm_keeps_its_help() -> None:
    check = check_arm(ArmAnswer("https://x", error=AiomsiError("closed", help="Open it")), None)
    assert (check.text, check.help, check.facts) == ("closed", "Open it", {"endpoint": "https://x"})


def test_more_pages_are_mentioned() -> None:
    answer = ArmAnswer("https://x", subscriptions=1_000, more=True)
    assert "1000 or more subscriptions are visible" in check_arm(answer, None).text


@pytest.mark.parametrize(
    ("answer", "issued", "state", "text"),
    [
        (ArmAnswer("", date=1_000, received=1_009.0), None, OK, "agrees with ARM's"),
        (
            ArmAnswer("", date=1_000, received=4_600.0),
            None,
            WARNING,
            "ahead of ARM's, 3600 s",
        ),
        (ArmAnswer("", date=1_000, received=940.0), 5_000, WARNING, "behind of ARM's"),
        (ArmAnswer(""), 1_100.0, WARNING, "the token is not valid yet"),
        (ArmAnswer(""), 900.0, SKIPPED, "no response with a date"),
        (ArmAnswer(""), None, SKIPPED, "no response with a date"),
        (None, None, SKIPPED, "no response with a date"),
    ],
)
def test_clock_is_compared_with_date_or_token(
    answer: ArmAnswer | None, issued: float | None, state: str, text: str
) -> None:
    check = check_clock(answer, issued, 1_000.0)
    assert check.state == state
    assert text in check.text


# All of them


@pytest.mark.parametrize(
    ("failed", "code"),
    [((), 0), (("host", "endpoint"), 0), (("arm",), 3), (("token",), 1), (("arm", "token"), 1)],
)
def test_exit_code_is_that_of_token_and_arm(failed: tuple[str, ...], code: int) -> None:
    names = ("host", "endpoint", "token", "arm")
    checks = [Check(name, FAILED if name in failed else WARNING, "") for name in names]
    assert get_exit_code(checks) == code


def print_to_text(checks: list[Check], width: int = 0, encoding: str = "utf-8") -> str:
    file = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    console = Console(file=file, force_terminal=bool(width), width=width or None, color_system=None)
    print_checks(checks, console)
    file.seek(0)
    return file.read()


CHECKS = [Check("host", OK, "Zoë's\nhost"), Check("token", FAILED, "none " * 20, "Do [this]")]


def test_report_on_a_terminal_is_a_table_of_its_width() -> None:
    lines = print_to_text(CHECKS, 60).splitlines()
    assert lines[0].split() == ["check", "state", "finding"]
    assert max(map(len, lines)) <= 60
    assert any("-> Do [this]" in line for line in lines)


def test_report_in_a_file_has_a_line_for_each_finding() -> None:
    assert print_to_text(CHECKS, encoding="ascii").splitlines() == [
        "host        ok        Zo\\xeb's host",
        f"token       failed    {('none ' * 20).strip()}",
        f"{'':21} -> Do [this]",
    ]
