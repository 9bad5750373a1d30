"""Requests to ARM as values: checked arguments, and an encoded URL. No I/O."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import date, datetime
from typing import Any
from urllib.parse import quote, unquote

from aiomsi._clouds import Cloud
from aiomsi._errors import SAFE_METHODS, ConfigurationError, ForeignHostError
from aiomsi._util.json import dumps

# A path of these characters needs no encoding, so yarl need not parse it.
_PLAIN_PATH = re.compile(r"[A-Za-z0-9/_.()~-]+", re.ASCII)
_PLAIN_VERSION = re.compile(r"[A-Za-z0-9.-]+", re.ASCII)
_NEVER = re.compile(r"[\x00-\x1f\x7f\\]")
_NOT_IN_FULL_URL = re.compile(r"[ #]")
_BARE_PERCENT = re.compile(r"%(?![0-9A-Fa-f]{2})")
# The response to CONNECT has no end, and that to TRACE contains the token.
_METHOD = re.compile(r"(?!(?:CONNECT|TRACE)\Z)[A-Z]+")
_API_VERSION = re.compile(r"(?:^|&)api-version=([^&]*)", re.IGNORECASE)
_SAFE_IN_PATH = "/%_.()~-:@!$&'*+,;="
_SAFE_IN_VALUE = "$,:/()'*!~@"
_ASCII = "".join(map(chr, range(0x21, 0x7F)))
_SAFE_IN_QUERY = _ASCII.replace("#", "")
_WRITABLE = (
    "JSON has None, booleans, finite numbers, text, lists, and dicts keyed by text: "
    "convert other values first, for example dates with isoformat()"
)
_AS_TEXT = (
    "Pass text, an integer or a boolean, in the service's own form: "
    "','.join(names) for a list, moment.isoformat() for a date, member.value for an enumeration"
)
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", re.ASCII)
# Control characters other than the tab, and halves of surrogate pairs, which have no bytes.
# `re` compiles it on first use, because most calls have no headers of the caller.
_NOT_IN_HEADER = r"[\x00-\x08\x0a-\x1f\x7f\ud800-\udfff]"
_OWN_HEADERS = frozenset({"authorization", "x-ms-authorization-auxiliary"})
# Headers of the connection, and headers that frame a message or name its host.
# Source: https://www.rfc-editor.org/rfc/rfc9110#section-7.6.1
_CONNECTION_HEADERS = frozenset(
    {
        "connection",
        "content-length",
        "expect",
        "host",
        "http2-settings",
        "keep-alive",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)


class Options:
    """The optional arguments of a call, beside method and path; None means the default.

    Attributes:
        api_version: ``YYYY-MM-DD`` or ``YYYY-MM-DD-preview``; optional if the path has one.
        params: further query parameters, not yet encoded: text, integers or booleans.
        json: a body to send as JSON.
        content: a body to send unchanged.
        headers: further headers; never `Authorization`.
        timeout: the seconds for the whole call, repetitions included.
        if_match: the entity tags of `If-Match`, sent unchanged.
        if_none_match: the entity tags of `If-None-Match`, sent unchanged.
        lists: whether the call requests a page of a list, and so only reads, whatever its verb.

    """

    # Each import creates this class, so it is plain.
    __slots__ = (
        "api_version",
        "content",
        "headers",
        "if_match",
        "if_none_match",
        "json",
        "lists",
        "params",
        "timeout",
    )

    def __init__(
        self,
        api_version: str | None = None,
        params: Mapping[str, str | int | bool] | None = None,
        json: Any = None,
        content: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float | None = None,
        if_match: str | None = None,
        if_none_match: str | None = None,
        lists: bool = False,
    ) -> None:
        self.api_version: str | None = api_version
        self.params: Mapping[str, str | int | bool] | None = params
        self.json: Any = json
        self.content: bytes | None = content
        self.headers: Mapping[str, str] | None = headers
        self.timeout: float | None = timeout
        self.if_match: str | None = if_match
        self.if_none_match: str | None = if_none_match
        self.lists: bool = lists


NO_OPTIONS = Options()


def make_poll_options(options: Options) -> Options:
    """Return the options of an operation's polls, from the call that began it.

    If the caller set a request id, all polls have it, so that it finds them in Azure's logs.
    Otherwise each request has a new id.
    """
    chosen = {
        name: value
        for name, value in (options.headers or {}).items()
        if name.lower() == "x-ms-client-request-id"
    }
    return Options(headers=chosen or None, timeout=options.timeout)


def check_content(options: Options) -> bytes:
    """Return the body in `content`.

    Raises:
        ConfigurationError: `content` is not bytes, because only bytes can be sent more than once;
            or `json` was passed too.

    """
    if options.json is not None:
        msg = "json= and content= were both passed"
        raise ConfigurationError(msg)
    if not isinstance(options.content, bytes | bytearray | memoryview):
        msg = f"content= takes bytes, not {type(options.content).__name__}"
        raise ConfigurationError(
            msg, help="Read a file or a stream first: a call may have to be sent more than once"
        )
    return bytes(options.content)


def encode_json(value: Any) -> bytes:
    """Return the body for `json`.

    Raises:
        ConfigurationError: the value can't be encoded as JSON.

    """
    try:
        return dumps(value)
    except (TypeError, ValueError) as error:
        # Not chained: the frames of the encoder hold the body.
        msg = f"json= can't be written as JSON: {error}"
    # Error reporters show the locals of this frame.
    del value
    raise ConfigurationError(msg, help=_WRITABLE)


def has_version(path: object, options: Options) -> bool:
    """Return whether the path or the parameters name an api-version."""
    if any(str(name).lower() == "api-version" for name in options.params or ()):
        return True
    return isinstance(path, str) and _API_VERSION.search(path.partition("?")[2]) is not None


def build_url(cloud: Cloud, method: str, path: str, options: Options = NO_OPTIONS) -> str:
    """Return the encoded URL of a call.

    `path` begins with a slash, or is a full URL of the cloud's own ARM, which is sent byte for
    byte.

    Raises:
        ForeignHostError: the path is a full URL of a host that must not receive this cloud's token.
        ConfigurationError: another argument can't be sent.

    """
    version = options.api_version
    if (
        version is not None
        and version.__class__ is str
        and options.params is None
        and path.__class__ is str
        and method.__class__ is str
        and path[:1] == "/"
        and path[:2] != "//"
        and _PLAIN_PATH.fullmatch(path)
        and "/." not in path
        and (method == "GET" or not ("//" in path or path[-1] == "/"))
        and _PLAIN_VERSION.fullmatch(version)
        and (method == "GET" or _METHOD.fullmatch(method))
    ):
        return f"{cloud.resource_manager}{path}?api-version={version}"
    return _build_slowly(cloud, method, path, options)


def _build_slowly(cloud: Cloud, method: object, path: str, options: Options) -> str:
    if not isinstance(method, str) or not _METHOD.fullmatch(method):
        msg = f"the method must be an HTTP verb in capitals and is {method!r}"
        raise ConfigurationError(msg, help="CONNECT and TRACE are not sent with a token")
    full = _is_full_url(cloud, path)
    address, _, query = path.partition("?")
    if _NEVER.search(path) or (full and _NOT_IN_FULL_URL.search(path)):
        msg = (
            "the path has a control character, a backslash, "
            f"or a space or '#' in a full URL: {path!r}"
        )
        raise ConfigurationError(msg)
    segments = [
        unquote(part) for part in (address.partition("://")[2] if full else address).split("/")[1:]
    ]
    if any(part in (".", "..") for part in segments):
        msg = f"the path has a '.' or '..' segment, which would lead elsewhere: {path!r}"
        raise ConfigurationError(msg)
    # With an empty name, a GET of f"{group}/{name}" reads the group; a DELETE would delete it.
    if method not in SAFE_METHODS and not all(part.strip() for part in segments):
        msg = f"the path of a {method} has an empty segment: {path!r}"
        raise ConfigurationError(
            msg,
            help="A name is missing, or a slash is superfluous: "
            "the call could change another resource",
        )
    additions = _build_additions(query, options)
    if full:
        return f"{_quote(address, _ASCII)}?{_quote(_join_query(query, additions), _ASCII)}"
    query = _BARE_PERCENT.sub("%25", query)
    whole = _quote(_BARE_PERCENT.sub("%25", address), _SAFE_IN_PATH)
    return (
        f"{cloud.resource_manager}{whole}?{_quote(_join_query(query, additions), _SAFE_IN_QUERY)}"
    )


def _join_query(query: str, additions: str) -> str:
    return "&".join(part for part in (query, additions) if part)


def _quote(text: str, safe: str) -> str:
    try:
        return quote(text, safe=safe)
    except UnicodeEncodeError as error:
        msg = f"this can't be encoded in a URL: {text!r}"
        raise ConfigurationError(msg) from error


def _is_full_url(cloud: Cloud, path: object) -> bool:
    if not isinstance(path, str) or not path:
        msg = f"the path must be a string that begins with a slash and is {path!r}"
        raise ConfigurationError(msg)
    if path.startswith("//"):
        msg = f"{path.partition('?')[0]!r} begins with two slashes, so it names a host"
        raise ForeignHostError(
            msg, help="A path begins with one slash; for another cloud pass ArmSession(cloud=...)"
        )
    if path.startswith("/"):
        return False
    if "://" not in path.partition("?")[0]:
        msg = f"the path must begin with a slash: {path!r}"
        raise ConfigurationError(msg, help=f"Write '/{path}'")
    if not cloud.is_resource_manager(path):
        msg = (
            f"{path.partition('?')[0]!r} is not on {cloud.resource_manager}, "
            "so no token and no request is sent to it"
        )
        raise ForeignHostError(msg, help="For another cloud pass ArmSession(cloud=...)")
    return True


def _build_additions(query: str, options: Options) -> str:
    """Return the parameters as a query, after the api-version if the path's query lacks that."""
    params = _convert_params(query, options.params)
    written: list[str] = _API_VERSION.findall(query)
    versions = written + [
        params.pop(name) for name in list(params) if name.lower() == "api-version"
    ]
    if options.api_version is not None:
        versions.append(_convert_version(options.api_version))
    if len(set(versions)) > 1 or len(written) > 1:
        msg = f"the call names more than one api-version: {', '.join(map(repr, versions))}"
        raise ConfigurationError(msg)
    if not versions or not versions[0]:
        msg = "the call has no api-version, and ARM requires one"
        raise ConfigurationError(
            msg, help="Pass api_version='2021-04-01', or the version of the resource type's API"
        )
    if not _PLAIN_VERSION.fullmatch(versions[0]):
        msg = f"the api-version is malformed: {versions[0]!r}"
        raise ConfigurationError(msg)
    added = [] if written else [f"api-version={versions[0]}"]
    added += [
        f"{_quote(name, '$')}={_quote(value, _SAFE_IN_VALUE)}" for name, value in params.items()
    ]
    return "&".join(added)


