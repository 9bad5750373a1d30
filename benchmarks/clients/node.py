"""Microsoft's clients on Node, `@azure/identity` and `@azure/arm-resources`, in node/client.mjs."""

import json
import os
import shutil
import subprocess
from pathlib import Path

from job import Job, Measured

ABOUT = (
    "Node with `@azure/identity` and `@azure/arm-resources`: `resourceGroups.get`, `resources.list`"
)
NEEDS = ()

_HERE = Path(__file__).parent / "node"


def get_folder(job: Job) -> Path:
    """Return the folder with node_modules and a copy of client.mjs."""
    return Path(job.node) if job.node else _HERE


def explain_absence(job: Job) -> str | None:
    if shutil.which("node") is None:
        return "node is not installed"
    if not (get_folder(job) / "node_modules" / "@azure" / "identity").is_dir():
        return f"`npm install` was not run on {_HERE.name}/package.json (the nox session does)"
    return None


def run_elsewhere(job: Job) -> Measured:
    """Run the scenario in Node, and return its numbers.

    The origin's counts are checked as for all clients.
    """
    node = shutil.which("node")
    assert node is not None
    environment = dict(os.environ)
    if job.ca is not None:
        environment["NODE_EXTRA_CA_CERTS"] = job.ca
    job_fields = {
        "scenario": job.scenario,
        "imds": job.imds,
        "arm": job.arm,
        "size": job.size,
        "work": job.work,
        "limit": job.limit,
    }
    done = subprocess.run(
        [node, str(get_folder(job) / "client.mjs"), json.dumps(job_fields)],
        stdout=subprocess.PIPE,
        check=True,
        env=environment,
    )
    answer = json.loads(done.stdout.splitlines()[-1])
    return Measured(answer["values"], answer.get("errors", {}))
