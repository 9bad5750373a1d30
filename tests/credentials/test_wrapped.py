"""`WrappedFetch` and the kinds of inner credential: their loops, results and errors."""

import asyncio
import functools
from types import SimpleNamespace
from typing import Any, Self

import attrs
import pytest
from inner import HASTY, NOW, SCOPES, Inner, fetch, require_failure

from aiomsi import (
    ConfigurationError,
    CredentialClosedError,
    CredentialError,
    TokenRefusedError,
    TokenUnavailableError,
)
from aiomsi._credentials import wrapped
from aiomsi._credentials.wrapped import (
    WrappedFactory,
    WrappedFunction,
    WrappedInstance,
    read_token,
    wrap,
)
from aiomsi._tokens.state import FetchRequest
from aiomsi._tokens.token import TokenResponse
from aiomsi._util.secret import Secret


class Managed(Inner):
    """A credential that is also a context manager."""

    async def __aenter__(self) -> Self:
        self.ends.append("entered")
        return self

    async def __aexit__(self, *_: object) -> None:
        self.ends.append("exited")


class Newer(Inner):
    """A credential by the newer protocol."""

    async def get_token_info(self, *scopes: str, options: dict[str, Any] | None = None) -> Any:
        return await self.get_token(*scopes, newer=options)


class Synchronous:
    """A synchronous credential, as the SDK has them."""

    def get_token(self, *scopes: str) -> None: ...


class Forwarding:
    """A credential whose method is no coroutine function, but returns an awaitable."""

    def __init__(self) -> None:
        self.inner = Inner()

    def get_token(self, *scopes: str) -> Any:
        return self.inner.get_token(*scopes)

    async def __aexit__(self, *_: object) -> None: ...


async def return_pair(*scopes: str, **options: Any) -> Any:
    return f"{scopes} {options}", 4_600


class Callable:
    """An object whose `__call__` is a coroutine function."""

    async def __call__(self, *scopes: str) -> Any:
        return await return_pair(*scopes)


@pytest.mark.parametrize(
    ("inner", "kind", "name"),
    [
        (Inner(), WrappedInstance, "Inner"),
        (Forwarding(), WrappedInstance, "Forwarding"),
        (Inner, WrappedFactory, "Inner"),
        (functools.partial(Inner), WrappedFactory, "Inner"),
        (return_pair, WrappedFunction, "return_pair"),
        (functools.partial(return_pair, claims="x"), WrappedFunction, "return_pair"),
        (Callable(), WrappedFunction, "Callable"),
    ],
)
def test_what_is_handed_in_is_told_apart(inner: object, kind: type, name: str) -> None:
    found = wrap(inner)
    assert type(found) is kind
    assert found.name == name


