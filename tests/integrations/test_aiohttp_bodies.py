"""Bodies of every kind under the middleware of aiohttp: none is sent empty or cut."""

from __future__ import annotations

import asyncio
import contextlib
import io
import os
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import IO, Any

import aiohttp
import pytest
from recorder import Issuer, Recorder, accept_only

from aiomsi.integrations._auth.aiohttp_body import BodySource, classify_body
from aiomsi.integrations.aiohttp import bearer

SCOPE = "https://vault.example/.default"
CONTENT = b"0123456789" * 20_000
"""More than one piece of a file that aiohttp reads."""


async def generate() -> AsyncIterator[bytes]:
    yield CONTENT
    yield b"end"


def make_form(**fields: Any) -> aiohttp.FormData:
    data = aiohttp.FormData()
    data.add_field("text", "value")
    for name, value in fields.items():
        data.add_field(name, value, filename=name, content_type="text/plain")
    return data


class Files:
    """Files of a test, which are closed at its end."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.closing = contextlib.ExitStack()

    def open(self, at: int = 0, mode: str = "rb") -> IO[Any]:
        path = self.folder / "content"
        path.write_bytes(CONTENT)
        file = self.closing.enter_context(path.open(mode))
        file.seek(at)
        return file

    def pipe(self) -> IO[bytes]:
        """Return a file that can't be rewound."""
        reader, writer = os.pipe()
        os.write(writer, b"piped")
        os.close(writer)
        return self.closing.enter_context(os.fdopen(reader, "rb"))


@pytest.fixture
def files(tmp_path: Path) -> Iterator[Files]:
    made = Files(tmp_path)
    with made.closing:
        yield made


def make_multipart(files: Files) -> aiohttp.MultipartWriter:
    writer = aiohttp.MultipartWriter()
    writer.append("text")
    inner = aiohttp.MultipartWriter()
    inner.append(files.open())
    writer.append(inner)
    return writer


REPEATED: dict[str, Callable[[Files], Any]] = {
    "nothing": lambda _: None,
    "bytes": lambda _: CONTENT,
    "bytearray": lambda _: bytearray(CONTENT),
    "memoryview": lambda _: memoryview(CONTENT),
    "str": lambda _: "text",
    "fields": lambda _: {"a": "1", "b": "2"},
    "a form": lambda _: make_form(),
    "a form with bytes": lambda _: make_form(content=CONTENT),
    "a form with a file": lambda files: make_form(file=files.open(), more=b"x"),
    "a form with a file in memory": lambda _: make_form(file=io.BytesIO(CONTENT)),
    "parts within parts": make_multipart,
    "a file": Files.open,
    "the rest of a file": lambda files: files.open(at=7),
    "a file in memory": lambda _: io.BytesIO(CONTENT),
    "text in memory": lambda _: io.StringIO("text"),
    "an open text": lambda files: files.open(mode="r"),
}
HANDED_BACK: dict[str, Callable[[Files], Any]] = {
    "an async generator": lambda _: generate(),
    "a form with an async generator": lambda _: make_form(stream=generate()),
    "a pipe": Files.pipe,
    "a form with a pipe": lambda files: make_form(file=files.pipe()),
}


async def put(data: Any, **options: Any) -> tuple[Recorder, int, str]:
    """Send a body to a service that accepts the second token; return the last response."""
    recorder = Recorder(accept_only("token-2"))
    async with (
        recorder.serve() as url,
        aiohttp.ClientSession(middlewares=[bearer(Issuer(), SCOPE, [url])]) as http,
        http.put(url, data=data, **options) as response,
    ):
        return recorder, response.status, await response.text()


@pytest.mark.parametrize("make", REPEATED.values(), ids=REPEATED)
def test_body_that_can_be_read_again_is_repeated_whole(
    make: Callable[[Files], Any], files: Files
) -> None:
    recorder, status, _ = asyncio.run(put(make(files)))

    first, second = recorder.seen
    assert (status, second.token) == (200, "token-2")
    assert first.body == second.body
    assert first.body or make(files) is None


@pytest.mark.parametrize("make", HANDED_BACK.values(), ids=HANDED_BACK)
def test_body_that_was_consumed_is_not_repeated(make: Callable[[Files], Any], files: Files) -> None:
    recorder, status, text = asyncio.run(put(make(files)))

    assert (status, text) == (401, "refused")
    assert len(recorder.seen) == 1
    assert recorder.seen[0].body


