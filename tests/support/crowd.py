"""Many processes that get a token at once: `python crowd.py NUMBER [DIRECTORY]`.

With a directory they use a gate there. They are forked from one process, which has imported all
modules and sent no request, so that each starts quickly, and they are released together. The output
is the seconds that each process waited, or None if it got no token.
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
    # Late imports: the locks of the gate, and the backend of anyio.
    aiomsi.ManagedIdentityCredential(gate=directory)
    anyio.run(aiomsi.Clock().sleep, 0)
    read, write = os.pipe()
    start, held = os.pipe()
    for _ in range(number):
        if os.fork() == 0:
            os.close(held)
            os.read(start, 1)
            # A line this short is written whole.
            os.write(write, f"{json.dumps(asyncio.run(ask(directory)))}\n".encode())
            os._exit(0)
    os.close(write)
    # The last write end of the pipe is closed, so every child reads the end of file.
    os.close(held)
    with os.fdopen(read, encoding="ascii") as lines:
        print("[", ", ".join(line.strip() for line in lines), "]")


if __name__ == "__main__":
    main(int(sys.argv[1]), *sys.argv[2:])
