"""The example for Kubernetes: each pod is a process here."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from aiomsi.inventory import read_manifest
from aiomsi.testing import EmbeddedAzure

EXAMPLE = Path(__file__).parents[2] / "examples" / "kubernetes"
COMMANDS = re.findall(
    r"python inventory\.py (\w+) parts (\S+)", (EXAMPLE / "README.md").read_text()
)
PODS = 2


def start_pod(
    azure: EmbeddedAzure, folder: Path, step: str, output: str, index: int = 0
) -> subprocess.Popen[str]:
    environment = {
        **os.environ,
        **azure.environment,
        "JOB_COMPLETION_INDEX": str(index),
        "PODS": str(PODS),
    }
    command = [sys.executable, str(EXAMPLE / "inventory.py"), step, "parts", output]
    return subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.PIPE, text=True)


@pytest.mark.slow
def test_pods_of_a_job_write_one_inventory(embedded_azure: EmbeddedAzure, tmp_path: Path) -> None:
    embedded_azure.arm.generate(subscriptions=50, resources=500)
    assert COMMANDS == [("shards", "-"), ("shards", "-"), ("assemble", "all.jsonl")]
    with embedded_azure.arm.hold() as hold:
        # All of them make a plan at the same time.
        pods = [start_pod(embedded_azure, tmp_path, "shards", "-", index) for index in range(PODS)]
        hold.wait_arrived(PODS)
    for pod in pods:
        pod.communicate()
    assert [pod.returncode for pod in pods] == [0] * PODS
    read = embedded_azure.counts.arm_requests
    assert read == PODS + 2 * 51
    # A repeated pod reads the list of subscriptions alone.
    again = start_pod(embedded_azure, tmp_path, "shards", "-", 1)
    assert again.communicate()[0] == ""
    assert embedded_azure.counts.arm_requests == read + 1
    last = start_pod(embedded_azure, tmp_path, "assemble", "all.jsonl")
    said, _ = last.communicate()
    manifest = read_manifest(tmp_path / "all.manifest.json")
    assert (last.returncode, manifest.completeness) == (0, "complete")
    assert said == f"{manifest.summarize()}\n"
    assert len((tmp_path / "all.jsonl").read_bytes().splitlines()) == manifest.rows > 500


def test_job_has_as_many_completions_as_pods() -> None:
    job, last = ((EXAMPLE / name).read_text() for name in ("job.yaml", "assemble.yaml"))
    (pods,) = re.findall(r'\{name: PODS, value: "(\d+)"\}', job)
    assert re.findall(r"(?:completions|parallelism): (\d+)", job) == [pods, pods]
    (folder,) = re.findall(r'"(abfss://\S+)"', job)
    assert f"- {folder}\n" in last
    for text in (job, last):
        assert 'azure.workload.identity/use: "true"\n' in text
