"""The links that ARM's answers hold: resolved, pinned to the cloud's ARM, and otherwise left to the letter. No I/O.

A link decides where the next token goes, so each one, whether of a header or of a body, comes
through `pinned` before it is followed. Services write it relative, without the leading slash, as a
``file:`` URL, with port 443, or with raw spaces; and most are signed, so what can be sent as it is
stays as it is.

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
    """A link as a service wrote it, or the URL that it means. ARM signs the query, so the repr shows the path alone."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str.__repr__(self.partition("?")[0])


_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")
# No user, no percent-encoding, no backslash, no letter beyond ASCII: nothing that two parsers could
# read in two ways.
_ABSOLUTE = re.compile(r"https?://[A-Za-z0-9.:\[\]-]+(?=[/?]|$)", re.IGNORECASE)
_LOCAL_FILE = re.compile(r"file:/+", re.IGNORECASE)
# All of ASCII that an HTTP request can carry in its target.
_SENDABLE = "".join(map(chr, range(0x21, 0x7F))).translate({ord(char): None for char in "#\\"})
_MOST_TEXT = 200
# When, by which certificate, and what over which hash: a link is signed each time that it is given
# out.
_SIGNATURE = frozenset({"t=", "c=", "s=", "h="})


def pinned(cloud: Cloud, link: str, base: str) -> str:
    """Give the URL that a link means, in an answer from the URL `base`; it is one of the cloud's ARM.

    Raises:
        ForeignHostError: it leads elsewhere, or it can't be told where it leads.

    """
    link = Link(link)
    url = None if _CONTROL.search(link.strip(" ")) else _absolute(link.strip(" "), base)
    if url is None or (found := _ABSOLUTE.match(url)) is None or not cloud.is_resource_manager(url):
        del url
        msg = f"the service's answer links to {link.partition('?')[0][:_MOST_TEXT]!r}, which is not on {cloud.resource_manager}"
        raise ForeignHostError(
            msg, help="The link was not followed, so what lies behind it is missing"
        )
    return Link(
        url[: found.end()] + quote(url[found.end() :], safe=_SENDABLE, errors="surrogatepass")
    )


def _absolute(link: str, base: str) -> str | None:
    """Put a link and the URL where it was found together; None for what no service means."""
    if "\\" in link.partition("?")[0] or not link:
        return None
    link = _LOCAL_FILE.sub("/", link, count=1) if _LOCAL_FILE.match(link) else link
    if _SCHEME.match(link):
        return link
    parts = urlsplit(base)
    if link.startswith("//"):
        return f"{parts.scheme}:{link}"
    root = f"{parts.scheme}://{parts.netloc}"
    if link.startswith("?"):
        return f"{root}{parts.path}{link}"
    return f"{root}/{link.removeprefix('/')}"


def path_of(url: str | None) -> str:
    """Give a URL's path, for texts: the query may be signed."""
    return "" if url is None else urlsplit(url).path


def same_path(one: str, other: str) -> bool:
    """Tell whether two URLs name the same resource: ARM ignores case, and services encode as they like."""
    return _folded(one) == _folded(other)


def same_but_signed_anew(one: str, other: str) -> bool:
    """Tell whether two links name the same thing, with the same parameters or with the signature as their only difference."""
    return one.partition("?")[0] == other.partition("?")[0] and _unsigned(one) == _unsigned(other)


def _unsigned(url: str) -> list[str]:
    return [part for part in url.partition("?")[2].split("&") if part[:2] not in _SIGNATURE]


def _folded(url: str) -> str:
    return unquote(path_of(url)).rstrip("/").lower()


_OPERATION = re.compile("operation|asyncresult|status")


def names_operation(link: str, request: str) -> bool:
    """Tell whether a link names an operation, and not the resource that was asked for or another one.

    What the request's path has too does not count, and neither does a namespace:
    Microsoft.OperationalInsights is none.
    """
    known = set(_folded(request).split("/"))
    return any(
        _OPERATION.search(segment) and segment not in known
        for before, segment in pairwise(_folded(link).split("/"))
        if before != "providers"
    )