def _convert_version(value: object) -> str:
    """Return an api-version as text."""
    if isinstance(value, date) and not isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, str):
        return str.__str__(value)
    msg = f"the api-version is of type {type(value).__name__}"
    raise ConfigurationError(msg, help="Pass text, for example api_version='2021-04-01'")


def _convert_params(query: str, params: object) -> dict[str, str]:
    """Return the parameters as text.

    Raises:
        ConfigurationError: a name is no text or occurs twice, or a value has no form that all
            services parse alike.

    """
    if params is None:
        return {}
    if not isinstance(params, Mapping):
        msg = f"params= takes a mapping of names to values, not {type(params).__name__}"
        raise ConfigurationError(msg)
    written = {unquote(part.partition("=")[0]).lower() for part in query.split("&")} - {
        "",
        "api-version",
    }
    texts: dict[str, str] = {}
    for name, value in params.items():
        if not isinstance(name, str) or not name:
            msg = f"a query parameter's name must be text and is {name!r}"
            raise ConfigurationError(msg)
        if name.lower() in written:
            msg = f"the query parameter {name!r} is named twice"
            raise ConfigurationError(
                msg, help="ARM ignores case in names; a path's own query counts, too"
            )
        written.add(name.lower())
        texts[str.__str__(name)] = _convert_value(name, value)
    return texts


