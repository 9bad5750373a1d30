"""`ErrorDetail`: the body of an error response, whatever its shape, as one value. No I/O.

By the contract a body is ``{"error": {"code", "message", "target", "details", "innererror",
"additionalInfo"}}``. Resource providers also send capital letters, no envelope, OData's or .NET's
forms, text, HTML, or an empty body.

Source:
https://github.com/Azure/azure-resource-manager-rpc/blob/master/v1.0/common-api-details.md#error-response-content,
https://github.com/microsoft/api-guidelines/blob/vNext/azure/Guidelines.md#handling-errors,
https://www.rfc-editor.org/rfc/rfc9457
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import attrs

from aiomsi._util.json import get_member, loads

if TYPE_CHECKING:
    from aiomsi._errors import ArmError

_MAX_TEXT = 500
_MAX_SEARCHED = 20_000
_MAX_ENVELOPES = 3
_ENVELOPE_NAMES = ("error", "ErrorResponse", "odata.error", "ErrorEntity")
_MAX_DEPTH = 8
_MAX_DETAILS = 100


@attrs.frozen
class AdditionalInfo:
    """Additional information about an error, for example the policy that forbids the call.

    Attributes:
        type: the kind of information, for example ``"PolicyViolation"``; empty without one.
        info: a JSON value whose form the service defines.

    """

    type: str
    info: Any = attrs.field(repr=False)


@attrs.frozen
class ErrorDetail:
    """An error in a service's response, or one of its parts.

    Attributes:
        code: the error code; None without one.
        message: the text; in a part it may be empty.
        target: the subject of the error, for example the name of a property; None if the service
            names none.
        details: the parts of this error; parts below a depth that no service needs are left out.
        inner: the more specific error that caused this one, or None.
        additional_info: further values that the service added.

    """

    code: str | None
    message: str
    target: str | None = None
    details: tuple[ErrorDetail, ...] = ()
    inner: ErrorDetail | None = None
    additional_info: tuple[AdditionalInfo, ...] = ()

    @classmethod
    def of(cls, error: ArmError) -> ErrorDetail:
        """Return the detail that an exception has."""
        return cls(**{field.name: getattr(error, field.name) for field in attrs.fields(cls)})

    def arguments(self) -> dict[str, Any]:
        """Return all attributes as keyword arguments of an `ArmError`."""
        return {field.name: getattr(self, field.name) for field in attrs.fields(ErrorDetail)}

    def walk(self) -> Iterator[ErrorDetail]:
        """Yield this error, then its parts and its inner error, outermost first."""
        yield self
        for part in self.details:
            yield from part.walk()
        if self.inner is not None:
            yield from self.inner.walk()

    def texts(self) -> Iterator[str]:
        """Yield the beginnings of all messages, outermost first, for searches in the text.

        Their total length is bounded, because an error may quote documents of any size.
        """
        left = _MAX_SEARCHED
        for one in self.walk():
            yield one.message[:left]
            left -= len(one.message) + 1
            if left <= 0:
                return


def read_detail(body: bytes, content_type: str | None = None) -> ErrorDetail:
    """Parse the body of an error response. It raises no error, and the message is never empty."""
    try:
        document = loads(body, content_type)
    except ValueError:
        return ErrorDetail(None, to_plain_text(body))
    return _parse_whole(document, lambda: to_plain_text(body))


def parse_detail(document: object) -> ErrorDetail:
    """Parse an error in a decoded document, such as the status of an operation.

    Like `read_detail`, it raises no error, and the message is never empty.
    """
    return _parse_whole(document, lambda: "the service sent neither code nor text")


def find_detail(document: object) -> ErrorDetail | None:
    """Parse an error in a decoded document; None if it has neither a code nor a text."""
    if isinstance(document, str):
        document = _decode_object(document) or document
    if isinstance(document, list) and len(document) == 1:
        document = document[0]
    return None if _parse_part(document, _MAX_DEPTH) is None else _parse_whole(document, str)


def _parse_whole(document: object, make_fallback: Callable[[], str]) -> ErrorDetail:
    """Parse a whole document, and make sure that the message is not empty."""
    if isinstance(document, str):
        document = _decode_object(document) or document
    detail = _parse_part(document, _MAX_DEPTH) or ErrorDetail(None, "")
    if detail.message:
        return detail
    message = next((one.message for one in detail.walk() if one.message), "")
    if not message:
        message = (
            f"the service sent the code {detail.code} and no text"
            if detail.code
            else _describe_resource(document) or make_fallback()
        )
    return attrs.evolve(detail, message=message)


def _describe_resource(document: object) -> str:
    """Return a text for a body that is a resource and no error; otherwise an empty text.

    The resource's properties are left out, because they are no error text.
    """
    path = _get_first(document, "id")
    return (
        f"the response's body is no error but the resource {path}"
        if isinstance(path, str) and path[:1] == "/"
        else ""
    )


def _parse_part(document: object, depth: int) -> ErrorDetail | None:
    """Parse an error or a part of one; None if it has no content."""
    if isinstance(document, str):
        return ErrorDetail(None, document.strip()) if document.strip() else None
    if isinstance(document, list):
        return ErrorDetail(None, "", details=_parse_parts(document, depth)) if document else None
    document = _unwrap(document)
    if not isinstance(document, dict):
        return None
    code, message = _read_code_and_message(document)
    detail = ErrorDetail(
        code,
        message,
        target=_read_text(_get_first(document, "target")) or None,
        details=_parse_parts(_get_first(document, "details", "errors"), depth),
        inner=_parse_inner(document, message, depth),
        additional_info=_read_infos(_get_first(document, "additionalInfo")),
    )
    return None if detail == _NOTHING else detail


_NOTHING = ErrorDetail(None, "")


def _unwrap(document: object) -> object:
    """Return the object in the innermost envelope; an object with code and message is none."""
    for _ in range(_MAX_ENVELOPES):
        inside = _get_first(document, *_ENVELOPE_NAMES)
        if not isinstance(inside, dict) or all(_read_code_and_message(document)):
            break
        document = inside
    return document


def _read_code_and_message(document: object) -> tuple[str | None, str]:
    message = _read_text(
        _get_first(document, "message", "error_description", "errorMessage")
    ) or _read_problem_details(document)
    code, error = _get_first(document, "code", "errorCode"), _get_first(document, "error")
    if code is None and isinstance(error, str):
        if not message and " " in error.strip():
            return None, error.strip()
        code = error
    known = str(code).strip() if isinstance(code, str | int) and not isinstance(code, bool) else ""
    return known or None, message


def _read_problem_details(document: object) -> str:
    """Return the text of a "problem details" document of RFC 9457: its title and its detail."""
    title, detail = (
        _read_text(_get_first(document, "title")),
        _read_text(_get_first(document, "detail", "exceptionMessage")),
    )
    return (
        f"{title.rstrip('.')}: {detail}"
        if title and detail and title != detail
        else title or detail
    )


def _read_text(value: object) -> str:
    """Return a text, or the text in OData's object of text and language; empty for other values."""
    if isinstance(value, dict):
        value = _get_first(value, "value")
    return value.strip() if isinstance(value, str) else ""


