"""An ARM on loopback that responds to recorded requests only, with the recorded responses."""

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urljoin, urlsplit

import attrs
from aiohttp import web
from multidict import CIMultiDict
from recorded.replay import find
from recorded.sequences import Step, normalize_url

from aiomsi import Cloud

LINKS = ("Azure-AsyncOperation", "Operation-Location", "Location")
_LINKS_OF_BODIES = rb'("(?:nextLink|resourceLocation)"\s*:\s*")'
_LONGEST = 65_536
_OF_THE_CONNECTION = {
    "connection",
    "content-encoding",
    "content-length",
    "date",
    "keep-alive",
    "server",
    "transfer-encoding",
}


def move_origin(steps: tuple[Step, ...], origin: str) -> tuple[Step, ...]:
    """Return the exchanges with another origin in their URLs and links, and only there.

    On ARM each region has its own origin; here all have the same one.
    """
    host = re.escape(urlsplit(steps[0].response.url).hostname or "")
    # In JSON a slash may be escaped.
    pattern = rf"https?:\\?/\\?/(?:[a-z0-9]+\.)?{host}(?::443)?(?=\\?[/?])"
    old = re.compile(pattern, re.IGNORECASE)
    in_body = re.compile(_LINKS_OF_BODIES + pattern.encode(), re.IGNORECASE)

    def one(step: Step) -> Step:
        response = step.response
        headers = CIMultiDict(
            {
                name: value
                for name, value in response.headers.items()
                if name not in _OF_THE_CONNECTION
            }
        )
        headers.update(
            {
                name: old.sub(origin, headers[name].strip(), count=1)
                for name in LINKS
                if name in headers
            }
        )
        content = in_body.sub(lambda found: found[1] + origin.encode(), response.body)
        url = old.sub(origin, urljoin(steps[0].response.url, response.url), count=1)
        return attrs.evolve(
            step, response=attrs.evolve(response, url=url, headers=headers, body=content)
        )

    return tuple(map(one, steps))


@attrs.define(eq=False)
class Replayed:
    """The server.

    Attributes:
        origin: the server's URL.
        left: the recorded exchanges that were not yet requested.
        always: an exchange that responds to every request.
        otherwise: the status for a request that is not recorded.
        asked: the targets of all requests since `load`, as received.
        unrecorded: the targets that are not recorded.

    """

    origin: str = ""
    left: list[Step] = attrs.field(factory=list)
    always: Step | None = None
    otherwise: int = 418
    asked: list[str] = attrs.field(factory=list)
    unrecorded: list[str] = attrs.field(factory=list)

    @property
    def cloud(self) -> Cloud:
        return Cloud("recorded", self.origin, f"{self.origin}/")

    def load(self, steps: tuple[Step, ...], *, otherwise: int = 418) -> tuple[Step, ...]:
        """Load one sequence to respond from, and return it with this server's origin."""
        steps = move_origin(steps, self.origin)
        self.left, self.always, self.otherwise, self.asked, self.unrecorded = (
            list(steps),
            None,
            otherwise,
            [],
            [],
        )
        return steps

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        target = request.raw_path
        self.asked.append(target)
        await request.read()
        step = self.always or self._found(request.method, target)
        if step is None:
            self.unrecorded.append(target)
            return web.json_response(
                {"error": {"code": "Unrecorded", "message": "Nobody asked this."}},
                status=self.otherwise,
            )
        response = step.response
        return web.Response(status=response.status, body=response.body, headers=response.headers)

    def _found(self, method: str, target: str) -> Step | None:
        url = f"{self.origin}{target}"
        if method == "GET":
            step, _ = find(self.left, url)
        else:
            step = next((one for one in self.left[:1] if one.response.method == method), None)
            step = (
                step
                if step is not None and normalize_url(step.response.url) == normalize_url(url)
                else None
            )
        if step is not None:
            self.left.remove(step)
        return step


@asynccontextmanager
async def serve_replayed() -> AsyncIterator[Replayed]:
    made = Replayed()
    runner = web.ServerRunner(
        web.Server(made.handle, max_line_size=_LONGEST, max_field_size=_LONGEST),
        shutdown_timeout=0.1,
    )
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    made.origin = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield made
    finally:
        await runner.cleanup()
