"""Many processes of one machine that want a token at once: `python crowd.py NUMBER [DIRECTORY]`, with a gate there or without.

They are forked from one process that has imported everything and fetched nothing, so that starting
them costs little, and are let go together. Prints for each how many seconds it waited, or None
where it got no token.
"""

import asyncio
import json
import os
import sys
import time

import anyio

import aiomsi


async def ask(directory: str | None) -> float | None:
    async with aiomsi.ManagedIdentityCredential(gate=directory) as credential:
        began = time.monotonic()
        try:
            await credential.get_token("https://management.azure.com/.default")
        except aiomsi.CredentialError as error:
            print(error, file=sys.stderr)
            return None
        return time.monotonic() - began


def main(number: int, directory: str | None = None) -> None:
    # What is imported only when it is needed: the gate's locks, and what anyio needs to sleep.
    aiomsi.ManagedIdentityCredential(gate=directory)
    anyio.run(aiomsi.Clock().sleep, 0)
    read, write = os.pipe()
    gun, held = os.pipe()
    for _ in range(number):
        if os.fork() == 0:
            os.close(held)
            os.read(gun, 1)
            # A line this short is written whole.
            os.write(write, f"{json.dumps(asyncio.run(ask(directory)))}\n".encode())
            os._exit(0)
    os.close(write)
    # Nobody holds this end any more: all of them read its end now.
    os.close(held)
    with os.fdopen(read, encoding="ascii") as told:
        print("[", ", ".join(line.strip() for line in told), "]")


if __name__ == "__main__":
    main(int(sys.argv[1]), *sys.argv[2:])
