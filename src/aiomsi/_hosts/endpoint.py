"""Endpoints that environment variables name: their check, and the query of a request."""

from collections.abc import Mapping
from urllib.parse import quote, urlsplit

from aiomsi._clouds import masked_url
from aiomsi._errors import ConfigurationError

_IN_URL = frozenset(map(chr, range(0x21, 0x7F))) - frozenset('#\\"<>')


def check_endpoint(url: str, variable: str, *, https: bool = False) -> str:
    """Return the URL of a token endpoint.

    Args:
        url: the value of the variable.
        variable: its name.
        https: whether plain http is refused.

    Raises:
        ConfigurationError: the URL is malformed, or its scheme is not allowed.

    """
    try:
        parts = urlsplit(url)
        well_formed = bool(parts.hostname) and parts.port != 0 and parts.username is None
    except ValueError:
        well_formed = False
    schemes = ("https",) if https else ("http", "https")
    if (
        not well_formed
        or not _IN_URL.issuperset(url)
        or not url.lower().startswith(tuple(f"{scheme}://" for scheme in schemes))
    ):
        form = " or ".join(f"'{scheme}://host[:port]/path'" for scheme in schemes)
        msg = f"{variable} must look like {form} and is {masked_url(url)!r}"
        raise ConfigurationError(msg, help=f"Correct {variable}, or unset it")
    return url


def add_query(url: str, parameters: Mapping[str, str]) -> str:
    """Return the URL with further query parameters, percent-encoded."""
    query = "&".join(f"{name}={quote(value, safe='')}" for name, value in parameters.items())
    return f"{url}{'&' if '?' in url else '?'}{query}"