def test_json_and_compressed_bodies_are_repeated_whole() -> None:
    async def main() -> None:
        recorder = Recorder(accept_only("token-2"))
        async with (
            recorder.serve() as url,
            aiohttp.ClientSession(middlewares=[bearer(Issuer(), SCOPE, [url])]) as http,
        ):
            async with http.post(url, json={"a": 1}) as response:
                assert response.status == 200
            recorder.respond = accept_only("token-3")
            async with http.post(url, data=CONTENT, compress=True) as response:
                assert response.status == 200
        bodies = [each.body for each in recorder.seen]
        assert bodies == [b'{"a": 1}'] * 2 + [CONTENT] * 2

    asyncio.run(main())


@pytest.mark.parametrize(
    ("value", "source"),
    [
        (b"", BodySource.MEMORY),
        (object(), BodySource.STREAM),
        (aiohttp.MultipartWriter(), BodySource.MEMORY),
    ],
)
def test_source_of_other_values(value: object, source: BodySource) -> None:
    assert classify_body(value) is source


def test_source_of_parts_is_that_of_their_least_repeatable() -> None:
    async def main() -> None:
        writer = aiohttp.MultipartWriter()
        for part, source in (
            ("text", BodySource.MEMORY),
            (io.BytesIO(b"x"), BodySource.FILE),
            (generate(), BodySource.STREAM),
            ("text", BodySource.STREAM),
        ):
            writer.append(part)
            assert classify_body(writer) is source

    asyncio.run(main())


class Unsteady(io.RawIOBase):
    """A file that knows its place, and can't return to it."""

    def __init__(self) -> None:
        self.place = 0

    def tell(self) -> int:
        return self.place

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if self.place:
            return 0
        self.place = 4
        buffer[:4] = b"once"
        return 4


def test_file_that_can_not_return_to_its_start_is_not_repeated() -> None:
    recorder, status, _ = asyncio.run(put(Unsteady()))

    assert status == 401
    assert [each.body for each in recorder.seen] == [b"once"]


def test_closed_file_is_not_repeated() -> None:
    file = io.BytesIO(b"x")
    payload = aiohttp.payload.BytesIOPayload(file)
    assert classify_body(payload) is BodySource.FILE
    file.close()
    assert classify_body(payload) is BodySource.STREAM


def test_response_before_the_end_of_a_file_is_handed_back(files: Files) -> None:
    """A thread may still read a piece of the file, which a second request would lack."""
    file = files.open()
    os.truncate(file.name, 64 * 2**20)

    assert asyncio.run(put_early(file)) == ([401], 1)


def test_response_before_the_end_of_bytes_repeats_them() -> None:
    data = aiohttp.FormData()
    for number in range(64):
        data.add_field("field", bytes(2**20), filename=str(number))

    assert asyncio.run(put_early(data)) == ([200], 2)


async def put_early(data: Any) -> tuple[list[int], int]:
    """Send a body to a service that refuses the first request before it reads the body.

    Return the status, and the number of requests.
    """
    heads: list[bytes] = []
    late, ended = asyncio.Event(), asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append(await reader.readuntil(b"\r\n\r\n"))
        if len(heads) == 1:
            writer.write(b"HTTP/1.1 401 Refused\r\nContent-Length: 7\r\n\r\nrefused")
            await late.wait()
            # Until the client has closed its connection, with what it could not write before.
            with contextlib.suppress(ConnectionError):
                while await reader.read(2**20):
                    pass
            ended.set()
        else:
            size = int(heads[-1].lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
            while size:
                size -= len(await reader.read(min(size, 2**20)))
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        writer.close()

    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65_536)
    listener.bind(("127.0.0.1", 0))
    server = await asyncio.start_server(serve, sock=listener)
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    async with server:
        async with (
            aiohttp.ClientSession(middlewares=[bearer(Issuer(), SCOPE, [url])]) as http,
            http.put(url, data=data) as response,
        ):
            late.set()
        await ended.wait()
    return [response.status], len(heads)


@pytest.mark.parametrize("reads", [True, False])
def test_file_that_waits_for_100_continue_is_repeated_whole(files: Files, reads: bool) -> None:
    """The service refuses the first request without reading its body, or after it."""
    bodies: list[bytes] = []
    heads: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while len(heads) < 2:
            heads.append(await reader.readuntil(b"\r\n\r\n"))
            if reads or len(heads) == 2:
                writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
                bodies.append(await reader.readexactly(len(CONTENT)))
            if len(heads) == 1:
                writer.write(b"HTTP/1.1 401 Refused\r\nContent-Length: 0\r\n\r\n")
                if not reads:
                    break
        else:
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        writer.close()

    async def main() -> int:
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        async with (
            server,
            aiohttp.ClientSession(middlewares=[bearer(Issuer(), SCOPE, [url])]) as http,
            http.put(url, data=files.open(), expect100=True) as response,
        ):
            return response.status

    assert asyncio.run(main()) == 200
    assert bodies == [CONTENT] * (2 if reads else 1)
