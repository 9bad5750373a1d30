"""Microsoft's clients, unchanged, at the genuine addresses: az, and those for Python and Node.

`nox -s genuine` installs the clients; a test whose client is not installed is skipped by name.
"""

import json
import os
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import attrs
import pytest
from pages import read_blocks
from vm import enter

from aiomsi.testing import EmbeddedAzure

HERE = Path(__file__).resolve().parent
INHERITED = ("LANG", "LD_LIBRARY_PATH", "PATH", "TMPDIR")
PATIENCE = 120
CREDENTIALS = ("--admin-username", "azureuser", "--admin-password", "Embedded-12345")
PYTHON_SAID = {
    "token": True,
    "default": True,
    "group": "Succeeded",
    "groups": True,
    "network": "Succeeded",
    "subnets": ["inline", "own"],
    "inline": ["inline", "own"],
    "vm": "Succeeded",
    "os disk": True,
    "power": "PowerState/running",
    "stopped": "PowerState/deallocated",
    "ran": "ProvisioningState/succeeded",
    "skus": True,
    "vms": ["one"],
    "no vms": [],
    "free": True,
    "blobs": "default",
    "containers": ["box"],
    "keys": 2,
    "gone": False,
}
NODE_SAID = {
    "group": "Succeeded",
    "groups": True,
    "provider": "Registered",
    "disk": "Succeeded",
    "disks": ["one"],
    "vm": "Succeeded",
    "power": "PowerState/running",
    "ran": "ProvisioningState/succeeded",
    "vms": ["vm"],
    "sizes": True,
    "left": 1,
    "gone": False,
}
TEMPLATE = {
    "$schema": "https://schema.management.azure.com/schemas/2019-04-01/deploymentTemplate.json#",
    "contentVersion": "1.0.0.0",
    "parameters": {"name": {"type": "string"}},
    "resources": [
        {
            "type": "Microsoft.ManagedIdentity/userAssignedIdentities",
            "apiVersion": "2023-01-31",
            "name": "[parameters('name')]",
            "location": "westus",
        }
    ],
    "outputs": {
        "principal": {
            "type": "string",
            "value": "[reference(parameters('name'), '2023-01-31').principalId]",
        }
    },
}


