"""The parts of a response's meaning that the hosts other than IMDS have in common."""

from collections.abc import Callable, Mapping
from typing import Any

from aiomsi._hosts.base import (
    TokenError,
    TokenHttpResponse,
    read_error,
    read_request_id,
    read_token_response,
)
from aiomsi._tokens.token import TokenResponse
from aiomsi._util.foreign import without_secrets

_MAX_SHOWN = 160


def read_answer(
    document: Mapping[str, Any] | None,
    response: TokenHttpResponse,
    find_help: Callable[[int, str | None, str], str],
) -> TokenResponse | TokenError:
    """Return the token or the error of a response: 429 and 5xx are temporary.

    Args:
        document: the body as a JSON object; None if it is none.
        response: the response.
        find_help: returns the remedy for a status, a code and a text.

    """
    if response.status == 200:
        return read_token_response(document, response)
    if 300 <= response.status < 400:
        target = response.headers.get("Location", "").partition("?")[0]
        where = f" to {without_secrets(target)[:_MAX_SHOWN]}" if target else ""
        return TokenError(
            f"the endpoint redirects{where}, which a token endpoint never does",
            help=find_help(response.status, None, ""),
        )
    code, text = read_error(document, response.body)
    passing = response.status == 429 or response.status >= 500
    # App Service repeats the status in the body.
    code = None if code == str(response.status) else code
    advice = "" if passing else find_help(response.status, code, text)
    return TokenError(text, code, passing, advice, read_request_id(document))
