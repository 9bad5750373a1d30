"""`--credential MODULE:CALLABLE`, against an embedded Azure."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from command_line import DEVTEST, SUBSCRIPTION, VERSION, Run, run_process

from aiomsi.testing import EmbeddedAzure

pytestmark = pytest.mark.usefixtures("azure_environment")

MODULE = '''
import os
import time

class Token:
    def __init__(self, token, expires_on):
        self.token, self.expires_on = token, expires_on

class Laptop:
    """An async credential, whose tokens an environment variable holds."""

    calls = 0

    async def get_token(self, *scopes, **options):
        Laptop.calls += 1
        return Token(os.environ["LAPTOP_TOKEN"], int(time.time()) + 3600)

    async def close(self):
        pass

class Needy(Laptop):
    def __init__(self, tenant, *, secret, more=None, **others):
        pass

class Synchronous:
    def get_token(self, *scopes, **options):
        return Token("secret", 0)

class Unsigned(Laptop):
    __signature__ = 7

class Outer:
    Inner = Laptop

def make_laptop():
    return Laptop()

laptop = Laptop()
number = 7
'''


@pytest.fixture(autouse=True)
def laptop_module(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, embedded_azure: EmbeddedAzure
) -> Iterator[None]:
    """Put a module with credentials on the path; its tokens are the embedded Azure's."""
    (tmp_path / "my_credentials.py").write_text(MODULE)
    (tmp_path / "broken_credentials.py").write_text("password = 'password=hunter22'\n1 / 0\n")
    (tmp_path / "lacks_azure.py").write_text("import azure.nothing_of_that_name\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("LAPTOP_TOKEN", embedded_azure.imds.issue_token())
    yield
    for name in ("my_credentials", "broken_credentials", "lacks_azure"):
        sys.modules.pop(name, None)


@pytest.mark.parametrize("name", ["Laptop", "make_laptop", "laptop", "Outer.Inner", "Unsigned"])
def test_credential_of_a_module_calls_arm(
    run: Run, embedded_azure: EmbeddedAzure, name: str
) -> None:
    said = run("get", DEVTEST, *VERSION, "--credential", f"my_credentials:{name}")

    assert (said.code, said.err) == (0, "")
    assert json.loads(said.out)["name"] == "DevTest"
    assert embedded_azure.counts.imds_requests == 0


def test_every_command_that_calls_arm_takes_a_credential(
    run: Run, embedded_azure: EmbeddedAzure
) -> None:
    chosen = ("--credential", "my_credentials:Laptop")
    for arguments in (
        ("list", f"{SUBSCRIPTION}/resourceGroups", *VERSION),
        ("query", "Resources | project id"),
        ("request", "GET", DEVTEST, *VERSION),
        ("token",),
    ):
        assert run(*arguments, *chosen).code == 0, arguments
    assert embedded_azure.counts.imds_requests == 0


def test_doctor_asks_the_credential_once(run: Run) -> None:
    said = run("doctor", "--credential", "my_credentials:Laptop")

    assert said.code == 0
    assert sys.modules["my_credentials"].Laptop.calls == 1


def test_token_of_a_credential_names_it_and_not_this_host(run: Run) -> None:
    said = run("token", "--json", "--credential", "my_credentials:laptop")

    facts = json.loads(said.out)
    assert facts["credential"] == "my_credentials:laptop"
    assert not facts.keys() & {"host", "endpoint", "identity"}
    assert facts["claims_not_verified"]["audience"] == "https://management.azure.com/"


def test_token_of_another_cloud_is_for_its_arm(run: Run, embedded_azure: EmbeddedAzure) -> None:
    run("token", "--cloud", "usgov")

    (request,) = embedded_azure.requests
    assert "resource=https%3A%2F%2Fmanagement.usgovcloudapi.net%2F" in request.path_qs


@pytest.mark.slow
def test_credential_of_azure_identity_is_put_under_the_flight() -> None:
    said = run_process("token", "--credential", "azure.identity.aio:ManagedIdentityCredential")

    assert (said.code, said.err) == (0, "")
    assert "credential:    azure.identity.aio:ManagedIdentityCredential" in said.out


@pytest.mark.parametrize(
    ("text", "summary", "advice"),
    [
        ("my_credentials", "is not MODULE:CALLABLE", "azure.identity.aio:AzureCliCredential"),
        (":Laptop", "is not MODULE:CALLABLE", "azure.identity.aio:AzureCliCredential"),
        ("my_credentials:a b", "is not MODULE:CALLABLE", "azure.identity.aio:AzureCliCredential"),
        ("no_such_module_here:X", "ModuleNotFoundError: No module named", "PYTHONPATH"),
        ("lacks_azure:X", "ModuleNotFoundError: No module named", "pip install azure-identity"),
        ("broken_credentials:X", "ZeroDivisionError: division by zero", "PYTHONPATH"),
        ("my_credentials:Laptob", "no Laptob in my_credentials", "Similar names are Laptop"),
        ("my_credentials:Needy", "needs the arguments tenant, secret", "a function of your own"),
        ("my_credentials:Synchronous", "is a synchronous credential", ".aio module"),
        ("azure.identity:AzureCliCredential", "is a synchronous credential", ".aio module"),
    ],
)
def test_bad_credential_is_wrong_usage(run: Run, text: str, summary: str, advice: str) -> None:
    said = run("get", DEVTEST, *VERSION, "--credential", text)

    assert said.code == 2
    assert summary in said.complaint[0]
    assert advice in said.complaint[1]
    assert "hunter22" not in said.err


@pytest.mark.parametrize("text", ["my_credentials:number", "my_credentials:zzzzz"])
def test_value_that_is_no_credential_is_wrong_usage(run: Run, text: str) -> None:
    said = run("get", DEVTEST, *VERSION, "--credential", text)

    assert said.code == 2
    assert "neither a credential" in said.complaint[0] or "no zzzzz" in said.complaint[0]


@pytest.mark.parametrize("option", ["--client-id", "--object-id"])
def test_credential_excludes_the_identity_options(run: Run, option: str) -> None:
    guid = "00000000-0000-0000-0000-000000000000"

    said = run("token", option, guid, "--credential", "my_credentials:laptop")

    assert said.code == 2
    assert said.complaint[0] == f"aiomsi: --credential and {option} exclude each other"
