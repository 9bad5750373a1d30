"""The example for Kubernetes: each pod is a process, with the packages of the image."""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from example_program import DEVELOPMENT, EXAMPLES, make_variables, read_commands, start
from loops import PATIENCE, wait_in_thread

from aiomsi.inventory import read_manifest
from aiomsi.testing import EmbeddedAzure

yaml: Any = pytest.importorskip("yaml")

EXAMPLE = EXAMPLES / "kubernetes"
JOB, LAST = (
    yaml.safe_load((EXAMPLE / name).read_text(encoding="utf-8"))
    for name in ("job.yaml", "assemble.yaml")
)
DOCKERFILE = (EXAMPLE / "Dockerfile").read_text(encoding="utf-8")
STORE = "abfss://inventory@ACCOUNT.dfs.core.windows.net/"


def find_pod(job: dict[str, Any]) -> dict[str, Any]:
    """Return the specification of a Job's pods."""
    spec: dict[str, Any] = job["spec"]["template"]["spec"]
    return spec


def find_container(job: dict[str, Any]) -> dict[str, Any]:
    (container,) = find_pod(job)["containers"]
    assert isinstance(container, dict)
    return container


@pytest.fixture
def start_pod(environments: Path, azure: EmbeddedAzure, tmp_path: Path) -> Any:
    """Return a function that starts a pod of a Job as its file says, with a folder as the store."""
    shutil.copy(EXAMPLE / "inventory.py", tmp_path)

    def start(job: dict[str, Any], **variables: str) -> subprocess.Popen[str]:
        container = find_container(job)
        given = {each["name"]: each["value"] for each in container.get("env", [])}
        entry = re.findall(r'"([^"]+)"', DOCKERFILE.splitlines()[-1])
        command = [each.replace("/inventory.py", "inventory.py") for each in entry]
        return subprocess.Popen(
            [*command, *(each.replace(STORE, "") for each in container["args"])],
            cwd=tmp_path,
            env=make_variables(
                environments / "kubernetes",
                {**DEVELOPMENT, **azure.environment, **given, **variables},
            ),
            stdout=subprocess.PIPE,
            text=True,
        )

    return start


def test_pods_of_a_job_write_one_inventory(
    azure: EmbeddedAzure, start_pod: Any, tmp_path: Path
) -> None:
    azure.arm.generate(subscriptions=50, resources=500)
    # An Indexed Job sets the variable.
    indices = [str(index) for index in range(JOB["spec"]["completions"])]
    with azure.arm.hold() as hold:
        # All of them make a plan at the same time.
        pods = [start_pod(JOB, JOB_COMPLETION_INDEX=index) for index in indices]
        hold.wait_arrived(len(pods))
    for pod in pods:
        pod.communicate()
    assert [pod.returncode for pod in pods] == [0] * len(pods)
    read = azure.counts.arm_requests
    assert read == len(pods) + 2 * 51
    # A repeated pod reads the list of subscriptions alone.
    again = start_pod(JOB, JOB_COMPLETION_INDEX="1")
    assert again.communicate()[0] == ""
    assert azure.counts.arm_requests == read + 1
    last = start_pod(LAST)
    said, _ = last.communicate()
    manifest = read_manifest(tmp_path / "all.manifest.json")
    assert (last.returncode, manifest.completeness) == (0, "complete")
    assert said == f"{manifest.summarize()}\n"
    assert len((tmp_path / "all.jsonl").read_bytes().splitlines()) == manifest.rows > 500


def test_commands_of_the_readme_write_one_inventory(environments: Path, tmp_path: Path) -> None:
    commands, environment = read_commands("kubernetes"), environments / "kubernetes"
    folder = tmp_path / "copy"
    shutil.copytree(EXAMPLE, folder)
    (folder / "azure.env").touch()
    with start(str(folder), commands.start, environment, tmp_path / "log") as emulator:
        wait_in_thread(
            lambda: "AIOMSI_RESOURCE_MANAGER" in (folder / "azure.env").read_text("utf-8")
        )
        script = "\n".join(["set -e", *commands.others])
        subprocess.run(
            ["sh", "-c", script],
            cwd=folder,
            env=make_variables(environment, DEVELOPMENT),
            check=True,
            timeout=PATIENCE,
        )
        emulator.terminate()
        assert emulator.wait() == 0
    manifest = read_manifest(folder / "all.manifest.json")
    assert (manifest.completeness, manifest.rows > 5_000) == ("complete", True)


def test_job_has_as_many_completions_as_pods() -> None:
    spec = JOB["spec"]
    assert spec["completionMode"] == "Indexed"
    (variable,) = find_container(JOB)["env"]
    assert variable == {"name": "PODS", "value": str(spec["completions"])}
    assert spec["parallelism"] == spec["completions"]


def test_jobs_share_image_folder_and_identity() -> None:
    first, last = find_container(JOB), find_container(LAST)
    assert first["image"] == last["image"]
    assert [first["args"][0], last["args"][0]] == ["shards", "assemble"]
    assert first["args"][1] == last["args"][1]
    for job in (JOB, LAST):
        assert (job["apiVersion"], job["kind"]) == ("batch/v1", "Job")
        labels = job["spec"]["template"]["metadata"]["labels"]
        assert labels == {"azure.workload.identity/use": "true"}
        pod = find_pod(job)
        assert (pod["serviceAccountName"], pod["restartPolicy"]) == ("inventory", "Never")


def test_readme_names_the_jobs_and_the_image() -> None:
    text = (EXAMPLE / "README.md").read_text(encoding="utf-8")
    assert f"docker build -t {find_container(JOB)['image']} ." in text
    assert f"job/{JOB['metadata']['name']}\n" in text
    # The environment of the README has the packages of the image.
    (extras,) = re.findall(r"'aiomsi\[(.*)\]'", DOCKERFILE)
    assert set(extras.split(",")) <= set(re.findall(r"[a-z]+", read_commands("kubernetes").install))
