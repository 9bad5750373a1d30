"""`aiomsi doctor`, against an embedded Azure with each of the common troubles."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from command_line import Run, Said

import aiomsi
from aiomsi import ConfigurationError
from aiomsi._hosts import azure_arc
from aiomsi._hosts.detect import HOSTS
from aiomsi.testing import (
    DEFAULT_SUBSCRIPTION_ID,
    EmbeddedAzure,
    Fault,
    ManualClock,
    Subscription,
)
from aiomsi.testing._hosts.variables import IDENTITY_VARIABLES
from aiomsi.testing._server.request_log import HOST_KINDS

pytestmark = pytest.mark.usefixtures("azure_environment")


def examine(run: Run, *arguments: str) -> tuple[int, dict[str, Any]]:
    """Return the exit code and the checks by name; nothing on stderr, and no token anywhere."""
    said = run("doctor", "--json", *arguments)
    assert said.err == ""
    assert "eyJ" not in said.out
    report = json.loads(said.out)
    assert report["exit_code"] == said.code
    return said.code, {check["name"]: check for check in report["checks"]}


def get_states(checks: dict[str, Any], state: str) -> set[str]:
    return {name for name, check in checks.items() if check["state"] == state}


def test_all_is_well(run: Run, embedded_azure: EmbeddedAzure) -> None:
    code, checks = examine(run)

    assert code == 0
    assert get_states(checks, "ok") == set(checks)
    assert [*checks] == [
        "host",
        "variables",
        "proxy",
        "endpoint",
        "machine",
        "token",
        "identity",
        "lifetime",
        "clock",
        "arm",
    ]
    identity = embedded_azure.imds.identities[0]
    assert checks["identity"]["facts"]["object_id"] == identity.object_id
    assert checks["identity"]["facts"]["system_assigned"] is True
    assert checks["host"]["facts"]["kind"] == "IMDS"
    assert 86_000 < checks["lifetime"]["facts"]["seconds_left"] <= 86_400
    assert checks["arm"]["facts"]["subscriptions"] == 1
    assert checks["machine"]["facts"]["resource_group"] == "DevTest"
    assert "raw" not in checks["machine"]["facts"]
    paths = [
        request.path_qs.partition("?")[0]
        for request in embedded_azure.requests
        if request.service == "imds"
    ]
    assert sorted(paths) == [
        "/metadata/identity/info",
        "/metadata/identity/oauth2/token",
        "/metadata/instance",
    ]


def test_machine_without_a_description_is_skipped(run: Run, embedded_azure: EmbeddedAzure) -> None:
    embedded_azure.imds.inject(Fault(403), times=None, path="/metadata/instance")

    code, checks = examine(run)

    assert code == 0
    assert get_states(checks, "skipped") == {"machine"}
    assert "no description of this machine" in checks["machine"]["text"]


def test_report_for_people_shows_no_token(run: Run, embedded_azure: EmbeddedAzure) -> None:
    embedded_azure.imds.repeat_tokens()
    secret = json.loads(run("token", "--json", "--show-token").out)["access_token"]

    said = run("doctor")

    assert (said.code, said.err) == (0, "")
    assert not any(part in said.out for part in secret.split("."))
    assert "arm         ok        ARM accepts the token; 1 subscription is visible\n" in said.out


def test_no_azure_host(run: Run, monkeypatch: pytest.MonkeyPatch, closed_port: str) -> None:
    monkeypatch.setenv("AZURE_POD_IDENTITY_AUTHORITY_HOST", closed_port)

    code, checks = examine(run)

    assert code == 1
    assert get_states(checks, "failed") == {"endpoint", "token"}
    assert "aiomsi emulator" in checks["token"]["help"]
    assert "--credential azure.identity.aio:AzureCliCredential" in checks["endpoint"]["help"]
    assert checks["arm"]["state"] == "skipped"


def test_no_identity_assigned(run: Run, embedded_azure: EmbeddedAzure) -> None:
    for identity in embedded_azure.imds.identities:
        embedded_azure.imds.remove_identity(identity)

    code, checks = examine(run)

    assert code == 1
    assert get_states(checks, "failed") == {"token"}
    assert checks["endpoint"]["text"].endswith("responds, with HTTP 400")
    assert "Assign the identity to this VM" in checks["token"]["help"]


def test_several_identities_and_none_named(run: Run, embedded_azure: EmbeddedAzure) -> None:
    for identity in embedded_azure.imds.identities:
        embedded_azure.imds.remove_identity(identity)
    first, _ = embedded_azure.imds.assign_identity(), embedded_azure.imds.assign_identity()

    code, checks = examine(run)
    named_code, named = examine(run, "--client-id", first.client_id)

    assert code == 1
    assert "Several user-assigned identities" in checks["token"]["help"]
    assert "--client-id" in checks["token"]["help"]
    assert named["identity"]["state"] == "ok"
    assert named["identity"]["facts"]["client_id"] == first.client_id
    assert named_code in (0, 3)


def test_only_identity_that_is_not_named_is_a_warning(
    run: Run, embedded_azure: EmbeddedAzure
) -> None:
    for identity in embedded_azure.imds.identities:
        embedded_azure.imds.remove_identity(identity)
    only = embedded_azure.imds.assign_identity()
    embedded_azure.arm.grant(only.object_id)

    code, checks = examine(run)

    assert code == 0
    assert get_states(checks, "warning") == {"identity"}
    assert f"--client-id {only.client_id}" in checks["identity"]["help"]


def test_proxy_variable_is_a_warning_and_not_used(
    run: Run, monkeypatch: pytest.MonkeyPatch, closed_port: str
) -> None:
    monkeypatch.setenv("HTTP_PROXY", closed_port.replace("//", "//user:hunter22@"))

    said = run("doctor", "--json")

    checks = {check["name"]: check for check in json.loads(said.out)["checks"]}
    assert checks["proxy"]["state"] == "warning"
    assert "add 127.0.0.1 to NO_PROXY" in checks["proxy"]["help"]
    assert checks["token"]["state"] == "ok"
    assert "hunter22" not in said.out + said.err


@pytest.mark.parametrize(
    ("name", "other"),
    [
        ("IDENTITY_HEADER", "IDENTITY_ENDPOINT"),
        ("MSI_SECRET", "MSI_ENDPOINT"),
        ("AZURE_FEDERATED_TOKEN_FILE", "AZURE_AUTHORITY_HOST"),
    ],
)
def test_left_over_variable_is_a_warning(
    run: Run, monkeypatch: pytest.MonkeyPatch, name: str, other: str
) -> None:
    monkeypatch.setenv(name, "left-over-secret")

    said = run("doctor", "--json")
    checks = {check["name"]: check for check in json.loads(said.out)["checks"]}

    assert said.code == 0
    assert checks["variables"]["state"] == "warning"
    assert f"{name} is set without {other}" in checks["variables"]["text"]
    assert "left-over-secret" not in said.out + said.err


def test_variables_that_fit_no_host(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IDENTITY_ENDPOINT", "http://127.0.0.1:1/")

    code, checks = examine(run)

    assert code == 1
    assert get_states(checks, "failed") == {"host", "token"}
    assert "IDENTITY_ENDPOINT is set, but neither" in checks["host"]["text"]
    assert "--host" in checks["host"]["help"]


def test_host_option_takes_the_place_of_detection(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IDENTITY_ENDPOINT", "http://127.0.0.1:1/")

    code, checks = examine(run, "--host", "imds")

    assert code == 0
    assert checks["host"]["text"] == "IMDS: --host imds"
    assert checks["machine"]["state"] == "skipped"


def test_clock_that_is_ahead(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    # An Azure whose clock is an hour behind this machine's.
    with EmbeddedAzure(clock=ManualClock(time.time() - 3_600).clock) as azure:
        for name, value in azure.environment.items():
            monkeypatch.setenv(name, value)
        code, checks = examine(run)

    assert code == 0
    assert checks["clock"]["state"] == "warning"
    assert "clock is ahead of ARM's" in checks["clock"]["text"]
    assert 3_590 < checks["clock"]["facts"]["skew_seconds"] < 3_630
    assert "NTP" in checks["clock"]["help"]


def test_clock_that_is_behind(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    with EmbeddedAzure(clock=ManualClock(time.time() + 3_600).clock) as azure:
        for name, value in azure.environment.items():
            monkeypatch.setenv(name, value)
        _, checks = examine(run)

    assert "clock is behind of ARM's" in checks["clock"]["text"]


def test_arm_behind_a_firewall(run: Run, monkeypatch: pytest.MonkeyPatch, closed_port: str) -> None:
    monkeypatch.setenv("AIOMSI_RESOURCE_MANAGER", closed_port)

    code, checks = examine(run)

    assert code == 3
    assert get_states(checks, "failed") == {"arm"}
    assert checks["arm"]["facts"] == {"endpoint": closed_port}
    assert "firewall" in checks["arm"]["help"]
    assert checks["clock"]["state"] == "skipped"


@pytest.mark.parametrize(
    ("proxy", "text", "advice"),
    [
        ("socks5://user:hunter22@127.0.0.1:1", "is not an HTTP proxy URL", "http://host:port"),
        ("http://user:hunter22@127.0.0.1:1", "got no answer", "through the proxy http://127."),
    ],
    ids=["malformed", "closed"],
)
def test_broken_proxy_of_arm_is_a_failed_check(
    run: Run, monkeypatch: pytest.MonkeyPatch, proxy: str, text: str, advice: str
) -> None:
    # The ARM of the public cloud, to which only the proxy leads.
    monkeypatch.delenv("AIOMSI_RESOURCE_MANAGER")
    monkeypatch.setenv("HTTPS_PROXY", proxy)

    said = run("doctor", "--json")

    checks = {check["name"]: check for check in json.loads(said.out)["checks"]}
    assert said.code == 3
    assert checks["arm"]["state"] == "failed"
    assert text in checks["arm"]["text"]
    assert advice in checks["arm"]["help"]
    assert "hunter22" not in said.out + said.err


def test_identity_without_a_role(run: Run, embedded_azure: EmbeddedAzure) -> None:
    identity = embedded_azure.imds.identities[0]
    embedded_azure.arm.revoke(identity.object_id)

    code, checks = examine(run)

    assert code == 3
    assert "has no role in any subscription" in checks["arm"]["text"]
    assert f"--assignee-object-id {identity.object_id}" in checks["arm"]["help"]
    assert checks["clock"]["state"] == "ok"


def test_subscription_without_a_role(run: Run, embedded_azure: EmbeddedAzure) -> None:
    identity = embedded_azure.imds.identities[0]
    embedded_azure.arm.revoke(identity.object_id)

    code, checks = examine(run, "--subscription", DEFAULT_SUBSCRIPTION_ID)

    assert code == 3
    assert checks["arm"]["facts"]["status"] == 403
    assert f"--scope /subscriptions/{DEFAULT_SUBSCRIPTION_ID}." in checks["arm"]["help"]


def test_subscription_that_is_visible(run: Run) -> None:
    assert examine(run, "--subscription", DEFAULT_SUBSCRIPTION_ID)[0] == 0


def test_subscription_of_another_tenant(run: Run, embedded_azure: EmbeddedAzure) -> None:
    other = embedded_azure.arm.add_subscription(
        subscription=Subscription(tenant_id="11111111-1111-4111-8111-111111111111")
    )

    code, checks = examine(run, "--subscription", other)

    assert code == 3
    assert checks["arm"]["facts"]["status"] == 401
    assert "belongs to another tenant" in checks["arm"]["help"]


def test_arm_that_refuses_every_token(run: Run, embedded_azure: EmbeddedAzure) -> None:
    body = {"error": {"code": "InvalidAuthenticationToken", "message": "The token is invalid."}}
    embedded_azure.arm.inject(Fault(401, body=body), times=None)

    code, checks = examine(run)

    assert code == 3
    assert checks["arm"]["facts"] == {
        "endpoint": embedded_azure.arm.url,
        "status": 401,
        "code": "InvalidAuthenticationToken",
    }
    assert "check --cloud, the clock" in checks["arm"]["help"]


@pytest.mark.parametrize("body", [["x"], {"value": "x"}, {}])
def test_other_server_in_place_of_arm(
    run: Run, embedded_azure: EmbeddedAzure, body: list[object] | dict[str, object]
) -> None:
    embedded_azure.arm.inject(Fault(200, body=body), times=None)

    code, checks = examine(run)

    assert code == 3
    assert "no list of subscriptions" in checks["arm"]["text"]
    assert "a proxy or portal" in checks["arm"]["help"]


def test_arm_that_forbids_the_list(run: Run, embedded_azure: EmbeddedAzure) -> None:
    embedded_azure.arm.inject(Fault(403), times=None)

    code, checks = examine(run)

    assert code == 3
    assert checks["arm"]["facts"]["status"] == 403


def test_token_that_is_no_jwt(run: Run, embedded_azure: EmbeddedAzure) -> None:
    body = {"access_token": "opaque-secret", "expires_in": "86400", "token_type": "Bearer"}
    embedded_azure.imds.inject(Fault(200, body=body), times=None)

    said = run("doctor", "--json")

    checks = {check["name"]: check for check in json.loads(said.out)["checks"]}
    assert said.code == 3
    assert checks["identity"]["state"] == "skipped"
    assert "opaque-secret" not in said.out + said.err


def test_another_server_in_place_of_imds(run: Run, embedded_azure: EmbeddedAzure) -> None:
    embedded_azure.imds.inject(Fault.garbage(), times=None)

    code, checks = examine(run)

    assert code == 1
    assert "a server other than Azure's IMDS responded" in checks["token"]["text"]


@pytest.fixture
def move_to(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Callable[[str], None]]:
    """Let this process run on an embedded host of a kind."""
    monkeypatch.setattr(azure_arc, "get_key_directory", lambda *_: str(tmp_path))
    with EmbeddedAzure(kinds=HOST_KINDS, arc_key_directory=tmp_path) as azure:

        def move(kind: str) -> None:
            for name in IDENTITY_VARIABLES:
                monkeypatch.delenv(name, raising=False)
            for name, value in azure.hosts[kind].environment.items():
                monkeypatch.setenv(name, value)

        yield move


@pytest.mark.parametrize("kind", HOST_KINDS)
def test_all_is_well_on_every_kind_of_host(
    run: Run, move_to: Callable[[str], None], kind: str
) -> None:
    move_to(kind)

    code, checks = examine(run)

    assert code == 0
    assert get_states(checks, "ok") == set(checks)
    assert checks["host"]["text"].startswith(f"{HOSTS[kind].title}: {HOSTS[kind].why}")


@pytest.mark.parametrize("kind", HOST_KINDS)
def test_machine_is_described_on_no_other_host(move_to: Callable[[str], None], kind: str) -> None:
    move_to(kind)

    with pytest.raises(ConfigurationError, match=f"this looks like {HOSTS[kind].title}"):
        asyncio.run(aiomsi.instance_metadata())


def test_key_file_of_arc_in_another_directory(
    run: Run, move_to: Callable[[str], None], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    move_to("azure-arc")
    elsewhere = str(tmp_path / "elsewhere")
    monkeypatch.setattr(azure_arc, "get_key_directory", lambda *_: elsewhere)

    code, checks = examine(run)

    assert code == 1
    assert checks["host"]["text"] == "Azure Arc: IDENTITY_ENDPOINT and IMDS_ENDPOINT are set"
    assert checks["endpoint"]["text"].endswith("responds, with HTTP 401")
    assert "does not lie in" in checks["token"]["text"]


def test_key_file_of_arc_that_may_not_be_read(
    run: Run, move_to: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    move_to("azure-arc")
    opened = os.open

    def refuse(path: Any, *arguments: Any, **options: Any) -> int:
        # Root may read every file, so the file's mode would not do.
        if str(path).endswith(".key"):
            raise PermissionError(errno.EACCES, "Permission denied")
        return opened(path, *arguments, **options)

    monkeypatch.setattr(os, "open", refuse)

    code, checks = examine(run)

    assert code == 1
    assert "can't be read: PermissionError" in checks["token"]["text"]
    assert "usermod -aG himds USER" in checks["token"]["help"]


CREDENTIAL = """
class Laptop:
    async def get_token(self, *scopes, **options):
        raise RuntimeError("az login has expired")