@pytest.mark.parametrize(
    ("inner", "message"),
    [
        (Synchronous(), "synchronous"),
        (Synchronous, "Synchronous is a synchronous"),
        ("text", "neither"),
        (None, "neither"),
    ],
)
def test_object_that_is_no_async_credential_is_refused_at_once(inner: object, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        wrap(inner)


@pytest.mark.anyio
@pytest.mark.parametrize("claims", [None, "e30="])
async def test_options_and_claims_reach_credentials_of_both_protocols(
    claims: str | None,
) -> None:
    older, newer = Inner(), Newer()
    for inner in (older, newer):
        assert isinstance(await fetch(inner, tenant_id="t")(FetchRequest(claims)), TokenResponse)
    expected = {"tenant_id": "t"} | ({"claims": claims} if claims else {})
    assert older.asked == [(SCOPES, expected)]
    assert newer.asked == [(SCOPES, {"newer": expected})]


@pytest.mark.anyio
async def test_a_function_is_asked_with_scopes_and_what_was_given() -> None:
    result = await fetch(return_pair, tenant_id="t")(FetchRequest())
    assert isinstance(result, TokenResponse)
    assert str(result.secret) == f"{SCOPES} {{'tenant_id': 't'}}"


@pytest.mark.anyio
async def test_a_factory_makes_one_for_every_fetch_and_closes_it() -> None:
    made: list[Inner] = []

    def make(kind: type[Inner], answer: object) -> Inner:
        made.append(kind())
        made[-1].answer = answer
        return made[-1]

    for kind, answer in (
        (Inner, ("text", 4_600)),
        (Managed, ("text", 4_600)),
        (Managed, ValueError("no")),
    ):
        await fetch(lambda: make(kind, answer))(FetchRequest())  # noqa: B023 (called at once)
    assert [inner.ends for inner in made] == [
        ["closed"],
        ["entered", "exited"],
        ["entered", "exited"],
    ]


@pytest.mark.anyio
async def test_a_factory_may_make_what_has_nothing_to_close() -> None:
    class Bare:
        async def get_token(self, *scopes: str) -> Any:
            return "text", 4_600

    assert isinstance(await fetch(Bare)(FetchRequest()), TokenResponse)


class Stuck(Inner):
    """A credential whose `close` fails."""

    async def close(self) -> None:
        msg = "not now"
        raise OSError(msg)


@pytest.mark.anyio
async def test_token_is_not_lost_if_its_credential_fails_to_close(
    caplog: pytest.LogCaptureFixture,
) -> None:
    assert isinstance(await fetch(lambda: Stuck())(FetchRequest()), TokenResponse)  # noqa: PLW0108 (a factory that is no class)
    assert "could not be closed: OSError: not now" in caplog.text
    stuck = Stuck()
    stuck.answer = ValueError("said so")
    assert (
        "ValueError: said so" in require_failure(await fetch(lambda: stuck)(FetchRequest())).summary
    )


@pytest.mark.anyio
async def test_token_waits_a_limited_time_for_its_credential_to_close(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wrapped, "_CLOSING", 0.05)

    class Hanging(Inner):
        async def close(self) -> None:
            await asyncio.Event().wait()

    assert isinstance(await fetch(lambda: Hanging())(FetchRequest()), TokenResponse)  # noqa: PLW0108 (a factory that is no class)
    assert "could not be closed: TimeoutError" in caplog.text


@pytest.mark.anyio
async def test_factory_of_a_synchronous_credential_fails() -> None:
    assert (
        "Synchronous is a synchronous credential"
        in require_failure(await fetch(lambda: Synchronous())(FetchRequest())).summary  # noqa: PLW0108
    )


@pytest.mark.anyio
@pytest.mark.parametrize("make", [lambda: None, lambda: return_pair("scope")])
async def test_factory_of_something_else_fails(make: Any) -> None:
    assert "which is not a credential" in require_failure(await fetch(make)(FetchRequest())).summary


@attrs.define
class Token:
    """A token in the form of azure-core's `AccessTokenInfo`."""

    token: Any = "text"
    expires_on: Any = 4_600
    refresh_on: Any = None
    token_type: str = "pop"


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (("text", 4_600), TokenResponse(Secret("text"), 3_600.0, 4_600)),
        (["text", 4_600], None),
        (Token(), TokenResponse(Secret("text"), 3_600.0, 4_600, token_type="pop")),
        (Token(refresh_on=2_000), TokenResponse(Secret("text"), 3_600.0, 4_600, 1_000.0, "pop")),
        (Token(expires_on="4600"), TokenResponse(Secret("text"), 3_600.0, 4_600, token_type="pop")),
        (Token(token=""), None),
        (Token(token=b"text"), None),
        (Token(expires_on=None), None),
        ("text", None),
        (None, None),
    ],
)
def test_a_token_is_read_whatever_class_it_is_of(
    answer: object, expected: TokenResponse | None
) -> None:
    result = read_token(answer, NOW)
    if expected is None:
        assert isinstance(result, str)
        assert "text" not in result
        assert "no token" in result
    else:
        assert isinstance(result, TokenResponse)
        assert attrs.astuple(result) == attrs.astuple(expected)
        assert "text" not in repr(result)


