"""The peak memory of fan-outs, each in a process of its own, against a bare server in another one.

``python tests/stress/fan_out_memory.py`` compares a million requests with a hundred thousand, with
bodies of 1 KB and a prompt consumer: the peak may differ by 32 MiB. ``--pages 8`` reads that many
pages of 8 MB each, 256-way: the peak may exceed that of no page by the budget and the size of six
pages, because the order of the answers decides how many pages a process decodes or frees at once.
It prints a line for each process, and exits with 1 if the peak is higher.
"""

import argparse
import asyncio
import json
import resource
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from typing import Any

import attrs

import aiomsi

MIB = 1_048_576
ALLOWED = 32 * MIB
BUDGET = 64 * MIB
PAGE = 8_000_000
PAGES_ALLOWED = 6 * PAGE
VERSION = "2021-04-01"
ITEM = {
    "id": f"/subscriptions/{'1' * 36}/resourceGroups/group/providers/Microsoft.A/b/{'n' * 60}",
    "name": "n" * 60,
    "type": "Microsoft.A/b",
    "location": "westeurope",
    "tags": {"environment": "test", "owner": "platform", "cost-center": "4711"},
    "properties": {"provisioningState": "Succeeded", "text": "x" * 100},
}


@attrs.frozen
class Token:
    """A token as azure-core has it."""

    token: str = "token"
    expires_on: int = 4_000_000_000


class Tokens:
    """A credential of another library."""

    async def get_token(self, *_: str, claims: str | None = None, **__: Any) -> Token:
        return Token()


# The server


class Protocol(asyncio.Protocol):
    """Responds to each request with one body; pipelined requests don't occur."""

    def __init__(self, response: bytes) -> None:
        self._response = response
        self._received = b""
        self._transport: asyncio.BaseTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._received += data
        if self._received.endswith(b"\r\n\r\n"):
            self._received = b""
            assert isinstance(self._transport, asyncio.Transport)
            self._transport.write(self._response)


async def serve(size: int) -> None:
    """Serve until the standard input is closed."""
    number = max(1, size // len(json.dumps(ITEM)))
    body = json.dumps({"value": [ITEM] * number}).encode()
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
    loop, ended = asyncio.get_running_loop(), asyncio.Event()
    server = await loop.create_server(lambda: Protocol(head % len(body) + body), "127.0.0.1", 0)
    threading.Thread(
        target=lambda: (sys.stdin.read(), loop.call_soon_threadsafe(ended.set)), daemon=True
    ).start()
    print(server.sockets[0].getsockname()[1], flush=True)
    await ended.wait()


# The client


def generate_requests(number: int) -> Iterator[aiomsi.Request]:
    for tag in range(number):
        path = f"/subscriptions/s{tag % 50}/resourceGroups/g{tag}/resources"
        yield aiomsi.Request("GET", path, api_version=VERSION, tag=tag)


async def count_outcomes(port: int, number: int, limit: int) -> int:
    """Return the number of outcomes."""
    cloud = aiomsi.Cloud("Bare", f"http://127.0.0.1:{port}", aiomsi.PUBLIC.audience)
    count = 0
    async with aiomsi.ArmSession(Tokens(), cloud=cloud) as arm:
        async for outcome in arm.fan_out(generate_requests(number), limit=limit):
            outcome.result()
            count += 1
    return count


def measure_self(port: int, number: int, limit: int) -> None:
    """Print this process's peak memory, in bytes, after a fan-out."""
    began = time.perf_counter()
    count = asyncio.run(count_outcomes(port, number, limit))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    peak *= 1 if sys.platform == "darwin" else 1_024
    print(json.dumps({"count": count, "peak": peak, "seconds": time.perf_counter() - began}))


def measure(number: int, *, size: int, limit: int) -> int:
    """Return the peak memory of a fan-out in a process of its own."""
    server = subprocess.Popen(
        [sys.executable, __file__, "--serve", str(size)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with server:
        assert server.stdin is not None
        assert server.stdout is not None
        port = server.stdout.readline().strip()
        done = subprocess.run(
            [sys.executable, __file__, "--consume", port, str(number), str(limit)],
            stdout=subprocess.PIPE,
            check=True,
            text=True,
        )
        server.stdin.close()
    row = json.loads(done.stdout)
    assert row["count"] == number
    print(
        f"{number:,} answers of {size:,} bytes, limit {limit:,}: "
        f"peak {row['peak'] / MIB:.1f} MiB, {row['seconds']:.1f} s",
        flush=True,
    )
    return int(row["peak"])


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, and return the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--requests", type=int, default=1_000_000, metavar="N")
    parser.add_argument("--limit", type=int, default=16_384, metavar="N")
    parser.add_argument("--pages", type=int, default=0, metavar="N")
    parser.add_argument("--serve", type=int, metavar="BYTES", help=argparse.SUPPRESS)
    parser.add_argument("--consume", type=int, nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.serve is not None:
        asyncio.run(serve(options.serve))
        return 0
    if options.consume is not None:
        measure_self(*options.consume)
        return 0
    if options.pages:
        base = measure(1, size=1_000, limit=256)
        more = measure(options.pages, size=PAGE, limit=256) - base
        allowed = BUDGET + PAGES_ALLOWED
    else:
        base = measure(options.requests // 10, size=1_000, limit=options.limit)
        more = measure(options.requests, size=1_000, limit=options.limit) - base
        allowed = ALLOWED
    print(f"{more / MIB:.1f} MiB more, and {allowed / MIB:.0f} MiB are allowed")
    return 0 if more <= allowed else 1


if __name__ == "__main__":
    sys.exit(main())
