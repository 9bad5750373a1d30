"""One pod of a Job that reads an inventory, or of the Job that writes its output."""

import asyncio
import os
import sys

import aiomsi
from aiomsi import inventory


async def main(step: str, folder: str, output: str) -> int:
    """Read every n-th shard, or write the output after all pods have ended."""
    async with (
        aiomsi.ManagedIdentityCredential() as credential,
        aiomsi.ArmSession(credential) as arm,
    ):
        storage = {"credential": credential}
        plan = await inventory.plan(arm)
        # All pods get the plan of the first one.
        plan = await asyncio.to_thread(inventory.open_plan, plan, folder, storage_options=storage)
        if step == "assemble":
            manifest = await asyncio.to_thread(
                inventory.assemble, plan, folder, output, storage_options=storage
            )
            print(manifest.summarize())
            return manifest.exit_code
        index, pods = int(os.environ["JOB_COMPLETION_INDEX"]), int(os.environ["PODS"])
        for scopes in list(plan.iter_shards())[index::pods]:
            await inventory.run_shard(arm, plan, scopes, folder)
        return 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main(*sys.argv[1:])))
