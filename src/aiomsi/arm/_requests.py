"""Requests to ARM as values: what the caller wrote in, one checked and encoded URL out. No I/O."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import attrs
from yarl import URL

from aiomsi._clouds import Cloud
from aiomsi._errors import ConfigurationError, ForeignHostError

# A path of these needs no encoding, so yarl need not look at it.
_PLAIN_PATH = re.compile(r"[A-Za-z0-9/_.()~-]+", re.ASCII)
_PLAIN_VERSION = re.compile(r"[A-Za-z0-9.-]+", re.ASCII)
_NEVER = re.compile(r"[\x00-\x20\x7f#\\]")
_METHOD = re.compile(r"[A-Z]+")
_API_VERSION = re.compile(r"(?:^|&)api-version=([^&]*)", re.IGNORECASE)
_SAFE_IN_QUERY = "$,:/()'*!~@"


@attrs.frozen
class Options:
    """What a verb's caller may add to method and path; None means the default.

    Attributes:
        api_version: ``YYYY-MM-DD`` or ``YYYY-MM-DD-preview``; not needed where the path has one.
        params: further query parameters, not yet encoded.
        json: a body to be sent as JSON.
        content: a body to be sent as it is.
        headers: further headers; never `Authorization`.
        timeout: seconds for the whole call.

    """

    api_version: str | None = None
    params: Mapping[str, str | int | bool] | None = None
    json: Any = None
    content: bytes | None = None
    headers: Mapping[str, str] | None = attrs.field(default=None, repr=False)
    timeout: float | None = None


NO_OPTIONS = Options()


def build_url(cloud: Cloud, method: str, path: str, options: Options = NO_OPTIONS) -> URL:
    """Give the URL of a call, or say what is wrong with it.

    `path` begins with a slash; a full URL of the cloud's own ARM is taken too, and goes out byte for byte.

    Raises:
        ForeignHostError: a full URL of a host that must not see this cloud's token.
        ConfigurationError: anything else that can't be sent.

    """
    version = options.api_version
    if (
        version is not None
        and options.params is None
        and path.__class__ is str
        and path[:1] == "/"
        and _PLAIN_PATH.fullmatch(path)
        and "/." not in path
        and _PLAIN_VERSION.fullmatch(version)
        and _METHOD.fullmatch(method)
    ):
        return URL(f"{cloud.resource_manager}{path}?api-version={version}", encoded=True)
    return _build_slowly(cloud, method, path, options)


def _build_slowly(cloud: Cloud, method: str, path: str, options: Options) -> URL:
    if not _METHOD.fullmatch(method):
        msg = f"the method must be an HTTP verb in capitals and is {method!r}"
        raise ConfigurationError(msg)
    full = _is_full_url(cloud, path)
    address, _, query = path.partition("?")
    if _NEVER.search(path if full else address.replace(" ", "")) or "#" in query or _NEVER.search(query.replace(" ", "")):
        msg = f"the path has a control character, a backslash or a '#': {path!r}"
        raise ConfigurationError(msg)
    if any(part in (".", "..") for part in address.split("/")):
        msg = f"the path has a '.' or '..' segment, which would lead elsewhere: {path!r}"
        raise ConfigurationError(msg)
    additions = _additions(query, options)
    joined = "&".join(part for part in (query, additions) if part)
    if full:
        return URL(f"{address}?{joined}", encoded=True)
    encoded = quote(address, safe="/%_.()~-:@!$&'*+,;=")
    return URL(f"{cloud.resource_manager}{encoded}?{joined.replace(' ', '%20')}", encoded=True)


def _is_full_url(cloud: Cloud, path: object) -> bool:
    if not isinstance(path, str) or not path:
        msg = f"the path must be a string that begins with a slash and is {path!r}"
        raise ConfigurationError(msg)
    if path.startswith("/"):
        return False
    if "://" not in path.partition("?")[0]:
        msg = f"the path must begin with a slash: {path!r}"
        raise ConfigurationError(msg, help=f"Write '/{path}'")
    if not cloud.is_resource_manager(path):
        msg = f"{path.partition('?')[0]!r} is not on {cloud.resource_manager}, so it gets no token and is not asked"
        raise ForeignHostError(msg, help="For another cloud pass ArmSession(cloud=...)")
    return True


def _additions(query: str, options: Options) -> str:
    """Give what is to be added to the query that the path has: the api-version, if it lacks one, and the parameters."""
    params = dict(options.params or {})
    versions = [match for match in _API_VERSION.findall(query) if match]
    versions += [str(params.pop(name)) for name in list(params) if name.lower() == "api-version"]
    if options.api_version is not None and options.api_version not in versions:
        versions.append(options.api_version)
    if len(set(versions)) > 1:
        msg = f"the call names more than one api-version: {', '.join(versions)}"
        raise ConfigurationError(msg)
    if not versions or not versions[0]:
        msg = "the call has no api-version, and ARM requires one"
        raise ConfigurationError(msg, help="Pass api_version='2021-04-01', or the version of the resource type's API")
    if not _PLAIN_VERSION.fullmatch(versions[0]):
        msg = f"the api-version is malformed: {versions[0]!r}"
        raise ConfigurationError(msg)
    added = [] if _API_VERSION.search(query) else [f"api-version={versions[0]}"]
    for name, value in params.items():
        text = str(value).lower() if isinstance(value, bool) else str(value)
        added.append(f"{quote(str(name), safe='$')}={quote(text, safe=_SAFE_IN_QUERY)}")
    return "&".join(added)


def check_headers(headers: Mapping[str, str]) -> None:
    """Make sure that the caller's headers leave the token to the session.

    Raises:
        ConfigurationError: `Authorization` is among them.

    """
    if any(name.lower() == "authorization" for name in headers):
        msg = "the Authorization header is the session's own"
        raise ConfigurationError(msg, help="Pass ArmSession(credential=...) to use another identity")
