"""Error bodies as one value: every shape is parsed, no member is lost, and no body is an error."""

import json
import math
import pickle
import random

import attrs
import pytest

from aiomsi import AdditionalInfo, ErrorDetail
from aiomsi._arm.protocol.errors import detail as _failures
from aiomsi._arm.protocol.errors.detail import (
    iter_quoted_objects,
    parse_detail,
    read_detail,
    to_plain_text,
)

DEEP: object = {"error": {"error": {"error": {"error": {"code": "deep"}}}}}
PAGE = (
    b"<html><head><style>p {x}</style><title>502</title></head>"
    b"<script>x()</script><body>Bad\n<h1>gateway</h1>"
)
SHAPES: list[tuple[bytes | object, str | None, str]] = [
    ({"error": {"code": "NotFound", "message": "Gone."}}, "NotFound", "Gone."),
    ({"code": "A", "message": "b"}, "A", "b"),
    (
        {
            "Code": "A",
            "Message": "b",
            "Target": None,
            "Details": [{"Message": "c"}],
            "Innererror": None,
        },
        "A",
        "b",
    ),
    ({"ErrorResponse": {"error": {"code": "A", "message": "b"}}}, "A", "b"),
    ({"Error": {"Code": "A", "Message": "b"}}, "A", "b"),
    ({"error": {"error": {"code": "A", "message": "b"}}, "status": "Failed"}, "A", "b"),
    (DEEP, None, json.dumps(DEEP)),
    (
        {"code": {"value": "A"}, "message": ["b"]},
        None,
        '{"code": {"value": "A"}, "message": ["b"]}',
    ),
    ({"code": 0, "message": "b"}, "0", "b"),
    ({"code": 400309, "httpStatusCode": 400, "message": "b"}, "400309", "b"),
    ({"code": "404"}, "404", "the service sent the code 404 and no text"),
    ({"odata.error": {"code": "", "message": {"lang": "en", "value": "b"}}}, None, "b"),
    ({"ErrorCode": "A", "Message": {"Value": "b"}}, "A", "b"),
    (
        {"error": {"code": "A", "message": {"lang": "en"}}},
        "A",
        "the service sent the code A and no text",
    ),
    ({"error": None, "code": "A", "message": "b"}, "A", "b"),
    ({"error": "invalid_request", "error_description": "b"}, "invalid_request", "b"),
    ({"type": "t", "title": "b", "status": 404, "traceId": "x"}, None, "b"),
    ({"message": "b", "messageDetail": "c"}, None, "b"),
    ({"error": {"code": "A", "message": "  "}}, "A", "the service sent the code A and no text"),
    ({"error": {"code": "", "message": ""}}, None, '{"error": {"code": "", "message": ""}}'),
    (
        {
            "error": {
                "code": "A",
                "message": "b",
                "details": "text",
                "additionalInfo": None,
                "innererror": [],
            }
        },
        "A",
        "b",
    ),
    (
        {"id": "/subscriptions/s", "name": "x"},
        None,
        "the response's body is no error but the resource /subscriptions/s",
    ),
    ({"id": 17}, None, '{"id": 17}'),
    ({"type": "t", "title": "a.", "detail": "b"}, None, "a: b"),
    ({"title": "a", "detail": "a"}, None, "a"),
    ({"detail": "a"}, None, "a"),
    ({"message": "a", "detail": "b"}, None, "a"),
    ({"code": "A", "message": "b", "error": {"code": "C", "message": "d"}}, "A", "b"),
    ({"message": "b", "error": {"code": "C", "message": "d"}}, "C", "d"),
    ({"error": "The request could not be read"}, None, "The request could not be read"),
    ({"code": "Not Found"}, "Not Found", "the service sent the code Not Found and no text"),
    ({"code": "A", "error": "B", "message": "b"}, "A", "b"),
    ({"error": "x"}, "x", "the service sent the code x and no text"),
    ({"code": True, "message": "b"}, None, "b"),
    ({"code": " A ", "message": " b\n"}, "A", "b"),
    ({"requestId": "r", "errorCode": "A", "message": "b", "isRetriable": True}, "A", "b"),
    (
        {"HttpStatusCode": 404, "ErrorCode": "A", "Message": "b", "Data": {}, "StackTrace": None},
        "A",
        "b",
    ),
    (
        {"Message": "a", "ExceptionMessage": "b", "ExceptionType": "E", "StackTrace": "at"},
        None,
        "a",
    ),
    (
        {"error": {"code": "A", "message": "", "details": [{"message": " "}, {"message": "c"}]}},
        "A",
        "c",
    ),
    ({"error": {"code": "A", "message": None, "innererror": {"message": "c"}}}, "A", "c"),
    ({"error": [{"code": "A"}]}, None, '{"error": [{"code": "A"}]}'),
    ([{"code": "A", "message": "b"}], None, "b"),
    ("text that is {} no JSON", None, "text that is {} no JSON"),
    ("{no JSON", None, "{no JSON"),
    (json.dumps({"error": {"code": "A", "message": "b"}}), "A", "b"),
    ({}, None, "{}"),
    ([], None, "[]"),
    ("only text", None, "only text"),
    (" ", None, '" "'),
    (b"null", None, "null"),
    (b"17", None, "17"),
    (b"", None, "the response has no text"),
    (b"  \n ", None, "the response has no text"),
    (b"plain\n text", None, "plain text"),
    (b"\xff\xfe", None, "\ufffd\ufffd"),
    (PAGE, None, "502 Bad gateway"),
    (b"[" * 100_000, None, "[" * 500),
    (b'{"code":"A","message":"\xef\xbb\xbfb"}', "A", "\ufeffb"),
    (b"\xef\xbb\xbf" + b'{"code":"A","message":"b"}', "A", "b"),
]


