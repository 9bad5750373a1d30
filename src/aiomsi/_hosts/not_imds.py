"""Detection of other servers at IMDS's address: other clouds, proxies, portals and firewalls.

IMDS responds in JSON, errors included. Only a failing Windows HTTP stack in front of it sends HTML.

Source:
https://learn.microsoft.com/azure/virtual-machines/instance-metadata-service#errors-and-debugging
"""

import html
import re
from collections.abc import Mapping
from typing import Any

from aiomsi._hosts.base import TokenHttpResponse
from aiomsi._util.foreign import strip_secrets
from aiomsi._util.secret import SecretBytes

_MAX_SHOWN = 160
_MAX_READ = 4_096
_OWN_SERVERS = ("imds", "microsoft-iis", "microsoft-httpapi")
_TOKEN_FIELDS = frozenset(
    {"access_token", "client_id", "error", "expires_in", "expires_on", "resource", "token_type"}
)
_OTHERS = (
    ("Metadata-Flavor", re.compile("google", re.IGNORECASE), "Google Cloud's metadata service"),
    (
        "Server",
        re.compile(r"metadata server for vm|\bgse\b|\besf\b", re.IGNORECASE),
        "Google Cloud's metadata service",
    ),
    ("Server", re.compile("ec2ws|amazon|aws", re.IGNORECASE), "AWS's metadata service"),
    ("X-Squid-Error", re.compile(""), "a Squid proxy"),
    ("Server", re.compile(r"squid", re.IGNORECASE), "a Squid proxy"),
)
"""A header, the pattern of its value, and the server that sends it."""
_TITLE = re.compile(rb"<title[^>]{0,100}>([^<]{1,300})", re.IGNORECASE)
_TAG = re.compile(r"<(?:style|script)\b[^<]*(?:<(?!/style|/script)[^<]*)*|<[^>]*>?", re.IGNORECASE)


def describe_impostor(
    response: TokenHttpResponse, document: Mapping[str, Any] | None
) -> str | None:
    """Return a description of the server in place of IMDS; None if it may be IMDS."""
    for header, pattern, name in _OTHERS:
        if (value := response.headers.get(header)) is not None and pattern.search(value):
            return f"{name}, {_describe_body(response)}"
    if 300 <= response.status < 400:
        target = response.headers.get("Location", "").partition("?")[0]
        return (
            f"it redirects to {strip_secrets(target)[:_MAX_SHOWN]}"
            if target
            else "it redirects, which IMDS never does"
        )
    if document is not None:
        return _describe_body(response) if _is_foreign_object(response, document) else None
    if not _is_foreign_body(response):
        return None
    return (
        f"{_describe_body(response)}, which is not a JSON object"
        if response.status == 200
        else _describe_body(response)
    )


def _is_foreign_object(response: TokenHttpResponse, document: Mapping[str, Any]) -> bool:
    """Return whether IMDS does not send such a JSON object with this status."""
    names = {name.lower() for name in document}
    if response.status < 300:
        return response.status != 200 or (bool(names) and not names & _TOKEN_FIELDS)
    return response.status < 500 and not any("error" in name for name in names)


def _is_foreign_body(response: TokenHttpResponse) -> bool:
    """Return whether IMDS does not send such a body, which is no JSON object, with this status."""
    body = response.body[:_MAX_READ].lstrip(b"\xef\xbb\xbf \t\r\n")
    if response.status < 300:
        # A body that begins like an object may be a truncated one.
        return response.status != 200 or body[:1] != b"{"
    if not body:
        return response.status in (401, 403, 405, 407, 511)
    transient = response.status >= 500 or response.status in (404, 408, 410, 429)
    if _is_html(response, body):
        return not (
            transient and response.headers.get("Server", "").lower().startswith(_OWN_SERVERS)
        )
    return body[:1] != b"{" and (not transient or response.status == 404)


def _is_html(response: TokenHttpResponse, body: bytes) -> bool:
    return body[:1] == b"<" or "html" in response.headers.get("Content-Type", "").lower()


def _describe_body(response: TokenHttpResponse) -> str:
    """Return the start of the body as text, with the name of its server."""
    body = SecretBytes(response.body[:_MAX_READ])
    title = _TITLE.search(body) if _is_html(response, body.lstrip()) else None
    if body.find(b"access_token") >= 0:
        shown = "a text with a token in it, which is not shown"
    elif title is not None:
        shown = f"an HTML page, {_shorten(title[1].decode('utf-8', 'replace'))!r}"
    else:
        text = body.decode("utf-8", "replace")
        shown = _shorten(_TAG.sub(" ", text) if _is_html(response, body.lstrip()) else text)
        shown = f"the text {shown!r}" if shown else "no text at all"
    server = response.headers.get("Server")
    return shown if not server else f"{shown} (server {_shorten(server)!r})"


def _shorten(text: str) -> str:
    printable = "".join(char if char.isprintable() else " " for char in html.unescape(text))
    return strip_secrets(printable)[:_MAX_SHOWN]
