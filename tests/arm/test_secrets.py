"""Error reports of a failed call: no frame and no pickle has a token, a body or a signed link."""

import asyncio
import contextlib
import json
import pickle
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest
from arm_server import (
    AUDIENCE,
    GROUP,
    VAULT,
    VERSION,
    Asked,
    Says,
    Tokens,
    make_error_body,
    open_session,
    serve_canned,
)
from hidden import check_frames, iter_shown
from multidict import CIMultiDict

from aiomsi import (
    AiomsiError,
    ArmResponse,
    ArmSession,
    Cloud,
    ConfigurationError,
    ForeignHostError,
    OperationFailedError,
    ServiceError,
    UsageError,
)
from aiomsi._arm.protocol import response as _response
from aiomsi._arm.protocol.links import Link, resolve_link

pytestmark = pytest.mark.anyio

TOKEN, SIGNATURE, BODY, ROW = "eyJ0-very-secret", "SIGNATURE", "hunter2", "row-of-a-page"
SECRETS = (TOKEN, SIGNATURE, BODY, ROW)
HEADER = "header-of-the-caller"
SIGNED = f"{VAULT}?api-version={VERSION}&t=1&c=CERT&s={SIGNATURE}&h=2"


def check_hidden(error: BaseException, *secrets: str) -> None:
    check_frames(error, *(secrets or SECRETS))
    if not isinstance(error, asyncio.CancelledError):
        pickled = pickle.dumps(error)
        assert not [secret for secret in (TOKEN, SIGNATURE, BODY) if secret.encode() in pickled]


