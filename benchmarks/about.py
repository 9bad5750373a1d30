"""The description of a run: versions, machine and settings, without which numbers mean little."""

import importlib.metadata
import json
import os
import platform
import shutil
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from clients import CLIENTS

_ALSO = ("azure-core", "msal", "yarl", "anyio", "attrs", "uvloop")


def describe(
    asked: str, seed: int, rounds: int, *, quick: bool, partial: bool, node: Path
) -> dict[str, Any]:
    """Describe a run.

    In the result, `run` is the name of the run, which every measurement carries, and `asked` names
    its scenarios; empty for all.
    """
    at = datetime.now(UTC).isoformat(timespec="seconds")
    return {
        "run": f"{at} seed {seed}",
        "at": at,
        "asked": asked,
        "seed": seed,
        "rounds": rounds,
        "quick": quick,
        "partial": partial,
        "interpreter": f"{platform.python_implementation()} {platform.python_version()}",
        "system": platform.platform(),
        "cpu": _name_cpu(),
        "cpus": os.cpu_count(),
        "load_before": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
        "versions": _list_versions() | _list_node_versions(node),
    }


def _list_versions() -> dict[str, str]:
    wanted = dict.fromkeys([package for client in CLIENTS.values() for package in client.needs])
    versions = {}
    for package in (*wanted, *_ALSO):
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            versions[package] = "missing"
    return versions


def _list_node_versions(folder: Path) -> dict[str, str]:
    node = shutil.which("node")
    if node is None:
        return {"node": "missing"}
    versions = {
        "node": subprocess.run(
            [node, "--version"], capture_output=True, text=True, check=True
        ).stdout.strip()
    }
    for package in ("@azure/identity", "@azure/arm-resources"):
        described = folder / "node_modules" / package / "package.json"
        if described.exists():
            versions[package] = json.loads(described.read_text(encoding="utf-8"))["version"]
    return versions


def _name_cpu() -> str:
    """Return the system's name of the processor; Linux has it in /proc only."""
    listed = Path("/proc/cpuinfo")
    if listed.exists():
        for line in listed.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