@pytest.mark.parametrize(("body", "code", "message"), SHAPES)
def test_code_and_text_are_found_in_every_shape_of_body(
    body: bytes | object, code: str | None, message: str
) -> None:
    detail = read_detail(body if isinstance(body, bytes) else json.dumps(body).encode())
    assert (detail.code, detail.message) == (code, message)


@pytest.mark.parametrize(
    "document", [None, {}, [], [None], "", " ", 17, True, {"error": {}}, {"value": []}]
)
def test_document_without_content_has_a_message(document: object) -> None:
    assert parse_detail(document) == ErrorDetail(None, "the service sent neither code nor text")


def test_a_document_that_is_decoded_already_is_read_as_a_body() -> None:
    assert parse_detail(
        {"status": "Failed", "error": {"code": "A", "message": "b"}}
    ) == ErrorDetail("A", "b")


def test_every_member_of_the_contract_is_kept() -> None:
    body = {
        "error": {
            "code": "A",
            "message": "a",
            "target": "t",
            "details": [
                {
                    "code": "B",
                    "message": "b",
                    "target": "u",
                    "details": [{"code": "C", "message": "c"}],
                },
                {
                    "code": "D",
                    "message": "d",
                    "additionalInfo": [{"type": "ActivityId", "info": {"activityId": "x"}}],
                },
            ],
            "innererror": {"code": "E", "innererror": {"code": "F", "message": "f"}},
            "additionalInfo": [
                {"type": "PolicyViolation", "info": {"policy": 1}},
                {"type": "Environment", "info": None},
            ],
        }
    }
    detail = read_detail(json.dumps(body).encode())
    assert detail == ErrorDetail(
        "A",
        "a",
        "t",
        details=(
            ErrorDetail("B", "b", "u", details=(ErrorDetail("C", "c"),)),
            ErrorDetail(
                "D", "d", additional_info=(AdditionalInfo("ActivityId", {"activityId": "x"}),)
            ),
        ),
        inner=ErrorDetail("E", "", inner=ErrorDetail("F", "f")),
        additional_info=(
            AdditionalInfo("PolicyViolation", {"policy": 1}),
            AdditionalInfo("Environment", {"type": "Environment", "info": None}),
        ),
    )
    assert [one.code for one in detail.walk()] == ["A", "B", "C", "D", "E", "F"]
    assert pickle.loads(pickle.dumps(detail)) == detail  # noqa: S301 (our own)


def test_the_web_service_s_own_form_is_read_with_its_parts() -> None:
    entity = {
        "ExtendedCode": "54001",
        "MessageTemplate": "{0}",
        "Parameters": ["x"],
        "Code": "Conflict",
        "Message": "b",
    }
    details = [{"Message": "b"}, {"Code": "Conflict"}, {"ErrorEntity": entity}]
    body = {
        "Code": "Conflict",
        "Message": "b",
        "Target": None,
        "Details": details,
        "Innererror": None,
    }
    parts = (ErrorDetail(None, "b"), ErrorDetail("Conflict", ""), ErrorDetail("Conflict", "b"))
    assert parse_detail(body) == ErrorDetail("Conflict", "b", details=parts)


@pytest.mark.parametrize(
    ("details", "parts"),
    [
        ("only text", (ErrorDetail(None, "only text"),)),
        ([None, "", " ", {}, 17, "text"], (ErrorDetail(None, "text"),)),
        ({"code": "B", "message": "b"}, (ErrorDetail("B", "b"),)),
        (
            {"name": ["too long", 17, "too short "]},
            (ErrorDetail(None, "too long", "name"), ErrorDetail(None, "too short", "name")),
        ),
        ([[{"code": "B"}]], (ErrorDetail(None, "", details=(ErrorDetail("B", ""),)),)),
        (None, ()),
        ({}, ()),
        (17, ()),
    ],
)
def test_details_come_in_many_forms(details: object, parts: tuple[ErrorDetail, ...]) -> None:
    assert (
        parse_detail({"error": {"code": "A", "message": "a", "details": details}}).details == parts
    )
    assert parse_detail({"title": "a", "errors": details}).details == parts


