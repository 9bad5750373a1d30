"""A token endpoint in threads, with TLS or without, that responds as badly as a test wants."""

import contextlib
import hashlib
import json
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Self, TypeAlias

import attrs
import trustme
from loops import PATIENCE

_PAUSE = 0.001


@attrs.frozen(eq=False)
class Drip:
    """A reply that never ends: a beginning, and then one more byte every now and then."""

    beginning: bytes


@attrs.frozen(eq=False)
class Silence:
    """No reply; the connection stays open."""


Reply: TypeAlias = bytes | Drip | Silence


def make_reply(status: int = 200, body: Any = b"", **headers: str) -> bytes:
    """Return a response; the body is given as bytes or as the value of a JSON document."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    lines = [f"HTTP/1.1 {status} Said", *(f"{name}: {value}" for name, value in named.items())]
    if "Content-Length" not in named:
        lines.append(f"Content-Length: {len(content)}")
    return "\r\n".join([*lines, "", ""]).encode() + content


@attrs.define(eq=False)
class HostileServer:
    """A server on loopback.

    Attributes:
        respond: returns the reply to a request, given as the bytes of its head and body.
        tls: the TLS context, None for plain http.
        received: the bytes of each request.
        connections: the number of accepted connections.
        url: scheme, host and port.
        whole: whether a request is read to its end; False takes the first bytes for a request.

    """

    respond: Callable[[bytes], Reply]
    tls: ssl.SSLContext | None = None
    received: list[bytes] = attrs.field(factory=list)
    connections: int = 0
    url: str = ""
    whole: bool = True
    _listener: socket.socket = attrs.field(init=False)
    _open: set[socket.socket] = attrs.field(init=False, factory=set)
    _threads: list[threading.Thread] = attrs.field(init=False, factory=list)
    _over: threading.Event = attrs.field(init=False, factory=threading.Event)

    def __enter__(self) -> Self:
        self._listener = socket.create_server(("127.0.0.1", 0))
        scheme = "http" if self.tls is None else "https"
        self.url = f"{scheme}://127.0.0.1:{self._listener.getsockname()[1]}"
        self._run(self._accept)
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for one in (self._listener, *self._open):
            # Closing alone wakes no thread that reads.
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(PATIENCE)
            assert not thread.is_alive()
        self._listener.close()

    def _run(self, function: Callable[..., None], *arguments: object) -> None:
        thread = threading.Thread(target=function, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                self.connections += 1
                self._open.add(connection)
                self._run(self._serve, connection)

    def _serve(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError), contextlib.ExitStack() as stack:
            stack.enter_context(connection)
            if self.tls is not None:
                connection = self.tls.wrap_socket(connection, server_side=True)
                stack.enter_context(connection)
                self._open.add(connection)
            while request := _read_request(connection, whole=self.whole):
                self.received.append(request)
                self._send(connection, self.respond(request))

    def _send(self, connection: socket.socket, said: Reply) -> None:
        if isinstance(said, Silence):
            self._over.wait(PATIENCE)
        elif isinstance(said, Drip):
            connection.sendall(said.beginning)
            while not self._over.wait(_PAUSE):
                connection.sendall(b" ")
        else:
            connection.sendall(said)
            if b"Content-Length" not in said or not _is_complete(said):
                connection.shutdown(socket.SHUT_RDWR)


def _is_complete(message: bytes) -> bool:
    head, end, body = message.partition(b"\r\n\r\n")
    for line in head.split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        if name.strip().lower() == b"content-length":
            return bool(end) and len(body) >= int(value)
    return bool(end)


def _read_request(connection: socket.socket, *, whole: bool) -> bytes:
    data = b""
    while not (_is_complete(data) if whole else data):
        piece = connection.recv(65_536)
        if not piece:
            return data
        data += piece
    return data


@attrs.frozen(eq=False)
class Certificate:
    """A certificate for loopback, with the TLS context of its server."""

    context: ssl.SSLContext
    thumbprint: str
    authority: trustme.CA

    @classmethod
    def make(cls) -> Self:
        authority = trustme.CA()
        issued = authority.issue_cert("127.0.0.1", "localhost")
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        issued.configure_cert(context)
        der = ssl.PEM_cert_to_DER_cert(issued.cert_chain_pems[0].bytes().decode())
        return cls(context, hashlib.sha1(der).hexdigest(), authority)  # noqa: S324 (as Service Fabric does)

    def write(self, path: Path) -> str:
        """Write the authority's certificate; return the path."""
        self.authority.cert_pem.write_to_path(str(path))
        return str(path)


def list_parts(request: bytes) -> Iterator[str]:
    """Yield the request line and the headers of a request."""
    yield from request.partition(b"\r\n\r\n")[0].decode("latin-1").split("\r\n")
