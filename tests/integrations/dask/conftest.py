"""A Dask cluster whose workers are threads of this process, and an embedded Azure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from dask_runs import EPOCH, SUBSCRIPTIONS, import_distributed

from aiomsi.integrations._dask import shard
from aiomsi.testing import EmbeddedAzure


@pytest.fixture(scope="session")
def client() -> Iterator[Any]:
    distributed = import_distributed()
    # Over TCP, because Dask would connect to another machine to find the address of this one.
    options = {"protocol": "tcp://", "host": "127.0.0.1", "dashboard_address": "127.0.0.1:0"}
    with (
        distributed.LocalCluster(None, 2, 2, False, **options) as cluster,
        distributed.Client(cluster) as client,
    ):
        yield client


@pytest.fixture(autouse=True)
def azure(
    embedded_azure: EmbeddedAzure, azure_environment: object, monkeypatch: pytest.MonkeyPatch
) -> EmbeddedAzure:
    for name, value in EPOCH.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(shard, "PERIOD", 0.01)
    embedded_azure.arm.generate(subscriptions=SUBSCRIPTIONS - 1, resources=60)
    return embedded_azure
