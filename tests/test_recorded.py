"""Recorded traffic of the real Resource Manager: its ids, its errors, its links. `AIOMSI_RECORDED` names the folder."""

import json
import os
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import attrs
import pytest
from multidict import CIMultiDict

from aiomsi import PUBLIC, ArmError, ArmResponse, ResourceId, ServiceError
from aiomsi.arm._answers import error_of
from aiomsi.arm._requests import Options, build_url

FOLDER = os.environ.get("AIOMSI_RECORDED")
pytestmark = pytest.mark.skipif(not FOLDER, reason="AIOMSI_RECORDED does not name a folder with recorded traffic")


@attrs.frozen
class Exchange:
    """One recorded request and its answer."""

    where: str
    method: str
    url: str
    response: ArmResponse


@cache
def exchanges() -> tuple[Exchange, ...]:
    found = []
    for path in sorted(Path(FOLDER or "").glob("*.jsonl")):
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            one: dict[str, Any] = json.loads(line)
            body = (one["response_body"] or "").encode("utf-8", "surrogatepass")
            response = ArmResponse(one["method"], one["url"], one["status"], CIMultiDict(one["response_headers"]), body)
            found.append(Exchange(f"{path.name}:{number}", one["method"], one["url"], response))
    return tuple(found)


def values(document: object, name: str) -> Iterator[str]:
    """Give every string that is called so, however deep it lies."""
    pending = [document]
    while pending:
        one = pending.pop()
        if isinstance(one, dict):
            pending += one.values()
            if isinstance(one.get(name), str):
                yield one[name]
        elif isinstance(one, list):
            pending += one


def recorded_ids() -> set[str]:
    found: set[str] = set()
    for exchange in exchanges():
        try:
            document = json.loads(exchange.response.body or b"null")
        except ValueError:
            continue
        found.update(text for text in values(document, "id") if text.startswith("/"))
    return found


def test_there_is_recorded_traffic() -> None:
    assert len({exchange.where.partition(":")[0] for exchange in exchanges()}) > 5
    assert len(exchanges()) > 1_000


def test_every_id_round_trips_unchanged_and_compares_without_case() -> None:
    ids = recorded_ids()
    assert len(ids) > 1_000
    for text in ids:
        parsed = ResourceId.parse(text)
        assert str(parsed) == text
        for other in (text.upper(), text.lower(), text.swapcase()):
            assert ResourceId(other) == parsed
            assert hash(ResourceId(other)) == hash(parsed)
        assert "/" + "/".join(parsed.segments) == text.rstrip("/")


def test_the_parents_of_every_id_end() -> None:
    for text in recorded_ids():
        parent = ResourceId(text).parent
        while parent is not None:
            assert text.lower().startswith(str(parent).lower())
            assert len(str(parent)) < len(text)
            parent = parent.parent


def test_different_ids_are_different() -> None:
    ids = recorded_ids()
    assert len({ResourceId(text) for text in ids}) == len({text.rstrip("/").lower() for text in ids})


def test_every_error_body_gives_status_code_and_message() -> None:
    errors = [exchange for exchange in exchanges() if exchange.response.status >= 400]
    assert len(errors) > 100
    for exchange in errors:
        error = error_of(exchange.response, wall=0.0)
        assert isinstance(error, ArmError)
        assert type(error.code) in (str, type(None)), exchange.where
        assert error.status == exchange.response.status
        assert error.code is None or error.code.strip(), exchange.where
        assert error.message.strip(), exchange.where
        assert error.retry_after is None or error.retry_after >= 0
        assert str(error).startswith(f"{exchange.method} /")


def test_every_code_that_stands_at_the_usual_place_is_found() -> None:
    found = 0
    for exchange in exchanges():
        if exchange.response.status < 400:
            continue
        try:
            said = json.loads(exchange.response.body)["error"]
            code, message = said["code"], said["message"]
        except (ValueError, TypeError, KeyError):
            continue
        if not isinstance(code, str) or not code or not isinstance(message, str) or not message.strip():
            continue
        found += 1
        error = error_of(exchange.response, wall=0.0)
        assert (error.code, error.message) == (code, message.strip()), exchange.where
    assert found > 50


def test_every_answer_is_decoded_or_is_an_error_that_says_so() -> None:
    broken = 0
    for exchange in exchanges():
        response = exchange.response
        try:
            document = json.loads(response.body or b"null")
        except ValueError:
            broken += 1
            with pytest.raises(ServiceError, match="not JSON") as raised:
                response.json()
            assert raised.value.message, exchange.where
        else:
            assert response.json() == document, exchange.where
    assert broken < len(exchanges()) / 10


def test_every_link_on_this_clouds_arm_goes_out_byte_for_byte() -> None:
    links: set[str] = set()
    for exchange in exchanges():
        try:
            document = json.loads(exchange.response.body or b"null")
        except ValueError:
            continue
        links.update(values(document, "nextLink"))
    # Some services put raw spaces into their links, or leave the version out.
    whole = [link for link in links if PUBLIC.is_resource_manager(link) and "api-version=" in link.lower() and " " not in link]
    assert len(whole) > 10
    for link in whole:
        url = str(build_url(PUBLIC, "GET", link, Options()))
        assert url.replace(":443", "") == link.replace(":443", "")
