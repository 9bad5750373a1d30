"""Detection of the host, its choice by `host=`, and the errors that explain the choice."""

import subprocess
import sys

import pytest
from host_environments import ENVIRONMENTS

from aiomsi import ConfigurationError
from aiomsi._hosts.detect import HOSTS, detect, make_host
from aiomsi._hosts.identity import SYSTEM_ASSIGNED

AUTHORITY = "AZURE_POD_IDENTITY_AUTHORITY_HOST"


def find_no_file(path: str) -> bool:
    return False


@pytest.mark.parametrize(
    ("environment", "name", "chosen_by"),
    [
        ({}, "imds", "no variable and no file names another host"),
        ({AUTHORITY: "http://x"}, "imds", f"{AUTHORITY} is set"),
        ({"IDENTITY_ENDPOINT": "", "MSI_ENDPOINT": "", "IDENTITY_HEADER": "x"}, "imds", "no var"),
        ({"AZURE_AUTHORITY_HOST": "x", "AZURE_TENANT_ID": "x"}, "imds", "no variable"),
        (
            {"IDENTITY_ENDPOINT": "x", "IDENTITY_HEADER": "x", "IDENTITY_SERVER_THUMBPRINT": "x"},
            "service-fabric",
            "IDENTITY_ENDPOINT, IDENTITY_HEADER and IDENTITY_SERVER_THUMBPRINT are set",
        ),
        (
            {
                "IDENTITY_ENDPOINT": "x",
                "IDENTITY_HEADER": "x",
                "IDENTITY_SERVER_THUMBPRINT": "",
                "MSI_ENDPOINT": "x",
                "MSI_SECRET": "x",
            },
            "app-service",
            "IDENTITY_ENDPOINT and IDENTITY_HEADER are set",
        ),
        (
            {"IDENTITY_ENDPOINT": "x", "IDENTITY_HEADER": "x", "IMDS_ENDPOINT": "x"},
            "app-service",
            "IDENTITY_ENDPOINT and IDENTITY_HEADER are set",
        ),
        (
            {"IDENTITY_ENDPOINT": "x", "IMDS_ENDPOINT": "x"},
            "azure-arc",
            "IDENTITY_ENDPOINT and IMDS_ENDPOINT are set",
        ),
        ({"MSI_ENDPOINT": "x", "MSI_SECRET": "x"}, "azure-ml", "MSI_ENDPOINT and MSI_SECRET are"),
        (
            {"MSI_ENDPOINT": "x", "MSI_SECRET": "", "AZURE_TENANT_ID": "x"},
            "cloud-shell",
            "MSI_ENDPOINT is set, and MSI_SECRET is not",
        ),
        (
            {
                "AZURE_AUTHORITY_HOST": "x",
                "AZURE_TENANT_ID": "x",
                "AZURE_FEDERATED_TOKEN_FILE": "x",
                AUTHORITY: "http://x",
            },
            "workload-identity",
            "AZURE_AUTHORITY_HOST, AZURE_TENANT_ID and AZURE_FEDERATED_TOKEN_FILE are set",
        ),
    ],
)
def test_environment_chooses_the_kind_of_host(
    environment: dict[str, str], name: str, chosen_by: str
) -> None:
    choice = detect(environment, platform="linux", exists=find_no_file)
    assert choice.name == name
    assert choice.chosen_by.startswith(chosen_by)


@pytest.mark.parametrize(
    ("platform", "environment", "agent"),
    [
        ("linux", {}, "/opt/azcmagent/bin/himds"),
        ("win32", {}, r"C:\Program Files\AzureConnectedMachineAgent\himds.exe"),
        (
            "win32",
            {"ProgramFiles": ""},
            r"C:\Program Files\AzureConnectedMachineAgent\himds.exe",
        ),
        (
            "win32",
            {"ProgramFiles": r"D:\Programs"},
            r"D:\Programs\AzureConnectedMachineAgent\himds.exe",
        ),
    ],
)
def test_installed_agent_means_azure_arc(
    platform: str, environment: dict[str, str], agent: str
) -> None:
    choice = detect(environment, platform=platform, exists=lambda path: path == agent)
    assert (choice.name, choice.chosen_by) == ("azure-arc", f"the file {agent} exists")
    named = {**environment, AUTHORITY: "http://127.0.0.1:1"}
    assert detect(named, platform=platform, exists=lambda path: path == agent).name == "imds"
    other = {**environment, **ENVIRONMENTS["cloud-shell"]}
    assert detect(other, platform=platform, exists=lambda path: path == agent).name == "cloud-shell"


