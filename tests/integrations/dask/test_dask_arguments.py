"""Arguments that are sent to workers, or refused."""

from __future__ import annotations

import asyncio
import pickle
import ssl
import sys
from pathlib import Path
from typing import Any

import pytest
from dask_runs import import_distributed, make_config, start

import aiomsi
from aiomsi import ConfigurationError
from aiomsi.testing import EmbeddedAzure

distributed = import_distributed()

pytestmark = pytest.mark.slow


def make_foreign() -> Any:
    """Create a credential of another library."""


def test_sent_configuration_holds_no_token(tmp_path: Path) -> None:
    from aiomsi.integrations._dask.plugin import SessionPlugin

    async def get_token(credential: Any) -> str:
        async with credential:
            return str((await credential.get_token("https://management.azure.com/.default")).token)

    credential = aiomsi.ManagedIdentityCredential(client_id="11111111-1111-4111-8111-111111111111")
    token = asyncio.run(get_token(aiomsi.ManagedIdentityCredential()))
    for each in (credential, aiomsi.SharedCredential(make_foreign)):
        config = make_config(tmp_path, credential=each, storage_options={"account_key": "KEY"})
        sent = pickle.dumps(SessionPlugin(config))
        assert token.encode() not in sent
        received = pickle.loads(sent).config  # noqa: S301 (our own)
        assert type(received.credential) is type(each)
        assert "KEY" not in repr(received)
        assert "KEY" not in repr(pickle.loads(sent))  # noqa: S301 (our own)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"credential": object()}, "not a object"),
        ({"session": {"ssl": ssl.create_default_context()}}, "can't be sent to workers"),
        ({"credential": aiomsi.SharedCredential(lambda: None)}, "can't be sent to workers"),
    ],
)
def test_argument_that_cannot_be_sent_is_refused(
    options: dict[str, Any], match: str, client: Any, azure: EmbeddedAzure, tmp_path: Path
) -> None:
    with pytest.raises(ConfigurationError, match=match) as caught:
        start(client, tmp_path, **options)
    assert caught.value.help
    assert azure.counts.arm_requests == azure.counts.imds_requests == 0


def test_client_of_another_kind_is_refused(
    client: Any, azure: EmbeddedAzure, tmp_path: Path
) -> None:
    address = client.cluster.scheduler_address

    async def main() -> None:
        async with distributed.Client(address, asynchronous=True) as other:
            for each in (object(), other):
                with pytest.raises(ConfigurationError, match=r"a synchronous distributed\.Client"):
                    start(each, tmp_path)

    asyncio.run(main())
    assert azure.counts.arm_requests == 0


def test_missing_dask_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "aiomsi.integrations._dask.cluster_run")
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(ConfigurationError) as caught:
        start(None, tmp_path)
    assert caught.value.help == "pip install 'aiomsi[dask]'"
