"""JSON: the same values and the same errors, whether orjson is installed or not."""

import dataclasses
import datetime as dt
import decimal
import enum
import importlib.util
import json
import math
import sys
import uuid
from collections import OrderedDict
from collections.abc import Callable
from types import MappingProxyType, ModuleType
from typing import Any, NamedTuple

import pytest

from aiomsi._util import json as _json

VALUES: list[Any] = [
    None,
    True,
    1,
    -(2**63),
    2**64,
    -(2**70),
    1.5,
    "ü\u2028\U0001f600\x00",
    "cut \ud83d",
    [],
    {},
    {"a": [1, {"b": None}]},
    {"name": "DevTest", "tags": {"x": "y"}},
    {"cut \ud83d": "ü"},
]


def import_fresh(name: str) -> ModuleType:
    """Import the module anew, under another name."""
    spec = importlib.util.spec_from_file_location(name, _json.__file__)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(params=["as installed", "standard library"])
def module(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    if request.param == "as installed":
        return _json
    monkeypatch.setitem(sys.modules, "orjson", None)
    return import_fresh("json_without_orjson")


@pytest.mark.parametrize("value", VALUES)
def test_encoded_value_decodes_to_the_same(module: ModuleType, value: object) -> None:
    encoded = module.dumps(value)
    assert isinstance(encoded, bytes)
    assert encoded == _json.dumps(value)
    assert module.loads(encoded) == json.loads(encoded) == value


def test_bodies_are_compact(module: ModuleType) -> None:
    assert module.dumps({"a": [1, "ü"]}) == '{"a":[1,"ü"]}'.encode()


@pytest.mark.parametrize(
    "encoding",
    ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be"],
)
@pytest.mark.parametrize("text", ['{"a": "ü"}', ' ["\U0001f600"]', '"x"', "1"])
def test_unicode_encodings_are_told_apart(module: ModuleType, encoding: str, text: str) -> None:
    assert module.loads(text.encode(encoding)) == json.loads(text)


def test_two_marks_count_as_one(module: ModuleType) -> None:
    assert module.loads(b"\xef\xbb\xbf\xef\xbb\xbf[1]") == [1]


@pytest.mark.parametrize(
    "content_type",
    [
        "application/json; charset=ISO-8859-1",
        'text/json;Charset="latin1" ; x=y',
        "a;charset='iso-8859-15'",
    ],
)
def test_charset_counts_for_bytes_that_are_no_unicode(
    module: ModuleType, content_type: str
) -> None:
    assert module.loads('{"a":"ü"}'.encode("latin-1"), content_type) == {"a": "ü"}
    assert module.loads('{"a":"ü"}'.encode(), content_type) == {"a": "ü"}


@pytest.mark.parametrize(
    "content_type", [None, "application/json", "a; charset=", "a; charset=nope", "a; charset=hex"]
)
def test_bytes_of_no_encoding_are_a_value_error(
    module: ModuleType, content_type: str | None
) -> None:
    with pytest.raises(ValueError, match="utf-8"):
        module.loads(b'{"a":"\xfc"}', content_type)


@pytest.mark.parametrize(
    "text",
    [
        "18446744073709551615",
        "18446744073709551616",
        "-9223372036854775808",
        "-9223372036854775809",
        "[123456789012345678901234567890, 0.1234567890123456789]",
        '{"text": "98765432109876543210"}',
    ],
)
def test_long_integers_stay_integers(module: ModuleType, text: str) -> None:
    decoded = module.loads(text.encode())
    assert decoded == json.loads(text)
    assert repr(decoded) == repr(json.loads(text))


@pytest.mark.parametrize(
    ("body", "value"),
    [
        (b'{"a": Infinity}', {"a": math.inf}),
        (b"[-Infinity, 1e400]", [-math.inf, math.inf]),
        (b'["cut \\ud83d", "\\ude00\\ud83d"]', ["cut \ud83d", "\ude00\ud83d"]),
        (b'{"a": 1, "a": 2}', {"a": 2}),
        (b'"\xed\xa0\xbd"', "\ud83d"),
    ],
)
def test_what_services_write_beside_the_standard_is_read(
    module: ModuleType, body: bytes, value: object
) -> None:
    assert module.loads(body) == value


def test_not_a_number_is_read(module: ModuleType) -> None:
    assert math.isnan(module.loads(b'{"a": NaN}')["a"])


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b" ",
        b"{",
        b"<html>",
        b"\xff",
        b"nul",
        b"[1,]",
        b"01",
        b'["\x01"]',
        b"[1] x",
        b"9" * 5_000,
    ],
)
def test_what_is_no_json_is_a_value_error(module: ModuleType, body: bytes) -> None:
    with pytest.raises(ValueError, match=r".+"):
        module.loads(body)


