"""The embedded Azure beside an application: README's commands, and those of the containers."""

import json
import re
import shlex
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from example_program import (
    DEVELOPMENT,
    EXAMPLES,
    Start,
    find_free_port,
    make_variables,
    read_commands,
)
from loops import PATIENCE, wait_in_thread

from aiomsi.testing import DEFAULT_SUBSCRIPTION_ID

yaml: Any = pytest.importorskip("yaml")

EXAMPLE = EXAMPLES / "embedded-azure"
COMPOSE = yaml.safe_load((EXAMPLE / "compose.yaml").read_text(encoding="utf-8"))
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
DOCKERFILE = (EXAMPLE / "Dockerfile").read_text(encoding="utf-8")


def read_dockerfile(instruction: str) -> str:
    """Return the arguments of an instruction that the Dockerfile has once."""
    (found,) = re.findall(rf"^{instruction} (.*)$", DOCKERFILE, re.MULTILINE)
    return str(found)


def run(command: Sequence[str], variables: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, env=variables, capture_output=True, text=True, check=False, timeout=PATIENCE
    )


def list_subscriptions(done: subprocess.CompletedProcess[str]) -> list[str]:
    """Return the ids in the output of the application."""
    assert done.returncode == 0, done.stderr
    return [item["subscriptionId"] for item in json.loads(done.stdout)["value"]]


def test_commands_of_the_readme_read_the_subscriptions(
    start_example: Start, environments: Path
) -> None:
    ports = {name: str(find_free_port()) for name in ("IMDS_PORT", "ARM_PORT")}
    with start_example("embedded-azure", **ports) as emulator:
        emulator.wait_for("AIOMSI_RESOURCE_MANAGER")
        printed = re.findall(r"^export (\w+)='?(.*?)'?$", emulator.read_log(), re.MULTILINE)
        variables = make_variables(environments / "embedded-azure", dict(printed))
        done = run(["sh", "-c", read_commands("embedded-azure").others[0]], variables)
        assert list_subscriptions(done) == [DEFAULT_SUBSCRIPTION_ID]
        emulator.terminate()
        assert emulator.wait() == 0


class Containers:
    """Runs the commands of the containers on this machine, in an environment with their packages.

    What differs from a container: the volume is a folder, the host `azure` is `localhost`, the
    ports are free ones, and the servers listen on loopback alone.
    """

    def __init__(self, environment: Path, volume: Path) -> None:
        self.environment = environment
        imds, arm = str(find_free_port()), str(find_free_port())
        self.places = {
            "/certificates": str(volume),
            "0.0.0.0": "127.0.0.1",  # noqa: S104 (it is replaced)
            "8081": imds,
            "8443": arm,
        }

    def place(self, text: str) -> str:
        for inside, outside in self.places.items():
            text = text.replace(inside, outside)
        return re.sub(r"^azure$|(?<=//)azure(?=:)", "localhost", text)

    def command(self, name: str) -> list[str]:
        """Return the command of a service: its entry point, or the image's, and its arguments."""
        service = SERVICES[name]
        entry = service.get("entrypoint") or json.loads(read_dockerfile("ENTRYPOINT"))
        return [self.place(each) for each in (*entry, *service.get("command", []))]

    def variables(self, name: str) -> dict[str, str]:
        wanted = SERVICES[name].get("environment", {})
        placed = {key: self.place(value) for key, value in wanted.items()}
        return make_variables(self.environment, {**DEVELOPMENT, **placed})

    def run(self, name: str, **changed: str) -> subprocess.CompletedProcess[str]:
        """Run a service to its end."""
        return run(self.command(name), {**self.variables(name), **changed})

    @contextmanager
    def start(self, name: str) -> Iterator[None]:
        """Run a service until its health check succeeds, and end it after the block."""
        kind, *check = SERVICES[name]["healthcheck"]["test"]
        assert kind == "CMD"
        check = [self.place(each) for each in check]
        variables = self.variables(name)
        assert run(check, variables).returncode == 1
        with subprocess.Popen(
            self.command(name), env=variables, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        ) as process:
            try:
                wait_in_thread(
                    lambda: process.poll() is not None or run(check, variables).returncode == 0
                )
                assert process.poll() is None
                yield
            finally:
                process.terminate()


def test_containers_start_in_order_and_the_application_reads(
    environments: Path, tmp_path: Path
) -> None:
    containers = Containers(environments / "embedded-azure", tmp_path)
    assert containers.run("certificates").returncode == 0
    with containers.start("azure"):
        assert list_subscriptions(containers.run("application")) == [DEFAULT_SUBSCRIPTION_ID]
        # Without the authority of the volume, ARM is not trusted.
        refused = containers.run("application", SSL_CERT_FILE="")
    assert (refused.returncode, "CERTIFICATE_VERIFY_FAILED" in refused.stderr) == (1, True)


def test_image_has_the_packages_of_the_readme() -> None:
    installed = shlex.split(read_dockerfile("RUN"))[-1]
    assert shlex.split(read_commands("embedded-azure").install)[-1] == installed.replace(
        "aiomsi", "../.."
    )
    entry = json.loads(read_dockerfile("ENTRYPOINT"))
    exposed = read_dockerfile("EXPOSE").split()
    assert [entry[entry.index(f"--{name}-port") + 1] for name in ("imds", "arm")] == exposed


def test_services_wait_for_those_that_they_need() -> None:
    needed = {name: service.get("depends_on", {}) for name, service in SERVICES.items()}
    assert needed == {
        "certificates": {},
        "azure": {"certificates": {"condition": "service_completed_successfully"}},
        "application": {"azure": {"condition": "service_healthy"}},
    }
    for service in SERVICES.values():
        (volume,) = service["volumes"]
        name, folder = volume.removesuffix(":ro").split(":")
        assert name in COMPOSE["volumes"]
        assert folder == "/certificates"
