"""Links in ARM's responses: resolved, checked against the cloud's ARM, otherwise unchanged. No I/O.

A link decides which host receives the next token, so each link, whether from a header or a body,
passes through `resolve_link` before it is followed. Services write links relative, without the
leading slash, as a ``file:`` URL, with port 443, or with raw spaces. Most links are signed, so
every character that HTTP can carry is kept.

Source: https://github.com/Azure/azure-resource-manager-rpc/blob/master/v1.0/async-api-reference.md,
https://www.rfc-editor.org/rfc/rfc3986#section-5.2
"""

from __future__ import annotations

import re
from itertools import pairwise
from urllib.parse import quote, unquote, urlsplit

from aiomsi._clouds import Cloud
from aiomsi._errors import ForeignHostError


class Link(str):
    """A link as a service wrote it, or its resolved URL.

    The repr omits the query, because ARM signs it.
    """

    __slots__ = ()

    def __repr__(self) -> str:
        return str.__repr__(self.partition("?")[0])


# `re` compiles the patterns on first use, because a GET of one resource follows no link.
_CONTROL = r"[\x00-\x1f\x7f]"
_SCHEME = r"[A-Za-z][A-Za-z0-9+.-]*:"
# No user, percent-encoding, backslash or letter beyond ASCII, because URL parsers differ on them.
_ABSOLUTE = r"(?i:https?)://[A-Za-z0-9.:\[\]-]+(?=[/?]|$)"
_LOCAL_FILE = r"(?i:file):/+"
# The ASCII characters that the target of an HTTP request can carry.
_SENDABLE = "".join(map(chr, range(0x21, 0x7F))).translate({ord(char): None for char in "#\\"})
_MAX_TEXT = 200
# The time, certificate, signature and hash: ARM signs a link each time that it sends it.
_SIGNATURE = frozenset({"t=", "c=", "s=", "h="})


def resolve_link(cloud: Cloud, link: str, base: str) -> str:
    """Return the URL, on the cloud's ARM, of a link in a response from the URL `base`.

    Raises:
        ForeignHostError: the link leads to another host, or its host is ambiguous.

    """
    link = Link(link)
    url = None if re.search(_CONTROL, link.strip(" ")) else _resolve(link.strip(" "), base)
    found = None if url is None else re.match(_ABSOLUTE, url)
    if url is None or found is None or not cloud.is_resource_manager(url):
        del url
        shown = link.partition("?")[0][:_MAX_TEXT]
        msg = f"the response links to {shown!r}, which is not on {cloud.resource_manager}"
        raise ForeignHostError(
            msg,
            help="The link was not followed, because tokens are sent to the cloud's ARM only, "
            "so the data behind it is missing",
            from_response=True,
        )
    return Link(
        url[: found.end()] + quote(url[found.end() :], safe=_SENDABLE, errors="surrogatepass")
    )


def _resolve(link: str, base: str) -> str | None:
    """Resolve a link against the URL of its response; None for a form that no service uses."""
    if "\\" in link.partition("?")[0] or not link:
        return None
    link = re.sub(_LOCAL_FILE, "/", link, count=1) if re.match(_LOCAL_FILE, link) else link
    if re.match(_SCHEME, link):
        return link
    parts = urlsplit(base)
    if link.startswith("//"):
        return f"{parts.scheme}:{link}"
    root = f"{parts.scheme}://{parts.netloc}"
    if link.startswith("?"):
        return f"{root}{parts.path}{link}"
    return f"{root}/{link.removeprefix('/')}"


def get_path(url: str | None) -> str:
    """Return a URL's path, for messages and logs, because the query may be signed."""
    return "" if url is None else urlsplit(url).path


def is_same_path(one: str, other: str) -> bool:
    """Return whether two URLs name the same resource.

    Case and percent-encodings are ignored, because ARM ignores case and services encode
    differently.
    """
    return _fold_path(one) == _fold_path(other)


def is_same_except_signature(one: str, other: str) -> bool:
    """Return whether two links have the same path and, except for the signature, the same query."""
    return _strip_signature(one) == _strip_signature(other)


def _strip_signature(url: str) -> tuple[str, list[str]]:
    """Return a URL up to its query, and the parameters without those of ARM's signature."""
    path, _, query = url.partition("?")
    return path, [part for part in query.split("&") if part[:2] not in _SIGNATURE]


def _fold_path(url: str) -> str:
    return unquote(get_path(url)).rstrip("/").lower()


_OPERATION = "operation|asyncresult|status"


def is_operation_url(link: str, request: str) -> bool:
    """Return whether a link names an operation, not the requested resource or another one.

    Segments of the request's path are ignored, and so are namespaces, because a resource of
    Microsoft.OperationalInsights is no operation.
    """
    known = set(_fold_path(request).split("/"))
    return any(
        re.search(_OPERATION, segment) and segment not in known
        for before, segment in pairwise(_fold_path(link).split("/"))
        if before != "providers"
    )
