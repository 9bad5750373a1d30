"""What an error's body says, whatever its shape, as one value. No I/O.

By the contract a body is ``{"error": {"code", "message", "target", "details", "innererror",
"additionalInfo"}}``; resource providers also answer with capital letters, without the envelope,
with OData's or .NET's forms, text, HTML, or nothing.

Source:
https://github.com/Azure/azure-resource-manager-rpc/blob/master/v1.0/common-api-details.md#error-response-content,
https://github.com/microsoft/api-guidelines/blob/vNext/azure/Guidelines.md#handling-errors,
https://www.rfc-editor.org/rfc/rfc9457
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from typing import Any

import attrs

from aiomsi._util.json import loads

_MOST_TEXT = 500
_MOST_SEARCHED = 20_000
_ENVELOPES = 3
_INSIDE = ("error", "ErrorResponse", "odata.error", "ErrorEntity")
_DEEPEST = 8
_MOST_DETAILS = 100


@attrs.frozen
class AdditionalInfo:
    """What a service adds to an error, for example the policy that forbids the call.

    Attributes:
        type: for example ``"PolicyViolation"``; empty where the service names none.
        info: a JSON value of the service's own making.

    """

    type: str
    info: Any = attrs.field(repr=False)


@attrs.frozen
class ErrorDetail:
    """What a service says about an error, or about one of its parts.

    Attributes:
        code: the error code, None where there is none.
        message: the text; of a part it may be empty.
        target: what the error is about, for example the name of a property; None where the service
            does not say.
        details: the parts that make up this error; beyond a depth that no service needs they are
            left out.
        inner: the more exact error behind this one, or None.
        additional_info: what else the service says.

    """

    code: str | None
    message: str
    target: str | None = None
    details: tuple[ErrorDetail, ...] = ()
    inner: ErrorDetail | None = None
    additional_info: tuple[AdditionalInfo, ...] = ()

    def arguments(self) -> dict[str, Any]:
        """Give all of it as keyword arguments of an `ArmError`."""
        return {field.name: getattr(self, field.name) for field in attrs.fields(ErrorDetail)}

    def walk(self) -> Iterator[ErrorDetail]:
        """Give this, then its parts and what is behind it, outermost first."""
        yield self
        for part in self.details:
            yield from part.walk()
        if self.inner is not None:
            yield from self.inner.walk()

    def texts(self) -> Iterator[str]:
        """Yield the beginnings of all messages, outermost first: what is searched for something they say.

        Together they are bounded, because an error may quote documents of any size.
        """
        left = _MOST_SEARCHED
        for one in self.walk():
            yield one.message[:left]
            left -= len(one.message) + 1
            if left <= 0:
                return


def read_detail(body: bytes, content_type: str | None = None) -> ErrorDetail:
    """Read the body of an error answer. It never fails, and the message is never empty."""
    try:
        document = loads(body, content_type)
    except ValueError:
        return ErrorDetail(None, plain_text(body))
    return _told(document, lambda: plain_text(body))


def detail_of(document: object) -> ErrorDetail:
    """Read an error in a document that is decoded already, such as the status of an operation; as `read_detail`."""
    return _told(document, lambda: "the service gave neither code nor text")


def detail_in(document: object) -> ErrorDetail | None:
    """Read an error in a document that is decoded already; return None where it holds neither a code nor a text."""
    if isinstance(document, str):
        document = _decoded(document) or document
    if isinstance(document, list) and len(document) == 1:
        document = document[0]
    return None if _part(document, _DEEPEST) is None else _told(document, str)


def _told(document: object, otherwise: Callable[[], str]) -> ErrorDetail:
    """Read a whole document, and see to it that there is a message."""
    if isinstance(document, str):
        document = _decoded(document) or document
    detail = _part(document, _DEEPEST) or ErrorDetail(None, "")
    if detail.message:
        return detail
    behind = next((one.message for one in detail.walk() if one.message), "")
    if not behind:
        behind = (
            f"the service gave the code {detail.code} and no text"
            if detail.code
            else _stray(document) or otherwise()
        )
    return attrs.evolve(detail, message=behind)


def _stray(document: object) -> str:
    """Tell of a resource that came in place of an error; its properties are nobody's error text."""
    path = _any(document, "id")
    return (
        f"the answer's body is no error but the resource {path}"
        if isinstance(path, str) and path[:1] == "/"
        else ""
    )


def _part(document: object, depth: int) -> ErrorDetail | None:
    """Read an error or a part of one; None for what says nothing."""
    if isinstance(document, str):
        return ErrorDetail(None, document.strip()) if document.strip() else None
    if isinstance(document, list):
        return ErrorDetail(None, "", details=_parts(document, depth)) if document else None
    document = _unwrapped(document)
    if not isinstance(document, dict):
        return None
    code, message = _code_and_message(document)
    detail = ErrorDetail(
        code,
        message,
        target=_text(_any(document, "target")) or None,
        details=_parts(_any(document, "details", "errors"), depth),
        inner=_inner(document, message, depth),
        additional_info=_infos(_any(document, "additionalInfo")),
    )
    return None if detail == _NOTHING else detail


_NOTHING = ErrorDetail(None, "")


