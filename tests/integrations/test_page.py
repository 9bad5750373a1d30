"""The examples of docs/integrations.md work."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from recorder import Recorder

from aiomsi.testing import EmbeddedAzure

PAGE = (Path(__file__).parents[2] / "docs" / "integrations.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


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
            found: dict[str, Any] = {}
            for block in BLOCKS:
                exec(re.sub(r"https://NAME[\w.]+", url, block), found)  # noqa: S102 (our own)
            assert await found["read_secret"]("name") == "secret"
            assert await found["count_documents"]("index") == 7

    with EmbeddedAzure(resources=["https://search.azure.com"]) as azure:
        for name, value in azure.environment.items():
            monkeypatch.setenv(name, value)
        asyncio.run(main())
    assert len(BLOCKS) == 2
    assert [each.path for each in recorder.seen] == ["/secrets/name", "/indexes/index/docs/$count"]
    assert all(str(token).startswith("eyJ") for token in recorder.tokens)
    assert len(set(recorder.tokens)) == 2
