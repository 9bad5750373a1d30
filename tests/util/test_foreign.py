"""Errors of other libraries: their class and text stay, their frames and secrets do not."""

import asyncio
import pickle
import traceback
from typing import Self

import aiohttp
import pytest

from aiomsi._util.foreign import strip_frames, strip_secrets

TOKEN = "eyJ0eXAiOiJKV1Qi.eyJhdWQiOiJo.c2lnbmF0dXJl"


def raise_and_catch(error: BaseException, token: str = TOKEN) -> BaseException:
    """Raise the error in a frame whose locals hold a token, and return it."""
    headers = f"Authorization: Bearer {token}"
    try:
        raise error
    except BaseException as caught:  # noqa: BLE001 (it is returned)
        assert headers
        return caught


class NeedsArgumentsError(Exception):
    def __new__(cls, first: int, second: int) -> Self:
        return super().__new__(cls, first, second)


class ReadsAttributesError(Exception):
    def __init__(self, place: str, status: int) -> None:
        self.place, self.status = place, status

    def __str__(self) -> str:
        return f"at {self.place}"

    def __repr__(self) -> str:
        return f"<{self.place}>"


class HasNoTextError(Exception):
    def __str__(self) -> str:
        raise ValueError


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (ValueError("no"), "no"),
        (KeyError("x"), "'x'"),
        (OSError(24, "Too many open files"), "[Errno 24] Too many open files"),
        (ReadsAttributesError("home", 7), "at home"),
        (aiohttp.InvalidURL("http://user:pa55@host"), "http://user:***@host"),
        (
            UnicodeDecodeError("utf-8", b"\xff", 0, 1, "no"),
            "'utf-8' codec can't decode byte 0xff in position 0: no",
        ),
        (HasNoTextError(), ""),
    ],
)
def test_stand_in_keeps_class_and_text_without_frames(error: Exception, text: str) -> None:
    stand_in = strip_frames(raise_and_catch(error))
    unpickled: Exception = pickle.loads(pickle.dumps(stand_in))  # noqa: S301 (pickled here)
    for copy in (stand_in, unpickled):
        assert isinstance(copy, type(error))
        assert type(copy).__qualname__ == type(error).__qualname__
        assert str(copy) == text
        assert (copy.__traceback__, copy.__cause__, copy.__context__) == (None, None, None)
        assert repr(copy) == f"{type(copy).__name__}({text!r})"
        lines = traceback.TracebackException.from_exception(copy, capture_locals=True).format()
        assert TOKEN not in "".join(lines)


def test_stand_in_keeps_whole_numbers_only() -> None:
    assert strip_frames(OSError(24, "x")).errno == 24  # type: ignore[attr-defined]  # of the class that it stands for
    assert vars(strip_frames(ReadsAttributesError("home", 7))) == {"status": 7}


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (NeedsArgumentsError(1, 2), "NeedsArgumentsError: (1, 2)"),
        (ExceptionGroup("many", [ValueError(TOKEN)]), "ExceptionGroup: many (1 sub-exception)"),
        (asyncio.CancelledError("x"), "CancelledError: x"),
    ],
)
def test_class_without_stand_in_becomes_plain_exception(error: BaseException, text: str) -> None:
    assert type(stand_in := strip_frames(raise_and_catch(error))) is Exception
    assert str(stand_in) == text


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        (f"rejected {TOKEN} today", "rejected *** today"),
        ("Authorization: Bearer abcdefghijklmno1==", "Authorization: Bearer ***"),
        ("Basic authentication is required", "Basic authentication is required"),
        ('{"access_token": "abc", "x": 1}', '{"access_token": "***", "x": 1}'),
        ("client_secret=hush&x=1", "client_secret=***&x=1"),
        ("https://h/?sv=1&sig=a%3D&x=1", "https://h/?sv=1&sig=***&x=1"),
        ("http://u:pa55@h", "http://u:***@h"),
        ("half \ud83d pair", "half ? pair"),
        ("expected Bearer token,\n http://h:80/a@b", "expected Bearer token, http://h:80/a@b"),
    ],
)
def test_secret_in_text_is_masked(text: str, masked: str) -> None:
    assert strip_secrets(text) == masked


def test_secret_across_the_cut_is_masked() -> None:
    text = strip_secrets("x" * 1_990 + f" {TOKEN}" + "y" * 100_000)
    assert len(text) <= 2_000
    assert "eyJ" not in text
