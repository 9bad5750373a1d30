"""Bodies: decompressed if they are whole, an error if they were cut."""

import gzip
import zlib

import pytest
from multidict import CIMultiDict

from aiomsi._arm.protocol import encoding as _encoding
from aiomsi._arm.protocol.encoding import CutBodyError, LongBodyError, decode_content

TEXT = b'{"name": "DevTest"}' * 50


def deflate_raw(text: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(text) + packer.flush()


PACKED = [
    ("gzip", gzip.compress(TEXT, mtime=0)),
    ("X-GZip", gzip.compress(TEXT, mtime=0)),
    ("deflate", zlib.compress(TEXT)),
    ("deflate", deflate_raw(TEXT)),
]


def unpack(
    body: bytes,
    encoding: str | None = None,
    *,
    method: str = "GET",
    status: int = 200,
    length: str | None = None,
) -> bytes:
    headers = CIMultiDict[str]()
    if encoding is not None:
        headers["Content-Encoding"] = encoding
    if length is not None:
        headers["Content-Length"] = length
    return decode_content(method, status, headers, body)


@pytest.mark.parametrize(("encoding", "body"), PACKED)
def test_a_whole_body_is_unpacked(encoding: str, body: bytes) -> None:
    assert unpack(body, encoding) == TEXT


@pytest.mark.parametrize(("encoding", "body"), PACKED)
def test_a_body_cut_anywhere_is_an_error(encoding: str, body: bytes) -> None:
    for keep in range(len(body)):
        with pytest.raises(CutBodyError) as raised:
            unpack(body[:keep], encoding)
        assert raised.value.rest == b""


@pytest.mark.parametrize("status", [202, 400, 404, 429, 503])
def test_an_error_counts_without_its_whole_body(status: int) -> None:
    packed = gzip.compress(TEXT, mtime=0)
    for keep in range(len(packed)):
        assert TEXT.startswith(unpack(packed[:keep], "gzip", status=status))
    assert unpack(packed[:-8], "gzip", status=status) == TEXT
    assert unpack(b"no gzip", "gzip", status=status) == b""
    assert unpack(b"no brotli", "br", status=status) == b""


@pytest.mark.parametrize("encoding", [None, "", "identity", "utf-8", "aws-chunked"])
def test_a_body_without_a_packing_is_left_alone(encoding: str | None) -> None:
    assert unpack(TEXT, encoding) == TEXT


def test_encodings_are_taken_off_in_reverse() -> None:
    assert unpack(gzip.compress(zlib.compress(TEXT)), "deflate, gzip") == TEXT
    assert unpack(gzip.compress(b""), "deflate, gzip") == b""


def test_a_file_of_several_members_and_padding_is_one_body() -> None:
    assert (
        unpack(gzip.compress(TEXT, mtime=0) + gzip.compress(b"more") + b"\0\0", "gzip")
        == TEXT + b"more"
    )
    with pytest.raises(CutBodyError, match="was cut"):
        unpack(gzip.compress(TEXT, mtime=0) + gzip.compress(b"more")[:-1], "gzip")


@pytest.mark.parametrize("encoding", ["br", "zstd", "compress"])
def test_an_encoding_that_was_not_accepted_is_an_error(encoding: str) -> None:
    with pytest.raises(CutBodyError, match="not accepted"):
        unpack(TEXT, encoding)


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
def test_body_that_is_not_packed_is_an_error(encoding: str) -> None:
    with pytest.raises(CutBodyError, match="decompressed"):
        unpack(b"\xff" + TEXT, encoding)


def test_a_body_that_unpacks_to_too_much_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_encoding, "MAX_BODY", len(TEXT))
    assert unpack(gzip.compress(TEXT, mtime=0), "gzip") == TEXT
    for body in (gzip.compress(TEXT + b"x"), gzip.compress(TEXT, mtime=0) + gzip.compress(b"x")):
        with pytest.raises(LongBodyError, match="more than"):
            unpack(body, "gzip")


@pytest.mark.parametrize(
    ("method", "status", "encoding", "length", "whole"),
    [
        ("GET", 200, None, "0", True),
        ("GET", 200, "gzip", "0", True),
        ("GET", 200, None, None, False),
        ("GET", 201, None, None, False),
        ("GET", 200, "gzip", None, False),
        ("GET", 202, "gzip", None, True),
        ("GET", 204, None, None, True),
        ("GET", 304, "gzip", None, True),
        ("GET", 503, "gzip", None, True),
        ("HEAD", 200, "gzip", None, True),
        ("POST", 200, None, None, True),
        ("PUT", 201, "gzip", None, False),
        ("DELETE", 200, "gzip", None, False),
    ],
)
def test_an_empty_body_may_have_been_cut(
    method: str, status: int, encoding: str | None, length: str | None, whole: bool
) -> None:
    if whole:
        assert unpack(b"", encoding, method=method, status=status, length=length) == b""
        return
    with pytest.raises(CutBodyError, match="empty"):
        unpack(b"", encoding, method=method, status=status, length=length)