@pytest.mark.anyio
async def test_what_is_no_token_is_a_failure() -> None:
    inner = Inner()
    inner.answer = "text"
    assert "returned a str" in require_failure(await fetch(inner)(FetchRequest())).summary


class ServiceError(Exception):
    """An error in the form of azure-core's `HttpResponseError`."""

    def __init__(
        self, status: int | None, code: str | None = None, headers: dict[str, str] | None = None
    ) -> None:
        super().__init__("said\n\n so")
        self.status_code = status
        self.error = SimpleNamespace(code=code)
        self.response = SimpleNamespace(headers=headers)


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("error", "cls", "kind", "permanent", "retry_after"),
    [
        (ValueError("said so"), TokenUnavailableError, "unavailable", False, None),
        (ServiceError(None), TokenUnavailableError, "unavailable", False, None),
        (ServiceError(401, "invalid_client"), TokenRefusedError, "refused", True, None),
        (ServiceError(404), TokenUnavailableError, "unavailable", False, None),
        (
            ServiceError(429, headers={"Retry-After": "7"}),
            TokenUnavailableError,
            "throttled",
            False,
            7.0,
        ),
        (ServiceError(503), TokenUnavailableError, "unavailable", False, None),
        (TimeoutError("said so"), TokenUnavailableError, "unavailable", False, None),
        (
            TokenRefusedError("said so", status=400, code="x"),
            TokenRefusedError,
            "refused",
            True,
            None,
        ),
    ],
)
async def test_an_error_becomes_a_value_that_keeps_what_it_says(
    error: Exception, cls: type, kind: str, *, permanent: bool, retry_after: float | None
) -> None:
    inner = Inner()
    inner.answer = error
    failure = require_failure(await fetch(inner)(FetchRequest()))
    assert (failure.error, failure.kind, failure.permanent, failure.retry_after) == (
        cls,
        kind,
        permanent,
        retry_after,
    )
    assert (
        f"Inner returned no token for {SCOPES[0]}: {type(error).__name__}: said so"
        in failure.summary
    )
    raised = failure.exception()
    assert type(raised) is cls
    assert raised.status == getattr(error, "status_code", getattr(error, "status", None))


@pytest.mark.anyio
async def test_an_error_keeps_its_code() -> None:
    inner = Inner()
    inner.answer = ServiceError(401, "invalid_client")
    assert require_failure(await fetch(inner)(FetchRequest())).exception().code == "invalid_client"


@pytest.mark.anyio
async def test_a_credential_that_never_answers_is_given_up() -> None:
    inner = Inner()
    inner.answer = asyncio.Event()
    assert (
        "no result within 0.05 s"
        in require_failure(await fetch(inner, HASTY)(FetchRequest())).summary
    )
    assert inner.ends == ["left"]


class OwnError(CredentialError):
    """A subclass by a user, whose constructor has another signature."""

    def __init__(self) -> None:
        super().__init__("said so", retry_after=3.0)


@pytest.mark.anyio
async def test_own_error_keeps_its_class_but_a_users_subclass_does_not() -> None:
    inner = Inner()
    for error, kept in (
        (OwnError(), TokenUnavailableError),
        (CredentialClosedError("said so"), TokenUnavailableError),
    ):
        inner.answer = error
        failure = require_failure(await fetch(inner)(FetchRequest()))
        assert type(failure.exception()) is kept
        assert failure.retry_after == error.retry_after


class Holder(Inner):
    """A credential that is created with a secret."""

    def __init__(self, secret: str) -> None:
        super().__init__()


def test_no_repr_shows_what_a_credential_is_made_with() -> None:
    secret: Any = functools.partial(Holder, "S3CRET")
    for inner in (secret, functools.partial(return_pair, "S3CRET"), lambda: "S3CRET"):
        assert "S3CRET" not in repr(fetch(inner))