@attrs.frozen
class Machine:
    """A runner of programs with the environment of a VM, which trusts the embedded Azure.

    Attributes:
        home: a folder for the programs' files.
        ca: a file with the only trusted certificate authority.

    """

    home: Path
    ca: Path

    def run(
        self, *command: str, environment: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        kept = {name: os.environ[name] for name in INHERITED if name in os.environ}
        trusted = dict.fromkeys(
            ("REQUESTS_CA_BUNDLE", "SSL_CERT_FILE", "NODE_EXTRA_CA_CERTS"), str(self.ca)
        )
        own = {
            "HOME": str(self.home),
            "AZURE_CONFIG_DIR": str(self.home / "azure"),
            "AZURE_CORE_COLLECT_TELEMETRY": "no",
            "AZURE_EXTENSION_USE_DYNAMIC_INSTALL": "no",
        }
        return subprocess.run(
            command,
            env=kept | trusted | own | dict(environment or {}),
            cwd=self.home,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )

    def output(self, *command: str, environment: Mapping[str, str] | None = None) -> Any:
        """Run a program that must succeed, and return its output, parsed as JSON."""
        done = self.run(*command, environment=environment)
        assert done.returncode == 0, done.stderr + done.stdout
        return json.loads(done.stdout) if done.stdout.strip() else None


def require(variable: str, title: str) -> str:
    """Return the path in a variable; skip the test if it names no client."""
    path = os.environ.get(variable, "")
    if not path or not Path(path).exists():
        pytest.skip(f"{variable} does not name {title}")
    return path


@pytest.fixture(scope="module")
def azure() -> Iterator[EmbeddedAzure]:
    with EmbeddedAzure(
        imds_host=enter.IMDS,
        imds_port=80,
        arm_host="127.0.0.1",
        arm_port=443,
        kinds={"workload-identity": 443},
        entra_host=enter.ENTRA_ADDRESS,
        tls=[enter.ARM, enter.ENTRA],
    ) as azure:
        yield azure


@pytest.fixture(scope="module")
def machine(azure: EmbeddedAzure, tmp_path_factory: pytest.TempPathFactory) -> Machine:
    home = tmp_path_factory.mktemp("home")
    ca = home / "ca.pem"
    ca.write_bytes(azure.ca_pem)
    return Machine(home, ca)


@attrs.frozen
class Az:
    """The program az, logged in with the machine's identity."""

    machine: Machine
    path: str

    def __call__(self, command: str, *arguments: str, **environment: str) -> Any:
        """Run a command that must succeed, and return its output."""
        return self.machine.output(self.path, *command.split(), *arguments, environment=environment)

    def names(self, command: str) -> list[str]:
        """Return the names that a list command prints, sorted."""
        return sorted(item["name"] for item in self(command))


@pytest.fixture(scope="module")
def az(machine: Machine) -> Az:
    az = Az(machine, require("AIOMSI_AZ", "azure-cli"))
    (account,) = az("login --identity")
    assert account["user"]["assignedIdentityInfo"] == "MSI"
    az("group create -n cli -l westus")
    return az


@pytest.mark.parametrize("kind", ["sync", "aio"])
def test_python_clients_work_unchanged(machine: Machine, kind: str) -> None:
    python = require("AIOMSI_AZURE_PYTHON", "azure-mgmt")
    client = str(HERE / "python_clients.py")

    said = machine.output(python, "-W", "error", client, kind)

    assert said.items() >= PYTHON_SAID.items()
    assert said["account"] == f"https://embedded{kind}.blob.core.windows.net/"
    assert said["accounts"] == [f"embedded{kind}"]


def test_node_clients_work_unchanged(machine: Machine) -> None:
    folder = require("AIOMSI_AZURE_NODE", "@azure/arm-compute")

    assert machine.output("node", str(Path(folder) / "client.mjs")) == NODE_SAID


def test_az_creates_lists_and_deletes_groups(az: Az) -> None:
    made = az("group create -n other -l westus --tags a=b")

    assert made["properties"]["provisioningState"] == "Succeeded"
    assert "other" in az.names("group list")
    assert az("group show -n other")["tags"] == {"a": "b"}
    assert "a" in [tag["tagName"] for tag in az("tag list")]
    refused = az.machine.run(az.path, "group", "export", "-n", "other")
    assert "ExportTemplateNotSupported" in refused.stderr
    az("group delete -n other --yes")
    assert az("group exists -n other") is False


def test_az_creates_lists_and_deletes_networks(az: Az) -> None:
    here = "-g cli --vnet-name net"
    az(
        "network vnet create -g cli -n net --address-prefix 10.0.0.0/16 "
        "--subnet-name one --subnet-prefix 10.0.0.0/24"
    )
    az(f"network vnet subnet create {here} -n two --address-prefixes 10.0.1.0/24")

    assert az.names("network vnet list -g cli") == ["net"]
    shown = az("network vnet show -g cli -n net")
    assert [subnet["name"] for subnet in shown["subnets"]] == ["one", "two"]
    assert az.names(f"network vnet subnet list {here}") == ["one", "two"]
    az(f"network vnet subnet delete {here} -n one")
    assert az.names(f"network vnet subnet list {here}") == ["two"]
    az("network vnet delete -g cli -n net")
    assert az.names("network vnet list -g cli") == []


def test_az_creates_lists_and_deletes_storage_accounts(az: Az) -> None:
    name = "embeddedcli"
    made = az(f"storage account create -g cli -n {name} -l westus")

    assert made["primaryEndpoints"]["blob"] == f"https://{name}.blob.core.windows.net/"
    taken = az(f"storage account check-name -n {name}")
    assert (taken["nameAvailable"], taken["reason"]) == (False, "AlreadyExists")
    assert az.names("storage account list -g cli") == [name]
    assert len(az(f"storage account keys list -g cli -n {name}")) == 2
    service = az(f"storage account blob-service-properties show -g cli -n {name}")
    assert service["name"] == "default"
    az(f"storage account delete -g cli -n {name} --yes")
    assert az.names("storage account list -g cli") == []


@pytest.mark.parametrize(
    ("command", "name", "options", "flag"),
    [
        ("disk", "disk", "--size-gb 10", "--yes"),
        ("identity", "identity", "", ""),
        ("keyvault", "embeddedvault", "-l westus --enable-rbac-authorization true", ""),
    ],
)
def test_az_creates_lists_shows_and_deletes(
    az: Az, command: str, name: str, options: str, flag: str
) -> None:
    az(f"{command} create -g cli -n {name} {options}")

    assert az.names(f"{command} list -g cli") == [name]
    assert az(f"{command} show -g cli -n {name}")["name"] == name
    az(f"{command} delete -g cli -n {name} {flag}")
    assert az.names(f"{command} list -g cli") == []


def test_az_runs_machines(az: Az) -> None:
    az("group create -n vms -l westus")
    sign_in = ("--authentication-type", "password", *CREDENTIALS)
    made = az("vm create -g vms -n vm --image Ubuntu2204 --assign-identity", *sign_in)

    assert made["powerState"] == "VM running"
    assert made["identity"]["systemAssignedIdentity"]
    assert az.names("vm list -g vms") == ["vm"]
    assert az.names("disk list -g vms")[0].startswith("vm_OsDisk_1_")
    az("vm deallocate -g vms -n vm")
    assert az("vm show -g vms -n vm -d")["powerState"] == "VM deallocated"
    az("vm start -g vms -n vm")
    ran = az("vm run-command invoke -g vms -n vm --command-id RunShellScript --scripts", "ls /")
    assert "RunShellScript" in ran["value"][0]["message"]
    assert "Standard_D2s_v5" in az.names("vm list-skus -l westus --size Standard_D2s")
    assert int(az("vm list-usage -l westus")[0]["currentValue"]) > 0
    az("vm delete -g vms -n vm --yes")
    assert az.names("vm list -g vms") == []
    az("group delete -n vms --yes")


def test_az_carries_out_templates(az: Az) -> None:
    template = az.machine.home / "template.json"
    template.write_text(f"// of the test\n{json.dumps(TEMPLATE)}")
    create = f"deployment group create -g cli -n first --template-file {template}"

    made = az(f"{create} --parameters name=of-template")

    identity = az("identity show -g cli -n of-template")
    assert made["properties"]["outputs"]["principal"]["value"] == identity["principalId"]
    assert az("deployment group show -g cli -n first")["properties"]["mode"] == "Incremental"
    az("identity delete -g cli -n of-template")


def test_az_reads_roles_regions_and_management_groups(az: Az) -> None:
    (role,) = az("role definition list -n Reader")
    regions = az("account list-locations")

    assert role["name"] == "acdd72a7-3385-48ef-bd42-f606fba81ae7"
    assert {region["metadata"]["regionType"] for region in regions} == {"Physical"}
    # The root group of the tenant is there already. Without the option az sleeps for ten seconds.
    (root,) = az.names("account management-group list --no-register")
    az("account management-group create -n team --no-register")
    assert az.names("account management-group list --no-register") == [root, "team"]
    az("account management-group delete -n team --no-register")
    assert az.names("account management-group list --no-register") == [root]


def test_recipe_takes_an_inventory_with_the_login_of_az(az: Az) -> None:
    (block,) = read_blocks("docs/recipes.md", "yaml")
    (command,) = re.findall(r"^ +aiomsi (.*?[^\\])$", block.text, re.MULTILINE | re.DOTALL)
    # The report needs an extra of another session.
    arguments = shlex.split(command.replace("--report all.html", "").replace("\\\n", " "))
    path = f"{Path(az.path).parent}{os.pathsep}{os.environ['PATH']}"

    done = az.machine.run(sys.executable, "-m", "aiomsi", *arguments, environment={"PATH": path})

    assert done.returncode == 0, done.stderr
    rows = (az.machine.home / "all.jsonl").read_text(encoding="utf-8").splitlines()
    assert "cli" in [json.loads(row)["name"] for row in rows]


def test_az_takes_the_cloud_from_its_metadata(machine: Machine, azure: EmbeddedAzure) -> None:
    az = Az(machine, require("AIOMSI_AZ", "azure-cli"))
    url = f"https://{enter.ARM}/metadata/endpoints?api-version=2019-05-01"
    own = {"ARM_CLOUD_METADATA_URL": url, "AZURE_CONFIG_DIR": str(machine.home / "cloud")}

    cloud = az("cloud show", **own)

    assert cloud["endpoints"]["resourceManager"] == f"https://{enter.ARM}/"
    (account,) = az("login --identity", **own)
    assert account["id"] in azure.arm.subscription_ids


def test_python_gets_a_token_of_a_workload(machine: Machine, azure: EmbeddedAzure) -> None:
    python = require("AIOMSI_AZURE_PYTHON", "azure-identity")
    genuine = {"AZURE_AUTHORITY_HOST": f"https://{enter.ENTRA}/"}
    program = (
        "from azure.identity import WorkloadIdentityCredential as Credential\n"
        "print(Credential().get_token('https://management.azure.com/.default').expires_on)"
    )

    variables = dict(azure.hosts.workload_identity.environment) | genuine
    expires_on = machine.output(python, "-c", program, environment=variables)

    assert expires_on > time.time()


def test_az_logs_a_workload_in_and_out(machine: Machine, azure: EmbeddedAzure) -> None:
    az = Az(machine, require("AIOMSI_AZ", "azure-cli"))
    workload = azure.hosts.workload_identity
    own = {"AZURE_CONFIG_DIR": str(machine.home / "workload")}
    sign_in = ("--federated-token", workload.token_file.read_text())
    names = workload.environment

    (account,) = az(
        f"login --service-principal -u {names['AZURE_CLIENT_ID']} -t {names['AZURE_TENANT_ID']}",
        *sign_in,
        **own,
    )

    assert account["user"]["name"] == names["AZURE_CLIENT_ID"]
    assert "DevTest" in [group["name"] for group in az("group list", **own)]
    az("logout", **own)
    assert az("account list", **own) == []