@asynccontextmanager
async def serve_raw(answer: bytes | None) -> AsyncIterator[tuple[Cloud, asyncio.Event]]:
    """Serve some bytes and close; without bytes, report a request and never respond."""
    arrived, over = asyncio.Event(), asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError):
            await reader.readuntil(b"\r\n\r\n")
            arrived.set()
        if answer is None:
            await over.wait()
        else:
            writer.write(answer)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1")
    async with server:
        yield (
            Cloud("Raw", f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", AUDIENCE),
            arrived,
        )
        over.set()


async def send(arm: ArmSession, method: str, **options: Any) -> Any:
    """Send a call with a secret body to a signed URL, from a frame of the tests."""
    if method == "GET":
        return await arm.get(SIGNED, **options)
    body: dict[str, Any] = (
        {"content": BODY.encode()} if method == "POST" else {"json": {"password": BODY}}
    )
    return await arm.request(method, SIGNED, **body, **options)


HEAD = b"HTTP/1.1 200 OK\r\n"
LOCATION = f"Location: https://management.azure.com/x?s={SIGNATURE}".encode()
ROWS = ROW.encode()
ANSWERS = {
    "reset": b"",
    "half a head": HEAD + LOCATION + b"\r\n",
    "bad length": HEAD + LOCATION + b"\r\nContent-Length: x\r\n\r\n",
    "long header": HEAD + LOCATION + b"x" * 70_000 + b"\r\n\r\n",
    "bad name": HEAD + b"Bad " + LOCATION + b"\r\n\r\n",
    "cut": HEAD + b"Content-Length: 100\r\n\r\n" + ROWS,
    "bad chunk": HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + ROWS + b"\r\n",
    "bad gzip": HEAD + b"Content-Encoding: gzip\r\nContent-Length: 13\r\n\r\n" + ROWS,
    "redirect": b"HTTP/1.1 307 Elsewhere\r\n" + LOCATION + b"\r\nContent-Length: 0\r\n\r\n",
    "denied": b"HTTP/1.1 403 Forbidden\r\n" + LOCATION + b"\r\nContent-Length: 2\r\n\r\n{}",
    "refused": (
        b'HTTP/1.1 401 No\r\nWWW-Authenticate: Bearer error="invalid_token"\r\n'
        b"Content-Length: 2\r\n\r\n{}"
    ),
}


@pytest.mark.parametrize("borrowed", [False, True])
@pytest.mark.parametrize("method", ["GET", "PUT", "POST", "DELETE"])
@pytest.mark.parametrize("name", ANSWERS)
async def test_a_failed_request_shows_no_secret(name: str, method: str, borrowed: bool) -> None:
    tokens = Tokens((TOKEN, f"{TOKEN}-2"))
    async with (
        serve_raw(ANSWERS[name]) as (cloud, _),
        aiohttp.ClientSession() as http,
        ArmSession(tokens, cloud=cloud, retry=None, http=http if borrowed else None) as arm,
    ):
        with pytest.raises(AiomsiError) as raised:
            await send(arm, method)
    check_hidden(raised.value)


@pytest.mark.parametrize("method", ["GET", "PUT", "POST"])
async def test_a_request_without_a_response_shows_no_secret(method: str) -> None:
    async with serve_raw(None) as (cloud, arrived), aiohttp.ClientSession() as http:
        async with ArmSession(Tokens((TOKEN,)), cloud=cloud, retry=None) as arm:
            with pytest.raises(AiomsiError, match="within") as late:
                await send(arm, method, timeout=0.05)
            arrived.clear()
            cancelled = asyncio.ensure_future(send(arm, method))
            await arrived.wait()
            cancelled.cancel()
            with pytest.raises(asyncio.CancelledError) as stopped:
                await cancelled
            arrived.clear()
            ended = asyncio.ensure_future(send(arm, method))
            await arrived.wait()
        with pytest.raises(AiomsiError, match="closed") as closed:
            await ended
        arrived.clear()
        arm = ArmSession(Tokens((TOKEN,)), cloud=cloud, retry=None, http=http)
        woken = asyncio.ensure_future(send(arm, method))
        await arrived.wait()
        await arm.close()
        with pytest.raises(AiomsiError, match="closed") as borrowed:
            await woken
        arm = ArmSession(Tokens((TOKEN,)), cloud=cloud, retry=None, http=http)
        await http.close()
        with pytest.raises(UsageError, match="closed") as unsent:
            await send(arm, method)
    for raised in (late, stopped, closed, borrowed):
        check_hidden(raised.value)
    check_hidden(unsent.value, BODY)


async def test_an_endpoint_without_tls_shows_no_secret() -> None:
    async def serve(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1") as server:
        cloud = Cloud("Raw", f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}", AUDIENCE)
        async with ArmSession(Tokens((TOKEN,)), cloud=cloud) as arm:
            with pytest.raises(AiomsiError, match="SSL") as raised:
                await send(arm, "PUT")
    check_hidden(raised.value)
    # The TLS error would recur.
    assert vars(raised.value)["attempts"] == 1
    assert vars(raised.value)["permanent"]


PAGES: dict[str, dict[str, Any]] = {
    "no list": {"value": 5, "nextLink": SIGNED, "other": ROW},
    "no link": {"value": [ROW], "nextLink": 5},
    "an error": {"value": [ROW], "nextLink": SIGNED, "error": {"code": "x", "message": "y"}},
    "a resource": {"id": "/x", "properties": ROW},
    "elsewhere": {"value": [], "nextLink": f"https://evil.example/x?s={SIGNATURE}"},
}


@pytest.mark.parametrize("name", PAGES)
async def test_a_page_that_is_none_shows_neither_rows_nor_links(name: str) -> None:
    async with (
        serve_canned(Says(body=PAGES[name])) as server,
        open_session(server, Tokens((TOKEN,))) as arm,
    ):
        with pytest.raises((ServiceError, ForeignHostError)) as raised:
            [item async for item in arm.list(VAULT, api_version=VERSION)]
    places = [
        (where, local)
        for where, local, text in iter_shown(raised.value)
        for secret in SECRETS
        if secret in text
    ]
    assert places == []


@pytest.mark.parametrize(
    "answer",
    [
        Says(403, make_error_body("AuthorizationFailed")),
        Says(None),
        Says(body={"value": [], "nextLink": SIGNED}),
    ],
)
async def test_the_link_of_a_page_is_not_shown(answer: Says) -> None:
    first = Says(body={"value": [], "nextLink": SIGNED})
    async with (
        serve_canned(first, answer) as server,
        open_session(server, Tokens((TOKEN,)), retry=None) as arm,
    ):
        with pytest.raises(AiomsiError) as raised:
            [item async for item in arm.list(VAULT, api_version=VERSION)]
    assert [place for *place, text in iter_shown(raised.value) if SIGNATURE in text] == []


async def test_the_link_of_a_page_is_not_shown_by_a_closed_session() -> None:
    first = Says(body={"value": [1], "nextLink": SIGNED})
    async with serve_canned(first) as server, open_session(server, Tokens((TOKEN,))) as arm:
        items = arm.list(VAULT, api_version=VERSION, prefetch=False)
        await anext(items)
        await arm.close()
        with pytest.raises(UsageError) as raised:
            await anext(items)
    check_hidden(raised.value)


@pytest.mark.parametrize(
    "poll",
    [
        Says(403, make_error_body("AuthorizationFailed")),
        Says(body={"status": "Failed", "error": {"code": "x"}}),
    ],
)
async def test_the_link_of_an_operation_is_not_shown(poll: Says) -> None:
    def begun(asked: Asked) -> Says:
        link = (
            f"http://{asked.headers['Host']}{GROUP}/operationStatuses/1?api-version=1&s={SIGNATURE}"
        )
        return Says(201, {"name": "kv"}, {"Azure-AsyncOperation": link})

    answer: Callable[[Asked], Says | Awaitable[Says]] = begun
    async with (
        serve_canned(answer, poll) as server,
        open_session(server, Tokens((TOKEN,)), retry=None) as arm,
    ):
        with pytest.raises(AiomsiError) as raised:
            await arm.put(VAULT, api_version=VERSION, json={"password": BODY})
    check_hidden(raised.value)
    assert poll.status == 403 or isinstance(raised.value, OperationFailedError)


@pytest.mark.parametrize(
    "verb", ["get", "head", "put", "patch", "post", "delete", "request", "begin"]
)
async def test_parameters_of_a_failed_call_are_not_shown(verb: str) -> None:
    first = ("PUT",) if verb in ("request", "begin") else ()
    denied = Says(403, make_error_body("AuthorizationFailed"))
    async with (
        serve_canned(denied, denied) as server,
        open_session(server, Tokens((TOKEN,))) as arm,
    ):
        for path, options in (
            (VAULT, {"api_version": VERSION, "params": {"s": SIGNATURE}}),
            (SIGNED, {}),
        ):
            with pytest.raises(AiomsiError) as raised:
                await getattr(arm, verb)(*first, path, **options)
            check_hidden(raised.value)


HEADERS = {"X-Secret": HEADER, "x-ms-client-request-id": "known"}
VERBS = ["get", "head", "put", "patch", "post", "delete", "request", "begin", "list", "pages"]


async def call(arm: ArmSession, verb: str, *, path: str = VAULT, **options: Any) -> None:
    """Send a call of any kind with a secret header, from a frame of the tests."""
    sent: dict[str, Any] = {"api_version": VERSION, "headers": HEADERS, **options}
    first = ("PUT",) if verb in ("request", "begin") else ()
    result = getattr(arm, verb)(*first, path, **sent)
    if verb in ("list", "pages"):
        await anext(result)
    else:
        await result


@pytest.mark.parametrize("verb", VERBS)
async def test_headers_of_a_failed_call_are_not_shown(verb: str) -> None:
    for response in (Says(403, make_error_body("AuthorizationFailed")), Says(None)):
        async with serve_canned(response) as server, open_session(server, retry=None) as arm:
            with pytest.raises(AiomsiError) as raised:
                await call(arm, verb)
        check_hidden(raised.value, HEADER)
        assert server.asked[0].headers["X-Secret"] == HEADER


@pytest.mark.parametrize("verb", VERBS)
async def test_headers_of_a_call_that_is_not_sent_are_not_shown(verb: str) -> None:
    faults: list[dict[str, Any]] = [
        {"headers": {**HEADERS, "Host": "x"}},
        {"headers": {**HEADERS, "X-Bad": f"{HEADER}\n"}},
        {"headers": [HEADER]},
        {"params": {"x": None}},
        {"api_version": "?"},
        {"api_version": None, "path": f"{VAULT}/providers/M.X"},
    ]
    async with serve_canned() as server, open_session(server) as arm:
        for fault in faults:
            with pytest.raises(ConfigurationError) as raised:
                await call(arm, verb, **fault)
            check_hidden(raised.value, HEADER)
        if verb in ("list", "pages"):
            with pytest.raises(ConfigurationError) as raised:
                await call(arm, verb, item_name="")
            check_hidden(raised.value, HEADER)
        await arm.close()
        with pytest.raises(UsageError) as closed:
            await call(arm, verb)
    check_hidden(closed.value, HEADER)


@pytest.mark.parametrize("borrowed", [False, True])
async def test_headers_of_a_cancelled_call_are_not_shown(borrowed: bool) -> None:
    async with (
        serve_raw(None) as (cloud, arrived),
        aiohttp.ClientSession() as http,
        ArmSession(Tokens(), cloud=cloud, http=http if borrowed else None) as arm,
    ):
        cancelled = asyncio.ensure_future(call(arm, "put"))
        await arrived.wait()
        cancelled.cancel()
        with pytest.raises(asyncio.CancelledError) as raised:
            await cancelled
    check_hidden(raised.value, HEADER)


async def test_a_location_elsewhere_is_not_shown_with_its_query() -> None:
    elsewhere = {"Location": f"https://evil.example/x?s={SIGNATURE}"}
    async with (
        serve_canned(Says(202, None, elsewhere)) as server,
        open_session(server, Tokens((TOKEN,))) as arm,
    ):
        with pytest.raises(ForeignHostError) as raised:
            await arm.post(VAULT, api_version=VERSION, json={"password": BODY})
    check_hidden(raised.value)


@pytest.mark.parametrize(
    "options",
    [
        {"json": {"password": BODY, "x": object()}},
        {"json": {"password": BODY}, "content": BODY.encode()},
        {"json": {"password": BODY}, "headers": {"Host": "x"}},
        {"json": {"password": BODY}, "timeout": "soon"},
        {"content": BODY},
    ],
)
@pytest.mark.parametrize("verb", ["put", "patch", "post"])
async def test_a_bad_argument_does_not_show_the_body(options: dict[str, Any], verb: str) -> None:
    async with serve_canned() as server, open_session(server, Tokens((TOKEN,))) as arm:
        with pytest.raises(ConfigurationError) as raised:
            await getattr(arm, verb)(VAULT, api_version=VERSION, **options)
    check_hidden(raised.value)


async def test_a_body_that_is_no_json_is_in_no_frame_of_the_decoder(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The standard library's decoder keeps the text in its locals and its exception."""
    monkeypatch.setattr(_response, "loads", lambda data, _: json.loads(data))
    text = " " * 600 + f"[{ROW}"
    with pytest.raises(ServiceError) as raised:
        ArmResponse("GET", SIGNED, 200, CIMultiDict(), f"x{text}".encode()).json()
    assert isinstance(raised.value.__cause__, ValueError)
    assert not hasattr(raised.value.__cause__, "doc")
    check_hidden(raised.value, SIGNATURE)


async def test_a_session_does_not_show_a_foreign_credential() -> None:
    async with serve_canned(Says()) as server, open_session(server, Tokens((TOKEN,))) as arm:
        await arm.get(VAULT, api_version=VERSION)
        assert "credential=Tokens>" in repr(arm)
        assert TOKEN not in f"{arm!r} {arm._connection!r} {arm._sender!r}"


def test_a_pickled_response_has_no_signed_links() -> None:
    headers = CIMultiDict(
        {
            "Location": f"/x?s={SIGNATURE}&api-version=1",
            "X-Other": f"see https://h/x?s={SIGNATURE}",
            "ETag": "a?b",
        }
    )
    headers.add("Azure-AsyncOperation", f"https://h/x?s={SIGNATURE}")
    twin = pickle.loads(pickle.dumps(ArmResponse("GET", SIGNED, 200, headers, b"{}")))  # noqa: S301 (our own)
    assert dict(twin.headers) == {
        "Location": "/x?api-version=1",
        "X-Other": "see https://h/x",
        "ETag": "a?b",
        "Azure-AsyncOperation": "https://h/x",
    }
    assert (twin.method, twin.url, twin.status, twin.body) == (
        "GET",
        f"{VAULT}?api-version={VERSION}",
        200,
        b"{}",
    )


def test_a_link_is_text_whose_repr_has_no_query() -> None:
    cloud = Cloud("Test", "https://management.example", AUDIENCE)
    link = resolve_link(cloud, f"{VAULT}?s={SIGNATURE}", "https://management.example/x")
    assert link == f"https://management.example{VAULT}?s={SIGNATURE}"
    assert repr(link) == repr(f"https://management.example{VAULT}")
    assert f"{link}".endswith(SIGNATURE)
    assert type(str(link)) is str
    assert repr(Link("x")) == "'x'"
