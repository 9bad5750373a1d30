"""The examples of docs/integrations.md work."""

from __future__ import annotations

import asyncio

import pytest
from aiohttp import web
from pages import run_block
from recorder import Recorder

from aiomsi.testing import EmbeddedAzure

PAGE = "docs/integrations.md"


def test_examples_of_the_page_work(monkeypatch: pytest.MonkeyPatch) -> None:
    recorder = Recorder(
        lambda seen: (
            web.json_response({"value": "secret"})
            if "secrets" in seen.path
            else web.Response(text="7")
        )
    )

    async def main() -> None:
        async with recorder.serve() as url:
            vault = run_block(PAGE, "read_secret", "https://NAME.vault.azure.net", url)
            search = run_block(PAGE, "count_documents", "https://NAME.search.windows.net", url)
            assert await vault["read_secret"]("name") == "secret"
            assert await search["count_documents"]("index") == 7

    with EmbeddedAzure(resources=["https://search.azure.com"]) as azure:
        for name, value in azure.environment.items():
            monkeypatch.setenv(name, value)
        asyncio.run(main())
    assert [each.path for each in recorder.seen] == ["/secrets/name", "/indexes/index/docs/$count"]
    assert all(str(token).startswith("eyJ") for token in recorder.tokens)
    assert len(set(recorder.tokens)) == 2