def test_nesting_has_an_end(module: ModuleType) -> None:
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(ValueError, match="nested too deeply"):
        module.loads(b"[" * 100_000 + b"]" * 100_000)
    with pytest.raises(ValueError, match="nested too deeply"):
        module.dumps(deep)
    assert module.loads(b"[" * 500 + b"]" * 500) == json.loads("[" * 500 + "]" * 500)


class Pair(NamedTuple):
    a: int
    b: int


class Word(enum.StrEnum):
    ONE = "one"


class MixedIn(str, enum.Enum):  # noqa: UP042 (its str() is another text)
    ONE = "one"


class Number(enum.IntEnum):
    ONE = 1


class Plain(enum.Enum):
    ONE = 1


@dataclasses.dataclass
class Data:
    a: int = 1


@pytest.mark.parametrize(
    ("value", "encoded"),
    [
        ((1, 2), b"[1,2]"),
        (Pair(1, 2), b"[1,2]"),
        (OrderedDict(a=1), b'{"a":1}'),
        ([Word.ONE, MixedIn.ONE, Number.ONE], b'["one","one",1]'),
        ({Word.ONE: True}, b'{"one":true}'),
    ],
)
def test_subclasses_count_as_what_they_derive_from(
    module: ModuleType, value: object, encoded: bytes
) -> None:
    assert module.dumps(value) == encoded


@pytest.mark.parametrize(
    "value",
    [
        dt.datetime(2026, 1, 1, tzinfo=dt.UTC),
        dt.date(2026, 1, 1),
        dt.timedelta(1),
        Plain.ONE,
        b"bytes",
        bytearray(b"x"),
        uuid.UUID(int=1),
        decimal.Decimal(1),
        1j,
        {1},
        Data(),
        object(),
        MappingProxyType({"a": 1}),
        {1: "a"},
        {None: "a"},
        {True: "a"},
        {"a": [({1.5: "a"},)]},
        {(1,): "a"},
        iter([1]),
    ],
)
def test_values_and_keys_of_other_types_are_refused(module: ModuleType, value: object) -> None:
    with pytest.raises(TypeError, match=r".+"):
        module.dumps({"value": [value]})


def make_recursive() -> list[Any]:
    value: list[Any] = []
    value.append(value)
    return value


@pytest.mark.parametrize(
    "make", [lambda: math.nan, lambda: math.inf, lambda: {"a": [-math.inf]}, make_recursive]
)
def test_numbers_without_a_form_and_circles_are_refused(
    module: ModuleType, make: Callable[[], object]
) -> None:
    with pytest.raises(ValueError, match=r".+"):
        module.dumps(make())


def test_orjson_is_used_where_it_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    quick = ModuleType("orjson")
    vars(quick).update(loads=lambda body: ("quick", body))
    monkeypatch.setitem(sys.modules, "orjson", quick)
    assert import_fresh("json_with_orjson").loads(b"1") == ("quick", b"1")


@pytest.mark.parametrize(
    ("document", "value"),
    [
        ({"nextLink": 1}, 1),
        ({"NEXTLINK": 1}, 1),
        ({"NEXTLINK": 1, "nextLink": None}, None),
        ({"next": 1}, "none"),
        ([{"nextLink": 1}], "none"),
        (None, "none"),
    ],
)
def test_member_is_found_whatever_its_case(document: object, value: object) -> None:
    assert _json.get_member(document, "nextLink", "none") == value