def test_agent_that_was_left_behind_is_explained() -> None:
    host = make_host({}, SYSTEM_ASSIGNED, platform="linux", exists=lambda _: True)
    assert (host.kind, host.chosen_by) == (
        "Azure Arc",
        "the file /opt/azcmagent/bin/himds exists",
    )
    assert "pass host='imds'" in host.unreachable_help
    forced = make_host({}, SYSTEM_ASSIGNED, host="imds", platform="linux", exists=lambda _: True)
    assert (forced.kind, forced.chosen_by) == ("IMDS", "host='imds'")


def test_identity_endpoint_alone_is_an_error() -> None:
    with pytest.raises(ConfigurationError, match="IDENTITY_ENDPOINT is set, but neither") as raised:
        detect({"IDENTITY_ENDPOINT": "x"}, platform="linux", exists=find_no_file)
    assert "host=" in raised.value.help


@pytest.mark.parametrize("name", HOSTS)
def test_each_kind_is_detected_or_named(name: str) -> None:
    environment = ENVIRONMENTS[name]
    found = make_host(environment, SYSTEM_ASSIGNED, platform="linux", exists=find_no_file)
    assert (found.kind, found.chosen_by) == (HOSTS[name].title, HOSTS[name].why)
    crowd = {key: value for each in ENVIRONMENTS.values() for key, value in each.items()}
    named = make_host(
        {**crowd, **environment}, SYSTEM_ASSIGNED, host=name, platform="linux", exists=find_no_file
    )
    assert (named.kind, named.chosen_by) == (HOSTS[name].title, f"host={name!r}")
    assert named.cache_key == found.cache_key


@pytest.mark.parametrize("name", sorted(set(HOSTS) - {"imds", "azure-arc"}))
def test_named_host_without_its_variables_is_an_error(name: str) -> None:
    with pytest.raises(ConfigurationError) as raised:
        make_host({}, SYSTEM_ASSIGNED, host=name, platform="linux", exists=find_no_file)
    assert any(variable in raised.value.args[0] for variable in ENVIRONMENTS[name])
    assert raised.value.help.endswith(
        f"{HOSTS[name].title} was chosen: host={name!r} (host= chooses another)"
    )


@pytest.mark.parametrize("name", ["vm", "IMDS", "", 7, ["imds"]])
def test_unknown_name_of_a_host_is_an_error(name: object) -> None:
    with pytest.raises(ConfigurationError, match="host must be one of 'service-fabric'"):
        make_host({}, SYSTEM_ASSIGNED, host=name)  # type: ignore[arg-type]  # the wrong type too


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        (
            {"IDENTITY_HEADER": "x"},
            ". IDENTITY_HEADER is set without IDENTITY_ENDPOINT, so it has no effect",
        ),
        ({"MSI_SECRET": "x"}, ". MSI_SECRET is set without MSI_ENDPOINT, so it has no effect"),
        (
            {"HTTP_PROXY": "http://p"},
            ". HTTP_PROXY is set, but a token endpoint is never reached through a proxy",
        ),
        ({"HTTPS_PROXY": "http://p"}, ""),
        ({}, ""),
    ],
)
def test_unreachable_host_says_what_had_no_effect(environment: dict[str, str], said: str) -> None:
    host = make_host(environment, SYSTEM_ASSIGNED, exists=find_no_file)
    plain = make_host({}, SYSTEM_ASSIGNED, exists=find_no_file)
    assert host.cache_key == plain.cache_key
    assert "does not look like an Azure VM" in plain.unreachable_help
    assert host.unreachable_help == plain.unreachable_help + said


@pytest.mark.slow
@pytest.mark.parametrize("name", HOSTS)
def test_only_the_module_of_the_chosen_host_is_imported(name: str) -> None:
    code = (
        "import sys, aiomsi\n"
        f"aiomsi.ManagedIdentityCredential(host={name!r})\n"
        "print(*(name.removeprefix('aiomsi._hosts.') for name in sys.modules))\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", code],
        env={**ENVIRONMENTS[name], "SYSTEMROOT": "C:\\Windows"},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    modules = {kind.module for kind in HOSTS.values()}
    assert set(run.stdout.split()) & modules == {HOSTS[name].module}
