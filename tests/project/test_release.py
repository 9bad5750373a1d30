"""The workflow of a release: its order, its rights, and its shell commands, which run here."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from optional import import_or_skip

from aiomsi._version import VERSION

ROOT = Path(__file__).parents[2]
WHEEL, SOURCE = f"aiomsi-{VERSION}-py3-none-any.whl", f"aiomsi-{VERSION}.tar.gz"
BILL = "aiomsi.cdx.json"
FILES = {WHEEL, SOURCE, BILL}
"""What the session `build` leaves in the folder `dist`."""
posix = pytest.mark.skipif(sys.platform == "win32", reason="the job runs in a POSIX shell")


@pytest.fixture(scope="module")
def jobs() -> dict[str, Any]:
    text = (ROOT / ".github" / "workflows" / "release.yml").read_text(encoding="utf-8")
    found: dict[str, Any] = import_or_skip("yaml").safe_load(text)["jobs"]
    return found


def find_steps(jobs: dict[str, Any], job: str, text: str) -> list[dict[str, Any]]:
    """Return the steps of a job whose action or command has a text."""
    steps: list[dict[str, Any]] = jobs[job]["steps"]
    return [step for step in steps if text in step.get("uses", "") + step.get("run", "")]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with the files of a build."""
    (tmp_path / "dist").mkdir()
    for name in FILES:
        (tmp_path / "dist" / name).touch()
    return tmp_path


def run_step(step: dict[str, Any], folder: Path, **variables: str) -> int:
    """Run a command as the runner does, with `bash -e`, and return its exit code."""
    shell = shutil.which("bash") or "sh"
    variables = {"PATH": os.environ["PATH"], **variables}
    return subprocess.run([shell, "-e", "-c", step["run"]], cwd=folder, env=variables).returncode  # noqa: PLW1510


def select(pattern: str, folder: Path) -> set[str]:
    """Return the names of the files that lines of patterns select."""
    return {path.name for line in pattern.split() for path in folder.glob(line)}


def test_jobs_wait_for_each_other_and_have_few_rights(jobs: dict[str, Any]) -> None:
    needed = {name: (job.get("needs"), job["permissions"]) for name, job in jobs.items()}
    attesting = {"contents": "read", "id-token": "write", "attestations": "write"}
    assert needed == {
        "build": (None, attesting),
        # Trusted publishing needs no right on the repository.
        "publish": ("build", {"id-token": "write"}),
        "release": ("publish", {"contents": "write"}),
    }
    assert jobs["publish"]["environment"]["name"] == "pypi"
    for job in jobs.values():
        assert job["timeout-minutes"] <= 20


def test_every_distribution_and_the_bill_are_attested(jobs: dict[str, Any], folder: Path) -> None:
    files, bill = (step["with"] for step in find_steps(jobs, "build", "actions/attest@"))
    assert select(files["subject-path"], folder) == {WHEEL, SOURCE}
    assert select(bill["subject-path"], folder) == {WHEEL}
    assert select(bill["sbom-path"], folder) == {BILL}
    names = [step.get("uses", step.get("run", "")) for step in jobs["build"]["steps"]]
    order = ["nox -s build", "test -e", "actions/attest@", "actions/upload-artifact@"]
    places = [next(i for i, name in enumerate(names) if text in name) for text in order]
    assert places == sorted(places)


def test_each_job_downloads_what_the_first_one_uploads(jobs: dict[str, Any]) -> None:
    (up,) = find_steps(jobs, "build", "upload-artifact@")
    assert up["with"]["if-no-files-found"] == "error"
    for job in ("publish", "release"):
        (down,) = find_steps(jobs, job, "download-artifact@")
        assert down["with"] == {"name": up["with"]["name"], "path": up["with"]["path"]}


@posix
def test_tag_of_another_version_ends_the_release(jobs: dict[str, Any], folder: Path) -> None:
    (step,) = find_steps(jobs, "build", "GITHUB_REF_NAME")
    assert run_step(step, folder, GITHUB_REF_NAME=f"v{VERSION}") == 0
    for other in (f"v{VERSION}.1", "v", VERSION.replace(".", "-")):
        assert run_step(step, folder, GITHUB_REF_NAME=other) == 1


@posix
def test_index_receives_distributions_only(jobs: dict[str, Any], folder: Path) -> None:
    (step,) = find_steps(jobs, "publish", "mv ")
    assert run_step(step, folder) == 0
    assert {path.name for path in (folder / "dist").iterdir()} == {WHEEL, SOURCE}


@posix
def test_release_has_every_file(jobs: dict[str, Any], folder: Path) -> None:
    (step,) = find_steps(jobs, "release", "gh release create")
    assert set(step["env"]) == {"GH_TOKEN", "GH_REPO"}
    gh = folder / "bin" / "gh"
    gh.parent.mkdir()
    gh.write_text('#!/bin/sh\nprintf "%s\\n" "$@" > arguments\n', encoding="utf-8")
    gh.chmod(0o755)
    path = f"{gh.parent}{os.pathsep}{os.environ['PATH']}"
    assert run_step(step, folder, GITHUB_REF_NAME="v1", PATH=path) == 0
    arguments = (folder / "arguments").read_text(encoding="utf-8").splitlines()
    assert arguments[:3] == ["release", "create", "v1"]
    assert "--verify-tag" in arguments
    assert {each.removeprefix("dist/") for each in arguments if each.startswith("dist/")} == FILES


def test_build_leaves_these_files() -> None:
    noxfile = (ROOT / "noxfile.py").read_text(encoding="utf-8")
    assert re.findall(r'"([\w.]+\.cdx\.json)"', noxfile) == [BILL]
