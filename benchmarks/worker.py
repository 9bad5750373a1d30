"""Run one client in one scenario, in this process, and print one JSON line.

Responses are checked after the clock has stopped, so that a client that is fast because it is wrong
breaks. The arguments are the client's name and a `Job` as JSON. If the job has turns, the worker
prints READY and waits for its first turn.
"""

import dataclasses
import importlib
import importlib.metadata
import importlib.util
import json
import os
import sys
from urllib.parse import urlsplit

from clients import CLIENTS, Client
from job import Job, Measured, Missing
from scenarios import SCENARIOS


def find_missing(client: Client) -> list[str]:
    """Return the client's packages that are not installed."""
    lacking = []
    for package in client.needs:
        try:
            importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            lacking.append(package)
    return lacking


def measure(client: Client, job: Job) -> Measured:
    """Import the client and run the scenario with it.

    Raises:
        Missing: the client can't run here.

    """
    if lacking := find_missing(client):
        raise Missing(f"not installed: {', '.join(lacking)}")
    if job.loop == "uvloop" and importlib.util.find_spec("uvloop") is None:
        raise Missing("not installed: uvloop")
    if not client.orjson:
        # aiomsi uses orjson where it is installed; Microsoft's clients can't, so no client may,
        # except those whose name and description say so.
        sys.modules["orjson"] = None  # type: ignore[assignment]
    os.environ["AZURE_POD_IDENTITY_AUTHORITY_HOST"] = job.imds
    module = importlib.import_module(client.module)
    if hasattr(module, "explain_absence") and (lack := module.explain_absence(job)) is not None:
        raise Missing(lack)
    return SCENARIOS[job.scenario].measure(module, job)


def main() -> None:
    client, job = CLIENTS[sys.argv[1]], Job(**json.loads(sys.argv[2]))
    for url in (job.imds, job.arm):
        assert urlsplit(url).hostname == "127.0.0.1", "the origin is on loopback"
    try:
        print(json.dumps(dataclasses.asdict(measure(client, job))))
    except Missing as missing:
        print(json.dumps({"missing": str(missing)}))


if __name__ == "__main__":
    main()