def _convert_value(name: str, value: object) -> str:
    """Return a parameter's value as text; a subclass of `str` or `int` counts as its base."""
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return int.__repr__(value)
    if value is None:
        msg = f"the query parameter {name!r} is None"
        raise ConfigurationError(msg, help="Leave it out")
    msg = f"the query parameter {name!r} is of type {type(value).__name__}"
    raise ConfigurationError(msg, help=_AS_TEXT)


def check_headers(headers: object) -> None:
    """Check that the caller's headers can be sent, and override no header of the session or HTTP.

    Raises:
        ConfigurationError: the headers are no mapping; a name is no token of RFC 9110; a value has
            a control character or is no string; or a header is the session's own (`Authorization`),
            or belongs to the connection (`Host`, `Content-Length`, ...).

    """
    fault = _find_header_fault(headers)
    if fault is not None:
        # Error reporters show the locals of this frame, and a value may be secret.
        del headers
        raise ConfigurationError(fault[0], help=fault[1])


def _find_header_fault(headers: object) -> tuple[str, str] | None:
    """Return the first fault of the caller's headers and the remedy; None without one."""
    if not isinstance(headers, Mapping):
        return f"headers= takes a mapping, not {type(headers).__name__}", ""
    for name, value in headers.items():
        folded = name.strip(" \t:").lower() if isinstance(name, str) else ""
        if folded in _OWN_HEADERS:
            return (
                f"the header {name!r} is the session's own",
                "Pass ArmSession(credential=..., auxiliary=...) to use other identities",
            )
        sendable = isinstance(value, str) and not re.search(_NOT_IN_HEADER, value)
        if not sendable or not isinstance(name, str) or not _TOKEN.fullmatch(name):
            # The value may be secret.
            return (
                f"the header {name!r} has a malformed name, "
                f"or its value is no string, or has a line break or control character"
            ), ""
        if _is_of_connection(folded):
            return (
                f"the header {name!r} belongs to the connection, so a caller can't set it",
                "Omit it; forward only those headers of another request that ARM needs",
            )
    return None


