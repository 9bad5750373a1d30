"""The body of a token endpoint's response, within limits and without secrets of the request."""

import zlib
from collections.abc import Iterator, Mapping
from urllib.parse import parse_qs, quote

from multidict import CIMultiDict

from aiomsi._hosts.base import TokenError, TokenHttpResponse, TokenRequest
from aiomsi._util.secret import Secret, SecretBytes

MAX_BODY = 1_048_576
"""A token response has 2 to 10 KB."""
TOO_LARGE = f"a response of more than {MAX_BODY} bytes, which no token's is"
_CODINGS = frozenset({"br", "compress", "dcb", "dcz", "zstd"})
_MASK = "***"
_SECRET_FIELDS = ("client_assertion",)


def decompress_body(body: SecretBytes, headers: Mapping[str, str]) -> SecretBytes | TokenError:
    """Return the body, decompressed if the server compressed it although no coding was accepted.

    The result has at most `MAX_BODY` bytes.
    """
    coding = headers.get("Content-Encoding", "").strip().lower()
    if coding in ("", "identity"):
        return body
    if coding not in ("gzip", "x-gzip", "deflate"):
        # An unknown name may be a text of any kind.
        name = repr(coding) if coding in _CODINGS else "an unknown coding"
        return TokenError(f"the response is compressed with {name}, which was not accepted")
    try:
        # 32 accepts gzip's header and zlib's.
        plain = SecretBytes(zlib.decompressobj(zlib.MAX_WBITS | 32).decompress(body, MAX_BODY + 1))
    except zlib.error:
        return TokenError(f"the response is not the {coding} that it says it is", transient=True)
    return TokenError(TOO_LARGE) if len(plain) > MAX_BODY else plain


def mask_echo(request: TokenRequest, response: TokenHttpResponse) -> TokenHttpResponse:
    """Return the response with every secret of its request masked, in headers and body.

    The error page of another server may repeat the request.
    """
    body, headers = response.body, response.headers
    for secret in _list_secrets(request):
        if body.find(secret.encode()) >= 0:
            body = SecretBytes(body.replace(secret.encode(), _MASK.encode()))
        if any(secret in value for value in headers.values()):
            headers = CIMultiDict(
                (name, value.replace(secret, _MASK)) for name, value in headers.items()
            )
    if body is response.body and headers is response.headers:
        return response
    return TokenHttpResponse(response.status, headers, body, response.received, response.took)


def mask_error(request: TokenRequest, error: TokenError) -> TokenError:
    """Return the error with every secret of its request masked.

    In the body, JSON may have escaped characters of a secret.
    """
    secrets = list(_list_secrets(request))

    def mask(text: str) -> str:
        for secret in secrets:
            text = text.replace(secret, _MASK)
        return text

    return TokenError(
        mask(error.message),
        error.code and mask(error.code),
        error.transient,
        error.help,
        error.request_id and mask(error.request_id),
        no_identity=error.no_identity,
    )


def _list_secrets(request: TokenRequest) -> Iterator[Secret]:
    for secret in _list_plain_secrets(request):
        yield secret
        if (quoted := quote(secret, safe="")) != secret:
            yield Secret(quoted)


def _list_plain_secrets(request: TokenRequest) -> Iterator[Secret]:
    for value in request.headers.values():
        if isinstance(value, Secret):
            yield value
            # The key alone, without the scheme before it.
            scheme, _, rest = value.partition(" ")
            if scheme == "Basic":
                yield Secret(rest)
    if request.body is not None:
        form = parse_qs(request.body.decode())
        for name in _SECRET_FIELDS:
            yield from map(Secret, form.get(name, ()))