def _parse_parts(value: object, depth: int) -> tuple[ErrorDetail, ...]:
    """Parse the parts of an error: a list, one object, a text, or lists of messages by field."""
    if depth <= 0 or not value:
        return ()
    if isinstance(value, dict) and all(isinstance(one, list) for one in value.values()):
        named = (
            (str(target), text) for target, texts in value.items() for text in texts[:_MAX_DETAILS]
        )
        return tuple(
            ErrorDetail(None, text.strip(), target)
            for target, text in named
            if isinstance(text, str)
        )
    several = value[:_MAX_DETAILS] if isinstance(value, list) else [value]
    return tuple(part for one in several if (part := _parse_part(one, depth - 1)) is not None)


def _parse_inner(document: dict[Any, Any], message: str, depth: int) -> ErrorDetail | None:
    """Parse the inner error. The message of a deployment's error has it as JSON."""
    if depth <= 0:
        return None
    enclosed = _get_first(document, *_ENVELOPE_NAMES)
    inner = _parse_part(_get_first(document, "innererror", "innerException"), depth - 1)
    inner = inner or (_parse_part(enclosed, depth - 1) if isinstance(enclosed, dict) else None)
    if inner is None and (raised := _read_text(_get_first(document, "exceptionMessage"))) not in (
        "",
        message,
    ):
        return ErrorDetail(None, raised)
    if inner is None and (subcode := _read_text(_get_first(document, "subcode"))):
        return ErrorDetail(subcode, "")
    if inner is None and (quoted := _decode_object(message)) is not None:
        inner = _parse_part(quoted, depth - 1)
        return inner if inner is not None and inner.code else None
    return inner


def _read_infos(value: object) -> tuple[AdditionalInfo, ...]:
    several = value[:_MAX_DETAILS] if isinstance(value, list) else [value]
    return tuple(
        AdditionalInfo(_read_text(_get_first(one, "type")), _read_info(one))
        for one in several
        if one
    )


def _read_info(one: object) -> Any:
    info = _get_first(one, "info")
    return one if info is None else info


def _decode_object(text: str) -> dict[Any, Any] | None:
    """Decode a text that is a JSON object; None for any other text."""
    if not text.lstrip().startswith("{"):
        return None
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return document if isinstance(document, dict) else None


def iter_quoted_objects(detail: ErrorDetail) -> Iterator[dict[Any, Any]]:
    """Yield the JSON objects that an error's messages consist of."""
    for one in detail.walk():
        if (document := _decode_object(one.message)) is not None:
            yield document


def _get_first(document: object, *names: str) -> Any:
    """Return the first of these members that is not null, ignoring the case of names."""
    found = (get_member(document, name) for name in names)
    return next((value for value in found if value is not None), None)


_OPAQUE = re.compile(r"<(script|style)\b", re.IGNORECASE)
_CLOSING = {name: re.compile(rf"</{name}\s*>", re.IGNORECASE) for name in ("script", "style")}


def to_plain_text(body: bytes) -> str:
    """Return the beginning of a body as text, without HTML tags; never empty."""
    text = " ".join(_strip_tags(body[:20_000].decode("utf-8", "replace")).split())
    return text[:_MAX_TEXT] or "the response has no text"


def _strip_tags(text: str) -> str:
    """Replace tags by spaces, and scripts and style sheets with their content.

    It uses no single pattern, because that would search the whole rest of the text at each "<"
    without a ">".
    """
    kept, done, unclosed = list[str](), 0, set[str]()
    while (start := text.find("<", done)) >= 0:
        kept.append(text[done:start])
        done = _find_end_of_opaque(text, start, unclosed) or text.find(">", start) + 1
        if done == 0:
            return "".join((*kept, text[start:]))
        kept.append(" ")
    return "".join((*kept, text[done:]))


def _find_end_of_opaque(text: str, start: int, unclosed: set[str]) -> int:
    """Return the end of the script or style sheet at `start`; 0 without one, or without an end."""
    opened = _OPAQUE.match(text, start)
    if opened is None or (name := opened[1].lower()) in unclosed:
        return 0
    closed = _CLOSING[name].search(text, opened.end())
    if closed is None:
        unclosed.add(name)
        return 0
    return closed.end()