def _is_of_connection(folded: str) -> bool:
    return folded in _CONNECTION_HEADERS or folded.startswith("proxy-")


def check_session_headers(names: Iterable[str]) -> None:
    """Check that the default headers of the user's aiohttp session don't frame or route requests.

    `Authorization` is allowed, because each request has the header of its token instead.

    Raises:
        ConfigurationError: a header frames or routes requests.

    """
    for name in names:
        folded = name.lower()
        if _is_of_connection(folded) or folded == "x-ms-authorization-auxiliary":
            msg = f"the aiohttp session in http= sends the header {name!r} with every request"
            raise ConfigurationError(
                msg, help="Set it on the requests that need it, or use another session for ARM"
            )


def check_seconds(name: str, seconds: object) -> None:
    """Check that an argument is a number of seconds, or None.

    Raises:
        ConfigurationError: the argument is neither.

    """
    if seconds is None:
        return
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or seconds != seconds:  # noqa: PLR0124 (not a number)
        msg = f"{name}= takes seconds, not {seconds!r}"
        raise ConfigurationError(msg)


def check_callable(name: str, function: object) -> None:
    """Check that an argument is a function, or None.

    Raises:
        ConfigurationError: the argument is neither.

    """
    if function is not None and not callable(function):
        msg = f"{name}= takes a function, not {type(function).__name__}"
        raise ConfigurationError(msg)
