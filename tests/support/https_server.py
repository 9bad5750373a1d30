"""A certificate for loopback, and a small https server that stands for a service of Azure."""

import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import trustme
from aiohttp import web

from aiomsi.testing._server.server_thread import Server


class Certificate:
    """A certificate for loopback, and the authority that signed it, as files."""

    def __init__(self, folder: Path) -> None:
        authority = trustme.CA()
        issued = authority.issue_cert("127.0.0.1", "localhost")
        self.ca, self.chain, self.key = (
            folder / name for name in ("ca.pem", "chain.pem", "key.pem")
        )
        authority.cert_pem.write_to_path(str(self.ca))
        self.chain.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
        issued.private_key_pem.write_to_path(str(self.key))

    def server_context(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.chain, self.key)
        return context

    def client_context(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=str(self.ca))


@asynccontextmanager
async def serve(
    handler: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]],
    context: ssl.SSLContext | None,
) -> AsyncIterator[str]:
    """Serve every path with a handler, over plain http without a context; yield the URL."""
    runner = web.ServerRunner(Server(handler))
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context)
    await site.start()
    try:
        scheme = "http" if context is None else "https"
        yield f"{scheme}://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()