class Late:
    def __init__(self):
        self.get_token = lambda *scopes, **options: FOUND[0]

FOUND = ["token"]
"""


@pytest.fixture
def laptop(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    (tmp_path / "doctors_laptop.py").write_text(CREDENTIAL)
    monkeypatch.syspath_prepend(tmp_path)


@pytest.mark.usefixtures("laptop")
def test_credential_that_fails_is_a_missing_token(run: Run, embedded_azure: EmbeddedAzure) -> None:
    code, checks = examine(run, "--credential", "doctors_laptop:Laptop")

    assert code == 1
    assert [*checks] == ["host", "token", "arm"]
    assert "doctors_laptop:Laptop takes the place" in checks["host"]["text"]
    assert "az login has expired" in checks["token"]["text"]
    assert embedded_azure.counts.imds_requests == 0


@pytest.mark.usefixtures("laptop")
def test_synchronous_credential_is_wrong_usage(run: Run) -> None:
    said = run("doctor", "--credential", "doctors_laptop:Late")

    assert said.code == 2
    assert "is a synchronous credential" in said.complaint[0]


@pytest.mark.slow
def test_other_credential_is_examined(run: Run) -> None:
    code, checks = examine(run, "--credential", "azure.identity.aio:ManagedIdentityCredential")

    assert code == 0
    assert checks["host"]["state"] == "skipped"
    assert get_states(checks, "ok") == {"token", "identity", "lifetime", "clock", "arm"}


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("--subscription", "mine"), "--subscription is not a GUID: 'mine'"),
        (("--client-id", "x"), "client_id is not a GUID"),
    ],
)
def test_malformed_id_is_wrong_usage(run: Run, arguments: tuple[str, ...], text: str) -> None:
    said: Said = run("doctor", *arguments)

    assert said.code == 2
    assert text in said.complaint[0]
