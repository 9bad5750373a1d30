"""Tasks of a Dask cluster that fail, are repeated, or are lost."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import pytest
from dask_runs import SUBSCRIPTIONS, import_distributed, start

from aiomsi import inventory
from aiomsi.testing import EmbeddedAzure

import_distributed()
# It imports distributed.
cluster_run = importlib.import_module("aiomsi.integrations._dask.cluster_run")

pytestmark = pytest.mark.slow


def fail(name: str, owner: str, plan: inventory.Plan, scopes: Any) -> Any:
    """Read a shard, but only to its first scope if it is that of the last subscription."""
    from aiomsi.integrations._dask.plugin import read_on_worker

    if not plan.subscriptions[0].id.startswith("f"):
        return read_on_worker(name, owner, plan, scopes)
    read_on_worker(name, owner, plan, scopes[:1])
    raise OSError("No space left on device")


def test_lost_task_is_the_error_of_its_unread_scopes(
    client: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster_run, "read_on_worker", fail)
    reported: list[inventory.ScopeResult] = []
    manifest = start(client, tmp_path, retries=0, on_result=reported.append)
    lost = [one for one in manifest.plan.subscriptions if one.id.startswith("f")]
    assert 0 < len(lost) == len(manifest.errors)
    for result in manifest.errors:
        assert result.error is not None
        assert (result.scope.source, result.error.code) == ("list", "OSError")
    assert len(reported) == 2 * SUBSCRIPTIONS


failures: list[str] = []


def fail_once(name: str, owner: str, plan: inventory.Plan, scopes: Any) -> Any:
    """Read a shard; raise an error at the first attempt of each."""
    from aiomsi.integrations._dask.plugin import read_on_worker

    if plan.subscriptions[0].id in failures:
        return read_on_worker(name, owner, plan, scopes)
    failures.append(plan.subscriptions[0].id)
    raise OSError("No space left on device")


def test_failed_task_is_repeated(
    client: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    failures.clear()
    monkeypatch.setattr(cluster_run, "read_on_worker", fail_once)
    assert start(client, tmp_path, retries=1).completeness == "complete"
    assert len(failures) == SUBSCRIPTIONS


def test_lost_scopes_are_read_with_retry_failed(
    client: Any, azure: EmbeddedAzure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(cluster_run, "read_on_worker", fail)
        assert start(client, tmp_path, retries=0).completeness == "incomplete"
    assert start(client, tmp_path).completeness == "incomplete"
    assert start(client, tmp_path, retry_failed=True).completeness == "complete"