def _unwrapped(document: object) -> object:
    """Take off the envelopes, as far as they say nothing themselves."""
    for _ in range(_ENVELOPES):
        inside = _any(document, *_INSIDE)
        if not isinstance(inside, dict) or all(_code_and_message(document)):
            break
        document = inside
    return document


def _code_and_message(document: object) -> tuple[str | None, str]:
    message = _text(_any(document, "message", "error_description", "errorMessage")) or _problem(
        document
    )
    code, error = _any(document, "code", "errorCode"), _any(document, "error")
    if code is None and isinstance(error, str):
        if not message and " " in error.strip():
            return None, error.strip()
        code = error
    known = str(code).strip() if isinstance(code, str | int) and not isinstance(code, bool) else ""
    return known or None, message


def _problem(document: object) -> str:
    """Read the text of a "problem details" document: its kind, and what happened this time."""
    title, detail = (
        _text(_any(document, "title")),
        _text(_any(document, "detail", "exceptionMessage")),
    )
    return (
        f"{title.rstrip('.')}: {detail}"
        if title and detail and title != detail
        else title or detail
    )


def _text(value: object) -> str:
    """Give a text, or OData's text in a language."""
    if isinstance(value, dict):
        value = _any(value, "value")
    return value.strip() if isinstance(value, str) else ""


def _parts(value: object, depth: int) -> tuple[ErrorDetail, ...]:
    """Read the parts of an error: a list, but also one alone, a text, or messages by the field that they are about."""
    if depth <= 0 or not value:
        return ()
    if isinstance(value, dict) and all(isinstance(one, list) for one in value.values()):
        named = (
            (str(target), text) for target, texts in value.items() for text in texts[:_MOST_DETAILS]
        )
        return tuple(
            ErrorDetail(None, text.strip(), target)
            for target, text in named
            if isinstance(text, str)
        )
    several = value[:_MOST_DETAILS] if isinstance(value, list) else [value]
    return tuple(part for one in several if (part := _part(one, depth - 1)) is not None)


def _inner(document: dict[Any, Any], message: str, depth: int) -> ErrorDetail | None:
    """Read what is behind an error. Deployments put it into the message, as JSON."""
    if depth <= 0:
        return None
    within = _any(document, *_INSIDE)
    behind = _part(_any(document, "innererror", "innerException"), depth - 1)
    behind = behind or (_part(within, depth - 1) if isinstance(within, dict) else None)
    if behind is None and (raised := _text(_any(document, "exceptionMessage"))) not in (
        "",
        message,
    ):
        return ErrorDetail(None, raised)
    if behind is None and (subcode := _text(_any(document, "subcode"))):
        return ErrorDetail(subcode, "")
    if behind is None and (quoted := _decoded(message)) is not None:
        behind = _part(quoted, depth - 1)
        return behind if behind is not None and behind.code else None
    return behind


def _infos(value: object) -> tuple[AdditionalInfo, ...]:
    several = value[:_MOST_DETAILS] if isinstance(value, list) else [value]
    return tuple(AdditionalInfo(_text(_any(one, "type")), _info(one)) for one in several if one)


def _info(one: object) -> Any:
    info = _any(one, "info")
    return one if info is None else info


def _decoded(text: str) -> dict[Any, Any] | None:
    """Decode a JSON object that came as a text; None if it is none."""
    if not text.lstrip().startswith("{"):
        return None
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return document if isinstance(document, dict) else None


def quoted_objects(detail: ErrorDetail) -> Iterator[dict[Any, Any]]:
    """Give the JSON objects that stand in an error's messages."""
    for one in detail.walk():
        if (document := _decoded(one.message)) is not None:
            yield document


def _any(document: object, *names: str) -> Any:
    """Give the first of these members that is there and not null, whatever its case."""
    if not isinstance(document, dict):
        return None
    folded = {name.lower(): value for name, value in document.items() if value is not None}
    return next((folded[name.lower()] for name in names if name.lower() in folded), None)


_OPAQUE = re.compile(r"<(script|style)\b", re.IGNORECASE)
_CLOSING = {name: re.compile(rf"</{name}\s*>", re.IGNORECASE) for name in ("script", "style")}


def plain_text(body: bytes) -> str:
    """Give the beginning of a body as text, without the tags of a page; never empty."""
    text = " ".join(_without_tags(body[:20_000].decode("utf-8", "replace")).split())
    return text[:_MOST_TEXT] or "the answer has no text"


def _without_tags(text: str) -> str:
    """Replace tags by spaces, scripts and style sheets with all that is in them.

    Not by one pattern: at each "<" that is never closed it would search to the end.
    """
    kept, done, unclosed = list[str](), 0, set[str]()
    while (start := text.find("<", done)) >= 0:
        kept.append(text[done:start])
        done = _end_of_opaque(text, start, unclosed) or text.find(">", start) + 1
        if done == 0:
            return "".join((*kept, text[start:]))
        kept.append(" ")
    return "".join((*kept, text[done:]))


def _end_of_opaque(text: str, start: int, unclosed: set[str]) -> int:
    """Return where a script or style sheet ends that begins here; 0 if none does, or if it is never closed."""
    opened = _OPAQUE.match(text, start)
    if opened is None or (name := opened[1].lower()) in unclosed:
        return 0
    closed = _CLOSING[name].search(text, opened.end())
    if closed is None:
        unclosed.add(name)
        return 0
    return closed.end()
