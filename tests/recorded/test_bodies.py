"""Recorded traffic: bodies are decoded, ids round-trip, and links are sent unchanged."""

import json
from urllib.parse import unquote

import pytest
from recorded.checks import count_case
from recorded.traffic import decode_document, find_values, needs_recordings, read_exchanges

from aiomsi import PUBLIC, ResourceId, ServiceError
from aiomsi._arm.protocol.request import Options, build_url

pytestmark = needs_recordings


def collect_ids() -> set[str]:
    found: set[str] = set()
    for exchange in read_exchanges():
        found.update(
            text for text in find_values(decode_document(exchange), "id") if text.startswith("/")
        )
    return found


def test_there_is_recorded_traffic() -> None:
    assert read_exchanges()


def test_id_round_trips_unchanged_and_compares_without_case() -> None:
    ids = collect_ids()
    assert ids
    for text in ids:
        with count_case(8, text):
            parsed = ResourceId.parse(text)
            assert str(parsed) == text
            for other in (text.upper(), text.lower(), text.swapcase()):
                assert ResourceId(other) == parsed
                assert hash(ResourceId(other)) == hash(parsed)
            assert "/" + "/".join(parsed.segments) == text.rstrip("/")


def test_every_id_is_a_path_that_can_be_read() -> None:
    for text in collect_ids():
        url = build_url(PUBLIC, "GET", text, Options("2021-04-01"))
        path = url.removeprefix(PUBLIC.resource_manager).removesuffix("?api-version=2021-04-01")
        assert unquote(path) == unquote(text)
        assert not set(path) & set('?#<> "')


def test_the_parents_of_every_id_end() -> None:
    for text in collect_ids():
        parent = ResourceId(text).parent
        while parent is not None:
            assert text.lower().startswith(str(parent).lower())
            assert len(str(parent)) < len(text)
            parent = parent.parent


def test_different_ids_are_different() -> None:
    ids = collect_ids()
    assert len({ResourceId(text) for text in ids}) == len(
        {text.rstrip("/").lower() for text in ids}
    )


def test_every_answer_is_decoded_or_is_an_error_that_says_so() -> None:
    for exchange in read_exchanges():
        response = exchange.response
        try:
            decoded = json.loads(response.body or b"null")
        except ValueError:
            with pytest.raises(ServiceError, match="not JSON") as raised:
                response.json()
            assert raised.value.message, exchange.where
        else:
            assert response.json() == decoded, exchange.where


def test_every_link_on_this_clouds_arm_goes_out_byte_for_byte() -> None:
    links: set[str] = set()
    for exchange in read_exchanges():
        links.update(find_values(decode_document(exchange), "nextLink"))
    # Some services write raw spaces into their links, or omit the version.
    whole = [
        link
        for link in links
        if PUBLIC.is_resource_manager(link) and "api-version=" in link.lower() and " " not in link
    ]
    assert whole
    for link in whole:
        url = build_url(PUBLIC, "GET", link, Options())
        assert url.replace(":443", "") == link.replace(":443", "")