@pytest.mark.parametrize(
    ("said", "inner"),
    [
        ({"innererror": {"code": "B"}}, ErrorDetail("B", "")),
        ({"innerError": "text"}, ErrorDetail(None, "text")),
        ({"InnerException": {"Message": "b", "InnerException": None}}, ErrorDetail(None, "b")),
        ({"subcode": "B"}, ErrorDetail("B", "")),
        ({"error": {"code": "B"}}, ErrorDetail("B", "")),
        ({"ExceptionMessage": "b"}, ErrorDetail(None, "b")),
        ({"ExceptionMessage": "a"}, None),
        ({"innererror": []}, None),
        ({"innererror": None, "subcode": ""}, None),
    ],
)
def test_the_error_behind_is_kept(said: dict[str, object], inner: ErrorDetail | None) -> None:
    assert parse_detail({"code": "A", "message": "a", **said}).inner == inner


def test_an_error_that_is_quoted_in_a_text_is_the_one_behind() -> None:
    quoted = json.dumps({"error": {"code": "B", "message": "b"}})
    assert parse_detail({"code": "A", "message": quoted}).inner == ErrorDetail("B", "b")
    assert parse_detail({"code": "A", "message": '{"endTime": "x"}'}).inner is None
    assert parse_detail({"code": "A", "message": "{}"}).inner is None
    assert parse_detail({"code": "A", "message": "[1]"}).inner is None


@pytest.mark.parametrize(
    ("said", "infos"),
    [
        (None, ()),
        ([], ()),
        ([None, {}], ()),
        ("text", (AdditionalInfo("", "text"),)),
        ({"type": "T", "info": 1}, (AdditionalInfo("T", 1),)),
        ([{"type": "T", "info": {}}], (AdditionalInfo("T", {}),)),
        ([{"activityId": "x"}], (AdditionalInfo("", {"activityId": "x"}),)),
    ],
)
def test_additional_info_comes_in_many_forms(
    said: object, infos: tuple[AdditionalInfo, ...]
) -> None:
    assert (
        parse_detail({"code": "A", "message": "a", "additionalInfo": said}).additional_info == infos
    )


def test_additional_info_is_not_shown() -> None:
    assert repr(AdditionalInfo("T", {"secret": 1})) == "AdditionalInfo(type='T')"


NAMES = (
    "error",
    "Error",
    "code",
    "message",
    "details",
    "innererror",
    "additionalInfo",
    "target",
    "title",
    "detail",
    "errors",
    "subcode",
)
TEXTS = ("", " ", "text", "{", "{}", '{"error":{"code":"A"}}', "\ud800", "x" * 1_000, "<p>")


def draw_document(draw: random.Random, depth: int) -> object:
    kind = draw.randrange(9 if depth else 6)
    if kind < 2:
        return draw.choice(TEXTS)
    if kind < 6:
        return draw.choice([None, True, 0, -1.5, 10**30, math.inf])
    if kind < 7:
        return [draw_document(draw, depth - 1) for _ in range(draw.randrange(4))]
    return {draw.choice(NAMES): draw_document(draw, depth - 1) for _ in range(draw.randrange(6))}


@pytest.mark.parametrize("seed", range(20))
def test_any_body_is_parsed_without_an_error(seed: int) -> None:
    draw = random.Random(seed)
    for _ in range(200):
        document = draw_document(draw, 6)
        for detail in (parse_detail(document), read_detail(json.dumps(document).encode())):
            assert detail.message.strip()
            for one in detail.walk():
                assert one.code is None or one.code.strip()
                assert isinstance(one.message, str)
                assert one.target is None or one.target


def test_depth_and_number_of_parts_are_bounded() -> None:
    deep: dict[str, object] = {"code": "A", "message": "a"}
    for _ in range(100):
        deep = {"code": "A", "message": "a", "details": [deep], "innererror": deep}
    assert len(list(parse_detail(deep).walk())) < 1_000
    wide = {
        "code": "A",
        "message": "a",
        "details": [{"message": "b"}] * 1_000,
        "additionalInfo": [1] * 1_000,
    }
    detail = parse_detail(wide)
    assert len(detail.details) == len(detail.additional_info) == 100
    assert len(parse_detail({"errors": {"name": ["text"] * 1_000}}).details) == 100


def test_the_json_objects_in_texts_are_given() -> None:
    texts = ['{"a": 1}', ' {"b": 2}', "{no", "[]", "text", "{" * 100_000, '{"x":' * 100_000]
    found = list(
        iter_quoted_objects(
            parse_detail(
                {"message": texts[0], "details": [{"message": text} for text in texts[1:]]}
            )
        )
    )
    assert found == [{"a": 1}, {"b": 2}]


def test_plain_text_is_short() -> None:
    assert to_plain_text(b"x" * 100_000) == "x" * 500


@pytest.mark.parametrize("name", [one.name for one in attrs.fields(ErrorDetail)])
def test_the_value_is_frozen(name: str) -> None:
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        setattr(_failures.ErrorDetail(None, "a"), name, None)
