"""Send a task for each resource group that the command line names, and print the results."""

import asyncio
import sys

from tasks import broker, locate_group


async def main(names: list[str]) -> None:
    """Send all tasks, then wait for their results."""
    await broker.startup()
    try:
        tasks = [await locate_group.kiq(name) for name in names]
        for name, task in zip(names, tasks, strict=True):
            result = await task.wait_result(timeout=60)
            print(name, result.return_value if result.error is None else repr(result.error))
    finally:
        await broker.shutdown()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1:]))
