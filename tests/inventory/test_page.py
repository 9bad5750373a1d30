"""The examples of the page work."""

import asyncio
from pathlib import Path

from pages import run_page

import aiomsi
from aiomsi.testing import EmbeddedAzure


def test_examples_of_the_page_work(
    embedded_azure: EmbeddedAzure, azure_environment: object, tmp_path: Path
) -> None:
    embedded_azure.arm.generate(subscriptions=3, resources=60)
    found = run_page("docs/inventory.md")

    async def main() -> None:
        async with aiomsi.ArmSession() as arm:
            counts = await found["count_types"](arm)
            assert counts["microsoft.resources/subscriptions"] == 4
            plan = await found["plan_with_properties"](arm)
            assert [kind for _, kind in plan.lists if kind] == [
                "Resources",
                "SecurityResources",
                "microsoft.network/virtualnetworks/subnets",
                "microsoft.authorization/locks",
            ]
            assert 0 < plan.counts.total < 60
            output = tmp_path / "x.jsonl"
            first, again = [await found["write"](arm, tmp_path, output) for _ in range(2)]
            assert first.rows == again.rows == sum(counts.values())
            assert first.results == again.results

    asyncio.run(main())
