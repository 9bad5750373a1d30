"""The code of docs/web-services.md and docs/workers.md is that of the examples, or works."""

import asyncio
import re
from pathlib import Path

import pytest
from pages import ROOT, is_example, read_blocks, run_page

from aiomsi.testing import DEFAULT_SUBSCRIPTION_ID, EmbeddedAzure


def read_own_blocks(page: str) -> list[str]:
    """Return the code of a page that is in none of the examples."""
    return [block.text for block in read_blocks(page) if not is_example(block)]


def test_code_of_the_web_page_is_in_the_examples() -> None:
    assert len(read_blocks("docs/web-services.md")) > 5
    assert read_own_blocks("docs/web-services.md") == []


def test_code_of_the_workers_page_is_in_the_examples() -> None:
    assert len(read_blocks("docs/workers.md")) == 3
    (own,) = read_own_blocks("docs/workers.md")
    assert "Celery" in own


@pytest.mark.parametrize("readme", sorted((ROOT / "examples").glob("*/README.md")))
def test_links_of_a_readme_lead_to_files(readme: Path) -> None:
    links = re.findall(r"\]\(([^)]+)\)", readme.read_text(encoding="utf-8"))
    assert links
    assert all((readme.parent / link).is_file() for link in links)


@pytest.mark.slow
def test_celery_tasks_of_a_process_share_one_fetch(
    embedded_azure: EmbeddedAzure, azure_environment: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AZURE_SUBSCRIPTION_ID", DEFAULT_SUBSCRIPTION_ID)
    names = run_page("docs/workers.md")
    assert [names["locate_group"]("DevTest") for _ in range(100)] == ["westus"] * 100
    assert embedded_azure.counts.imds_requests == 1
    assert embedded_azure.counts.arm_requests == 100


def test_celery_worker_that_is_warm_sends_no_other_request(
    embedded_azure: EmbeddedAzure, azure_environment: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AZURE_SUBSCRIPTION_ID", DEFAULT_SUBSCRIPTION_ID)
    names = run_page("docs/workers.md")
    names["warm_up"](sender="worker@host")
    assert embedded_azure.counts.imds_requests == 1
    asyncio.run(names["locate"]("DevTest"))
    assert embedded_azure.counts.imds_requests == 1
