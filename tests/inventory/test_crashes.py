"""A run that is killed at any moment and resumed writes the file of an undisturbed run."""

import os
import random
import subprocess
import sys
from pathlib import Path

import pytest
from optional import import_or_skip

from aiomsi.inventory import Manifest, assemble, read_manifest, read_plan
from aiomsi.inventory._parts.folder import PartFolder
from aiomsi.testing import EmbeddedAzure

RUN = """
import asyncio, sys
import aiomsi
from aiomsi import inventory

async def main(folder, output):
    async with aiomsi.ArmSession() as arm:
        rows = inventory.rows(arm, folder=folder)
        async for row in rows:
            print(row["id"], flush=True)
        inventory.assemble(rows.manifest.plan, folder, output)

asyncio.run(main(*sys.argv[1:]))
"""


def run(azure: EmbeddedAzure, folder: Path, kill_after: int | None = None) -> int:
    """Run an inventory, and kill it after that many rows; return the number of its rows."""
    command = [sys.executable, "-c", RUN, str(folder), str(folder / "x.jsonl")]
    environment = {**os.environ, **azure.environment, "SOURCE_DATE_EPOCH": "1000"}
    rows = 0
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment) as child:
        assert child.stdout is not None
        for _ in child.stdout:
            rows += 1
            if rows == kill_after:
                child.kill()
                break
        child.stdout.read()
        assert child.wait() == (0 if kill_after is None or rows < kill_after else -9)
    return rows


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="the exit code of a kill differs")
def test_killed_run_resumes_to_the_same_file(
    embedded_azure: EmbeddedAzure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    embedded_azure.arm.generate(subscriptions=40, resources=4_000)
    whole = tmp_path / "whole"
    total = run(embedded_azure, whole)
    killed = tmp_path / "killed"
    draw = random.Random(1)
    for kill in range(20):
        run(embedded_azure, killed, draw.randrange(1, 1 + total * (kill + 1) // 20))
        plan = read_plan(killed)
        assert plan is not None
        if kill == 10:
            # A power failure: the end of a part is lost.
            parts = PartFolder(killed)
            done = [scope for scope in plan.scopes if parts.read_result(scope) is not None]
            path = killed / f"{done[0].key}.part"
            path.write_bytes(path.read_bytes()[:-9])
            assert parts.read_result(done[0]) is None
    assert run(embedded_azure, killed) == total
    assert (killed / "x.jsonl").read_bytes() == (whole / "x.jsonl").read_bytes()
    manifest: Manifest = read_manifest(killed / "x.manifest.json")
    assert manifest.completeness == "complete"
    assert manifest.rows == total
    assert not list(killed.glob("*.tmp-*"))
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1000")
    import_or_skip("pyarrow.parquet")
    for name in ("x.csv", "x.parquet", "x/"):
        for folder in (whole, killed):
            assemble(manifest.plan, folder, f"{folder}/{name}")
    for path in (path for path in whole.rglob("x*/*.parquet") if path.is_file()):
        assert path.read_bytes() == (killed / path.relative_to(whole)).read_bytes()
    for name in ("x.csv", "x.parquet"):
        assert (whole / name).read_bytes() == (killed / name).read_bytes()
