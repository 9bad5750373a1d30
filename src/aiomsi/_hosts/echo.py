"""Responses that repeat a secret of their request, as the error page of another server may do."""

from collections.abc import Iterator
from urllib.parse import parse_qs

import attrs
from multidict import CIMultiDict

from aiomsi._hosts.base import TokenHttpResponse, TokenRequest
from aiomsi._util.secret import Secret, SecretBytes

_MASK = "***"
_SECRET_FIELDS = ("client_assertion",)


def mask_echo(request: TokenRequest, response: TokenHttpResponse) -> TokenHttpResponse:
    """Return the response with every secret of its request masked, in headers and body."""
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
    return attrs.evolve(response, body=body, headers=headers)


def _list_secrets(request: TokenRequest) -> Iterator[Secret]:
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
